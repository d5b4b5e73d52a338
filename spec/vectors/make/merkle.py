"""Leaves, Merkle heads, tensor roots and checkpoint roots. Spec: tensor-tree §1 to §4."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from jcs import canonical

CHUNK_BYTES = 1_048_576
CHECKPOINT_PREFIX = b"model-attest/v1/checkpoint\n"
DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "I16": 16, "U16": 16, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F16": 16, "BF16": 16, "I32": 32,
    "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
BLOCKS = {
    "GGML_Q4_0": (32, 18), "GGML_Q4_1": (32, 20), "GGML_Q5_0": (32, 22), "GGML_Q5_1": (32, 24),
    "GGML_Q8_0": (32, 34), "GGML_Q4_K": (256, 144), "GGML_TQ1_0": (256, 54), "GGML_TQ2_0": (256, 66),
    "GGML_MXFP4": (32, 17),
}  # fmt: skip
"""Some of the dtypes of GGUF that store blocks: elements, and bytes. Spec: tensor-tree §6."""


def size_bits(dtype: str, shape: Sequence[int]) -> int:
    """Return how many bits of data a tensor has."""
    if dtype in BLOCKS:
        elements, size = BLOCKS[dtype]
        assert prod(shape) % elements == 0
        return prod(shape) // elements * size * 8
    return DTYPE_BITS[dtype] * prod(shape)


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named tensor with its data as stored: little-endian, C order, sub-byte elements packed."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def __post_init__(self) -> None:
        if 8 * len(self.data) != size_bits(self.dtype, self.shape):
            raise ValueError(f"{self.name}: {len(self.data)} bytes do not fit {self.dtype} {self.shape}")


def sha256(data: bytes) -> bytes:
    """Return the SHA-256 of `data`."""
    return hashlib.sha256(data).digest()


def digest_text(digest: bytes) -> str:
    """Return `sha256:` and 64 lower-case hexadecimal digits. Spec: statement §1.4."""
    return "sha256:" + digest.hex()


def leaf(data: bytes) -> bytes:
    """Return the leaf of one string. Spec: tensor-tree §2.2."""
    return sha256(b"\x00" + data)


def head_of_leaves(leaves: Sequence[bytes]) -> bytes:
    """Return the head of the tree over these leaves; SHA-256("") for none. Spec: tensor-tree §2."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    return sha256(b"\x01" + head_of_leaves(leaves[:split]) + head_of_leaves(leaves[split:]))


def tensor_leaves(data: bytes) -> list[bytes]:
    """Return the leaves of the 1 MiB chunks of `data`; none for no data. Spec: tensor-tree §3."""
    return [leaf(data[at : at + CHUNK_BYTES]) for at in range(0, len(data), CHUNK_BYTES)]


def tensor_root(data: bytes) -> bytes:
    """Return the tensor root of `data`. Spec: tensor-tree §3."""
    return head_of_leaves(tensor_leaves(data))


def entry(tensor: Tensor) -> bytes:
    """Return the tensor's entry as canonical JSON. Spec: tensor-tree §4."""
    root = digest_text(tensor_root(tensor.data))
    return canonical({"dtype": tensor.dtype, "name": tensor.name, "root": root, "shape": list(tensor.shape)})


def by_name(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the tensors in the order of their names' UTF-8 bytes."""
    return sorted(tensors, key=lambda tensor: tensor.name.encode("utf-8"))


def checkpoint_head(tensors: Sequence[Tensor]) -> bytes:
    """Return the head of the tree over the entries."""
    return head_of_leaves([leaf(entry(tensor)) for tensor in by_name(tensors)])


def checkpoint_root(tensors: Sequence[Tensor]) -> bytes:
    """Return the checkpoint root. Spec: tensor-tree §4."""
    return sha256(CHECKPOINT_PREFIX + len(tensors).to_bytes(8, "big") + checkpoint_head(tensors))


def check() -> None:
    """Compare with the heads that RFC 6962 implementations publish for their eight test inputs."""
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    leaves = [leaf(bytes.fromhex(text)) for text in inputs]
    heads = [head_of_leaves(leaves[:count]).hex()[:16] for count in range(9)]
    assert heads == [
        "e3b0c44298fc1c14", "6e340b9cffb37a98", "fac54203e7cc696c", "aeb6bcfe274b70a1", "d37ee418976dd957",
        "4e3bbb1f7b478dcf", "76e67dadbcdf1e10", "ddb89be403809e32", "5dc9da79a70659a9",
    ], heads  # fmt: skip

"""Leaf, node, tensor root, checkpoint root. Spec: tensor-tree §2 to §4. Needs only the standard library."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from model_verify.canonical import dumps
from model_verify.digest import CheckpointRoot, TensorRoot
from model_verify.tensors import CHUNK_BYTES, TensorInfo, chunk_count

Buffer = bytes | bytearray | memoryview

_LEAF = b"\x00"
_NODE = b"\x01"
_EMPTY = hashlib.sha256(b"").digest()
_CHECKPOINT = b"model-attest/v1/checkpoint\n"

LEAF_BYTES = 32


def leaf(data: Buffer) -> bytes:
    """Return the 32-byte leaf over `data`: a chunk of a tensor, or an entry of a checkpoint."""
    state = hashlib.sha256(_LEAF)
    state.update(data)
    return state.digest()


def node(left: bytes, right: bytes) -> bytes:
    """Return the 32-byte inner node over two 32-byte heads."""
    return hashlib.sha256(_NODE + left + right).digest()


def head(leaves: Sequence[bytes]) -> bytes:
    """Return the 32-byte head over `leaves`; SHA-256("") over none.

    Works level by level. Carrying an odd last node up unchanged gives the same tree as splitting at the largest power
    of two below n. Spec: tensor-tree §2. Vectors: tree/*.
    """
    if not leaves:
        return _EMPTY
    level = list(leaves)
    while len(level) > 1:
        paired = [node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            paired.append(level[-1])
        level = paired
    return level[0]


def split_leaves(data: Buffer) -> list[bytes]:
    """Return the 32-byte leaves that `data`, a stretch of a leaf file, holds one after another."""
    return [bytes(data[i : i + LEAF_BYTES]) for i in range(0, len(data), LEAF_BYTES)]


def tensor_root(leaves: Sequence[bytes]) -> TensorRoot:
    """Return the root of a tensor from the leaves of its chunks, in order."""
    return TensorRoot(head(leaves))


def chunk_leaves(data: Buffer) -> list[bytes]:
    """Return the leaves of a tensor whose data are in memory."""
    view = memoryview(data)
    return [leaf(view[i * CHUNK_BYTES : (i + 1) * CHUNK_BYTES]) for i in range(chunk_count(len(view)))]


def checkpoint_root(tensors: Iterable[tuple[TensorInfo, TensorRoot]]) -> CheckpointRoot:
    """Return the identity of a set of tensors with distinct names, given in any order. Spec: tensor-tree §4."""
    ordered = sorted(tensors, key=lambda pair: pair[0].name.encode("utf-8"))
    leaves = [leaf(entry(info, root)) for info, root in ordered]
    return CheckpointRoot(hashlib.sha256(_CHECKPOINT + len(leaves).to_bytes(8, "big") + head(leaves)).digest())


def entry(info: TensorInfo, root: TensorRoot) -> bytes:
    """Return the canonical JSON that stands for one tensor in the checkpoint tree. Spec: tensor-tree §4."""
    return dumps({"dtype": info.dtype, "name": info.name, "root": root.text, "shape": list(info.shape)})

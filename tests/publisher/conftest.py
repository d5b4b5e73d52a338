"""Small models made with the safetensors library, and a second implementation of the trees to hold ours against."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import rfc8785
import torch
from safetensors.torch import save_file

from model_attest.signers.key import KeySigner, generate_key

CHUNK_BYTES = 1_048_576


@pytest.fixture(scope="session")
def signer() -> KeySigner:
    return KeySigner(generate_key("p256"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with one weight file of several chunks, and files of every class."""
    return make_model(tmp_path / "model", seed=1)


def tensors(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "layers.0.weight": torch.randn(1500, 1100, generator=generator).bfloat16(),
        "layers.0.norm": torch.randn(700, generator=generator),
        "layers.0.bias": torch.randn(33, generator=generator).half(),
        "positions": torch.arange(10),
        "empty": torch.zeros(0, 3),
    }


def make_model(folder: Path, *, seed: int, weights: Mapping[str, torch.Tensor] | None = None) -> Path:
    folder.mkdir(parents=True)
    save_file(dict(weights or tensors(seed)), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"seed": seed}))
    (folder / "README.md").write_text("read me")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}")
    return folder


# A second implementation, by the recursion of RFC 9162 and with the rfc8785 package.


def head(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + head(leaves[:split]) + head(leaves[split:])).digest()


def leaves_of(data: bytes) -> list[bytes]:
    return [hashlib.sha256(b"\x00" + data[i : i + CHUNK_BYTES]).digest() for i in range(0, len(data), CHUNK_BYTES)]


def stored_tensors(*paths: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """Return dtype, shape and data of every tensor by name."""
    found: dict[str, tuple[str, list[int], bytes]] = {}
    for path in paths:
        content = path.read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")
        for name, member in json.loads(content[8:start]).items():
            if name != "__metadata__":
                begin, end = member["data_offsets"]
                found[name] = (member["dtype"], member["shape"], content[start + begin : start + end])
    return found


def expected_root(*paths: Path) -> str:
    """Return the checkpoint root of the tensors in some safetensors files as digest text."""
    found = stored_tensors(*paths)
    entries = []
    for name in sorted(found, key=str.encode):
        dtype, shape, data = found[name]
        root = "sha256:" + head(leaves_of(data)).hex()
        entry = rfc8785.dumps({"name": name, "dtype": dtype, "shape": shape, "root": root})
        entries.append(hashlib.sha256(b"\x00" + entry).digest())
    prefix = b"model-attest/v1/checkpoint\n" + len(entries).to_bytes(8, "big")
    return "sha256:" + hashlib.sha256(prefix + head(entries)).hexdigest()


def file_digest(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, to see that nothing changed."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

"""SHA-256 digests, one type for each thing that is hashed. Spec: statement §1.4."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

_TEXT = re.compile(r"sha256:([0-9a-f]{64})")
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Digest:
    """A SHA-256 digest. Only its subclasses are used: digests of different things never compare equal."""

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != 32:
            raise ValueError("a SHA-256 digest has 32 bytes")

    @property
    def hex(self) -> str:
        """The 64 hexadecimal digits alone, as in-toto writes them."""
        return self.raw.hex()

    @property
    def text(self) -> str:
        """`sha256:` and 64 lower-case hexadecimal digits."""
        return f"sha256:{self.raw.hex()}"

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the digest that `text` writes; raises `ValueError` for any other spelling."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError("a digest is `sha256:` and 64 lower-case hexadecimal digits")
        return cls(bytes.fromhex(match[1]))

    @classmethod
    def parse_hex(cls, text: str) -> Self:
        """Return the digest that 64 lower-case hexadecimal digits write; raises `ValueError` for anything else."""
        if _HEX.fullmatch(text) is None:
            raise ValueError("a digest here is 64 lower-case hexadecimal digits")
        return cls(bytes.fromhex(text))


@dataclass(frozen=True, slots=True)
class FileDigest(Digest):
    """SHA-256 of a file's bytes, or of a safetensors header. Spec: manifest §3.1, tensor-tree §5."""


@dataclass(frozen=True, slots=True)
class TensorRoot(Digest):
    """Merkle root of one tensor's data. Spec: tensor-tree §3."""


@dataclass(frozen=True, slots=True)
class CheckpointRoot(Digest):
    """Identity of a set of named tensors. Spec: tensor-tree §4."""


@dataclass(frozen=True, slots=True)
class ChainDigest(Digest):
    """One link of the chain over the checkpoints of a training. Spec: pipeline §4.9."""

"""The hashes that a `model.sig` may be made with. Spec: oms §3.3."""

from __future__ import annotations

import hashlib
from typing import Protocol

from model_verify.errors import MalformedDocument
from model_verify.files import OMS_SIGNATURE_PATH

DIGEST_BYTES = {"sha256": 32, "blake2b": 64, "blake3": 32}


class Hash(Protocol):
    """A hash that is being computed."""

    def update(self, data: memoryview, /) -> object: ...

    def digest(self) -> bytes: ...


def new_hash(name: str) -> Hash:
    """Return a new hash of one of the names in `DIGEST_BYTES`.

    Raises `MalformedDocument` with `OMS_UNSUPPORTED` where its software is not installed.
    """
    match name:
        case "sha256":
            return hashlib.sha256()
        case "blake2b":
            return hashlib.blake2b()
        case "blake3":
            try:
                from blake3 import blake3
            except ImportError as error:
                raise MalformedDocument(
                    "OMS_UNSUPPORTED",
                    "blake3 is not installed: `pip install 'model-attest[blake3]'`",
                    where=OMS_SIGNATURE_PATH,
                    rule="a hash that can be computed here",
                ) from error
            return blake3()
        case _:
            raise ValueError(name)

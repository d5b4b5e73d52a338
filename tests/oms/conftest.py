"""A model, and keys in the files that the reference wants them in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from model_attest.signers.key import KeySigner, generate_key, private_pem
from model_verify.envelope import PublicKey
from model_verify.procedure import Request, verify
from model_verify.report import Report
from model_verify.sources.local import LocalFolder
from tests.models import small_tensors, write_model


@dataclass(frozen=True)
class KeyPair:
    private: Path
    public: Path
    signer: KeySigner

    @property
    def key(self) -> PublicKey:
        return self.signer.public_key


def new_pair(folder: Path, kind: str = "p256") -> KeyPair:
    folder.mkdir(parents=True, exist_ok=True)
    key = generate_key(kind)  # type: ignore[arg-type]
    (folder / kind).write_bytes(private_pem(key))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{kind}.pub").write_bytes(public)
    return KeyPair(folder / kind, folder / f"{kind}.pub", KeySigner(key))


def verified(folder: Path, key: PublicKey | None, **changes: object) -> Report:
    return verify(Request(LocalFolder(folder), expected_signer=key, device="cpu", **changes))  # type: ignore[arg-type]


def codes(report: Report) -> dict[str, str]:
    """Return the findings that are no notes, by code, with the place of the first."""
    found = [finding for finding in report.findings if finding.severity != "note"]
    return {finding.code: finding.where for finding in reversed(found)}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = write_model(tmp_path / "model", small_tensors(0))
    (folder / "sub").mkdir()
    (folder / "sub" / "vocab.txt").write_text("a\nb\n")
    return folder


@pytest.fixture(params=["p256", "p384"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> KeyPair:
    return new_pair(tmp_path / "keys", request.param)

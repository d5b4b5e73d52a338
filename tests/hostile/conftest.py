from __future__ import annotations

from pathlib import Path

import pytest

from model_attest.signers.key import KeySigner
from tests.hostile.forging import Forger
from tests.models import SignedMerge, make_signed_merge, new_signer


@pytest.fixture(scope="session")
def signed_merge(tmp_path_factory: pytest.TempPathFactory) -> SignedMerge:
    """A small signed merge. Tests that alter it take a copy."""
    return make_signed_merge(tmp_path_factory.mktemp("signed") / "models")


@pytest.fixture
def signed_copy(signed_merge: SignedMerge, tmp_path: Path) -> SignedMerge:
    return signed_merge.copy(tmp_path / "models")


@pytest.fixture(scope="session")
def signer() -> KeySigner:
    return new_signer("ed25519")


@pytest.fixture
def forger(tmp_path: Path, signer: KeySigner) -> Forger:
    return Forger(tmp_path / "forged", signer)

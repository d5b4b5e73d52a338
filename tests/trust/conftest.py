"""A timestamping authority that answers on loopback, and one that nobody trusts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import attest as attest  # the fixture
from tests.models import small_tensors, write_model
from tests.sigstore.instance import Sigstore, running


@pytest.fixture(scope="session")
def authority() -> Iterator[Sigstore]:
    """An instance of which only the timestamps are used."""
    with running() as instance:
        yield instance


@pytest.fixture(scope="session")
def stranger() -> Iterator[Sigstore]:
    with running() as instance:
        yield instance


@pytest.fixture
def tsa(authority: Sigstore, tmp_path: Path) -> Path:
    """What a caller trusts: the certificates of the authority, PEM."""
    return authority_file(authority, tmp_path / "tsa.pem")


def authority_file(instance: Sigstore, path: Path) -> Path:
    path.write_text(instance.timestamper.signer.pem + instance.timestamper.root.pem)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", small_tensors(0))


@pytest.fixture
def key(tmp_path: Path, attest: object) -> Path:
    """A private key; the public one lies beside it."""
    assert callable(attest)
    assert attest("keygen", "--out", tmp_path / "lab", "--type", "ed25519").code == 0
    return tmp_path / "lab"

"""Two running instances of Sigstore that know nothing of each other, and a model signed with the first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sigstore.instance import Sigstore, running
from tests.sigstore.signing import SignedModel, sign_model


@pytest.fixture(scope="session", autouse=True)
def shipped_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The public instance is trusted by the root that the client was shipped with, not by what this user fetched."""
    folder = tmp_path_factory.mktemp("sigstore-client")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))
        yield


@pytest.fixture(scope="session")
def sigstore() -> Iterator[Sigstore]:
    """The instance that signs. Tests that set its clocks set them back."""
    with running() as instance:
        yield instance


@pytest.fixture(scope="session")
def stranger() -> Iterator[Sigstore]:
    with running() as instance:
        yield instance


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, sigstore: Sigstore) -> dict[int, SignedModel]:
    """Models signed with Rekor v1 and v2, both timestamped; nobody writes here."""
    root = tmp_path_factory.mktemp("signed")
    return {rekor: sign_model(root / f"v{rekor}", sigstore, rekor=rekor) for rekor in (1, 2)}


@pytest.fixture(params=[1, 2], ids=["rekor-v1", "rekor-v2"])
def signed(request: pytest.FixtureRequest, models: dict[int, SignedModel], tmp_path: Path) -> SignedModel:
    """A model to be tampered with."""
    return models[request.param].copy(tmp_path / "model")

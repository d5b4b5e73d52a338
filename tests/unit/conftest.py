from __future__ import annotations

from pathlib import Path

import pytest

from tests.models import SignedMerge, make_signed_merge


@pytest.fixture(scope="session")
def signed_merge(tmp_path_factory: pytest.TempPathFactory) -> SignedMerge:
    """A small signed merge. Tests that alter it take a copy."""
    return make_signed_merge(tmp_path_factory.mktemp("signed") / "models")


@pytest.fixture
def signed_copy(signed_merge: SignedMerge, tmp_path: Path) -> SignedMerge:
    return signed_merge.copy(tmp_path / "models")

"""Two running instances of Sigstore that know nothing of each other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sigstore.instance import Sigstore, running


@pytest.fixture(scope="session")
def sigstore() -> Iterator[Sigstore]:
    """The instance that signs. Tests that set its clocks set them back."""
    with running() as instance:
        yield instance


@pytest.fixture(scope="session")
def stranger() -> Iterator[Sigstore]:
    with running() as instance:
        yield instance

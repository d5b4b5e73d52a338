"""Every vector of an area is one test case, named after its folder."""

from __future__ import annotations

import pytest

from tests.vectors.vector import load


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "vector" in metafunc.fixturenames:
        area = metafunc.module.AREA
        metafunc.parametrize("vector", load(area), ids=lambda vector: vector.name)

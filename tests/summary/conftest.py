"""Signed models, an agency that verifies them, and readers of what it says."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from model_attest.signers.key import KeySigner
from model_attest.summary import SummaryTerms, WrittenSummary, write_summary
from model_verify.report import Report
from model_verify.sources.local import LocalFolder
from model_verify.summary import SummaryReport, SummaryRequest, judge_summary
from tests.models import SignedMerge, make_signed_merge, new_signer

RESOURCE = "pkg:huggingface/town/town-7b"
NOW = datetime(2026, 7, 1, 12, 0, 0, 999_999, tzinfo=UTC)
TERMS = SummaryTerms(verifier="https://agency.example/models", resource=RESOURCE, verified_at=NOW)


@pytest.fixture(scope="session")
def signed_merge(tmp_path_factory: pytest.TempPathFactory) -> SignedMerge:
    return make_signed_merge(tmp_path_factory.mktemp("signed") / "models")


@pytest.fixture
def signed_copy(signed_merge: SignedMerge, tmp_path: Path) -> SignedMerge:
    return signed_merge.copy(tmp_path / "models")


@pytest.fixture(scope="session")
def agency() -> KeySigner:
    return new_signer("p384")


@pytest.fixture(scope="session")
def report(signed_merge: SignedMerge) -> Report:
    return signed_merge.verify()


def written(report: Report, agency: KeySigner, path: Path, **changes: Any) -> WrittenSummary:
    found = changes.pop("found_manifest", None)
    return write_summary(report, replace(TERMS, **changes), agency, path, found_manifest=found)


def statement_in(path: Path) -> dict[str, Any]:
    payload = json.loads(path.read_bytes())["dsseEnvelope"]["payload"]
    statement: dict[str, Any] = json.loads(base64.b64decode(payload))
    return statement


def read(path: Path, agency: KeySigner, folder: Path | None = None, **changes: Any) -> SummaryReport:
    asked = {
        "expected_signers": [agency.public_key],
        "now": NOW,
        "resource": RESOURCE,
        "source": None if folder is None else LocalFolder(folder),
        **changes,
    }
    return judge_summary(SummaryRequest(bundle=path.read_bytes(), label=path.name, **asked))


def codes(report: SummaryReport) -> list[str]:
    return [finding.code for finding in report.findings]

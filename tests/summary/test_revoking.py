"""Summaries that their verifier has taken back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model_attest.revoke import build_revocation, revoked_root, revoked_signer
from model_attest.signed_statement import sign_statement
from model_attest.signers.key import KeySigner
from model_verify.history.folder import BundleFile
from model_verify.report import Report
from model_verify.summary import SummaryReport
from tests.models import new_signer
from tests.summary.conftest import codes, read, written


@pytest.fixture
def summary(report: Report, agency: KeySigner, tmp_path: Path) -> Path:
    written(report, agency, tmp_path / "s.json")
    return tmp_path / "s.json"


def read_with(summary: Path, agency: KeySigner, report: Report, statement: bytes, signer: KeySigner) -> SummaryReport:
    assert report.roots is not None
    file = BundleFile("r.json", sign_statement(statement, signer).data)
    return read(summary, agency, manifest=report.roots.manifest, revocations=[file])


def of_root(report: Report) -> bytes:
    assert report.roots is not None
    return build_revocation(revoked_root(report.roots.checkpoint.text), "wrong parents were given")


def test_the_verifier_takes_back_what_it_said_of_a_root(summary: Path, agency: KeySigner, report: Report) -> None:
    found = read_with(summary, agency, report, of_root(report), agency)
    assert (found.verdict, codes(found)) == ("REJECTED", ["ROOT_REVOKED"])
    assert "wrong parents were given" in found.findings[0].actual


def test_a_key_that_was_lost_is_taken_back(summary: Path, agency: KeySigner, report: Report) -> None:
    lost = build_revocation(revoked_signer(agency.public_key.hint, None), "lost")
    assert codes(read_with(summary, agency, report, lost, agency)) == ["SIGNER_REVOKED"]
    since = build_revocation(revoked_signer(agency.public_key.hint, None), "lost", since="2030-01-01T00:00:00Z")
    # Nothing shows when a key without a timestamp signed, so it may have been after that.
    assert codes(read_with(summary, agency, report, since, agency)) == ["SIGNER_REVOKED"]


def test_nobody_else_takes_anything_back(summary: Path, agency: KeySigner, report: Report) -> None:
    found = read_with(summary, agency, report, of_root(report), new_signer())
    assert (found.verdict, codes(found)) == ("ACCEPTED", ["REVOCATION_NOT_HONOURED"])


def test_what_is_about_something_else_says_nothing(summary: Path, agency: KeySigner, report: Report) -> None:
    for revokes in (revoked_root("sha256:" + "1" * 64), revoked_signer("2" * 64, None)):
        assert codes(read_with(summary, agency, report, build_revocation(revokes, "x"), agency)) == []


def test_a_revocation_of_another_form_is_a_finding(summary: Path, agency: KeySigner, report: Report) -> None:
    statement = json.loads(of_root(report))
    statement["predicate"]["reason"] = ""
    assert codes(read_with(summary, agency, report, json.dumps(statement).encode(), agency)) == ["REVOCATION_MALFORMED"]
    statement = json.loads(of_root(report))
    statement["subject"][0]["digest"] = {"model-attest-checkpoint-v1": "3" * 64}
    assert codes(read_with(summary, agency, report, json.dumps(statement).encode(), agency)) == ["REVOCATION_MALFORMED"]
    assert report.roots is not None
    for data in (b"", b"{}", summary.read_bytes()):
        file = BundleFile("r.json", data)
        found = read(summary, agency, manifest=report.roots.manifest, revocations=[file])
        assert (found.verdict, codes(found)) == ("REJECTED", ["REVOCATION_MALFORMED"])

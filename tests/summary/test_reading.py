"""A summary that somebody else wrote, read with what the reader has; and what hostile ones do."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from model_attest.signed_statement import sign_statement
from model_attest.signers.key import KeySigner
from model_verify.digest import FileDigest
from model_verify.findings import REASONS, Finding, Severity
from model_verify.models.summary import SUMMARY_MEMBER
from model_verify.report import Report
from model_verify.summary.report import decide
from tests.models import SignedMerge
from tests.summary.conftest import NOW, codes, read, statement_in, written


@pytest.fixture(scope="module")
def summary(report: Report, agency: KeySigner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("summary") / "s.json"
    written(report, agency, path, expires_days=30)
    return path


def forged(summary: Path, agency: KeySigner, target: Path, **changes: Any) -> Path:
    """Write what the agency's key signs when the agency lies."""
    statement = statement_in(summary)
    statement["predicate"].update(changes)
    target.write_bytes(sign_statement(json.dumps(statement).encode(), agency).data)
    return target


def test_a_summary_is_accepted_for_the_folder_and_says_what_nobody_read(
    signed_merge: SignedMerge, summary: Path, agency: KeySigner
) -> None:
    report = read(summary, agency, signed_merge.merged)
    assert (report.verdict, report.exit_code, report.findings) == ("ACCEPTED", 0, [])
    assert report.headline.startswith("SUMMARY ACCEPTED: https://agency.example/models verified this, level 3")
    assert report.subject.bytes_read is False
    said = {item.what for item in report.not_checked}
    assert {"the model", "the bytes of the folder", "the policy", "the name of the verifier"} <= said
    assert report.summary is not None
    assert report.summary.not_checked
    assert report.summary.expires == "2026-07-31T12:00:00Z"


def test_a_weight_that_was_altered_since_is_found_where_the_reader_asks(
    signed_copy: SignedMerge, summary: Path, agency: KeySigner
) -> None:
    weights = signed_copy.merged / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert read(summary, agency, signed_copy.merged).verdict == "ACCEPTED"
    report = read(summary, agency, signed_copy.merged, read_folder=True)
    assert (report.verdict, codes(report)) == ("REJECTED", ["TENSOR_MISMATCH"])
    assert (report.headline, report.subject.bytes_read) == (
        "SUMMARY REJECTED: the folder is not as its manifest has it",
        True,
    )


def test_a_bundle_that_was_exchanged_since_is_found_though_no_byte_is_read(
    signed_copy: SignedMerge, summary: Path, agency: KeySigner
) -> None:
    bundle = signed_copy.merged / "attestation" / "pipeline.sigstore.json"
    bundle.write_bytes(bundle.read_bytes() + b" ")
    assert codes(read(summary, agency, signed_copy.merged)) == ["SUMMARY_ATTESTATION_MISMATCH"]


@pytest.mark.parametrize(("days", "verdict"), [(29, "ACCEPTED"), (30, "REJECTED"), (-1, "REJECTED")])
def test_time_is_the_readers(
    signed_merge: SignedMerge, summary: Path, agency: KeySigner, days: int, verdict: str
) -> None:
    now = NOW.replace(microsecond=0) + timedelta(days=days)
    assert read(summary, agency, signed_merge.merged, now=now).verdict == verdict


@pytest.mark.parametrize(
    "changes",
    [
        {"verifiedLevels": ["MODEL_ATTEST_LEVEL_3"]},
        {"verifiedLevels": ["MODEL_ATTEST_LEVEL_3_UNTIL_20991231T000000Z"]},
        {"verifiedLevels": ["MODEL_ATTEST_LEVEL_3", "MODEL_ATTEST_LEVEL_3_UNTIL_20260731T120000Z"]},
        {"verifiedLevels": ["MODEL_ATTEST_LEVEL_2_UNTIL_20260731T120000Z"]},
    ],
)
def test_two_answers_to_one_question_are_none(
    signed_merge: SignedMerge, summary: Path, agency: KeySigner, tmp_path: Path, changes: dict[str, Any]
) -> None:
    report = read(forged(summary, agency, tmp_path / "f.json", **changes), agency, signed_merge.merged)
    assert "SUMMARY_INCONSISTENT" in codes(report)
    assert report.verdict == "REJECTED"


HOSTILE: list[dict[str, Any]] = [
    {"verifier": {"id": "x" * 3000}},
    {"verifier": {"id": "urn:x", "version": {"a": 1}}},
    {"inputAttestations": [{}] * 2000},
    {"inputAttestations": [{"digest": {str(i): "x" for i in range(100)}}]},
    {"policy": {"uri": "urn:x", "digest": "sha256"}},
    {"verifiedLevels": [["MODEL_ATTEST_LEVEL_3"]]},
    {"timeVerified": "9999-99-99T99:99:99Z"},
    {"timeVerified": "0000-01-01T00:00:00Z"},
    {"timeVerified": "2026-06-01T12:00:60Z"},
    {SUMMARY_MEMBER: []},
    {SUMMARY_MEMBER: {"expires": "never"}},
    {"dependencyLevels": []},
]


@pytest.mark.parametrize("changes", HOSTILE)
def test_a_predicate_of_another_form_is_a_finding(
    signed_merge: SignedMerge, summary: Path, agency: KeySigner, tmp_path: Path, changes: dict[str, Any]
) -> None:
    report = read(forged(summary, agency, tmp_path / "f.json", **changes), agency, signed_merge.merged)
    assert (report.verdict, codes(report), report.summary) == ("REJECTED", ["SUMMARY_MALFORMED"], None)


def test_what_can_be_said_at_the_ends_of_the_calendar_is_judged(
    signed_merge: SignedMerge, summary: Path, agency: KeySigner, tmp_path: Path
) -> None:
    for moment, code in (("9999-12-31T23:59:59Z", "SUMMARY_FROM_FUTURE"), ("0001-01-01T00:00:00Z", None)):
        path = forged(summary, agency, tmp_path / "f.json", timeVerified=moment)
        report = read(path, agency, signed_merge.merged, maximum_age_days=None)
        assert codes(report) == ([] if code is None else [code])
    words = ["MODEL_ATTEST_LEVEL_3_UNTIL_99991231T235959Z"]
    path = forged(summary, agency, tmp_path / "f.json", verifiedLevels=words)
    assert codes(read(path, agency, signed_merge.merged)) == ["SUMMARY_INCONSISTENT"]


def test_every_byte_of_a_summary_counts(
    signed_merge: SignedMerge, summary: Path, agency: KeySigner, tmp_path: Path
) -> None:
    """Flipping a bit anywhere never gives another accepted answer than the one that was signed."""
    data = summary.read_bytes()
    target = tmp_path / "s.json"
    good = read(summary, agency, signed_merge.merged).summary
    for place in range(0, len(data), 41):
        target.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        report = read(target, agency, signed_merge.merged)
        assert report.verdict == "REJECTED" or report.summary == good
    for size in range(0, len(data), 97):
        target.write_bytes(data[:size])
        assert read(target, agency, signed_merge.merged).verdict == "REJECTED"


def test_a_manifest_that_is_none_does_not_hang(signed_copy: SignedMerge, summary: Path, agency: KeySigner) -> None:
    manifest = signed_copy.merged / "attestation" / "manifest.json"
    manifest.unlink()
    manifest.symlink_to("/dev/zero")
    assert codes(read(summary, agency, signed_copy.merged)) == ["SUMMARY_SUBJECT_MISMATCH"]
    manifest.unlink()
    with manifest.open("wb") as file:
        file.truncate((256 << 20) + 1)
    assert codes(read(summary, agency, signed_copy.merged)) == ["SUMMARY_SUBJECT_MISMATCH"]


def test_a_digest_of_another_kind_is_another_digest(report: Report, summary: Path, agency: KeySigner) -> None:
    assert report.roots is not None
    swapped = FileDigest(report.roots.checkpoint.raw)
    assert codes(read(summary, agency, manifest=swapped)) == ["SUMMARY_SUBJECT_MISMATCH"]
    accepted = read(summary, agency, root=report.roots.checkpoint)
    assert accepted.verdict == "ACCEPTED"
    assert "files other than weights: code, configuration, tokenizer" in {item.what for item in accepted.not_checked}


def test_every_code_that_decides_has_a_sentence() -> None:
    for code, (severity, step) in REASONS.items():
        if severity in (Severity.FAIL, Severity.INCOMPLETE) and (step[0] == "S" or step in ("V2", "V3", "V4")):
            verdict, why = decide([Finding(code)], None)
            assert verdict != "ACCEPTED"
            assert why

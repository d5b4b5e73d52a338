"""What a verifier writes, from what it found."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model_attest.sign import sign_folder
from model_attest.signers.key import KeySigner
from model_attest.summary import SummaryTerms
from model_verify.digest import FileDigest
from model_verify.errors import CallerError, OutputError
from model_verify.models.summary import SUMMARY_MEMBER
from model_verify.procedure import Request, verify
from model_verify.report import Report
from model_verify.sources.detached import DetachedAttestation
from model_verify.sources.local import LocalFolder
from tests.models import SignedMerge, new_signer
from tests.summary.conftest import NOW, RESOURCE, TERMS, codes, read, statement_in, written


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_summary_says_what_was_verified_and_how(
    signed_merge: SignedMerge, report: Report, agency: KeySigner, tmp_path: Path
) -> None:
    result = written(report, agency, tmp_path / "s.json", policy=FileDigest(b"\x07" * 32), policy_uri="urn:policy:7")
    assert (result.passed, result.words[0], result.expires) == (True, "MODEL_ATTEST_LEVEL_3", None)
    statement = statement_in(tmp_path / "s.json")
    ours = statement["predicate"].pop(SUMMARY_MEMBER)
    attestation = signed_merge.merged / "attestation"
    assert report.roots is not None
    assert statement == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": "attestation/manifest.json", "digest": {"sha256": sha256(attestation / "manifest.json")}},
            {"name": "checkpoint", "digest": {"model-attest-checkpoint-v1": report.roots.checkpoint.hex}},
        ],
        "predicateType": "https://slsa.dev/verification_summary/v1",
        "predicate": {
            "verifier": {"id": "https://agency.example/models", "version": {"model-attest": "0.1.0"}},
            "timeVerified": "2026-07-01T12:00:00Z",
            "resourceUri": RESOURCE,
            "policy": {"uri": "urn:policy:7", "digest": {"sha256": "07" * 32}},
            "inputAttestations": [
                {
                    "name": "attestation/pipeline.sigstore.json",
                    "uri": f"{RESOURCE}#attestation/pipeline.sigstore.json",
                    "digest": {"sha256": sha256(attestation / "pipeline.sigstore.json")},
                }
            ],
            "verificationResult": "PASSED",
            "verifiedLevels": [
                "MODEL_ATTEST_LEVEL_3",
                "MODEL_ATTEST_DEPTH_FULL",
                "MODEL_ATTEST_HASHED_PERCENT_100",
                "MODEL_ATTEST_REPRODUCED_PERCENT_100",
                "MODEL_ATTEST_ORIGINS_UNKNOWN_2",
            ],
            "slsaVersion": "1.1",
        },
    }
    assert (ours["verdict"], ours["level"], ours["depth"], ours["detached"]) == ("VERIFIED", 3, "full", False)
    assert [step["verdict"] for step in ours["steps"]] == ["reproduced"]
    assert "origin of material a" in [item["what"] for item in ours["notChecked"]]


def test_what_expires_has_no_plain_level(report: Report, agency: KeySigner, tmp_path: Path) -> None:
    """Whoever knows nothing of an end, and looks for the level alone, must not find it."""
    result = written(report, agency, tmp_path / "s.json", expires_days=90)
    assert result.expires == "2026-09-29T12:00:00Z"
    assert result.words[0] == "MODEL_ATTEST_LEVEL_3_UNTIL_20260929T120000Z"
    assert "MODEL_ATTEST_LEVEL_3" not in statement_in(tmp_path / "s.json")["predicate"]["verifiedLevels"]


def test_incomplete_never_passes(signed_merge: SignedMerge, agency: KeySigner, tmp_path: Path) -> None:
    report = signed_merge.verify(parents={})
    assert report.verdict == "INCOMPLETE"
    assert not written(report, agency, tmp_path / "s.json", expires_days=1).passed
    predicate = statement_in(tmp_path / "s.json")["predicate"]
    assert predicate["verificationResult"] == "FAILED"
    assert predicate["verifiedLevels"] == ["FAILED", "MODEL_ATTEST_INCOMPLETE"]
    assert "expires" not in predicate[SUMMARY_MEMBER]
    assert codes(read(tmp_path / "s.json", agency, signed_merge.merged)) == ["SUMMARY_FAILED"]


def test_nobody_expected_never_passes(signed_merge: SignedMerge, agency: KeySigner, tmp_path: Path) -> None:
    report = signed_merge.verify(expected_signer=None)
    assert not written(report, agency, tmp_path / "s.json").passed
    assert statement_in(tmp_path / "s.json")["predicate"][SUMMARY_MEMBER]["signer"]["expected"] is False


def test_a_level_below_the_one_required_never_passes(
    signed_copy: SignedMerge, agency: KeySigner, tmp_path: Path
) -> None:
    signer = new_signer()
    sign_folder(signed_copy.root / "a", signer)
    report = verify(Request(LocalFolder(signed_copy.root / "a"), expected_signer=signer.public_key))
    assert (report.verdict, report.level) == ("VERIFIED", 1)
    assert written(report, agency, tmp_path / "plain.json").words[0] == "MODEL_ATTEST_LEVEL_1"
    result = written(report, agency, tmp_path / "s.json", required_level=2)
    assert (result.passed, result.words) == (False, ("FAILED", "MODEL_ATTEST_LEVEL_NOT_MET"))


def test_what_was_rejected_early_is_about_the_manifest_that_is_there(
    signed_merge: SignedMerge, agency: KeySigner, tmp_path: Path
) -> None:
    report = signed_merge.verify(expected_signer=agency.public_key)
    assert (report.verdict, report.roots) == ("REJECTED", None)
    with pytest.raises(CallerError, match="nothing that a summary could be about"):
        written(report, agency, tmp_path / "s.json")
    assert not (tmp_path / "s.json").exists()
    result = written(report, agency, tmp_path / "s.json", found_manifest=FileDigest(b"\x01" * 32))
    assert result.words == ("FAILED", "MODEL_ATTEST_REJECTED")
    assert [s["digest"] for s in statement_in(tmp_path / "s.json")["subject"]] == [{"sha256": "01" * 32}]


def test_warnings_and_the_signers_word_stand_among_the_levels(
    signed_copy: SignedMerge, agency: KeySigner, tmp_path: Path
) -> None:
    (signed_copy.merged / "README.md").write_text("changed")
    report = signed_copy.verify()
    assert "MODEL_ATTEST_WARN_DOCUMENTATION_CHANGED" in written(report, agency, tmp_path / "1.json").words
    trained = [step.model_copy(update={"type": "train", "verdict": "attested"}) for step in report.steps]
    within = trained[0].model_copy(update={"verdict": "reproduced-within"})
    altered = report.model_copy(update={"steps": [*trained, within], "level": 2})
    words = written(altered, agency, tmp_path / "2.json").words
    assert {"MODEL_ATTEST_LEVEL_2", "MODEL_ATTEST_STEPS_ATTESTED_1", "MODEL_ATTEST_STEPS_WITHIN_1"} < set(words)


def test_another_depth_stands_in_the_level_itself(report: Report, agency: KeySigner, tmp_path: Path) -> None:
    sampled = report.model_copy(update={"depth": "sample", "level": 2})
    words = written(sampled, agency, tmp_path / "s.json").words
    assert words[:2] == ("MODEL_ATTEST_LEVEL_2_DEPTH_SAMPLE", "MODEL_ATTEST_DEPTH_SAMPLE")
    found = read(tmp_path / "s.json", agency, manifest=report.roots and report.roots.manifest)
    assert (found.verdict, codes(found)) == ("INCOMPLETE", ["SUMMARY_LEVEL_BELOW"])


def test_shares_are_rounded_down(report: Report, agency: KeySigner, tmp_path: Path) -> None:
    assert report.coverage is not None
    total = 10_000
    counted = {"bytes": total, "bytes_hashed": total - 1, "bytes_reproduced": 1}
    altered = report.model_copy(update={"coverage": report.coverage.model_copy(update=counted)})
    words = written(altered, agency, tmp_path / "s.json").words
    assert {"MODEL_ATTEST_HASHED_PERCENT_99", "MODEL_ATTEST_REPRODUCED_PERCENT_0"} < set(words)


def test_a_detached_attestation_is_said_to_be_one(signed_copy: SignedMerge, agency: KeySigner, tmp_path: Path) -> None:
    signer = new_signer()
    sign_folder(signed_copy.root / "a", signer, detached=tmp_path / "outside")
    outside = DetachedAttestation(tmp_path / "outside")
    folder = signed_copy.root / "a"
    report = verify(Request(LocalFolder(folder), expected_signer=signer.public_key, attestation=outside))
    assert "MODEL_ATTEST_DETACHED" in written(report, agency, tmp_path / "s.json").words
    (listed,) = statement_in(tmp_path / "s.json")["predicate"]["inputAttestations"]
    assert "uri" not in listed  # it is not to be had from the resource
    assert codes(read(tmp_path / "s.json", agency, folder)) == ["SUMMARY_SUBJECT_MISMATCH"]
    accepted = read(tmp_path / "s.json", agency, folder, attestation=outside)
    assert (accepted.verdict, accepted.summary and accepted.summary.detached) == ("ACCEPTED", True)


@pytest.fixture
def attested_parents(signed_copy: SignedMerge) -> tuple[SignedMerge, KeySigner]:
    signer = new_signer("ed25519")
    for name in "ab":
        sign_folder(signed_copy.root / name, signer)
    return signed_copy, signer


def test_dependencies_are_counted_where_all_were_followed(
    attested_parents: tuple[SignedMerge, KeySigner], agency: KeySigner, tmp_path: Path
) -> None:
    merge, signer = attested_parents
    report = merge.verify(recursive=True, parent_signers=dict.fromkeys("ab", signer.public_key))
    written(report, agency, tmp_path / "s.json", expires_days=1)
    predicate = statement_in(tmp_path / "s.json")["predicate"]
    assert predicate["dependencyLevels"] == {"MODEL_ATTEST_LEVEL_1_UNTIL_20260702T120000Z": 2}
    bundles = [merge.root / name / "attestation" / "pipeline.sigstore.json" for name in ("merged", "a", "b")]
    assert [one["digest"]["sha256"] for one in predicate["inputAttestations"]] == [sha256(path) for path in bundles]


def test_a_lineage_that_is_known_in_part_is_not_counted(
    attested_parents: tuple[SignedMerge, KeySigner], agency: KeySigner, tmp_path: Path
) -> None:
    merge, signer = attested_parents
    written(merge.verify(), agency, tmp_path / "1.json")
    (merge.root / "b" / "attestation" / "pipeline.sigstore.json").unlink()
    written(merge.verify(recursive=True, parent_signers={"a": signer.public_key}), agency, tmp_path / "2.json")
    for name in ("1.json", "2.json"):
        assert "dependencyLevels" not in statement_in(tmp_path / name)["predicate"]


def test_long_lists_and_texts_are_cut_and_counted(report: Report, agency: KeySigner, tmp_path: Path) -> None:
    item = report.not_checked[0].model_copy(update={"what": "x" * 5000})
    written(report.model_copy(update={"not_checked": [item] * 1000}), agency, tmp_path / "s.json")
    ours = statement_in(tmp_path / "s.json")["predicate"][SUMMARY_MEMBER]
    assert (len(ours["notChecked"]), ours["leftOut"], len(ours["notChecked"][0]["what"])) == (256, 744, 501)


@pytest.mark.parametrize(
    "changes",
    [
        {"verifier": "agency"},
        {"verifier": ""},
        {"resource": "./model"},
        {"policy_uri": "https://a b"},
        {"verifier": "x:"},
    ],
)
def test_names_that_are_no_uris_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(CallerError, match="is no URI"):
        replace(TERMS, **changes)


def test_nothing_is_replaced(report: Report, agency: KeySigner, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("here")
    with pytest.raises(OutputError, match="already there"):
        written(report, agency, tmp_path / "s.json")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("s.json", "here")]


def test_the_end_is_counted_from_the_whole_second() -> None:
    terms = SummaryTerms(verifier="urn:x", resource="urn:y", verified_at=NOW, expires_days=1)
    assert terms.expires is not None
    assert (terms.time, terms.expires.microsecond) == ("2026-07-01T12:00:00Z", 0)

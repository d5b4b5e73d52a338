"""What the procedure needs before it says VERIFIED, and where it stops. Spec: verification §3, §5."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model_verify import judgement
from model_verify.errors import BackendUnavailable, CallerError, SourceChanged
from model_verify.findings import REASONS, Finding, Severity
from model_verify.models import BUNDLE_PATH
from model_verify.sources.local import LocalFile, LocalFolder
from model_verify.verdict import decide
from tests.models import SignedMerge, new_signer, small_tensors, write_model


def codes(report: object) -> set[str]:
    return {finding.code for finding in report.findings}  # type: ignore[attr-defined]


def test_without_an_expected_key_nothing_is_verified(signed_merge: SignedMerge) -> None:
    report = signed_merge.verify(expected_signer=None)
    assert (report.verdict, report.level, codes(report)) == ("INCOMPLETE", None, {"SIGNER_NOT_EXPECTED"})
    assert report.signer is not None
    assert not report.signer.expected


def test_another_key_stops_before_the_payload_is_parsed(signed_merge: SignedMerge) -> None:
    report = signed_merge.verify(expected_signer=new_signer().public_key)
    assert (report.verdict, codes(report)) == ("REJECTED", {"SIGNATURE_INVALID"})
    assert report.statement is None
    assert report.steps == report.materials == []


@pytest.mark.parametrize("parents", [(), ("a",), ("b",)])
def test_a_missing_parent_is_incomplete(signed_merge: SignedMerge, parents: tuple[str, ...]) -> None:
    report = signed_merge.verify(parents={name: LocalFolder(signed_merge.root / name) for name in parents})
    assert (report.verdict, codes(report)) == ("INCOMPLETE", {"MATERIAL_MISSING"})
    assert [step.verdict for step in report.steps] == ["unchecked"]


def test_exchanged_parents_are_rejected(signed_merge: SignedMerge) -> None:
    exchanged = {"a": LocalFolder(signed_merge.root / "b"), "b": LocalFolder(signed_merge.root / "a")}
    report = signed_merge.verify(parents=exchanged)
    assert (report.verdict, codes(report)) == ("REJECTED", {"MATERIAL_MISMATCH"})
    assert [step.verdict for step in report.steps] == ["unchecked"]


def test_a_parent_that_the_statement_does_not_name_is_the_callers_error(signed_merge: SignedMerge) -> None:
    with pytest.raises(CallerError, match="no material or step `c`"):
        signed_merge.verify(parents={"c": LocalFolder(signed_merge.root / "a")})


def test_without_software_to_replay_the_verdict_is_incomplete(
    signed_merge: SignedMerge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(device: str) -> None:
        raise BackendUnavailable("numpy is not installed")

    monkeypatch.setattr(judgement, "select_backend", missing)
    report = signed_merge.verify()
    assert (report.verdict, codes(report)) == ("INCOMPLETE", {"NO_MERGE_BACKEND"})
    assert [material.status for material in report.materials] == ["matched", "matched"]


def test_a_wrong_checkpoint_in_the_folder_is_rejected(signed_copy: SignedMerge) -> None:
    weights = (signed_copy.root / "a" / "model.safetensors").read_bytes()
    (signed_copy.merged / "model.safetensors").write_bytes(weights)
    report = signed_copy.verify()
    assert report.verdict == "REJECTED"
    assert "TENSOR_MISMATCH" in codes(report)


def test_another_repositorys_attestation_is_rejected(signed_merge: SignedMerge) -> None:
    report = signed_merge.verify(repository="pkg:huggingface/org/other")
    assert (report.verdict, codes(report)) == ("REJECTED", {"ATTESTED_FOR_OTHER_REPO"})


def test_the_same_report_comes_from_one_thread_and_from_many(signed_merge: SignedMerge) -> None:
    one = json.loads(signed_merge.verify(threads=1).canonical())
    many = json.loads(signed_merge.verify(threads=7).canonical())
    assert one.pop("run") != many.pop("run")
    assert one == many


def test_a_file_that_changes_while_it_is_read_gives_no_verdict(
    signed_copy: SignedMerge, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = signed_copy.merged / "model.safetensors"
    read_into = LocalFile.read_into

    def meddle(self: LocalFile, buffer: memoryview, offset: int) -> None:
        read_into(self, buffer, offset)
        if self.path == "model.safetensors" and offset > 300:
            path.touch()

    monkeypatch.setattr(LocalFile, "read_into", meddle)
    with pytest.raises(SourceChanged):
        signed_copy.verify()


def test_a_bundle_that_is_a_link_out_of_the_folder_is_rejected(signed_copy: SignedMerge, tmp_path: Path) -> None:
    bundle = signed_copy.merged / BUNDLE_PATH
    (tmp_path / "bundle").write_bytes(bundle.read_bytes())
    bundle.unlink()
    bundle.symlink_to(tmp_path / "bundle")
    assert codes(signed_copy.verify()) == {"BUNDLE_MALFORMED"}


def test_a_parent_without_weights_is_malformed(signed_merge: SignedMerge, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    parents = {"a": LocalFolder(tmp_path), "b": LocalFolder(signed_merge.root / "b")}
    assert codes(signed_merge.verify(parents=parents)) == {"MATERIAL_MALFORMED"}


def test_a_candidate_is_not_read_where_nothing_was_trained(signed_merge: SignedMerge, tmp_path: Path) -> None:
    candidate = LocalFolder(write_model(tmp_path / "c", small_tensors(5)))
    assert signed_merge.verify(candidates=[candidate]).verdict == "VERIFIED"


def test_the_decision_never_says_verified_when_something_did_not_run() -> None:
    assert decide([], [], [], expected_signer=True, everything_ran=False)[0] == "INCOMPLETE"
    assert decide([], [], [], expected_signer=False, everything_ran=True)[0] == "INCOMPLETE"
    assert decide([], [], [], expected_signer=True, everything_ran=True)[:2] == ("VERIFIED", 1)
    failed = [Finding("NO_STEPS"), Finding("FILE_EXTRA", "x")]
    assert decide(failed, [], [], expected_signer=True, everything_ran=True)[0] == "REJECTED"


@pytest.mark.parametrize(("severity", "verdict"), [(Severity.FAIL, "REJECTED"), (Severity.INCOMPLETE, "INCOMPLETE")])
def test_every_finding_that_decides_has_words_for_the_headline(severity: Severity, verdict: str) -> None:
    decisive = [code for code, (of, clause) in REASONS.items() if of is severity and clause.startswith("V")]
    assert len(decisive) > 10
    for code in decisive:
        decided = decide([Finding(code, "here")], [], [], expected_signer=True, everything_ran=True)
        assert (decided[0], decided[2].endswith(" (here)")) == (verdict, True), code

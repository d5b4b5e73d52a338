"""Policies: rules that vectors cannot hold, hostile files, and that a policy is never looser than the standard."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_verify.digest import CheckpointRoot
from model_verify.envelope import LogPlace, SigningTime, TimeEvidence
from model_verify.errors import CallerError
from model_verify.findings import REASONS, Finding, Severity
from model_verify.models import STEP_MODELS, ManifestFile
from model_verify.models.policy import MergeProfile, PolicyDocument, StepType
from model_verify.policy import Evidence, Policy, evaluate, load_policy, read_policy
from model_verify.report import ReportCoverage, ReportMaterial, ReportStep
from model_verify.verdict import decide

SCHEMA = 'schema = "https://model-attest.github.io/policy/v1"\n'
NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
LOG = LogPlace("log.example", 7)


def no_file(name: str) -> bytes:
    raise CallerError(f"{name}: No such file")


def policy(text: str) -> Policy:
    return read_policy((SCHEMA + text).encode(), name="policy.toml", read_file=no_file)


def evidence(**changes: Any) -> Evidence:
    members: dict[str, Any] = {
        "verdict": "VERIFIED", "level": 3, "findings": (), "materials": (), "steps": (), "files": (),
        "coverage": None, "time": None, "now": NOW,
    }  # fmt: skip
    return Evidence(**{**members, **changes})


def codes(text: str, **changes: Any) -> list[str]:
    return [finding.code for finding in evaluate(policy(text), evidence(**changes))]


def signed(days_ago: float, source: Any = "log") -> SigningTime:
    return SigningTime((TimeEvidence(source, "somebody", NOW - timedelta(days=days_ago)),), LOG)


@pytest.mark.parametrize(
    ("days_ago", "found"),
    [(0, []), (30, []), (30.001, ["POLICY_TIME"]), (-0.003, []), (-0.004, ["POLICY_TIME"])],
)
def test_the_age_is_that_of_the_earliest_evidence(days_ago: float, found: list[str]) -> None:
    assert codes("[time]\nmaximum-age-days = 30\n", time=signed(days_ago)) == found


def test_a_later_timestamp_does_not_make_a_signature_younger() -> None:
    old, new = signed(100).evidence[0], signed(1, "timestamp").evidence[0]
    assert codes("[time]\nmaximum-age-days = 30\n", time=SigningTime((new, old), LOG)) == ["POLICY_TIME"]


def test_a_timestamp_is_there_or_not() -> None:
    text = '[time]\nrequired = ["timestamp", "log"]\n'
    assert codes(text, time=signed(1, "timestamp")) == []
    assert codes(text, time=signed(1, "log")) == ["POLICY_TIME"]
    assert codes(text, time=None) == ["POLICY_TIME", "POLICY_TIME"]


@pytest.mark.parametrize(("done", "found"), [(95, []), (94, ["POLICY_COVERAGE"]), (100, []), (0, ["POLICY_COVERAGE"])])
def test_the_share_that_was_reproduced_is_compared_in_integers(done: int, found: list[str]) -> None:
    counted = ReportCoverage(
        tensors=1, tensors_hashed=1, tensors_reproduced=1, bytes=100, bytes_hashed=100, bytes_reproduced=done
    )
    assert codes("[coverage]\nminimum-percent = 95\n", coverage=counted) == found


def test_the_types_and_profiles_that_a_policy_may_name_are_those_of_the_standard() -> None:
    types = {get_args(model.model_fields["type"].annotation)[0] for model in STEP_MODELS}
    assert set(get_args(StepType)) == types
    merges = [model for model in STEP_MODELS if get_args(model.model_fields["type"].annotation) == ("merge",)]
    profiles = {name for model in merges for name in get_args(model.model_fields["profile"].annotation)}
    assert set(get_args(MergeProfile)) == profiles


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b"x = " + b"[" * 100_000,
        b"x = " + b"9" * 10_000,
        b"\xff",
        b"a." * 10_000 + b"a = 1",
        b"#" * ((256 << 10) + 1),
        b"minimum-level = nan",
        b"schema = 1979-05-27",
    ],
    ids=["tables", "arrays", "digits", "bytes", "dots", "huge", "nan", "date"],
)
def test_a_hostile_policy_is_the_callers_error(data: bytes) -> None:
    with pytest.raises(CallerError, match=r"^policy\.toml: "):
        read_policy(data, name="policy.toml", read_file=no_file)


def test_a_misspelt_key_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(CallerError, match=r"unknown key `steps\.verdict`") as caught:
        policy('[steps.verdict]\nmerge = ["reproduced"]\n')
    assert caught.value.hint == "did you mean `verdicts`?"


def test_a_policy_that_is_no_file_is_the_callers_error(tmp_path: Path) -> None:
    with pytest.raises(CallerError, match="not a regular file"):
        load_policy(tmp_path)
    with pytest.raises(CallerError, match="No such file"):
        load_policy(tmp_path / "none.toml")


def lists(values: Any) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(sorted(values)), min_size=1, max_size=3, unique=True)


OF_A_MODEL = sorted(code for code, (_, step) in REASONS.items() if step.startswith("V"))
"""Codes of summaries stand in no report on a model."""
DOCUMENTS = st.fixed_dictionaries(
    {"schema": st.just("https://model-attest.github.io/policy/v1")},
    optional={
        "minimum-level": st.integers(1, 3),
        "parents": st.fixed_dictionaries({}, optional={
            "origin": st.just("anchored"), "allowed": st.just(["pkg:a/*"]), "denied": st.just(["pkg:a/*"]),
        }),
        "steps": st.fixed_dictionaries({}, optional={
            "types": lists(get_args(StepType)), "merge-profiles": lists(get_args(MergeProfile)),
            "verdicts": st.dictionaries(
                st.sampled_from(["merge", "train"]), lists(["reproduced", "attested"]), min_size=1
            ),
        }),
        "licenses": st.fixed_dictionaries({}, optional={"allowed": st.just(["MIT"]), "denied": st.just(["ISC"])}),
        "files": st.fixed_dictionaries({"forbidden": lists(["pickle", "remote-code"])}),
        "findings": st.fixed_dictionaries({"refused": lists(OF_A_MODEL)}),
        "coverage": st.fixed_dictionaries({"minimum-percent": st.integers(1, 100)}),
        "time": st.fixed_dictionaries({}, optional={"required": lists(["timestamp", "log"])}),
    },
)  # fmt: skip
ROOT = CheckpointRoot(bytes(32))
MATERIALS = st.lists(
    st.builds(
        ReportMaterial, id=st.just("a"), uri=st.sampled_from([None, "pkg:a/b"]), root=st.just(ROOT),
        status=st.sampled_from(["matched", "missing"]), license=st.sampled_from([None, "MIT", "ISC", "(("]),
    ), max_size=2,
)  # fmt: skip
STEPS = st.lists(
    st.builds(
        ReportStep, id=st.just("s"), type=st.sampled_from(["merge", "train", "odd"]), profile=st.none(),
        inputs=st.just(["a"]), output_root=st.just(ROOT),
        verdict=st.sampled_from(["reproduced", "attested", "unchecked", "contradicted"]),
    ), max_size=2,
)  # fmt: skip
RANKS = {"REJECTED": 0, "INCOMPLETE": 1, "VERIFIED": 2}


def test_a_code_that_no_report_on_a_model_has_is_no_rule() -> None:
    with pytest.raises(CallerError, match="`SUMMARY_EXPIRED` is of summaries"):
        policy('[findings]\nrefused = ["SUMMARY_EXPIRED"]\n')


@given(DOCUMENTS, st.lists(st.sampled_from(OF_A_MODEL), max_size=3), MATERIALS, STEPS, st.booleans())
def test_no_verdict_under_a_policy_is_better_than_without_it(
    document: Any, found: list[str], materials: list[ReportMaterial], steps: list[ReportStep], signer: bool
) -> None:
    findings = [Finding(code) for code in found]
    bare = decide(findings, steps, materials, expected_signer=signer, everything_ran=True)
    rules = Policy(digest=None, rules=PolicyDocument.read(document))  # type: ignore[arg-type]
    added = evaluate(
        rules, evidence(verdict=bare[0], level=bare[1], findings=findings, materials=materials, steps=steps)
    )
    assert all(finding.severity is Severity.FAIL and finding.code.startswith("POLICY_") for finding in added)
    under = decide([*findings, *added], steps, materials, expected_signer=signer, everything_ran=True)
    assert (RANKS[under[0]], under[1] or 0) <= (RANKS[bare[0]], bare[1] or 0)
    assert under == bare or under[0] == "REJECTED"


def test_many_files_are_counted() -> None:
    files = [ManifestFile.model_construct(path=f"{number}.py", file_class="code") for number in range(30)]
    found = evaluate(policy('[files]\nforbidden = ["remote-code"]\n'), evidence(files=files))
    assert (len(found), found[-1].where) == (21, "10 more")

"""`attest verify --policy` at the command line, with the ready-made policies."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Attest, Workplace

POLICIES = Path(__file__).parents[2] / "docs" / "policies"
SCHEMA = 'schema = "https://model-attest.github.io/policy/v1"\n'


@pytest.fixture
def lab_policy(made: Workplace, tmp_path: Path) -> Path:
    """A policy that accepts the lab's key, which lies beside it."""
    shutil.copy(made / "lab.pub", tmp_path / "lab.pub")
    path = tmp_path / "policy.toml"
    path.write_text(f'{SCHEMA}minimum-level = 3\n[signers]\nkeys = ["lab.pub"]\n')
    return path


def test_the_signers_of_a_policy_stand_for_a_key(attest: Attest, made: Workplace, lab_policy: Path) -> None:
    run = attest("verify", made / "merged", "--policy", lab_policy, *made.parents)
    assert run.code == 0
    digest = hashlib.sha256(lab_policy.read_bytes()).hexdigest()
    assert ["ok", "policy", f"sha256:{digest}"] in [line.split() for line in run.out.splitlines()]
    document = attest("verify", made / "merged", "--policy", lab_policy, *made.parents, "--json").document
    assert document["policy"] == {"digest": f"sha256:{digest}", "evaluated": True}


def test_a_key_beside_a_policy_narrows_it(attest: Attest, made: Workplace, lab_policy: Path) -> None:
    assert attest("verify", made / "merged", "--policy", lab_policy, *made.key, *made.parents).code == 0
    other = attest("verify", made / "merged", "--policy", lab_policy, "--key", made / "other.pub", *made.parents)
    assert other.code == 1
    assert "SIGNATURE_INVALID" in other.out


def test_a_signer_that_is_not_accepted_stops_the_procedure(attest: Attest, made: Workplace, lab_policy: Path) -> None:
    shutil.copy(made / "other.pub", lab_policy.parent / "lab.pub")
    run = attest("verify", made / "merged", "--policy", lab_policy, *made.parents, "--json")
    assert run.code == 1
    assert [finding["code"] for finding in run.document["findings"]] == ["POLICY_SIGNER"]
    assert run.document["policy"]["evaluated"] is False


def test_a_misspelt_rule_is_exit_code_2(attest: Attest, made: Workplace, lab_policy: Path) -> None:
    lab_policy.write_text(f"{SCHEMA}minimum-levl = 3\n")
    run = attest("verify", made / "merged", "--policy", lab_policy, *made.key, "--json")
    assert run.code == 2
    assert run.error["code"] == "CALLER_ERROR"
    assert run.error["message"] == f"{lab_policy}: unknown key `minimum-levl`"
    assert run.error["hint"] == "did you mean `minimum-level`?"


def test_a_policy_in_the_folder_that_is_verified_is_warned_of(attest: Attest, made: Workplace, merged: Path) -> None:
    inside = merged / "policy.toml"
    inside.write_text(SCHEMA)
    run = attest("verify", merged, "--policy", inside, *made.key, *made.parents)
    assert "warning: the policy comes from the folder that it is to vouch for" in run.err


@pytest.mark.parametrize("name", ["policy.toml", "attestation/policy.toml", ".attest/policy.toml"])
def test_nothing_in_a_folder_selects_a_policy(attest: Attest, made: Workplace, merged: Path, name: str) -> None:
    (merged / name).parent.mkdir(exist_ok=True)
    (merged / name).write_text(SCHEMA)
    document = attest("verify", merged, *made.key, *made.parents, "--json").document
    assert document["policy"] is None


@pytest.mark.parametrize(
    ("name", "code", "found"),
    [
        ("publisher-ci", 0, set()),
        ("cautious-consumer", 0, set()),
        ("procurement", 1, {"POLICY_LICENSE"}),
    ],
)
def test_the_ready_made_policies_work(attest: Attest, made: Workplace, name: str, code: int, found: set[str]) -> None:
    """The merge states no licences, which is what the office objects to."""
    run = attest("verify", made / "merged", "--policy", POLICIES / f"{name}.toml", *made.key, *made.parents, "--json")
    assert run.code == code
    assert {one["code"] for one in run.document["findings"] if one["severity"] == "fail"} == found
    assert run.document["policy"]["evaluated"] is True


def test_every_ready_made_policy_is_used_above() -> None:
    assert {path.stem for path in POLICIES.glob("*.toml")} == {"publisher-ci", "cautious-consumer", "procurement"}

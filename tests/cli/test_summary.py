"""`attest verify --summary` and `attest verify-summary`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Attest, Workplace

RESOURCE = "https://models.example/town-7b"
WHO = ["--summary-verifier", "https://agency.example", "--summary-resource", RESOURCE]
POLICY = 'schema = "https://model-attest.github.io/policy/v1"\nminimum-level = 3\n'


@pytest.fixture
def summary(attest: Attest, made: Workplace, tmp_path: Path) -> Path:
    (tmp_path / "policy.toml").write_text(POLICY)
    out = tmp_path / "s.json"
    options = ["--summary", out, "--summary-key", made / "other", "--summary-expires", "30", *WHO]
    run = attest("verify", made / "merged", *made.key, *made.parents, "--policy", tmp_path / "policy.toml", *options)
    assert run.code == 0
    assert "says PASSED: MODEL_ATTEST_LEVEL_3_UNTIL_" in run.err
    assert run.out.startswith("VERIFIED level 3")
    return out


def test_from_a_verification_to_a_reader_who_relies_on_it(
    attest: Attest, made: Workplace, summary: Path, tmp_path: Path
) -> None:
    who = ["--key", made / "other.pub", "--resource", RESOURCE]
    run = attest("verify-summary", summary, made / "merged", *who, "--policy", tmp_path / "policy.toml")
    assert run.code == 0
    assert run.out.startswith(f"SUMMARY ACCEPTED  {summary}: https://agency.example verified this, level 3; nothing")
    assert "not checked: the bytes of the folder" in run.out
    assert "not checked by the verifier: time of signing" in run.out
    assert "\nVERIFIED" not in run.out
    assert attest("verify-summary", summary, made / "merged", *who, "--require-level", "3").code == 0


def test_each_answer_has_its_exit_code(attest: Attest, made: Workplace, summary: Path, merged: Path) -> None:
    who = ["--key", made / "other.pub", "--resource", RESOURCE]
    assert attest("verify-summary", summary, merged).code == 3
    run = attest("verify-summary", summary, merged, "--key", made / "other.pub")
    assert (run.code, f"pass `--resource {RESOURCE}`" in run.out) == (3, True)
    assert attest("verify-summary", summary, *who).code == 3
    assert attest("verify-summary", summary, merged, "--key", made / "lab.pub", "--resource", RESOURCE).code == 1
    assert attest("verify-summary", summary, merged, *who, "--verifier", "https://other.example").code == 1
    (merged / "config.json").write_text('{"other": 1}')
    assert attest("verify-summary", summary, merged, *who).code == 0
    run = attest("verify-summary", summary, merged, *who, "--read-files", "--json")
    assert (run.code, [finding["code"] for finding in run.document["findings"]]) == (1, ["FILE_MISMATCH"])
    shutil.rmtree(merged / "attestation")
    run = attest("verify-summary", summary, merged, *who)
    assert (run.code, "pass it with `--attestation`" in run.out) == (1, True)


def test_digests_stand_for_a_folder(attest: Attest, made: Workplace, summary: Path) -> None:
    who = ["--key", made / "other.pub", "--resource", RESOURCE]
    roots = attest("verify", made / "merged", *made.key, *made.parents, "--json").document["roots"]
    run = attest("verify-summary", summary, *who, "--manifest", roots["manifest"], "--root", roots["checkpoint"])
    assert run.code == 0
    assert attest("verify-summary", summary, *who, "--manifest", roots["checkpoint"]).code == 1
    run = attest("verify-summary", summary, *who, "--root", "0" * 64)
    assert (run.code, "roots" in run.err) == (2, True)


def test_a_model_that_does_not_pass_is_summed_up_too(
    attest: Attest, made: Workplace, merged: Path, tmp_path: Path
) -> None:
    options = ["--summary-key", made / "other", *WHO]
    run = attest("verify", merged, *made.key, "--summary", tmp_path / "1.json", *options)
    assert (run.code, "says FAILED: FAILED, MODEL_ATTEST_INCOMPLETE" in run.err) == (3, True)
    run = attest("verify", merged, "--key", made / "other.pub", "--summary", tmp_path / "2.json", *options)
    assert (run.code, "says FAILED: FAILED, MODEL_ATTEST_REJECTED" in run.err) == (1, True)
    run = attest("verify-summary", tmp_path / "2.json", merged, "--key", made / "other.pub", "--resource", RESOURCE)
    assert (run.code, "SUMMARY_FAILED" in run.out) == (1, True)
    level = ["--require-level", "2", "--summary", tmp_path / "3.json"]
    assert attest("sign", made.root / "b", "--key", made / "lab", "--detached", tmp_path / "out").code == 0
    outside = ["--attestation", tmp_path / "out"]
    run = attest("verify", made / "b", *made.key, *outside, *level, *options)
    assert (run.code, "says FAILED: FAILED, MODEL_ATTEST_LEVEL_NOT_MET" in run.err) == (3, True)


def test_a_verdict_is_not_lost_with_its_summary(attest: Attest, made: Workplace, tmp_path: Path) -> None:
    options = ["--summary", tmp_path / "s.json", "--summary-key", made / "other", *WHO]
    run = attest("verify", made / "a", *made.key, *options)
    assert (run.code, run.out.startswith("INCOMPLETE")) == (2, True)
    assert "error: no summary was written: there is nothing that a summary could be about" in run.err
    assert not (tmp_path / "s.json").exists()


def test_the_resource_is_the_repository_that_the_attestation_is_for(
    attest: Attest, made: Workplace, tmp_path: Path
) -> None:
    who = ["--summary-verifier", "urn:agency", "--summary-resource", "pkg:huggingface/town/town-7b@main"]
    options = ["--summary", tmp_path / "s.json", "--summary-key", made / "other", *who]
    run = attest("verify", made / "merged", *made.key, *made.parents, *options, "--json")
    assert run.code == 1
    assert [finding["code"] for finding in run.document["findings"]] == ["ATTESTED_FOR_OTHER_REPO"]


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (["--summary-key", "other"], "names the file to write"),
        (["--summary", "s.json", "--summary-key", "other", *WHO[2:]], "by a URI that your readers know"),
        (["--summary", "s.json", "--summary-key", "other", *WHO[:2]], "from where your readers are to have the model"),
        (
            ["--summary", "s.json", "--summary-key", "other", *WHO, "--summary-policy-uri", "urn:x"],
            "what the policy is",
        ),
        (["--summary", "s.json", "--summary-password-file", "password", *WHO], "a private key's password"),
        (["--summary", "s.json", "--summary-key", "other.pub", *WHO], "name the private key"),
        (["--summary", "s.json", "--summary-key", "other", "--summary-verifier", "us", *WHO[2:]], "https://agency"),
        (["--summary", "merged/s.json", "--summary-key", "other", *WHO], "outside of it"),
        (["--summary", "recipe.yaml", "--summary-key", "other", *WHO], "never replaced"),
        (["--summary", "none/s.json", "--summary-key", "other", *WHO], "make it first"),
        (["--summary", "s.json", *WHO], "name a key with `--summary-key`"),
    ],
)
def test_what_cannot_be_written_is_said_before_a_model_is_read(
    attest: Attest, made: Workplace, monkeypatch: pytest.MonkeyPatch, options: list[str], hint: str
) -> None:
    monkeypatch.chdir(made.root)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    run = attest("verify", "merged", *made.key, *made.parents, *options)
    assert (run.code, run.out) == (2, "")
    assert hint in run.err
    assert not (made / "s.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.json"], "does not exist"),
        (["merged"], "is a folder"),
        (["recipe.yaml", "none"], "does not exist"),
        (["recipe.yaml", "--read-files"], "without a model"),
        (["recipe.yaml", "merged", "--policy", "none.toml"], "No such file"),
        (["recipe.yaml", "merged", "--key", "lab"], "private key"),
    ],
)
def test_errors_are_no_answers(
    attest: Attest, made: Workplace, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(made.root)
    run = attest("verify-summary", *arguments)
    assert (run.code, run.out, said in run.err) == (2, "", True)


def test_what_is_no_summary_is_rejected(attest: Attest, made: Workplace) -> None:
    assert attest("verify-summary", made / "recipe.yaml", "--key", made / "lab.pub").code == 1
    bundle = made / "merged" / "attestation" / "pipeline.sigstore.json"
    run = attest("verify-summary", bundle, made / "merged", *made.key)
    assert (run.code, "the statement is no verification summary" in run.out) == (1, True)


def test_a_summary_that_was_taken_back_is_rejected(
    attest: Attest, made: Workplace, summary: Path, tmp_path: Path
) -> None:
    root = attest("hash", made / "merged", "--json").document["checkpoint_root"]
    out = tmp_path / "taken-back.sigstore.json"
    run = attest("revoke", "--root", root, "--reason", "wrong", "--key", made / "other", "--out", out)
    assert run.code == 0, run.err
    who = ["--key", made / "other.pub", "--resource", RESOURCE]
    assert attest("verify-summary", summary, made / "merged", *who).code == 0
    run = attest("verify-summary", summary, made / "merged", *who, "--revocations", out)
    assert (run.code, "ROOT_REVOKED" in run.out) == (1, True)


def test_a_key_out_of_the_models_folder_is_warned_of(
    attest: Attest, made: Workplace, summary: Path, merged: Path
) -> None:
    (merged / "attestation" / "agency.pub").write_bytes((made / "other.pub").read_bytes())
    who = ["--key", merged / "attestation" / "agency.pub", "--resource", RESOURCE]
    run = attest("verify-summary", summary, merged, *who)
    assert (run.code, "warning: the key comes from the folder that it is to vouch for" in run.err) == (0, True)

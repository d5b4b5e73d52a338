from __future__ import annotations

import shutil
from pathlib import Path

import jsonschema
import pytest

from model_attest.commands.report_text import areas, report_lines
from model_verify.envelope import PublicKey
from model_verify.findings import REASONS
from model_verify.models import BUNDLE_PATH
from model_verify.procedure import Request, verify
from model_verify.report import Report, ReportFinding
from model_verify.sources.local import LocalFolder
from tests.cli.conftest import Attest, Run, Workplace
from tests.cli.making import flip
from tests.vectors.vector import Vector, load

SCHEMA = Path(__file__).parents[2] / "schemas" / "v1" / "report.schema.json"


def statuses(run: Run) -> dict[str, str]:
    """Return the status of each line of the table by its area."""
    table: dict[str, str] = {}
    for line in run.out.splitlines():
        if line.startswith("  ") and not line.startswith("   "):
            status, area, *rest = line.split()
            table[f"{area} {rest[0]}" if area in ("step", "material") else area] = status
    return table


def test_a_reproduced_merge_is_verified_at_level_3(attest: Attest, made: Workplace) -> None:
    run = attest("verify", made / "merged", *made.key, *made.parents)
    assert run.code == 0
    assert run.out.splitlines()[0] == f"VERIFIED level 3  {made / 'merged'}: every step was reproduced bit for bit"
    assert statuses(run) == {
        "signature": "ok",
        "statement": "ok",
        "manifest": "ok",
        "files": "ok",
        "weights": "ok",
        "material a": "ok",
        "material b": "ok",
        "step merge": "ok",
        "card": "skip",
    }
    assert "not checked: time of signing (the bundle holds no timestamp)" in run.out
    assert run.err == ""


def test_the_wrong_key_is_rejected_and_nothing_below_is_ok(attest: Attest, made: Workplace) -> None:
    run = attest("verify", made / "merged", "--key", made / "other.pub", *made.parents)
    assert run.code == 1
    assert run.out.startswith("REJECTED  ")
    assert statuses(run) == {
        "signature": "FAIL",
        "statement": "skip",
        "manifest": "skip",
        "files": "skip",
        "weights": "skip",
        "pipeline": "skip",
        "card": "skip",
    }


def test_without_a_key_the_signature_is_skipped_and_the_hint_says_what_to_pass(attest: Attest, made: Workplace) -> None:
    run = attest("verify", made / "merged", *made.parents)
    assert run.code == 3
    assert run.out.startswith("INCOMPLETE  ")
    assert statuses(run)["signature"] == "skip"
    assert statuses(run)["statement"] == "skip"
    assert "hint: pass `--key PUB`" in run.out


def test_a_missing_parent_is_named_with_the_flag_that_gives_it(attest: Attest, made: Workplace) -> None:
    run = attest("verify", made / "merged", *made.key, *made.parents[:2])
    assert run.code == 3
    assert statuses(run)["material a"] == "ok"
    assert statuses(run)["material b"] == "skip"
    assert statuses(run)["step merge"] == "skip"
    assert run.out.splitlines()[-1] == "hint: pass `--parent b=PATH`"


def test_one_flipped_bit_is_rejected_with_tensor_and_place(attest: Attest, made: Workplace, merged: Path) -> None:
    flip(merged / "model.safetensors", -33)  # the last byte before `positions`
    run = attest("verify", merged, *made.key, *made.parents)
    assert run.code == 1
    assert statuses(run)["weights"] == "FAIL"
    assert statuses(run)["files"] == "ok"
    assert statuses(run)["step merge"] == "ok"
    assert "TENSOR_MISMATCH  model.safetensors: layers.0." in run.out
    assert "1 element differs" in run.out


def test_a_wrong_parent_is_rejected_and_the_step_is_skipped(attest: Attest, made: Workplace) -> None:
    run = attest("verify", made / "merged", *made.key, "--parent", f"a={made / 'a'}", "--parent", f"b={made / 'a'}")
    assert run.code == 1
    assert statuses(run)["material b"] == "FAIL"
    assert statuses(run)["step merge"] == "skip"


def test_a_changed_readme_is_a_warning_and_in_the_headline(attest: Attest, made: Workplace, merged: Path) -> None:
    (merged / "README.md").write_text("better")
    run = attest("verify", merged, *made.key, *made.parents)
    assert run.code == 0
    assert "`README.md` differs from what was signed" in run.out.splitlines()[0]
    assert statuses(run)["files"] == "warn"


def test_a_folder_without_attestation_is_incomplete(attest: Attest, made: Workplace) -> None:
    run = attest("verify", made / "a", *made.key)
    assert run.code == 3
    assert set(statuses(run).values()) == {"skip"}


def test_a_bundle_of_no_bytes_is_rejected(attest: Attest, made: Workplace, merged: Path) -> None:
    (merged / BUNDLE_PATH).write_bytes(b"")
    run = attest("verify", merged, *made.key)
    assert run.code == 1
    assert statuses(run)["signature"] == "FAIL"
    assert "ok" not in statuses(run).values()


def test_a_level_below_the_required_one_is_incomplete(attest: Attest, made: Workplace, merged: Path) -> None:
    (merged / "extra.bin").write_bytes(b"x")
    shutil.rmtree(merged / "attestation")
    shutil.copytree(made / "merged" / ".attest", merged / ".attest", dirs_exist_ok=True)
    assert attest("sign", merged, "--key", made / "lab").code == 0
    assert attest("verify", merged, *made.key, *made.parents).out.startswith("VERIFIED level 2")
    run = attest("verify", merged, *made.key, *made.parents, "--require-level", "3")
    assert run.code == 3
    assert statuses(run)["level"] == "FAIL"
    assert "level 3 is required, this is level 2: exit code 3" in run.err
    assert attest("verify", merged, *made.key, *made.parents, "--require-level", "2").code == 0
    as_json = attest("verify", merged, *made.key, *made.parents, "--require-level", "3", "--json")
    assert (as_json.code, as_json.document["level"]) == (3, 2)


def test_a_required_level_never_softens_a_rejection(attest: Attest, made: Workplace) -> None:
    assert attest("verify", made / "merged", "--key", made / "other.pub", "--require-level", "1").code == 1


def test_a_key_from_inside_the_folder_is_remarked_on(attest: Attest, made: Workplace, merged: Path) -> None:
    shutil.copy(made / "lab.pub", merged / "attestation" / "lab.pub")
    run = attest("verify", merged, "--key", merged / "attestation" / "lab.pub")
    assert "warning: the key comes from the folder" in run.err


def test_the_json_is_the_report_and_fits_its_schema(attest: Attest, made: Workplace) -> None:
    import json

    run = attest("verify", made / "merged", *made.key, *made.parents, "--json")
    Report.model_validate(run.document)
    jsonschema.validate(run.document, json.loads(SCHEMA.read_text()))
    assert run.document["verdict"] == "VERIFIED"
    assert run.document["level"] == 3
    assert run.err == ""


def test_a_parent_that_no_statement_knows_is_an_error(attest: Attest, made: Workplace) -> None:
    run = attest("verify", made / "merged", *made.key, "--parent", f"c={made / 'a'}")
    assert run.code == 2
    assert run.err == "error: the statement has no material or step `c`\nhint: it has: a, b, merge\n"


# Every vector of the standard, as the command line shows it.


def report_of(vector: Vector, folder: Path) -> Report:
    shutil.copytree(vector.folder, folder)
    for placed in vector.input.get("place", ()):
        target = folder / placed["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(vector.data(placed["data"]))
    key = vector.input["key"]
    return verify(
        Request(
            LocalFolder(folder / vector.input["folder"]),
            expected_signer=None if key is None else PublicKey.from_pem((folder / key).read_bytes()),
            parents={name: LocalFolder(folder / path) for name, path in vector.input["parents"].items()},
            candidates=[LocalFolder(folder / path) for path in vector.input["candidates"]],
            repository=vector.input["repository"],
            recursive=vector.input.get("recursive", False),
            device="cpu",
        )
    )


@pytest.mark.parametrize("vector", load("verify"), ids=lambda vector: vector.name)
def test_a_line_is_ok_only_for_what_was_checked(vector: Vector, tmp_path: Path) -> None:
    report = report_of(vector, tmp_path / "vector")
    listed = areas(report)
    by_name = {area.name: area for area in listed}
    assert sorted(f.code for area in listed for f in area.findings) == sorted(f.code for f in report.findings)
    for area in listed:
        severities = {finding.severity for finding in area.findings}
        assert area.status != "ok" or severities <= {"note"}
        assert (area.status == "FAIL") == ("fail" in severities) or area.name.startswith("step ")
    signed = report.signer is not None and report.signer.expected
    assert (by_name["signature"].status == "ok") == signed
    bare = {area.name: area.status for area in areas(report.model_copy(update={"findings": []}))}
    assert (bare["signature"] == "ok") == signed
    for material in report.materials:
        assert (bare[f"material {material.id}"] == "ok") == (material.status == "matched")
    for step in report.steps:
        assert (bare[f"step {step.id}"] == "ok") == step.verdict.startswith("reproduced")
    if report.verdict == "VERIFIED":
        assert by_name["signature"].status == by_name["manifest"].status == "ok"
        assert "FAIL" not in {area.status for area in listed}
    if report.verdict == "REJECTED":
        assert "FAIL" in {area.status for area in listed}
    if report.coverage is None:
        assert "ok" not in {by_name[name].status for name in ("manifest", "files", "weights", "pipeline", "card")}
    lines = report_lines(report)
    assert lines[0].startswith(report.verdict)
    for finding in report.findings:
        assert f"        {finding.code}  {finding.where}".rstrip() in lines


def test_a_training_shows_the_blends_that_it_was_held_against(tmp_path: Path) -> None:
    """Near 0.6 and 0.4, as the vector was made, and not equal to any such blend."""
    vector = next(vector for vector in load("verify") if vector.name == "train-nearly-blend")
    lines = report_lines(report_of(vector, tmp_path / "vector"))
    assert lines[0].startswith("VERIFIED level 2  ")
    (tried,) = [line.strip() for line in lines if "candidate 1, and" in line]
    assert tried.startswith("nearest to 0.6")
    assert any(line.startswith("held against: candidate 1, sha256:") for line in lines)
    assert any(line.startswith("  warn  step train  attested: the signer's word") for line in lines)


def test_every_reason_code_has_a_line_to_stand_under(attest: Attest, made: Workplace) -> None:
    report = Report.model_validate(attest("verify", made / "merged", *made.key, *made.parents, "--json").document)
    of_models = {code: reason for code, reason in REASONS.items() if reason[1].startswith("V")}  # the rest: summaries
    assert len(of_models) > 100
    for code, (severity, clause) in of_models.items():
        finding = ReportFinding(
            code=code, severity=severity.value, where="", expected="", actual="", clause=f"verification {clause}"
        )
        listed = areas(report.model_copy(update={"findings": [finding]}))
        assert [area.findings for area in listed if area.findings] == [[finding]], code


def test_tensors_read_in_part_are_not_ok(attest: Attest, made: Workplace) -> None:
    report = Report.model_validate(attest("verify", made / "merged", *made.key, *made.parents, "--json").document)
    assert report.coverage is not None
    partial = report.coverage.model_copy(update={"bytes_hashed": report.coverage.bytes - 1})
    status = {area.name: area.status for area in areas(report.model_copy(update={"coverage": partial}))}
    assert status["weights"] == "skip"


# Where the caller is.


def test_without_a_name_the_folder_that_one_is_in_is_verified(
    attest: Attest, made: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made / "merged")
    here = attest("verify", *made.key, *made.parents)
    assert (here.code, here.out.splitlines()[0]) == (0, "VERIFIED level 3  .: every step was reproduced bit for bit")


def test_without_a_name_a_folder_without_a_model_is_not_walked_through(
    attest: Attest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "model.safetensors").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    run = attest("verify")
    assert (run.code, "no model is named" in run.err, "org/model" in run.err) == (2, True, True)


@pytest.mark.parametrize("name", ["model.safetensors", "other.gguf"])
def test_a_clone_without_its_weights_is_told_how_to_fetch_them(
    attest: Attest, made: Workplace, tmp_path: Path, name: str
) -> None:
    clone = Path(shutil.copytree(made / "merged", tmp_path / "clone"))
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"
    (clone / name).write_text(pointer)
    run = attest("verify", clone, *made.key, *made.parents)
    assert (run.code, "`git lfs pull` fetches them" in run.out) == (1, True)

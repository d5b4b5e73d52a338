"""Whatever goes wrong: exit code 2, a line that says what, nothing on stdout. The fixture rules tracebacks out."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from model_attest import cli
from model_attest.commands import arguments
from model_attest.commands.record import COMMANDS
from model_verify.errors import AttestError
from tests.cli.conftest import Attest, Run, Workplace
from tests.cli.making import write_model


def refused(run: Run, *words: str) -> None:
    assert run.code == 2
    assert run.out == ""
    assert run.err.startswith("error: ")
    for word in words:
        assert word in run.err


COMMANDS_ON_A_FOLDER = [
    ("hash", "{}"),
    ("diff", "{}", "{}"),
    ("sign", "{}", "--key", "{key}"),
    ("verify", "{}"),
    ("inspect", "{}"),
    ("merge", "{}", "{}/out"),
]


@pytest.mark.parametrize("command", COMMANDS_ON_A_FOLDER, ids=lambda command: command[0])
def test_a_missing_folder(attest: Attest, made: Workplace, tmp_path: Path, command: tuple[str, ...]) -> None:
    missing = tmp_path / "missing"
    filled = [word.format(missing, key=made / "lab") for word in command]
    refused(attest(*filled), "missing")
    assert attest(*filled, "--json").error["hint"] != ""


@pytest.mark.parametrize("command", COMMANDS_ON_A_FOLDER, ids=lambda command: command[0])
def test_an_empty_path_is_not_the_current_folder(
    attest: Attest, made: Workplace, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], merged: Path
) -> None:
    monkeypatch.chdir(merged)
    filled = [word.format("", key=made / "lab") for word in command]
    refused(attest(*filled), "empty path")


def test_a_file_where_a_folder_is_meant(attest: Attest, made: Workplace) -> None:
    refused(attest("verify", made / "lab.pub"), "is not a folder")
    refused(attest("sign", made / "lab.pub", "--key", made / "lab"), "is not a folder")
    refused(attest("hash", made / "lab.pub"), "no safetensors or GGUF file")


def test_a_folder_where_a_file_is_meant(attest: Attest, made: Workplace, tmp_path: Path) -> None:
    refused(attest("merge", tmp_path, tmp_path / "out"))
    refused(attest("verify", made / "merged", "--key", tmp_path), "is a folder")
    refused(attest("keygen", "--out", tmp_path))


@pytest.mark.parametrize("command", ["verify", "sign"])
def test_keys_that_are_none(
    attest: Attest, made: Workplace, merged: Path, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arguments, "PIPE_TIMEOUT_S", 0.1)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "garbage").write_bytes(os.urandom(1000))
    (tmp_path / "large").write_bytes(b"x" * 1_000_000)
    expected = {
        "fifo": "nothing came out",
        "empty": "is empty",
        "garbage": "PEM",
        "large": "larger",
        "absent": "No such file",
    }
    before = sorted(merged.rglob("*"))
    for name, words in expected.items():
        run = attest(command, merged, "--key", tmp_path / name)
        refused(run, words, name)
        assert attest(command, merged, "--key", tmp_path / name, "--json").error["code"] == "KEY_UNREADABLE"
    refused(attest(command, merged, "--key", "/dev/null"), "not a regular file")
    assert sorted(merged.rglob("*")) == before


def test_a_key_may_come_out_of_a_pipe(attest: Attest, made: Workplace) -> None:
    reading, writing = os.pipe()
    os.write(writing, (made / "lab.pub").read_bytes())
    os.close(writing)
    try:
        assert attest("verify", made / "merged", "--key", f"/dev/fd/{reading}", *made.parents).code == 0
    finally:
        os.close(reading)


def test_a_private_key_given_as_a_public_one(attest: Attest, made: Workplace) -> None:
    refused(attest("verify", made / "merged", "--key", made / "lab"), "is a private key", "hint: ")


def test_a_public_key_given_as_a_private_one(attest: Attest, made: Workplace, merged: Path) -> None:
    refused(attest("sign", merged, "--key", made / "lab.pub"), "public key cannot sign")


def test_passwords_that_are_missing_wrong_or_empty(
    attest: Attest, made: Workplace, merged: Path, tmp_path: Path
) -> None:
    (tmp_path / "wrong").write_text("guess\n")
    (tmp_path / "empty").write_text("\nsecret\n")
    refused(attest("sign", merged, "--key", made / "locked"), "encrypted", "--password-file")
    for name, words in {"wrong": "does not open", "empty": "first line is empty", "absent": "No such file"}.items():
        refused(attest("sign", merged, "--key", made / "locked", "--password-file", tmp_path / name), words)
    refused(attest("sign", merged, "--key", made / "lab", "--password-file", made / "password"), "not encrypted")


@pytest.mark.parametrize("option", ["a", "a=", "=x", "", "a=missing"])
def test_parents_that_are_not_written_as_such(attest: Attest, made: Workplace, option: str) -> None:
    refused(attest("verify", made / "merged", "--parent", option), "parent")


def test_a_parent_given_twice(attest: Attest, made: Workplace) -> None:
    refused(attest("verify", made / "merged", *made.parents, "--parent", f"a={made / 'b'}"), "two of `--parent`")


def test_a_candidate_without_weights(attest: Attest, made: Workplace, tmp_path: Path) -> None:
    refused(attest("verify", made / "merged", *made.key, "--candidate", tmp_path / "none"), "does not exist")


@pytest.mark.parametrize(
    "line",
    [
        ["frobnicate"],
        ["verify", "x", "--no-such-option"],
        ["verify", "x", "--device", "abacus"],
        ["verify", "x", "--require-level", "4"],
        ["verify", "x", "--threads", "0"],
        ["hash", "x", "y"],
        ["sign"],
        ["--no-such-option"],
    ],
    ids=" ".join,
)
def test_usage_errors(attest: Attest, line: list[str]) -> None:
    run = attest(*line)
    refused(run, "hint: see `attest")
    assert run.err.splitlines()[0] == run.err.splitlines()[0].rstrip(".")
    assert attest(*line, "--json").error["code"] == "USAGE"


def test_nothing_to_do_is_not_success(attest: Attest) -> None:
    run = attest()
    assert run.code == 2
    assert "Commands:" in run.out


def test_help_of_every_command_states_exit_codes_and_an_example(attest: Attest) -> None:
    for command in [*cli._COMMANDS, *(f"record {name}" for name in COMMANDS)]:
        run = attest(*command.split(), "--help")
        assert run.code == 0
        assert "exit codes\n" in run.out
        assert f"example\n    attest {command}" in run.out
    assert attest("--version").out.startswith("attest ")


CAUSES: list[tuple[BaseException, int, str]] = [
    (AttestError("no\x1b way", hint="turn back"), 2, "error: no\\x1b way\nhint: turn back\n"),
    (OSError(errno.ENOSPC, "No space left on device", "/x"), 2, "error: /x: No space left on device\n"),
    (OSError(errno.EPIPE, "Broken pipe"), 2, "error: Broken pipe\n"),
    (MemoryError(), 2, "error: out of memory\nhint: "),
    (RecursionError("too deep"), 2, "error: RecursionError: too deep\nhint: this is a bug"),
    (SystemExit(0), 2, "error: SystemExit: 0\n"),
    (AssertionError(), 2, "error: AssertionError: "),
    (KeyboardInterrupt(), 130, "error: interrupted\n"),
    (cli._Terminated(), 143, "error: interrupted\n"),
]


@pytest.mark.parametrize(("cause", "code", "text"), CAUSES, ids=lambda value: type(value).__name__)
def test_whatever_a_command_raises(
    attest: Attest, monkeypatch: pytest.MonkeyPatch, made: Workplace, cause: BaseException, code: int, text: str
) -> None:
    def fail(*_: object) -> None:
        raise cause

    monkeypatch.setattr("model_verify.procedure._Procedure.v1_find", fail)
    run = attest("verify", made / "merged")
    assert (run.code, run.out) == (code, "")
    assert run.err.startswith(text)
    as_json = attest("verify", made / "merged", "--json")
    assert as_json.code == code
    assert set(as_json.error) == {"code", "message", "hint"}


def test_the_traceback_is_there_for_whoever_asks(
    monkeypatch: pytest.MonkeyPatch, made: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_ATTEST_TRACEBACK", "1")
    assert cli.run(["verify", str(made / "missing")]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_full_disk_leaves_the_old_attestation(
    attest: Attest, made: Workplace, merged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in merged.rglob("*") if path.is_file()}

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused(attest("sign", merged, "--key", made / "lab", "--name", "new"), "No space left", "hint: free some space")
    refused(attest("merge", made / "recipe.yaml", merged.parent / "out", "--device", "cpu"), "No space left")
    refused(attest("keygen", "--out", merged.parent / "key"), "No space left")
    assert {path: path.read_bytes() for path in merged.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in merged.parent.iterdir()) == ["merged"]


def test_weights_that_are_no_safetensors(attest: Attest, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", {"x": ("U8", [3], b"abc")})
    (folder / "model.safetensors").write_bytes(b"\xff" * 8 + b"{}")
    for run in (attest("hash", folder), attest("hash", folder / "model.safetensors")):
        refused(run, "model.safetensors: header length")

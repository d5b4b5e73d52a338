"""`attest run`: what is recorded, what is refused, and that the command has signals and streams to itself."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from model_attest.record import read_records
from model_attest.record.child import run_child
from model_attest.record.command import run_and_record
from model_attest.record.tools import interpreter_of, tool_versions
from model_attest.sign import sign_folder
from model_verify import __version__
from model_verify.errors import CallerError, CommandFailed, SourceChanged, SourceMissing
from model_verify.models import RunStep
from model_verify.procedure import Request, verify
from model_verify.sources.local import LocalFolder
from tests.cli.making import SCRIPT, attest
from tests.models import new_signer, small_tensors, write_model
from tests.publisher.conftest import expected_root, tree

PRUNE = """
import os, sys
from safetensors.numpy import load_file, save_file
tensors = load_file(f"{sys.argv[1]}/model.safetensors")
tensors["embed.weight"][0] = 0
os.makedirs(sys.argv[2], exist_ok=True)
save_file(tensors, f"{sys.argv[2]}/model.safetensors")
"""


@pytest.fixture
def lab(home: Path) -> Path:
    write_model(home / "base", small_tensors(1))
    (home / "prune.py").write_text(PRUNE)
    return home


def prune(*more: str) -> list[str]:
    return [sys.executable, "prune.py", "base", "small", *more]


def the_step(folder: Path) -> RunStep:
    step = read_records(folder)[-1].step
    assert isinstance(step, RunStep)
    return step


def test_a_command_is_recorded_signed_and_verified(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    result = run_and_record(prune("--token", "abc"), {"town": "base"}, lab / "small", name="prune")
    step = the_step(lab / "small")
    assert (step.id, step.inputs) == ("prune", ["town"])
    assert step.command == [*prune(), "--token", "(withheld)"]
    assert step.output.checkpoint_root.text == expected_root(lab / "small" / "model.safetensors")
    assert (step.software or {})["python"] == ".".join(map(str, sys.version_info[:3]))
    assert (step.software or {})["numpy"] == np.__version__
    assert (step.software or {})["model-attest"] == __version__
    assert (step.environment or {})["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert "HF_TOKEN" not in (step.environment or {})
    assert step.started is not None
    assert step.finished is not None
    assert step.started <= step.finished
    assert result.path == lab / "small" / ".attest" / "steps" / "001.json"
    signer = new_signer()
    sign_folder(lab / "small", signer)
    report = verify(
        Request(
            LocalFolder(lab / "small"),
            expected_signer=signer.public_key,
            parents={"town": LocalFolder(lab / "base")},
            device="cpu",
        )
    )
    assert (report.verdict, report.level) == ("VERIFIED", 2)
    assert report.headline == "VERIFIED level 2: the run of a command is the signer's word"


def test_steps_on_record_come_along_under_the_name_given(lab: Path) -> None:
    run_and_record(prune(), {"base": "base"}, lab / "small", name="first")
    shutil.copytree("small", "middle")
    script = (lab / "prune.py").read_text().replace("[0] = 0", "[1] = 0")
    (lab / "again.py").write_text(script)
    run_and_record([sys.executable, "again.py", "middle", "last"], {"pruned": "middle"}, lab / "last")
    assert [(r.step.id, r.step.inputs) for r in read_records(lab / "last")] == [
        ("pruned", ["base"]), ("run", ["pruned"]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("raise SystemExit(7)", "ended with exit code 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was ended by SIGKILL"),
        ("import os; os.abort()", "was ended by SIGABRT"),
    ],
)
def test_a_command_that_fails_records_nothing(lab: Path, code: str, problem: str) -> None:
    (lab / "prune.py").write_text(PRUNE + code)
    with pytest.raises(CommandFailed, match=problem):
        run_and_record(prune(), {"base": "base"}, lab / "small")
    assert not (lab / "small" / ".attest").exists()


def test_an_input_that_changed_is_an_error(lab: Path) -> None:
    change = "tensors['norm.weight'][0] += 1; save_file(tensors, 'base/model.safetensors')"
    (lab / "prune.py").write_text(PRUNE + change)
    with pytest.raises(SourceChanged, match="input `base` is no longer what it was"):
        run_and_record(prune(), {"base": "base"}, lab / "small")
    assert not (lab / "small" / ".attest").exists()


@pytest.mark.parametrize("before", [False, True])
def test_a_command_that_left_nothing_is_an_error(lab: Path, before: bool) -> None:
    """Also where a model lies in the folder already: it is not what the command made."""
    if before:
        shutil.copytree("base", "small")
    with pytest.raises(SourceMissing, match="no new weights"):
        run_and_record(["true"], {"base": "base"}, lab / "small")
    assert not (lab / "small" / ".attest").exists()


@pytest.mark.parametrize(
    ("command", "inputs", "out", "problem"),
    [
        ([], {"a": "base"}, "small", "no command"),
        ([""], {"a": "base"}, "small", "no command"),
        (["no-such-command"], {"a": "base"}, "small", "no command `no-such-command`"),
        (["true", "x" * 32769], {"a": "base"}, "small", "over the limit of 32768"),
        (["true"] * 4097, {"a": "base"}, "small", "over the limit of 4096"),
        (["true"], {}, "small", "no input"),
        (["true"], {"a b": "base"}, "small", "no identifier"),
        (["true"], {"a": "nowhere"}, "small", "neither a path"),
        (["true"], {"a": "base"}, "base", "where the output will be"),
        (["true"], {"a": "base"}, "base/../base", "where the output will be"),
    ],
)
def test_what_could_not_end_well_is_refused_before(
    lab: Path, command: list[str], inputs: dict[str, str], out: str, problem: str
) -> None:
    before = tree(lab)
    with pytest.raises((CallerError, SourceMissing), match=problem):
        run_and_record(command, inputs, lab / out)
    assert tree(lab) == before


def test_arguments_of_any_bytes_are_recorded_safely(lab: Path) -> None:
    run_and_record(prune("\udcff", "é", "", "a\nb"), {"base": "base"}, lab / "small")
    assert the_step(lab / "small").command[4:] == ["\\udcff", "é", "", "a\nb"]


def test_other_threads_do_not_hide_the_end_of_a_command() -> None:
    """A notebook has threads, and the kernel gives a signal to any that does not block it."""
    stop = threading.Event()
    threads = [threading.Thread(target=stop.wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        assert [run_child(["true"]) for _ in range(20)] == [0] * 20
    finally:
        stop.set()


# In a process of its own.


def test_streams_are_the_commands(lab: Path) -> None:
    (lab / "prune.py").write_text(PRUNE + "import sys; print('out', sys.stdin.read()); print('err', file=sys.stderr)")
    done = subprocess.run(
        [SCRIPT, "run", "--input", "base=base", "--output", "small", "--", *prune()],
        input="word", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "out word\n"
    first, *rest = done.stderr.splitlines()
    assert first == "err"
    assert rest[1] == "  by step run: run of base"


def test_with_json_stdout_is_the_answer_alone(lab: Path) -> None:
    (lab / "prune.py").write_text(PRUNE + "print('--json')")
    done = attest("run", "--json", "--input", "base=base", "--output", "small", "--", *prune("--json"))
    assert json.loads(done.stdout)["steps"][0]["command"] == prune("--json")
    assert done.stderr == "--json\n"


def test_options_of_the_command_are_not_ours(lab: Path) -> None:
    (lab / "prune.py").write_text(PRUNE + "raise SystemExit(3)")
    done = attest("run", "--input", "base=base", "--output", "small", "--", *prune("--json"))
    assert (done.returncode, done.stdout) == (2, "")
    name = Path(sys.executable).name
    assert done.stderr == f"error: `{name}` ended with exit code 3: nothing is recorded\n"
    done = attest("run", "--json", "--input", "base=base", "--output", "small", "--", *prune())
    assert json.loads(done.stdout)["error"]["code"] == "COMMAND_FAILED"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["true"], "no `--` before the command"),
        (["--input", "a=base", "--output", "small", "true", "--flag"], "no `--`"),
        (["--output", "small", "--", "true"], "missing option `--input`"),
        (["--input", "a=base", "--", "true"], "missing option `--output`"),
        (["--input", "base", "--output", "small", "--", "true"], "is not ID=REF"),
        (["--input", "a=base", "--input", "a=base", "--output", "small", "--", "true"], "two inputs `a`"),
        (["--input", "a=base", "--output", "small", "--"], "missing argument"),
    ],
)
def test_a_line_that_is_wrong_says_what(lab: Path, arguments: list[str], problem: str) -> None:
    done = attest("run", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert problem in done.stderr


COUNT = """
import signal, sys, time
got = []
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
    signal.signal(number, lambda number, frame: got.append(number))
print("ready", flush=True)
until = time.monotonic() + 60
while time.monotonic() < until and len(got) < int(sys.argv[1]):
    time.sleep(0.01)
time.sleep(0.3)  # whatever comes twice comes now
print(*got, flush=True)
raise SystemExit(5)
"""


def start(lab: Path, *command: str, **options: object) -> subprocess.Popen[str]:
    (lab / "count.py").write_text(COUNT)
    line = [SCRIPT, "run", "--input", "base=base", "--output", "small", "--", *command]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload, no-any-return]


def test_a_signal_sent_to_us_reaches_the_command_once(lab: Path) -> None:
    done = start(lab, sys.executable, "count.py", "3")
    assert done.stdout.readline() == "ready\n"
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP):
        done.send_signal(number)
        time.sleep(0.1)
    out, err = done.communicate(timeout=60)
    assert out.split() == [str(int(n)) for n in (signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP)]
    assert (done.returncode, "ended with exit code 5" in err) == (2, True)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 2)])
def test_a_command_that_a_signal_ended_records_nothing(lab: Path, number: signal.Signals, exit_code: int) -> None:
    code = "print('ready', flush=True); import time; time.sleep(60)"
    done = start(lab, sys.executable, "-c", f"import signal; signal.signal(2, signal.SIG_DFL); {code}")
    assert done.stdout.readline() == "ready\n"
    done.send_signal(number)
    _, err = done.communicate(timeout=60)
    assert done.returncode == exit_code
    assert "Traceback" not in err
    assert not (lab / "small").exists()


def test_ctrl_c_at_a_terminal_reaches_the_command_once(lab: Path) -> None:
    (lab / "count.py").write_text(COUNT)
    ours, theirs = pty.openpty()
    line = [SCRIPT, "run", "--input", "base=base", "--output", "small", "--", sys.executable, "count.py", "1"]
    opened = os.ttyname(theirs)
    done = subprocess.Popen(
        ["sh", "-c", f'exec "$@" <{opened} >{opened} 2>&1', "sh", *line], start_new_session=True, close_fds=True
    )
    seen = read_until(b"ready", ours)
    os.write(ours, b"\x03")
    seen += read_until(b"exit code", ours)
    assert done.wait(60) == 2
    # What was typed is echoed, in whatever place.
    assert seen.split(b"ready")[1].replace(b"^C", b"").split()[:2] == [b"2", b"error:"]
    os.close(ours)
    os.close(theirs)


def read_until(text: bytes, descriptor: int, *, timeout_s: float = 60) -> bytes:
    """Return what is read until `text` was; a terminal on which nothing more is said does not stop the tests."""
    seen = b""
    while text not in seen:
        assert select.select([descriptor], [], [], timeout_s)[0], seen
        seen += os.read(descriptor, 4096)
    return seen


# Versions.


def test_the_python_of_a_script_is_found_by_its_first_line(tmp_path: Path) -> None:
    cases = {
        "plain": ("#!/opt/venv/bin/python3.11\n", "/opt/venv/bin/python3.11"),
        "env": ("#!/usr/bin/env python3\n", shutil.which("python3")),
        "trampoline": ('#!/bin/sh\n\'\'\'exec\' "/opt/long/bin/python" "$0" "$@"\n', "/opt/long/bin/python"),
        "shell": ("#!/bin/sh\npython x.py\n", None),
        "binary": ("\x7fELF", None),
        "empty": ("", None),
    }
    for name, (content, expected) in cases.items():
        (tmp_path / name).write_text(content)
        assert interpreter_of(tmp_path / name) == expected, name
    assert interpreter_of(tmp_path / "nowhere") is None
    assert interpreter_of(Path("/usr/bin/python3.12")) == "/usr/bin/python3.12"


def test_a_scripts_own_package_is_among_the_versions() -> None:
    found = tool_versions(Path(sys.executable).with_name("pytest"))
    assert found["pytest"] == pytest.__version__


def test_a_folder_that_we_stand_in_is_not_asked(lab: Path) -> None:
    (lab / "json.py").write_text("raise SystemExit('taken in')")
    assert "numpy" in tool_versions(Path(sys.executable))


def test_a_python_that_does_not_answer_is_passed_over(tmp_path: Path) -> None:
    broken = tmp_path / "python3"
    broken.write_text("#!/bin/sh\necho not json\n")
    broken.chmod(0o755)
    assert tool_versions(broken) == {"model-attest": __version__}


def test_the_output_of_the_merge_of_two_is_attested(lab: Path) -> None:
    write_model(lab / "other", small_tensors(2))
    code = (
        "from safetensors.numpy import *; import os; os.mkdir('mean');"
        "a, b = (load_file(f'{n}/model.safetensors') for n in ('base', 'other'));"
        "save_file({n: (a[n] if n == 'position_ids' else (a[n] + b[n]) / 2) for n in a}, 'mean/model.safetensors')"
    )
    run_and_record([sys.executable, "-c", code], {"a": "base", "b": "other"}, lab / "mean")
    assert the_step(lab / "mean").inputs == ["a", "b"]
    assert load_file("mean/model.safetensors").keys() == small_tensors(1).keys()

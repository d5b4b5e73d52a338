"""The console script as a process: start-up, signals, pipes that close, disks that are full."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Workplace
from tests.cli.making import SCRIPT, TIMEOUT_S, attest, write_model

LARGE_BYTES = 200_000_000
MANY_BYTES = 30_000_000


@pytest.fixture(scope="session")
def large(made: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two parents of 200 MB, sparse on the disk, and a recipe for their merge."""
    root = tmp_path_factory.mktemp("large")
    for name in "ab":
        (root / name).mkdir()
        header = json.dumps({"x": {"dtype": "BF16", "shape": [LARGE_BYTES // 2], "data_offsets": [0, LARGE_BYTES]}})
        with (root / name / "model.safetensors").open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header.encode())
            file.truncate(8 + len(header) + LARGE_BYTES)
    recipe = (made / "recipe.yaml").read_text().replace("copy_from: a, copy_tensors: [positions]", "copy_from: a")
    (root / "recipe.yaml").write_text(recipe)
    subprocess.run(["cp", "-r", "--sparse=always", root / "a", root / "signed"], check=True)
    assert attest("sign", root / "signed", "--key", made / "lab").returncode == 0
    return root


def interrupt_in_the_middle(number: int, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command and send it a signal once it has read some of its input."""
    process = subprocess.Popen(
        [SCRIPT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + TIMEOUT_S
    while _bytes_read(process.pid) < MANY_BYTES:
        assert process.poll() is None, "it was over before the signal"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(number)
    out, err = process.communicate(timeout=TIMEOUT_S)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def _bytes_read(pid: int) -> int:
    return int(Path(f"/proc/{pid}/io").read_text().split()[1])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("command", ["hash", "sign", "verify", "merge"])
def test_an_interrupted_command_leaves_nothing_half_written(
    made: Workplace, large: Path, command: str, number: int, code: int
) -> None:
    lines: dict[str, list[str | Path]] = {
        "hash": ["hash", large / "a", "--threads", "1"],
        "sign": ["sign", large / "a", "--key", made / "lab"],
        "verify": ["verify", large / "signed", *made.key, "--threads", "1"],
        "merge": ["merge", large / "recipe.yaml", large / "out", "--threads", "1", "--device", "cpu"],
    }
    before = sorted(large.rglob("*"))
    done = interrupt_in_the_middle(number, *lines[command])
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "error: interrupted\n")
    assert sorted(large.rglob("*")) == before


def test_help_loads_nothing_heavy() -> None:
    """It is to come at once; `tests/bench/start_up.py` shows how soon."""
    code = (
        "import contextlib, io, sys\n"
        "from model_attest.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):\n"
        "    main()\n"
        "assert 'verify' in out.getvalue()\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    heavy = {"torch", "numpy", "numba", "pydantic", "cryptography", "sigstore", "asyncio", "yaml", "rich"}
    assert heavy & set(done.stdout.split()) == set()


def test_the_verdict_is_the_exit_code(made: Workplace) -> None:
    good = attest("verify", made / "merged", *made.key, *made.parents)
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("VERIFIED level 3  ")
    assert attest("verify", made / "merged", "--key", made / "other.pub").returncode == 1
    assert attest("verify", made / "nowhere").returncode == 2
    assert attest("verify", made / "merged", *made.parents).returncode == 3


@pytest.mark.parametrize("arguments", [["verify", "merged", "--key", "other.pub"], ["--help"]])
def test_a_reader_that_goes_away_is_no_error(made: Workplace, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [SCRIPT, *arguments], cwd=made.root, stdout=writing, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writing)
    assert done.stderr == ""
    assert done.returncode == (0 if arguments == ["--help"] else 1)


def test_an_answer_that_nobody_can_get_is_an_error(made: Workplace) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([SCRIPT, "hash", made / "a"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: the answer could not be written: No space left on device\n"
    closed = subprocess.run(
        f"exec '{SCRIPT}' hash '{made / 'a'}' >&-", shell=True, stderr=subprocess.PIPE, text=True, check=False
    )
    assert closed.returncode == 2
    assert closed.stderr.startswith("error: ")


def test_modules_in_the_folder_under_inspection_are_not_imported(made: Workplace, tmp_path: Path) -> None:
    for name in ("typer", "json", "model_verify", "pydantic", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the folder')")
    done = attest("verify", ".", *made.key, cwd=tmp_path)
    assert done.returncode == 3
    assert "imported" not in done.stdout + done.stderr


def test_names_are_escaped_where_the_terminal_has_ascii_only(made: Workplace) -> None:
    done = attest("inspect", made / "merged", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert r"0.6\xb7a + 0.4\xb7b" in done.stdout


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB, where this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("cannot mount a small file system here; test_a_full_disk_leaves_the_old_attestation simulates one")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_disk_that_is_too_small_is_left_as_it_was(made: Workplace, small_disk: Path) -> None:
    done = attest("merge", made / "recipe.yaml", small_disk / "out", "--device", "cpu")
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(small_disk.iterdir()) == []


def test_a_read_only_folder_can_be_verified_and_not_signed(made: Workplace, small_disk: Path) -> None:
    model = write_model(small_disk / "model", {"x": ("U8", [3], b"abc")})
    assert attest("sign", model, "--key", made / "lab").returncode == 0
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for arguments in (["sign", model, "--key", made / "lab"], ["keygen", "--out", small_disk / "key"]):
        done = attest(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert "Traceback" not in done.stderr
    assert attest("verify", model, *made.key).stdout.startswith("VERIFIED level 1  ")

"""What is left when a process dies, is interrupted, or finds no space, at any moment of its writing.

One process forks for every change of the disk that a command makes; the child ends right before that change.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from model_attest.sign import sign_folder
from model_attest.signers.key import KeySigner, generate_key, private_pem, public_pem
from model_verify.errors import KeyUnreadable
from tests.cli.making import SCRIPT
from tests.hostile.forging import ONE_TENSOR
from tests.models import RECIPE, small_tensors, write_model

TIMEOUT_S = 60

DRIVER = """
import errno, json, os, shutil, sys
from pathlib import Path
from model_attest import merge, sign
from model_attest.recipes import read_recipe
from model_attest.signers.key import KeySigner, generate_key, write_key_pair
from model_verify.errors import AttestError, OutputError
from model_verify.merge.selection import select_backend
from model_verify.procedure import Request, verify
from model_verify.sources.local import LocalFolder

what, how, root = sys.argv[1], sys.argv[2], Path(sys.argv[3])
signer = KeySigner.from_pem((root.parent / "key").read_bytes())
left = 0

def counted(name):
    original = getattr(os, name)
    def call(*arguments, **options):
        global left
        if name == "open" and not arguments[1] & os.O_CREAT:
            return original(*arguments, **options)
        left -= 1
        if left == 0:
            match how:
                case "die":
                    os._exit(9)
                case "interrupt":
                    raise KeyboardInterrupt
                case _:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(*arguments, **options)
    setattr(os, name, call)

def act(turn):
    global left
    for name in ("open", "mkdir", "rename", "fsync", "link", "pwrite", "posix_fallocate"):
        counted(name)
    if how == "die":  # whoever is interrupted in tidying up leaves what is not tidy
        for name in ("unlink", "rmdir"):
            counted(name)
    left = turn
    try:
        match what:
            case "sign":
                sign.sign_folder(root / "model", signer, name="again")
            case "merge":
                merge.run_merge(read_recipe(root / "recipe.yaml"), root / "out", device="cpu")
            case "keygen":
                write_key_pair(generate_key("ed25519"), root / "lab")
    except AttestError:
        return 2
    except KeyboardInterrupt:
        return 130
    return 0 if left > 0 else 7

def state(place):
    return {path.relative_to(place).as_posix(): path.is_dir() for path in sorted(place.rglob("*"))}

if what == "merge":  # loads what every child would load again
    merge.run_merge(read_recipe(root / "recipe.yaml"), root / "out", device="cpu")
    shutil.rmtree(root / "out")
clean = root.with_name("clean")
root.rename(clean)
for turn in range(1, 80):
    shutil.copytree(clean, root)
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = act(turn)
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    model = root / "model"
    found = {"code": code, "state": state(root), "verdict": None}
    if what == "sign":
        found["verdict"] = verify(Request(LocalFolder(model), expected_signer=signer.public_key)).verdict
    if what == "keygen":
        found["keys"] = {n: (root / n).read_text() for n in ("lab", "lab.pub") if (root / n).exists()}
    print(json.dumps(found), flush=True)
    shutil.rmtree(root)
    if code == 0:
        break
"""


@dataclass(frozen=True)
class Ending:
    """How one child ended, and what it left."""

    code: int
    state: dict[str, bool]
    verdict: str | None
    keys: dict[str, str]


def endings(what: str, how: str, root: Path) -> list[Ending]:
    """Return every ending before the one in which all went well."""
    (root.parent / "key").write_bytes(private_pem(generate_key("ed25519")))
    if what == "sign":
        signer = KeySigner.from_pem((root.parent / "key").read_bytes())
        sign_folder(root / "model", signer, name="first")
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DRIVER, what, how, str(root)],
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert run.stderr == b""
    documents = [json.loads(line) for line in run.stdout.splitlines()]
    found = [Ending(d["code"], d["state"], d["verdict"], d.get("keys", {})) for d in documents]
    assert found[-1].code == 0
    assert len(found) > 4
    return found[:-1]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    root = tmp_path / "place"
    for seed, name in enumerate(("a", "b")):
        write_model(root / name, small_tensors(seed))
    (root / "model").mkdir()
    (root / "model" / "model.safetensors").write_bytes(ONE_TENSOR)
    (root / "recipe.yaml").write_text(RECIPE)
    return root


def names(state: dict[str, bool]) -> set[str]:
    return {path.split("/")[0] for path in state}


def test_a_signing_that_dies_at_any_moment_leaves_a_whole_attestation(place: Path) -> None:
    for ending in endings("sign", "die", place):
        assert (ending.code, ending.verdict) == (9, "VERIFIED")


@pytest.mark.parametrize(("how", "code"), [("interrupt", 130), ("no space", 2)])
def test_a_signing_that_cannot_finish_leaves_a_whole_attestation(place: Path, how: str, code: int) -> None:
    for ending in endings("sign", how, place):
        assert ending.verdict == "VERIFIED"
        assert ending.code in (code, 7)  # 7: what could not be tidied up does not matter
        if ending.code == code:
            assert not any(".attest" in path for path in ending.state)


def test_a_merge_that_dies_at_any_moment_leaves_all_of_the_result_or_none(place: Path) -> None:
    for ending in endings("merge", "die", place):
        assert ending.code == 9
        whole = {"out/model.safetensors", "out/config.json", "out/README.md", "out/.attest/steps/001.json"}
        assert "out" not in ending.state or whole <= ending.state.keys()


@pytest.mark.parametrize(("how", "code"), [("interrupt", 130), ("no space", 2)])
def test_a_merge_that_cannot_finish_leaves_nothing(place: Path, how: str, code: int) -> None:
    before = {"a", "b", "model", "recipe.yaml"}
    for ending in endings("merge", how, place):
        assert ending.code in (code, 7)
        assert names(ending.state) - {"out"} == before or ending.code == 7
        if "out" in ending.state:  # it was in place, and what failed came after
            assert "out/.attest/steps/001.json" in ending.state


@pytest.mark.parametrize("how", ["die", "interrupt", "no space"])
def test_a_key_is_written_whole_or_not_at_all(place: Path, how: str) -> None:
    for ending in endings("keygen", how, place):
        for name, pem in ending.keys.items():
            try:
                key = KeySigner.from_pem(pem.encode())
            except KeyUnreadable:
                assert name == "lab.pub"
                assert pem.endswith("-----END PUBLIC KEY-----\n")
            else:
                assert name == "lab"
                assert public_pem(key._key).decode() == ending.keys.get("lab.pub", public_pem(key._key).decode())
        if how != "die" and ending.code != 7:
            assert names(ending.state) == {"a", "b", "model", "recipe.yaml"}


@pytest.mark.parametrize("limit_bytes", [10, 100, 600])
def test_where_no_file_can_grow_nothing_is_left(place: Path, limit_bytes: int) -> None:
    before = sorted(place.rglob("*"))

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    (place.parent / "key").write_bytes(private_pem(generate_key("p256")))
    for arguments in (
        ["keygen", "--out", place / "lab"],
        ["sign", place / "model", "--key", place.parent / "key"],
        ["merge", place / "recipe.yaml", place / "out"],
    ):
        if arguments[0] == "keygen" and limit_bytes == 600:
            continue  # a key fits
        run = subprocess.run(
            [SCRIPT, *arguments],
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
            preexec_fn=limit,
            env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        )
        assert run.returncode == 2
        assert run.stderr.startswith(b"error: ")
        assert b"Traceback" not in run.stderr
    assert sorted(place.rglob("*")) == before

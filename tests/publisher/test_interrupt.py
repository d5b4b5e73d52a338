"""Signals sent to a process that signs or merges: what a terminal's Ctrl-C and a machine's kill leave behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from model_attest.sign import sign_folder
from model_attest.signers.key import KeySigner
from model_verify.procedure import Request, verify
from model_verify.sources.local import LocalFolder

SIZE_BYTES = 400 << 20

SCRIPT = """
import sys
from pathlib import Path
folder, what = Path(sys.argv[1]), sys.argv[2]

def started(done):
    sys.stdout.write("started\\n")
    sys.stdout.flush()

try:
    if what == "sign":
        from model_attest.sign import sign_folder
        from model_attest.signers.key import KeySigner, generate_key
        sign_folder(folder / "a", KeySigner(generate_key("p256")), progress=started)
    else:
        from model_attest.merge import run_merge
        from model_attest.recipes import read_recipe
        run_merge(read_recipe(folder / "recipe.yml"), folder / "out", device="cpu", progress=started)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two models of zeros that take no space on the disk and a while to read."""
    members = {"w": {"dtype": "BF16", "shape": [SIZE_BYTES // 2], "data_offsets": [0, SIZE_BYTES]}}
    header = json.dumps(members).encode()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with (tmp_path / name / "model.safetensors").open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + SIZE_BYTES)
    (tmp_path / "recipe.yml").write_text(
        "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 0.5, normalize: false}\n"
    )
    return tmp_path


def start_and_send(folder: Path, what: str, number: signal.Signals) -> int:
    """Run SCRIPT, send the signal once it reads weights, and return its exit code."""
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), what], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert errors == b""
    return process.returncode


@pytest.mark.parametrize("what", ["sign", "merge"])
def test_ctrl_c_leaves_nothing(folder: Path, what: str) -> None:
    assert start_and_send(folder, what, signal.SIGINT) == 130
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b", "recipe.yml"]
    assert [path.name for path in (folder / "a").iterdir()] == ["model.safetensors"]


def test_a_kill_leaves_the_old_attestation_whole(folder: Path, signer: KeySigner) -> None:
    sign_folder(folder / "a", signer)
    assert start_and_send(folder, "sign", signal.SIGKILL) == -signal.SIGKILL
    assert verify(Request(LocalFolder(folder / "a"), expected_signer=signer.public_key)).verdict == "VERIFIED"

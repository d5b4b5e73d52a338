"""A GGUF file beside the primary weights: in the manifest tensor by tensor, signed and verified."""

from __future__ import annotations

import hashlib
from pathlib import Path

import gguf
import numpy as np
import pytest

from model_attest import cli
from model_attest.inventory import take_inventory
from model_attest.sign import sign_folder
from model_verify import merkle
from model_verify.errors import MalformedWeights
from model_verify.procedure import Request, verify
from model_verify.sources.local import LocalFolder
from tests.forms.gguf_files import write_real
from tests.models import new_signer, small_tensors, write_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(2)
    made = write_model(tmp_path / "model", small_tensors(0))
    tensors = {
        "token_embd.weight": (generator.standard_normal((40_000, 64), dtype=np.float32), "Q8_0"),
        "output_norm.weight": (generator.standard_normal(5, dtype=np.float32), "F32"),
    }
    write_real(made / "model-q8_0.gguf", tensors)
    return made


def test_the_manifest_has_its_tensors_as_the_package_reads_them(folder: Path) -> None:
    inventory = take_inventory(LocalFolder(folder))
    (weight_set,) = [one for one in inventory.manifest.weight_sets if one.format == "gguf"]
    read = gguf.GGUFReader(folder / "model-q8_0.gguf").tensors
    assert (weight_set.prefix, weight_set.primary) == ("model-q8_0.gguf", False)
    assert {tensor.name: tensor.root for tensor in weight_set.tensors or ()} == {
        one.name: merkle.tensor_root(merkle.chunk_leaves(one.data.tobytes())) for one in read
    }
    (row,) = [file for file in inventory.manifest.files if file.path == "model-q8_0.gguf"]
    data = (folder / "model-q8_0.gguf").read_bytes()
    assert row.file_digest.raw == hashlib.sha256(data).digest()
    assert row.header_digest is not None
    assert row.header_digest.raw == hashlib.sha256(data[: min(one.data_offset for one in read)]).digest()


def test_it_is_verified_tensor_by_tensor(folder: Path) -> None:
    signer = new_signer()
    sign_folder(folder, signer, name="m", version=None, uri=None)
    report = verify(Request(LocalFolder(folder), expected_signer=signer.public_key, device="cpu"))
    assert (report.verdict, [f.code for f in report.findings if f.code != "NO_STEPS"]) == (
        "VERIFIED",
        ["UNVERIFIED_WEIGHTS"],
    )
    (tensor,) = [one for one in gguf.GGUFReader(folder / "model-q8_0.gguf").tensors if one.name == "token_embd.weight"]
    with (folder / "model-q8_0.gguf").open("r+b") as file:
        file.seek(tensor.data_offset + 2_000_000)
        file.write(bytes(byte ^ 1 for byte in tensor.data.tobytes()[2_000_000:2_000_001]))
    report = verify(Request(LocalFolder(folder), expected_signer=signer.public_key, device="cpu"))
    (finding,) = [finding for finding in report.findings if finding.severity == "fail"]
    assert (finding.code, finding.where) == ("TENSOR_MISMATCH", "model-q8_0.gguf: token_embd.weight")
    assert "byte" in finding.actual


def test_one_that_breaks_a_rule_cannot_be_signed(folder: Path) -> None:
    with (folder / "model-q8_0.gguf").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(MalformedWeights, match="model-q8_0"):
        take_inventory(LocalFolder(folder))


def test_it_can_be_hashed_and_compared(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "model-q8_0.gguf"
    assert cli.run(["hash", str(file)]) == 0
    (weight_set,) = [one for one in take_inventory(LocalFolder(folder)).manifest.weight_sets if one.format == "gguf"]
    assert str(weight_set.checkpoint_root) in capsys.readouterr().out
    generator = np.random.default_rng(3)
    tensors = {
        "token_embd.weight": (generator.standard_normal((40_000, 64), dtype=np.float32), "Q8_0"),
        "output_norm.weight": (np.zeros(5, dtype=np.float32), "F32"),
    }
    write_real(tmp_path / "other.gguf", tensors)
    assert cli.run(["diff", str(file), str(tmp_path / "other.gguf")]) == 1
    assert "token_embd.weight" in capsys.readouterr().out

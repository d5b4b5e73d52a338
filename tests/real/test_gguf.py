"""all-MiniLM-L6-v2 as GGUF, written by the real `gguf` package: recorded, signed, and verified from the source."""

from __future__ import annotations

import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
from safetensors.torch import load_file

from model_attest.record.gguf import record_gguf
from model_attest.sign import sign_folder
from model_verify.procedure import Request, verify
from model_verify.report import Report
from model_verify.sources.local import LocalFolder
from tests.models import new_signer

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, inside the package


def write(source: Path, file: Path, kind: str) -> int:
    """Write all weights of a folder under short names, matrices in the named type; return the number of tensors."""
    writer = gguf.GGUFWriter(file, "bert")
    writer.add_name("all-MiniLM-L6-v2")
    weights = load_file(source / "model.safetensors")
    for name, tensor in weights.items():
        values = tensor.numpy()
        short = name.replace("encoder.layer.", "blk.").replace("attention.", "attn_").replace("embeddings.", "emb_")
        if values.dtype == np.int64:
            writer.add_tensor(short, values)
            continue
        chosen = gguf.GGMLQuantizationType["F32" if values.ndim < 2 else kind]
        writer.add_tensor(short, gguf.quants.quantize(values, chosen), raw_dtype=chosen)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return len(weights)


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "MXFP4"])
def test_real_weights_are_reproduced_in_every_type(minilm: Path, tmp_path: Path, kind: str) -> None:
    release = tmp_path / "release"
    shutil.copytree(minilm, release)
    count = write(minilm, release / "minilm.gguf", kind)
    recorded = record_gguf(LocalFolder(minilm), release / "minilm.gguf", device="cpu")
    step = recorded.records[-1].step
    assert len(step.targets) == count == 104  # type: ignore[union-attr]
    assert not recorded.not_computed
    report = signed_and_verified(release, minilm)
    assert (report.verdict, report.level) == ("VERIFIED", 3), report.findings
    assert [(one.id, one.verdict) for one in report.steps] == [
        (recorded.records[0].step.id, "reproduced"),
        (step.id, "reproduced"),
    ]


def signed_and_verified(release: Path, source: Path) -> Report:
    signer = new_signer()
    sign_folder(release, signer, name="minilm", version=None, uri=None)
    parents = {source.name: LocalFolder(source)}
    return verify(Request(LocalFolder(release), expected_signer=signer.public_key, parents=parents, device="cpu"))

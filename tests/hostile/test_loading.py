"""What loads is what was verified, or there is a finding: redirections, indexes, letter case, hidden places."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from model_attest.sign import sign_folder
from model_verify.errors import AmbiguousWeights
from model_verify.files import WEIGHT_SUFFIXES
from model_verify.procedure import Request, verify
from model_verify.sources.local import LocalFolder
from model_verify.weight_sets import read_weight_sets
from tests.forms.gguf_files import assembled, tensor
from tests.hostile.forging import ONE_TENSOR, OTHER_TENSOR, Forger, codes, index
from tests.models import SignedMerge

SHARDS = {
    "model-00001-of-00002.safetensors": ONE_TENSOR,
    "model-00002-of-00002.safetensors": OTHER_TENSOR,
    "model.safetensors.index.json": index(a="model-00001-of-00002.safetensors", b="model-00002-of-00002.safetensors"),
}

AMBIGUOUS = {
    "an index of another name takes in the file that loaders take alone": {
        "model.safetensors": ONE_TENSOR,
        "more.safetensors": OTHER_TENSOR,
        "foo.safetensors.index.json": index(a="model.safetensors", b="more.safetensors"),
    },
    "the same in a folder of diffusers": {
        "unet/diffusion_pytorch_model.safetensors": ONE_TENSOR,
        "unet/more.safetensors": OTHER_TENSOR,
        "unet/foo.safetensors.index.json": index(a="diffusion_pytorch_model.safetensors", b="more.safetensors"),
    },
    "a variant's index takes in the file without the variant": {
        "model.safetensors": ONE_TENSOR,
        "more.safetensors": OTHER_TENSOR,
        "model.safetensors.index.fp16.json": index(a="model.safetensors", b="more.safetensors"),
    },
    "an index and a single file whose names differ in case": {"MODEL.SAFETENSORS": ONE_TENSOR, **SHARDS},
    "an index refers to its own stem in another case": {
        "Model.safetensors": ONE_TENSOR,
        "model.safetensors.index.json": index(a="Model.safetensors"),
    },
    "an index whose name is in upper case and that lies": {
        "model.safetensors": ONE_TENSOR,
        "MODEL.SAFETENSORS.INDEX.JSON": index(b="other.safetensors"),
        "other.safetensors": OTHER_TENSOR,
    },
    "an index into the attestation": {
        "model.safetensors.index.json": index(a="attestation/x.safetensors"),
        "other.safetensors": ONE_TENSOR,
    },
    "an index into a place that is never covered": {
        "model.safetensors.index.json": index(a=".cache/huggingface/x.safetensors"),
        "other.safetensors": ONE_TENSOR,
    },
}


@pytest.mark.parametrize("files", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_weights_that_leave_open_what_loads_cannot_be_signed(forger: Forger, files: dict[str, bytes]) -> None:
    forger.write("subject", files)
    with pytest.raises(AmbiguousWeights):
        forger.sign()


def test_a_config_cannot_redirect_to_one_shard_of_the_signed_set(forger: Forger) -> None:
    redirection = json.dumps({"transformers_weights": "model-00001-of-00002.safetensors"}).encode()
    forger.write("subject", {**SHARDS, "config.json": redirection})
    forger.sign()
    assert "WEIGHTS_REDIRECTED" in codes(forger.verify())


@pytest.mark.parametrize(
    "config",
    [
        b'{"transformers_weights": "other.safetensors"}',
        b'{"transformers_weights": "./model.safetensors"}',
        b'{"transformers_weights": ".attest/x.safetensors"}',
        b'{"transformers_weights": ["model.safetensors"]}',
        b'{"transformers_weights": null, "transformers_weights": "other.safetensors"}',
        b'{"transformer\\u0073_weights": "other.safetensors"}',
        b'\xef\xbb\xbf{"transformers_weights": "other.safetensors"}',
        b'{"n": NaN, "transformers_weights": "other.safetensors"}',
        '{"transformers_weights": "other.safetensors"}'.encode("utf-16"),
    ],
)
def test_a_config_that_redirects_is_found_however_it_is_written(forger: Forger, config: bytes) -> None:
    forger.write("subject", {"model.safetensors": ONE_TENSOR, "config.json": config})
    forger.sign()
    assert "WEIGHTS_REDIRECTED" in codes(forger.verify())


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("config.json", '{"text_config": {"auto_map": {"AutoModel": "evil/code--model.Model"}}}'),
        ("config.json", '{"auto_map": {"AutoTokenizer": [null, "evil/code--tok.Tok"]}}'),
        ("preprocessor_config.json", '{"auto_map": {"AutoImageProcessor": "evil/code--x.Y"}}'),
        ("processor_config.json", '{"auto_map": {"AutoProcessor": "evil/code--x.Y"}}'),
        ("tokenizer_config.json", '{"auto_map": {"AutoTokenizer": ["evil/code--x.Y", null]}}'),
        ("text_encoder/config.json", '{"auto_map": "evil/code--x.Y"}'),
    ],
)
def test_code_of_another_repository_is_named_wherever_it_is_configured(forger: Forger, name: str, config: str) -> None:
    forger.write("subject", {"model.safetensors": ONE_TENSOR, name: config.encode()})
    forger.sign()
    assert "CODE_ELSEWHERE" in codes(forger.verify())


@pytest.mark.parametrize("suffix", WEIGHT_SUFFIXES)
def test_weights_beside_the_verified_ones_never_reach_level_3(
    signed_copy: SignedMerge, forger: Forger, suffix: str
) -> None:
    name = f"zz{suffix}" if suffix == ".safetensors" else f"zz{suffix.upper()}"  # another case of this one is ambiguous
    one = assembled([], [tensor(b"w", [2], 0, 0)], bytes(8))
    (signed_copy.merged / name).write_bytes(one if suffix == ".gguf" else OTHER_TENSOR)
    shutil.rmtree(signed_copy.merged / "attestation")
    sign_folder(signed_copy.merged, forger.signer, name="x")
    report = signed_copy.verify(expected_signer=forger.signer.public_key)
    assert (report.verdict, report.level) == ("VERIFIED", 2)
    assert "zz" in report.headline


HIDDEN = [
    ".git/x.safetensors",
    ".cache/huggingface/x.safetensors",
    ".attest/x.safetensors",
    "attestation/manifest.json",
    "model.sig",
]


@pytest.mark.parametrize("hidden", HIDDEN)
def test_weights_cannot_be_linked_to_a_place_that_is_not_covered(signed_copy: SignedMerge, hidden: str) -> None:
    weights = signed_copy.merged / "model.safetensors"
    evil = bytearray(weights.read_bytes())
    evil[-1] ^= 1
    place = signed_copy.merged / hidden
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(evil)
    weights.unlink()
    weights.symlink_to(place)
    assert signed_copy.verify().verdict == "REJECTED"


@pytest.mark.parametrize(
    "name",
    [
        "attestation/x.png",
        "attestation/README.md",
        "attestation/sub/readme.txt",
        "attestation/model.sig",
        "Attestation/manifest.json",
        "sub/attestation/manifest.json",
        "sub/model.sig",
        "sub/.gitattributes",
        "sub/.git/x",
        ".cache/other",
        ".cache/huggingface.txt",
        ".attest.json",
        ".gitignore",
        "model.sig ",
    ],
)
def test_nothing_hides_beside_what_is_exempt(signed_copy: SignedMerge, name: str) -> None:
    path = signed_copy.merged / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"*.bin filter=lfs diff=lfs merge=lfs -text\n")
    report = signed_copy.verify()
    assert report.verdict == "REJECTED"
    assert codes(report) & {"FILE_EXTRA", "FILE_PATH_UNSAFE"}


def test_a_second_attestation_inside_the_folder_counts_for_nothing(signed_copy: SignedMerge) -> None:
    shutil.copytree(signed_copy.merged / "attestation", signed_copy.merged / "inner" / "attestation")
    assert signed_copy.verify().verdict == "REJECTED"


@pytest.mark.parametrize("name", ["MODEL.safetensors", "model.\u017fafetensors", "\uff4dodel.safetensors"])
def test_a_twin_under_case_folding_is_rejected(signed_copy: SignedMerge, name: str) -> None:
    shutil.copy(signed_copy.merged / "model.safetensors", signed_copy.merged / name)
    report = signed_copy.verify()
    assert report.verdict == "REJECTED"
    assert "FILE_PATH_UNSAFE" in codes(report)


def cache_entry(root: Path) -> Path:
    """Return a snapshot folder laid out like the Hub's cache."""
    snapshot = root / "models--town--town-7b" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    return snapshot


def test_blobs_that_are_a_link_do_not_open_the_whole_machine(tmp_path: Path) -> None:
    snapshot = cache_entry(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "w").write_bytes(ONE_TENSOR)
    (snapshot.parents[1] / "blobs").symlink_to(elsewhere)
    (snapshot / "model.safetensors").symlink_to(elsewhere / "w")
    assert [entry.kind.value for entry in LocalFolder(snapshot).entries()] == ["irregular"]
    assert read_weight_sets(LocalFolder(snapshot)).primary is None


def test_a_snapshot_name_that_is_no_commit_is_not_reported_as_one(tmp_path: Path) -> None:
    snapshot = cache_entry(tmp_path)
    (snapshot.parents[1] / "blobs").mkdir()
    assert LocalFolder(snapshot).commit == "0" * 40
    source = LocalFolder(snapshot.rename(snapshot.with_name("main")))
    assert (source.repository, source.commit) == ("pkg:huggingface/town/town-7b", None)


def test_everything_that_can_be_signed_here_is_verified_as_signed(forger: Forger) -> None:
    forger.write("subject", {**SHARDS, "config.json": b"{}", "sub/model.safetensors": ONE_TENSOR})
    forger.sign()
    source = LocalFolder(forger.subject)
    assert verify(Request(source, expected_signer=forger.signer.public_key)).verdict == "VERIFIED"

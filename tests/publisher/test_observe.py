"""What `attest observe` writes, and what it refuses."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from model_attest.observe import observe_model
from model_attest.signers.key import KeySigner
from model_verify.errors import CallerError, MalformedInput, OutputError
from model_verify.history.folder import BundleFile
from model_verify.manifest import read_manifest
from model_verify.observation import load_observation
from model_verify.sources.local import LocalFolder
from tests.cli.making import attest
from tests.publisher.conftest import expected_root

URI = "pkg:huggingface/lab/a-7b@" + "0123456789abcdef" * 2 + "01234567"


def test_an_observation_has_root_manifest_and_leaves(model: Path, signer: KeySigner, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in model.rglob("*") if path.is_file()}
    out = tmp_path / "seen"
    result = observe_model(LocalFolder(model), out, signer, uri=URI)
    assert sorted(path.name for path in out.iterdir()) == [
        "leaves.sha256tree",
        "manifest.json",
        "observation.sigstore.json",
    ]
    assert result.observation.checkpoint_root.text == expected_root(model / "model.safetensors")
    manifest = (out / "manifest.json").read_bytes()
    assert result.observation.manifest_digest.hex == hashlib.sha256(manifest).hexdigest()
    leaves = (out / "leaves.sha256tree").read_bytes()
    assert read_manifest(manifest).leaves.file_digest.hex == hashlib.sha256(leaves).hexdigest()
    assert {path: path.read_bytes() for path in model.rglob("*") if path.is_file()} == before
    bundle = out / "observation.sigstore.json"
    assert load_observation(out) == load_observation(bundle) == BundleFile(str(bundle), bundle.read_bytes())


@pytest.mark.parametrize(
    "uri", [None, "pkg:huggingface/lab/a-7b", "pkg:huggingface/lab/a-7b@main", "lab/a-7b", "pkg:generic/a@1 2"]
)
def test_what_is_no_pinned_place_is_refused(model: Path, signer: KeySigner, tmp_path: Path, uri: str | None) -> None:
    with pytest.raises(CallerError):
        observe_model(LocalFolder(model), tmp_path / "seen", signer, uri=uri)
    assert not (tmp_path / "seen").exists()


def test_nothing_is_replaced_and_nothing_is_written_into_the_model(
    model: Path, signer: KeySigner, tmp_path: Path
) -> None:
    observe_model(LocalFolder(model), tmp_path / "seen", signer, uri=URI)
    with pytest.raises(OutputError, match="already there"):
        observe_model(LocalFolder(model), tmp_path / "seen", signer, uri=URI)
    with pytest.raises(CallerError, match="lies in the model's folder"):
        observe_model(LocalFolder(model), model / "seen", signer, uri=URI)


def test_a_folder_that_leaves_open_what_loads_is_not_observed(model: Path, signer: KeySigner, tmp_path: Path) -> None:
    (model / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(MalformedInput):
        observe_model(LocalFolder(model), tmp_path / "seen", signer, uri=URI)
    assert not (tmp_path / "seen").exists()


def test_an_observation_needs_an_observer(model: Path, signer: KeySigner, tmp_path: Path) -> None:
    observe_model(LocalFolder(model), tmp_path / "seen", signer, uri=URI)
    done = attest("verify", "model", "--observation", "seen", "--json", cwd=tmp_path)
    assert done.returncode == 2
    assert "no observer is named" in json.loads(done.stdout)["error"]["message"]

"""Holes of the reference's verifier that are none here: links out of the folder, and what `ignore_paths` hides."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.oms.conftest import codes, new_pair, verified
from tests.oms.reference import Serialization, problem_with_key, sign_with_key

LINKS = Serialization(allow_symlinks=True)


def test_a_signed_file_replaced_by_a_link_out_of_the_folder_is_refused(model: Path, tmp_path: Path) -> None:
    pair = new_pair(tmp_path / "keys")
    sign_with_key(model, pair.private, LINKS)
    outside = tmp_path / "outside.json"
    (model / "config.json").rename(outside)
    (model / "config.json").symlink_to(outside)
    assert problem_with_key(model, pair.public, LINKS) is None  # the hole
    report = verified(model, pair.key)
    assert report.exit_code == 1
    assert codes(report)["OMS_FILE_NOT_REGULAR"] == "config.json"


def test_a_link_inside_the_folder_is_what_it_leads_to(model: Path, tmp_path: Path) -> None:
    pair = new_pair(tmp_path / "keys")
    (model / "link.txt").symlink_to("sub/vocab.txt")
    sign_with_key(model, pair.private, LINKS)
    assert codes(verified(model, pair.key)).keys() == {"ATTESTATION_MISSING"}
    (model / "link.txt").unlink()
    (model / "link.txt").symlink_to("config.json")
    assert codes(verified(model, pair.key))["OMS_FILE_MISMATCH"] == "link.txt"


@pytest.mark.parametrize("kind", ["link to nothing", "link to a folder", "FIFO", "folder"])
def test_what_is_no_file_is_no_listed_file(model: Path, tmp_path: Path, kind: str) -> None:
    pair = new_pair(tmp_path / "keys")
    sign_with_key(model, pair.private)
    path = model / "config.json"
    path.unlink()
    match kind:
        case "link to nothing":
            path.symlink_to("nowhere")
        case "link to a folder":
            path.symlink_to("sub")
        case "FIFO":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
    report = verified(model, pair.key)
    assert report.exit_code == 1
    assert ("OMS_FILE_MISSING" if kind == "folder" else "OMS_FILE_NOT_REGULAR") in codes(report)


def test_a_model_sig_that_is_a_link_out_of_the_folder_is_not_followed(model: Path, tmp_path: Path) -> None:
    pair = new_pair(tmp_path / "keys")
    signature = sign_with_key(model, pair.private)
    signature.rename(tmp_path / "elsewhere.sig")
    signature.symlink_to(tmp_path / "elsewhere.sig")
    assert codes(verified(model, pair.key)).keys() == {"ATTESTATION_MISSING", "OMS_BUNDLE_MALFORMED"}


def test_weights_that_the_signer_left_out_are_bound_by_nobody(model: Path, tmp_path: Path) -> None:
    pair = new_pair(tmp_path / "keys")
    sign_with_key(model, pair.private, Serialization(ignore=("model.safetensors",)))
    (model / "model.safetensors").write_bytes(b"something else")
    assert problem_with_key(model, pair.public) is None  # the hole
    report = verified(model, pair.key)
    assert codes(report)["OMS_FILE_LEFT_OUT"] == "model.safetensors"
    assert report.model_sig is not None
    assert not report.model_sig.binds
    assert "`model.sig` binds 3 files, not all that are there, to key" in report.headline


def test_an_empty_file_that_shards_cannot_show_is_bound_by_nobody(model: Path, tmp_path: Path) -> None:
    pair = new_pair(tmp_path / "keys")
    shards = Serialization(shard_bytes=1000)
    sign_with_key(model, pair.private, shards)
    (model / "__init__.py").touch()
    assert problem_with_key(model, pair.public, shards) is None  # the hole
    assert codes(verified(model, pair.key))["OMS_FILE_LEFT_OUT"] == "__init__.py"

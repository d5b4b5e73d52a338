"""Flip a bit anywhere: it is never VERIFIED, or the headline says what changed.

Every byte of every file is flipped in one of its bits, another bit from byte to byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from model_verify.envelope import open_bundle
from model_verify.errors import MalformedDocument
from model_verify.models import BUNDLE_PATH
from tests.models import SignedMerge

COVERED = ["config.json", "model.safetensors", "attestation/manifest.json", "attestation/leaves.sha256tree"]


def flips(path: Path) -> Iterator[int]:
    """Flip one bit of each byte in turn, yield its offset, and put it back."""
    original = path.read_bytes()
    for offset in range(len(original)):
        changed = bytearray(original)
        changed[offset] ^= 1 << (offset % 8)
        path.write_bytes(changed)
        yield offset
    path.write_bytes(original)


def test_the_untouched_folder_is_verified_at_level_3(signed_copy: SignedMerge) -> None:
    report = signed_copy.verify()
    assert (report.verdict, report.level, report.findings) == ("VERIFIED", 3, [])


@pytest.mark.parametrize("name", COVERED)
def test_a_bit_flipped_anywhere_in_a_covered_file_is_rejected(signed_copy: SignedMerge, name: str) -> None:
    for offset in flips(signed_copy.merged / name):
        assert signed_copy.verify().verdict == "REJECTED", f"{name} at byte {offset}"
    assert signed_copy.verify().verdict == "VERIFIED"


def test_a_bit_flipped_anywhere_in_the_readme_is_said_in_the_headline(signed_copy: SignedMerge) -> None:
    for offset in flips(signed_copy.merged / "README.md"):
        report = signed_copy.verify()
        assert report.verdict == "VERIFIED", offset
        assert "`README.md` differs from what was signed" in report.headline, offset


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_bit_flipped_in_a_parents_weights_is_rejected(signed_copy: SignedMerge, name: str) -> None:
    path = signed_copy.root / name / "model.safetensors"
    data_start = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    for offset in flips(path):
        if offset >= data_start:
            assert signed_copy.verify().verdict == "REJECTED", f"{name} at byte {offset}"


def test_no_byte_of_the_bundle_changes_what_is_accepted(signed_copy: SignedMerge) -> None:
    path = signed_copy.merged / BUNDLE_PATH
    statement = open_bundle(path.read_bytes()).payload
    accepted = 0
    for offset in flips(path):
        try:
            signed = open_bundle(path.read_bytes())
        except MalformedDocument:
            assert signed_copy.verify().verdict in ("REJECTED", "INCOMPLETE"), offset
            continue
        if signed_copy.key.verifies(signed):
            accepted += 1
            assert signed.payload == statement, offset
        else:
            assert signed_copy.verify().verdict == "REJECTED", offset
    # The hint and the keyid, 64 digits each, name the key to people and choose nothing; nothing else may change.
    assert accepted <= 128


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_is_removed_is_rejected(signed_copy: SignedMerge, name: str) -> None:
    (signed_copy.merged / name).unlink()
    report = signed_copy.verify()
    assert report.verdict == "REJECTED"
    assert "FILE_MISSING" in {finding.code for finding in report.findings}


@pytest.mark.parametrize("name", ["attestation/manifest.json", "attestation/leaves.sha256tree"])
def test_an_attestation_file_that_is_removed_is_rejected(signed_copy: SignedMerge, name: str) -> None:
    (signed_copy.merged / name).unlink()
    assert signed_copy.verify().verdict == "REJECTED"


def test_an_attestation_that_is_removed_is_incomplete(signed_copy: SignedMerge) -> None:
    (signed_copy.merged / BUNDLE_PATH).unlink()
    report = signed_copy.verify()
    assert (report.verdict, report.exit_code) == ("INCOMPLETE", 3)


@pytest.mark.parametrize("name", ["extra.py", "attestation/extra.json", "sub/model.bin", ".hidden", "model.sig.txt"])
def test_a_file_that_is_added_is_rejected(signed_copy: SignedMerge, name: str) -> None:
    path = signed_copy.merged / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    report = signed_copy.verify()
    assert report.verdict == "REJECTED"
    assert "FILE_EXTRA" in {finding.code for finding in report.findings}


def test_the_finding_of_a_flipped_weight_names_tensor_byte_count_and_ulp(signed_copy: SignedMerge) -> None:
    path = signed_copy.merged / "model.safetensors"
    data = bytearray(path.read_bytes())
    data_start = 8 + int.from_bytes(data[:8], "little")
    header = data[8:data_start].decode()
    assert '"embed.weight":{"dtype":"F32","shape":[24,4],"data_offsets":[' in header
    begin = int(header.split('"embed.weight"')[1].split('"data_offsets":[')[1].split(",")[0])
    data[data_start + begin + 8] ^= 1
    path.write_bytes(data)
    report = signed_copy.verify()
    (finding,) = [finding for finding in report.findings if finding.code == "TENSOR_MISMATCH"]
    assert finding.where == "model.safetensors: embed.weight"
    assert finding.actual == "first difference at byte 8, 1 element differs, by up to 1 ULP"
    assert [step.verdict for step in report.steps] == ["reproduced"]  # of what was signed

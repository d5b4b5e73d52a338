"""What `attest sign --oms` writes, the reference takes; and the two signatures in either order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_attest.record import RECORD_FOLDER
from model_attest.sign import sign_folder
from model_attest.signers.sigstore import SigstoreSigner
from model_verify.envelope import ExpectedIdentity, Identity
from model_verify.errors import CallerError
from model_verify.models import BUNDLE_PATH
from tests.cli.conftest import Attest
from tests.cli.conftest import attest as attest  # the fixture
from tests.models import new_signer
from tests.oms.conftest import KeyPair, codes, new_pair, verified
from tests.oms.reference import Serialization, problem_with_identity, problem_with_key, sign_with_key
from tests.sigstore.instance import running
from tests.sigstore.issuer import CI_IDENTITY, GITHUB
from tests.sigstore.signing import trust


def reference_cli(folder: Path, public_key: Path, *options: str) -> int:
    """Return the exit code of the command as its users call it."""
    command = [sys.executable, "-m", "model_signing", "verify", "key", folder, "--signature", folder / "model.sig"]
    ran = subprocess.run([*command, "--public_key", public_key, *options], capture_output=True, check=False)
    return ran.returncode


def test_the_reference_takes_it_and_finds_every_change(model: Path, pair: KeyPair) -> None:
    sign_folder(model, pair.signer, name="town-7b", oms=True)
    assert problem_with_key(model, pair.public) is None
    assert reference_cli(model, pair.public) == 0
    bundle = model / BUNDLE_PATH
    bundle.write_bytes(bundle.read_bytes() + b" ")
    refused = problem_with_key(model, pair.public)
    assert refused is not None
    assert "Hash mismatch for" in refused
    assert BUNDLE_PATH in refused
    assert reference_cli(model, pair.public) == 1


def test_both_signatures_verify_here(model: Path, pair: KeyPair) -> None:
    sign_folder(model, pair.signer, name="town-7b", oms=True)
    report = verified(model, pair.key)
    assert (report.verdict, report.level, codes(report)) == ("VERIFIED", 1, {})
    assert report.model_sig is not None
    assert (report.model_sig.files_listed, report.model_sig.files_matched, report.model_sig.left_out) == (7, 7, 0)
    assert "model.sig" not in report.headline
    assert not [item for item in report.not_checked if item.what == "model.sig"]


def test_an_identity_signs_both_and_the_reference_takes_it(model: Path, tmp_path: Path) -> None:
    with running() as instance:
        config = tmp_path / "trust.json"
        config.write_bytes(trust(instance))
        sign_folder(model, SigstoreSigner(instance.issuer.ci_token, trust(instance)), name="town-7b", oms=True)
        assert problem_with_identity(model, CI_IDENTITY, GITHUB, config) is None
        assert problem_with_identity(model, "somebody@lab.example", GITHUB, config) is not None
        report = verified(model, ExpectedIdentity(Identity(CI_IDENTITY, GITHUB), trust(instance)))  # type: ignore[arg-type]
        assert (report.verdict, codes(report)) == ("VERIFIED", {})
        assert report.model_sig is not None
        assert report.model_sig.binds


def test_a_dated_one_is_taken_too(model: Path, pair: KeyPair, attest: Attest) -> None:
    with running() as instance:
        url = f"{instance.url}/api/v1/timestamp"
        assert attest("sign", model, "--key", pair.private, "--timestamp-url", url, "--oms").code == 0
    assert "rfc3161Timestamps" in (model / "model.sig").read_text()
    assert problem_with_key(model, pair.public) is None
    assert verified(model, pair.key).verdict == "VERIFIED"


def test_attest_first_then_the_reference(model: Path, pair: KeyPair) -> None:
    sign_folder(model, pair.signer, name="town-7b")
    sign_with_key(model, pair.private)
    assert problem_with_key(model, pair.public) is None
    report = verified(model, pair.key)
    assert (report.verdict, codes(report)) == ("VERIFIED", {})


def test_the_reference_first_then_attest(model: Path, pair: KeyPair) -> None:
    sign_with_key(model, pair.private)
    sign_folder(model, pair.signer, name="town-7b")
    assert "Extra files found" in (problem_with_key(model, pair.public) or "")
    report = verified(model, pair.key)
    assert (report.verdict, report.level) == ("VERIFIED", 1)
    assert codes(report).keys() == {"OMS_ATTESTATION_NOT_COVERED"}


def test_signing_again_without_it_leaves_one_that_no_longer_fits(model: Path, pair: KeyPair, attest: Attest) -> None:
    arguments = ("sign", model, "--key", pair.private, "--name", "town-7b")
    assert attest(*arguments, "--oms").code == 0
    (model / "config.json").write_text("{}")
    signed = attest(*arguments)
    assert f"warning: {model}/model.sig was made before this attestation" in signed.err
    assert attest("verify", model, "--key", pair.public).code == 1
    assert attest(*arguments, "--oms").code == 0
    assert attest("verify", model, "--key", pair.public).code == 0


def test_what_git_keeps_is_left_out_as_the_reference_does(model: Path, pair: KeyPair) -> None:
    (model / ".gitignore").write_text("*.tmp\n")
    (model / ".github").mkdir()
    (model / ".github" / "x.yml").write_text("on: push\n")
    (model / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    (model / RECORD_FOLDER).mkdir(parents=True)
    sign_folder(model, pair.signer, name="town-7b", oms=True)
    assert reference_cli(model, pair.public) == 0
    report = verified(model, pair.key)
    assert (report.verdict, codes(report)) == ("VERIFIED", {})
    assert report.model_sig is not None
    assert report.model_sig.left_out == 3


def test_a_folder_with_links_says_so(model: Path, pair: KeyPair) -> None:
    (model / "link.txt").symlink_to("sub/vocab.txt")
    sign_folder(model, pair.signer, name="town-7b", oms=True)
    assert problem_with_key(model, pair.public, Serialization(allow_symlinks=True)) is None
    assert reference_cli(model, pair.public, "--allow_symlinks") == 0
    assert verified(model, pair.key).verdict == "VERIFIED"


def test_the_command_says_where_it_is(model: Path, tmp_path: Path, attest: Attest) -> None:
    pair = new_pair(tmp_path / "keys")
    signed = attest("sign", model, "--key", pair.private, "--oms")
    assert signed.code == 0
    assert f"  model.sig {model}/model.sig, 7 files\n" in signed.out
    signed = attest("sign", model, "--key", pair.private, "--oms", "--json")
    assert json.loads(signed.out)["model_sig"] == str(model / "model.sig")
    verified = attest("verify", model, "--key", pair.public)
    # The attestation that was taken the place of has stayed: one file more.
    assert f"8 of 8 files as signed, sha256, by key sha256:{pair.key.hint}\n" in verified.out


@pytest.mark.parametrize("options", [("--detached", "elsewhere"), ()])
def test_what_oms_does_not_have_is_refused_before_anything_is_read(
    model: Path, tmp_path: Path, attest: Attest, options: tuple[str, ...]
) -> None:
    pair = new_pair(tmp_path / "keys", "p256" if options else "ed25519")
    refused = attest("sign", model, "--key", pair.private, "--oms", *options)
    assert refused.code == 2
    assert sorted(path.name for path in model.iterdir()) == ["README.md", "config.json", "model.safetensors", "sub"]


def test_an_ed25519_key_writes_nothing(model: Path) -> None:
    with pytest.raises(CallerError, match="by keys of type ed25519"):
        sign_folder(model, new_signer("ed25519"), name="town-7b", oms=True)
    assert not (model / "attestation").exists()
    assert not (model / "model.sig").exists()


def test_where_model_sig_cannot_be_written_the_attestation_is_whole(model: Path, pair: KeyPair) -> None:
    os.mkdir(model / "model.sig")  # noqa: PTH102
    with pytest.raises(Exception, match=r"model\.sig"):
        sign_folder(model, pair.signer, name="town-7b", oms=True)
    (model / "model.sig").rmdir()
    report = verified(model, pair.key)
    assert (report.verdict, report.level) == ("VERIFIED", 1)


def test_shards_of_the_reference_beside_an_attestation(model: Path, pair: KeyPair) -> None:
    sign_folder(model, pair.signer, name="town-7b")
    for how in (Serialization("blake2", shard_bytes=100), Serialization("blake3")):
        sign_with_key(model, pair.private, how)
        report = verified(model, pair.key)
        assert (report.verdict, codes(report)) == ("VERIFIED", {})

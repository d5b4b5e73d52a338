"""Revocations by the command line, and what `attest sign` leaves of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model_attest.revoke import build_revocation, revoked_root, revoked_signer
from model_attest.sign import sign_folder
from model_attest.signed_statement import sign_statement
from model_attest.signers.key import KeySigner, generate_key
from model_verify.errors import CallerError
from model_verify.history.folder import load_revocations
from model_verify.procedure import Request, verify
from model_verify.report import Report
from model_verify.sources.local import LocalFolder
from tests.cli.making import attest
from tests.publisher.conftest import expected_root

NAME = "attestation/revocations/wrong.sigstore.json"


def checked(model: Path, signer: KeySigner, *known: Path) -> Report:
    revocations = [file for path in known for file in load_revocations(path)]
    return verify(Request(LocalFolder(model), expected_signer=signer.public_key, revocations=revocations))


def revoke_root(model: Path, signer: KeySigner) -> bytes:
    root = expected_root(model / "model.safetensors")
    return sign_statement(build_revocation(revoked_root(root), "wrong upload"), signer).data


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings} - {"NO_STEPS"}


def test_signing_anew_keeps_the_revocations(model: Path, signer: KeySigner) -> None:
    sign_folder(model, signer)
    (model / NAME).parent.mkdir()
    (model / NAME).write_bytes(revoke_root(model, signer))
    sign_folder(model, signer)
    assert codes(checked(model, signer)) == {"ROOT_REVOKED"}
    assert sorted(path.name for path in (model / "attestation").iterdir()) == [
        "history",
        "leaves.sha256tree",
        "manifest.json",
        "pipeline.sigstore.json",
        "revocations",
    ]


def test_other_weights_in_the_same_folder_are_not_revoked(model: Path, signer: KeySigner) -> None:
    revocation = revoke_root(model, signer)
    (model / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:-1] + b"\x01")
    sign_folder(model, signer)
    (model / NAME).parent.mkdir()
    (model / NAME).write_bytes(revocation)
    report = checked(model, signer)
    assert (report.verdict, codes(report)) == ("VERIFIED", set())
    assert report.history is not None
    assert [(line.outcome, line.reason) for line in report.history.revocations] == [("elsewhere", "wrong upload")]


def test_a_revocation_of_more_than_its_limit_is_not_signed_around(model: Path, signer: KeySigner) -> None:
    (model / NAME).parent.mkdir(parents=True)
    (model / NAME).write_bytes(b" " * ((256 << 10) + 1))
    with pytest.raises(CallerError, match="at most 262144 bytes"):
        sign_folder(model, signer)


def test_a_folder_of_revocations_is_read_whole(model: Path, signer: KeySigner, tmp_path: Path) -> None:
    sign_folder(model, signer)
    known = tmp_path / "known"
    known.mkdir()
    with pytest.raises(CallerError, match="no revocation there"):
        load_revocations(known)
    (known / "a.sigstore.json").write_bytes(revoke_root(model, KeySigner(generate_key("ed25519"))))
    (known / "b.sigstore.json").write_bytes(revoke_root(model, signer))
    (known / "notes.txt").write_text("not one")
    report = checked(model, signer, known)
    assert report.history is not None
    assert [line.outcome for line in report.history.revocations] == ["not-honoured", "revoked"]
    assert codes(report) == {"ROOT_REVOKED", "REVOCATION_NOT_HONOURED"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of `--root` and `--signer` is needed"),
        (["--root", "sha256:" + "0" * 64, "--signer", "0" * 64], "one of `--root` and `--signer` is needed"),
        (["--root", "0" * 64], "is not a root"),
        (["--root", "sha256:" + "0" * 64, "--since", "2026-07-01T00:00:00Z"], "`revokedSince` is of signers"),
        (["--signer", "0" * 64, "--since", "yesterday"], "the revocation"),
        (["--signer", "somebody"], "without `--issuer`"),
        (["--root", "sha256:" + "0" * 64, "--issuer", "https://issuer.example"], "`--issuer` without `--signer`"),
    ],
)
def test_what_cannot_be_revoked_is_said(arguments: list[str], message: str, tmp_path: Path) -> None:
    attest("keygen", "--out", "lab", cwd=tmp_path)
    done = attest("revoke", *arguments, "--reason", "x", "--key", "lab", "--out", "out.json", cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "out.json").exists()


def test_a_key_is_revoked_by_its_hint_and_no_file_is_replaced(tmp_path: Path) -> None:
    hint = json.loads(attest("keygen", "--out", "lab", "--json", cwd=tmp_path).stdout)["hint"]
    arguments = ("revoke", "--signer", hint, "--reason", "lost", "--key", "lab", "--out", "out.json", "--json")
    done = attest(*arguments, cwd=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout)["revokes"] == f"key sha256:{hint}"
    written = (tmp_path / "out.json").read_bytes()
    again = attest(*arguments, cwd=tmp_path)
    assert (again.returncode, (tmp_path / "out.json").read_bytes()) == (2, written)


def test_an_identity_needs_its_issuer() -> None:
    assert str(revoked_signer("x@lab.example", "https://issuer.example")) == "x@lab.example by https://issuer.example"
    with pytest.raises(CallerError):
        revoked_signer("", "https://issuer.example")

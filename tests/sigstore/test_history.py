"""Commitments, superseded attestations and revocations of identities, against an instance that logs and dates them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Attest
from tests.cli.conftest import attest as attest  # the fixture
from tests.models import small_tensors, write_model
from tests.sigstore.instance import Sigstore
from tests.sigstore.issuer import CI_IDENTITY, GITHUB
from tests.sigstore.signing import trust

CI = ["--identity", CI_IDENTITY, "--issuer", GITHUB]


class Office:
    """Who signs and verifies one model under one instance."""

    def __init__(self, attest: Attest, folder: Path, sigstore: Sigstore) -> None:
        self.attest, self.sigstore, self.folder = attest, sigstore, folder
        self.model = write_model(folder / "model", small_tensors(0))
        self.config, self.token = folder / "trust.json", folder / "token"
        self.config.write_bytes(trust(sigstore))

    def sign(self, command: str, *arguments: object) -> None:
        self.token.write_text(self.sigstore.issuer.ci_token())
        done = self.attest(command, *arguments, "--identity-token", self.token, "--trust-config", self.config)
        assert done.code == 0, done.err

    def report(self, *arguments: object) -> dict[str, object]:
        done = self.attest("verify", self.model, *CI, "--trust-config", self.config, "--json", *arguments)
        found: dict[str, object] = json.loads(done.out)
        return found


def codes(report: dict[str, object]) -> set[str]:
    findings = report["findings"]
    assert isinstance(findings, list)
    return {finding["code"] for finding in findings} - {"NO_STEPS"}


def test_a_commitment_by_an_identity_is_dated_and_before_the_attestation(
    attest: Attest, tmp_path: Path, sigstore: Sigstore
) -> None:
    office = Office(attest, tmp_path, sigstore)
    office.sign("commit", office.model, "--name", "town", "--version", "1")
    office.sign("sign", office.model, "--name", "town", "--version", "1")
    report = office.report("--published", "2999-01-01T00:00:00Z")
    assert (report["verdict"], codes(report)) == ("VERIFIED", set())
    history = report["history"]
    assert isinstance(history, dict)
    assert (history["freshness"], history["commitment"]["counted"]) == ("dated", True)
    assert (history["publication"]["signed"], history["publication"]["committed"]) == ("before", "before")
    assert history["commitment"]["signed_before"] <= report["time"]["signed_before"]  # type: ignore[index]
    late = office.report("--published", "2020-01-01T00:00:00Z")
    assert codes(late) == {"SHOWN_AFTER_PUBLICATION"}


def test_an_identity_supersedes_its_own_and_revokes_itself(attest: Attest, tmp_path: Path, sigstore: Sigstore) -> None:
    office = Office(attest, tmp_path, sigstore)
    office.sign("sign", office.model, "--version", "1")
    office.sign("sign", office.model, "--version", "2", "--reason", "again")
    report = office.report()
    history = report["history"]
    assert isinstance(history, dict)
    assert (report["verdict"], [line["version"] for line in history["supersedes"]]) == ("VERIFIED", ["1"])
    assert history["supersedes"][0]["signed_before"] <= report["time"]["signed_before"]  # type: ignore[index]
    signer = ["--signer", CI_IDENTITY, "--issuer", GITHUB, "--reason", "the job was taken over"]
    office.sign("revoke", *signer, "--out", tmp_path / "all.json")
    assert codes(office.report("--revocations", tmp_path / "all.json")) == {"SIGNER_REVOKED"}
    office.sign("revoke", *signer, "--since", "2999-01-01T00:00:00Z", "--out", tmp_path / "later.json")
    later = office.report("--revocations", tmp_path / "later.json")
    assert (later["verdict"], codes(later)) == ("VERIFIED", {"SIGNER_REVOKED_LATER"})
    office.sign("revoke", *signer, "--since", "2020-01-01T00:00:00Z", "--out", tmp_path / "before.json")
    assert codes(office.report("--revocations", tmp_path / "before.json")) == {"SIGNER_REVOKED"}

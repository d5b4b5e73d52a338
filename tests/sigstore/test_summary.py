"""Summaries that an identity signs, by way of the loopback instance, and what the sigstore client makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sigstore.models import Bundle, ClientTrustConfig
from sigstore.verify import Verifier, policy

from model_attest.signed_statement import sign_statement
from model_attest.signers.sigstore import SigstoreSigner
from model_attest.summary import SummaryTerms, write_summary
from model_verify.envelope import ExpectedIdentity, ExpectedJob, ExpectedSigner, Identity
from model_verify.sources.local import LocalFolder
from model_verify.summary import SummaryReport, SummaryRequest, judge_summary
from tests.cli.conftest import Attest
from tests.cli.conftest import attest as attest  # the fixture
from tests.sigstore.instance import Sigstore
from tests.sigstore.issuer import CI_IDENTITY, GITHUB
from tests.sigstore.signing import CI, SignedModel, trust

TYPE = "https://slsa.dev/verification_summary/v1"
NAMED = SummaryTerms("https://agency.example", "urn:town-7b", datetime.now(UTC))


def summed_up(model: SignedModel, sigstore: Sigstore, path: Path, rekor: int) -> Path:
    """Write the summary that a job of a CI signs of a model."""
    signer = SigstoreSigner(sigstore.issuer.ci_token, trust(sigstore, rekor=rekor))
    write_summary(model.verify(), NAMED, signer, path)
    return path


def read(path: Path, model: SignedModel, expected: ExpectedSigner) -> SummaryReport:
    request = SummaryRequest(
        bundle=path.read_bytes(),
        label="s.json",
        expected_signers=[expected],
        now=datetime.now(UTC),
        source=LocalFolder(model.folder),
        resource="urn:town-7b",
    )
    return judge_summary(request)


@pytest.mark.parametrize("rekor", [1, 2])
def test_the_real_client_verifies_it_and_so_do_readers(
    signed: SignedModel, sigstore: Sigstore, tmp_path: Path, rekor: int
) -> None:
    path = summed_up(signed, sigstore, tmp_path / "s.json", rekor)
    config = trust(sigstore, rekor=rekor)
    verifier = Verifier(trusted_root=ClientTrustConfig.from_json(config.decode()).trusted_root)
    named = policy.Identity(identity=CI_IDENTITY, issuer=GITHUB)
    kind, payload = verifier.verify_dsse(Bundle.from_json(path.read_bytes()), named)
    statement = json.loads(payload)
    assert (kind, statement["predicateType"]) == ("application/vnd.in-toto+json", TYPE)
    assert statement["predicate"]["verificationResult"] == "PASSED"
    for expected in (
        ExpectedIdentity(CI, config),
        ExpectedJob(GITHUB, "https://github.com/town/model", None, "refs/tags/*", config),
    ):
        report = read(path, signed, expected)
        assert (report.verdict, report.findings) == ("ACCEPTED", [])
        assert report.time is not None
        assert report.signer is not None
        assert (report.signer.identity, report.signer.issuer) == (CI_IDENTITY, GITHUB)


def test_another_identity_another_issuer_and_another_instance_are_refused(
    models: dict[int, SignedModel], sigstore: Sigstore, stranger: Sigstore, tmp_path: Path
) -> None:
    path = summed_up(models[1], sigstore, tmp_path / "s.json", 1)
    for identity, instance, code in (
        (Identity("somebody@lab.example", GITHUB), sigstore, "IDENTITY_MISMATCH"),
        (Identity(CI_IDENTITY, "https://issuer.example"), sigstore, "IDENTITY_MISMATCH"),
        (CI, stranger, "SIGNATURE_INVALID"),
    ):
        report = read(path, models[1], ExpectedIdentity(identity, trust(instance)))
        assert (report.verdict, [finding.code for finding in report.findings]) == ("REJECTED", [code])
        assert report.summary is None


def test_a_verification_after_its_own_signature_is_from_the_future(
    models: dict[int, SignedModel], sigstore: Sigstore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the reader's clock it may long be past: who signed has dated the verification ahead."""
    config = trust(sigstore)
    ahead = datetime.now(UTC) + timedelta(minutes=10)
    path = tmp_path / "s.json"
    terms = SummaryTerms(NAMED.verifier, NAMED.resource, ahead)
    write_summary(models[1].verify(), terms, SigstoreSigner(sigstore.issuer.ci_token, config), path)
    request = SummaryRequest(
        bundle=path.read_bytes(),
        label="s.json",
        expected_signers=[ExpectedIdentity(CI, config)],
        now=ahead + timedelta(days=30),
        source=LocalFolder(models[1].folder),
        resource="urn:town-7b",
    )
    assert [finding.code for finding in judge_summary(request).findings] == ["SUMMARY_FROM_FUTURE"]


def test_the_command_signs_one_as_an_identity(
    attest: Attest, models: dict[int, SignedModel], sigstore: Sigstore, tmp_path: Path
) -> None:
    (tmp_path / "trust.json").write_bytes(trust(sigstore))
    (tmp_path / "token").write_text(sigstore.issuer.ci_token())
    whom = ["--identity", CI_IDENTITY, "--issuer", GITHUB, "--trust-config", tmp_path / "trust.json"]
    signing = ["--summary-identity-token", tmp_path / "token", "--summary-trust-config", tmp_path / "trust.json"]
    names = ["--summary-verifier", "https://agency.example", "--summary-resource", "urn:town-7b"]
    run = attest("verify", models[1].folder, *whom, "--summary", tmp_path / "s.json", *signing, *names)
    assert (run.code, "says PASSED" in run.err) == (0, True), run.err
    run = attest("verify-summary", tmp_path / "s.json", models[1].folder, *whom, "--resource", "urn:town-7b")
    assert run.code == 0, run.out
    assert f"{CI_IDENTITY} by {GITHUB}, the one you named, signed before 2" in run.out


def test_a_bundle_of_another_statement_is_not_taken_for_one(
    models: dict[int, SignedModel], sigstore: Sigstore, tmp_path: Path
) -> None:
    config = trust(sigstore)
    statement = {"_type": "https://in-toto.io/Statement/v1", "predicateType": "urn:x", "predicate": {}}
    statement["subject"] = [{"digest": {"sha256": "0" * 64}}]
    fetch: Callable[[], str] = sigstore.issuer.ci_token
    path = tmp_path / "s.json"
    path.write_bytes(sign_statement(json.dumps(statement).encode(), SigstoreSigner(fetch, config)).data)
    report = read(path, models[1], ExpectedIdentity(CI, config))
    assert [finding.code for finding in report.findings] == ["PREDICATE_TYPE_UNKNOWN"]

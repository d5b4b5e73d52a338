"""Signatures by others, made with the public instance, verified without a network."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from model_verify.envelope import ExpectedIdentity, ExpectedJob, Identity, SignedPayload, check_signature, open_bundle
from model_verify.envelope.evidence import utc_text
from model_verify.errors import MalformedDocument
from model_verify.statement import read_statement

BUNDLES = Path(__file__).parent / "production"
GITHUB = Identity(
    "https://github.com/trailofbits/pypi-attestations/.github/workflows/release.yml@refs/tags/v0.0.19",
    "https://token.actions.githubusercontent.com",
)
GITLAB = Identity(
    "https://gitlab.com/facutuesca/gitlab-oidc-project//.gitlab-ci.yml@refs/heads/main", "https://gitlab.com"
)
CIRCLECI = Identity(
    "https://circleci.com/api/v2/projects/fdd9283f-e619-46af-8f9c-851f7d3e8b2b"
    "/pipeline-definitions/8e4f8ab2-8d7c-4827-9f15-de076d6d647f",
    "https://oidc.circleci.com",
)
SIGNED = {"github": GITHUB, "gitlab": GITLAB, "circleci": CIRCLECI}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("a connection to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def bundle(name: str) -> SignedPayload:
    return open_bundle((BUNDLES / f"{name}.json").read_bytes())


@pytest.mark.parametrize("name", SIGNED)
def test_a_signature_with_the_public_instance_holds(name: str) -> None:
    check = check_signature(bundle(name), ExpectedIdentity(SIGNED[name]))
    assert check.holds
    assert check.time is not None
    assert check.time.log.origin.startswith("rekor.sigstore.dev - ")
    assert [word.source for word in check.time.evidence] == ["log"]


def test_the_log_says_when_a_release_was_signed_and_where_that_is_entered() -> None:
    check = check_signature(bundle("github"), ExpectedIdentity(GITHUB))
    assert check.time is not None
    assert utc_text(check.time.earliest.time) == "2024-12-04T23:13:46Z"
    assert check.time.log.index == 153_454_647


@pytest.mark.parametrize("name", SIGNED)
def test_it_is_nobody_elses_signature(name: str) -> None:
    other = Identity(SIGNED[name].name, "https://accounts.google.com")
    check = check_signature(bundle(name), ExpectedIdentity(other))
    assert [finding.code for finding in check.findings] == ["IDENTITY_MISMATCH"]


JOBS = {
    "github": ExpectedJob(
        GITHUB.issuer,
        "https://github.com/trailofbits/pypi-attestations",
        ".github/workflows/release.yml",
        "refs/tags/v*",
    ),
    "gitlab": ExpectedJob(
        GITLAB.issuer, "https://gitlab.com/facutuesca/gitlab-oidc-project", "/.gitlab-ci.yml", "refs/heads/main"
    ),
    "circleci": ExpectedJob(
        CIRCLECI.issuer, "github.com/CircleCI-Public/sign-and-publish-examples", ref="refs/heads/pypi"
    ),
}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_signs_for_its_repository_workflow_and_ref(name: str) -> None:
    check = check_signature(bundle(name), JOBS[name])
    assert check.signer == ExpectedIdentity(SIGNED[name])


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("changes", [{"repository": "https://github.com/town/model"}, {"ref": "refs/pull/1/merge"}])
def test_it_is_no_other_jobs_signature(name: str, changes: dict[str, str]) -> None:
    check = check_signature(bundle(name), replace(JOBS[name], **changes))
    assert (check.signer, [finding.code for finding in check.findings]) == (None, ["IDENTITY_MISMATCH"])


def test_a_signature_with_the_staging_instance_is_not_believed() -> None:
    signed = bundle("staging")
    assert signed.identity == Identity("william@yossarian.net", "https://github.com/login/oauth")
    check = check_signature(signed, ExpectedIdentity(signed.identity))
    assert [finding.code for finding in check.findings] == ["SIGNATURE_INVALID"]


def test_what_they_state_is_no_pipeline() -> None:
    with pytest.raises(MalformedDocument) as refused:
        read_statement(bundle("github").payload)
    assert refused.value.code in ("PREDICATE_TYPE_UNKNOWN", "STATEMENT_MALFORMED")

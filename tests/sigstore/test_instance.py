"""The unmodified client signs with the loopback instance and trusts it, in every variant."""

from __future__ import annotations

import json

import pytest
from sigstore.dsse import Statement
from sigstore.errors import VerificationError
from sigstore.models import Bundle, ClientTrustConfig
from sigstore.oidc import IdentityToken
from sigstore.sign import SigningContext
from sigstore.verify import Verifier, policy

from tests.sigstore.instance import Object, Sigstore
from tests.sigstore.issuer import CI_IDENTITY, GITHUB

STATEMENT = json.dumps(
    {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "a", "digest": {"sha256": "00" * 32}}],
        "predicateType": "https://town.example/v1",
        "predicate": {},
    }
).encode()

VARIANTS = [(1, True), (1, False), (2, True)]
CI = policy.Identity(identity=CI_IDENTITY, issuer=GITHUB)


def sign(config: Object, token: str) -> Bundle:
    context = SigningContext.from_trust_config(ClientTrustConfig.from_json(json.dumps(config)))
    with context.signer(IdentityToken(token)) as signer:
        return signer.sign_dsse(Statement(STATEMENT))


def verifier(instance: Sigstore) -> Verifier:
    config = ClientTrustConfig.from_json(json.dumps(instance.trust_config()))
    return Verifier(trusted_root=config.trusted_root)


@pytest.mark.parametrize(("rekor", "timestamps"), VARIANTS)
def test_the_client_verifies_what_it_signed(sigstore: Sigstore, rekor: int, timestamps: bool) -> None:
    bundle = sign(sigstore.trust_config(rekor=rekor, timestamps=timestamps), sigstore.issuer.ci_token())
    read = Bundle.from_json(bundle.to_json())
    assert verifier(sigstore).verify_dsse(read, CI) == ("application/vnd.in-toto+json", STATEMENT)


def test_the_claims_of_a_job_are_in_its_certificate(sigstore: Sigstore) -> None:
    bundle = sign(sigstore.trust_config(), sigstore.issuer.ci_token())
    claims = policy.AllOf(
        [
            CI,
            policy.OIDCSourceRepositoryURI("https://github.com/town/model"),
            policy.OIDCSourceRepositoryRef("refs/tags/v1.0"),
            policy.GitHubWorkflowName("release"),
        ]
    )
    verifier(sigstore).verify_dsse(bundle, claims)


def test_another_instance_is_not_trusted(sigstore: Sigstore, stranger: Sigstore) -> None:
    bundle = sign(sigstore.trust_config(), sigstore.issuer.ci_token())
    with pytest.raises(VerificationError):
        verifier(stranger).verify_dsse(bundle, CI)


def test_a_token_of_another_issuer_gets_no_certificate(sigstore: Sigstore, stranger: Sigstore) -> None:
    with pytest.raises(Exception) as refused:  # noqa: PT011 - the client's own class is not public
        sign(sigstore.trust_config(), stranger.issuer.ci_token())
    assert type(refused.value).__name__ == "FulcioClientError"


@pytest.mark.parametrize("rekor", [1, 2])
def test_the_proofs_hold_however_long_the_log_is(sigstore: Sigstore, rekor: int) -> None:
    for _ in range(5):
        bundle = sign(sigstore.trust_config(rekor=rekor), sigstore.issuer.ci_token())
        verifier(sigstore).verify_dsse(bundle, CI)

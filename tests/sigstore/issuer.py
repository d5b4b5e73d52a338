"""An issuer of identity tokens (OpenID Connect): for CI jobs, for people, and for whoever a test says."""

from __future__ import annotations

import secrets
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from tests.sigstore.certificates import now

AUDIENCE = "sigstore"
GITHUB = "https://token.actions.githubusercontent.com"
WORKFLOW = "town/model/.github/workflows/release.yml@refs/tags/v1.0"
"""Of the CI job that `Issuer.ci_token` speaks for."""
CI_IDENTITY = f"https://github.com/{WORKFLOW}"
_LIFETIME_S = 600


class Issuer:
    """Signs tokens with one key, whatever issuer they name: the loopback Fulcio trusts it for all of them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.person = "release@town.example"
        """Who answers in the browser."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._codes: set[str] = set()

    def token(self, subject: str, **claims: object) -> str:
        """Return a token for `subject`; `claims` replace what it says otherwise."""
        issued_at = int(now().timestamp())
        usual = {"iss": self.url, "sub": subject, "aud": AUDIENCE, "iat": issued_at, "exp": issued_at + _LIFETIME_S}
        return jwt.encode({**usual, **claims}, self._key, algorithm="ES256")

    def ci_token(self) -> str:
        """Return a token as GitHub gives it to the job of a release workflow."""
        return self.token(
            "repo:town/model:ref:refs/tags/v1.0",
            iss=GITHUB,
            job_workflow_ref=WORKFLOW,
            workflow_ref=WORKFLOW,
            job_workflow_sha="1" * 40,
            sha="1" * 40,
            workflow="release",
            event_name="push",
            repository="town/model",
            repository_owner="town",
            ref="refs/tags/v1.0",
            runner_environment="github-hosted",
        )

    def claims(self, token: str) -> dict[str, str]:
        """Return what a token says, if this issuer signed it for Sigstore; raises jwt's errors else."""
        return jwt.decode(token, self._key.public_key(), algorithms=["ES256"], audience=AUDIENCE, leeway=5)

    # The flow in a browser: discovery, consent (which is given at once), and the code against a token.

    def discovery(self) -> dict[str, str]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
        }

    def authorize(self, target: str) -> str:
        """Return where the browser is sent back to, with a code."""
        asked = parse_qs(urlsplit(target).query)
        code = secrets.token_hex(8)
        self._codes.add(code)
        return f"{asked['redirect_uri'][0]}?{urlencode({'code': code, 'state': asked['state'][0]})}"

    def redeem(self, form: bytes) -> dict[str, str]:
        """Return the token that a code is good for, once."""
        self._codes.remove(parse_qs(form.decode())["code"][0])
        return {"access_token": self.token(self.person, email=self.person, email_verified=True)}

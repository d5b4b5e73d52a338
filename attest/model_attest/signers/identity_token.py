"""Where an identity token comes from: a file, the CI job that this runs in, or a person in front of a browser.

A token says who somebody is, for some minutes, to whoever holds it. So it is fetched when it is needed, and kept
nowhere.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from model_attest.signers.sigstore import client_errors
from model_verify.envelope.sigstore import read_trust_config
from model_verify.errors import CallerError

TokenSource = Callable[[], str]


def token_source(
    read_file: TokenSource | None, trust_config: bytes | None, *, announce: Callable[[str], None], options: str = "--"
) -> TokenSource:
    """Return what fetches a token: from a file, where one is given; else from the CI job; else in a browser.

    A file and a CI job are tried once now, so that what cannot work is said before the weights are read; a browser
    opens only when the token is needed. `announce` takes what a person should know before.

    Raises `SigningFailed` where the token is none, and `CallerError` where there is nobody to ask.
    """
    if read_file is not None:
        _check(read_file())
        return read_file
    ambient = _ambient_token()
    if ambient is not None:
        _check(ambient)
        return lambda: _ambient_token() or ambient
    if sys.stdin is None or not sys.stdin.isatty():
        raise CallerError(
            "nobody to sign as: no key, no identity of a CI job, and no terminal to ask a person",
            hint=f"name a key with `{options}key`, or a file with `{options}identity-token`; a job on GitHub needs "
            "`id-token: write`",
        )
    announce("note: whom you name in the browser goes into a log that the signature rests on, for good")
    return lambda: ask_in_browser(trust_config)


def ask_in_browser(trust_config: bytes | None) -> str:
    """Return a token for whoever answers in a browser; waits until somebody does."""
    from sigstore.oidc import Issuer

    with client_errors("nobody answered for the identity"):
        url = read_trust_config(trust_config).signing_config.get_oidc_url()
        return str(Issuer(url).identity_token())


def _ambient_token() -> str | None:
    from sigstore.oidc import detect_credential

    with client_errors("the CI job gives no identity"):
        return detect_credential()


def _check(token: str) -> None:
    from sigstore.oidc import IdentityToken

    with client_errors("this is no identity token for Sigstore, or no longer one"):
        IdentityToken(token)

"""Chains of certificates as OpenSSF Model Signing sends them. Spec: oms §2.6."""

from __future__ import annotations

import warnings

from model_verify.canonical import Json, dumps, loads
from model_verify.errors import MalformedJson
from model_verify.models import MAX_CERTIFICATES, decode_base64

_MEMBERS = ("verificationMaterial", "x509CertificateChain", "certificates")

_MOST = 2 * MAX_CERTIFICATES
"""Certificates of a chain that are looked at; one with more of them is refused in any case."""


def without_roots(bundle: bytes, *, max_bytes: int) -> bytes:
    """Return a bundle without the roots that its chain ends with: the caller has roots, and takes none from a folder.

    Whatever is no bundle with such a chain comes back as it is, for the reader of bundles to refuse. Nothing that is
    left out is signed.
    """
    try:
        members = loads(bundle, max_bytes=max_bytes)
    except MalformedJson:
        return bundle
    chain: Json = members
    for name in _MEMBERS:
        chain = chain.get(name) if isinstance(chain, dict) else None
    if not isinstance(chain, list) or len(chain) > _MOST or not any(_is_root(one) for one in chain):
        return bundle
    chain[1:] = [one for one in chain[1:] if not _is_root(one)]
    return dumps(members)


def _is_root(member: Json) -> bool:
    """Return whether a member of a chain is a certificate whose issuer is its subject."""
    der = member.get("rawBytes") if isinstance(member, dict) else None
    if not isinstance(der, str):
        return False
    from cryptography import x509  # only here, so that signatures by keys do not wait for X.509

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of certificates that an attacker wrote
        try:
            certificate = x509.load_der_x509_certificate(decode_base64(der))
            return certificate.issuer == certificate.subject
        except MemoryError:
            raise
        # On what an attacker wrote, the library raises far more than its own errors; the reader of bundles refuses it.
        except Exception:
            return False

"""Whether certificates lead to a root of the caller's, at a time. RFC 5280 §6. Spec: statement §10.3.

The path is validated by `cryptography`; the rules for what each certificate may be used for are given to it from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
)

from model_verify.models import MAX_CERTIFICATES

_MOST_REASON_CHARACTERS = 300


class UntrustedChain(Exception):
    """Certificates that lead to no root, or may not be used like this; the text says why."""


def verify_chain(
    chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], at: datetime
) -> tuple[x509.Certificate, ...]:
    """Return the certificates from the leaf to a root, both included; raises `UntrustedChain`.

    The chain is taken as it is: in its order, and with nothing left over.
    """
    leaf, *between = chain
    verifier = (
        PolicyBuilder()
        .store(Store(list(roots)))
        .time(at)
        .max_chain_depth(MAX_CERTIFICATES)
        .extension_policies(ca_policy=_AUTHORITY, ee_policy=_SIGNER)
        .build_client_verifier()
    )
    try:
        path = tuple(verifier.verify(leaf, between).chain)
    except MemoryError:
        raise
    # What an attacker wrote makes it raise more than its own `VerificationError`.
    except Exception as error:
        raise UntrustedChain(" ".join(str(error).split())[:_MOST_REASON_CHARACTERS]) from error
    # The library finds a way up whatever the order, and passes over what it does not need.
    if path[:-1] != tuple(chain):
        raise UntrustedChain("the certificates are not each certified by the next, and the last by a root")
    for authority in path[1:]:
        if not isinstance(authority.public_key(), rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
            raise UntrustedChain("an authority has a key that is neither RSA nor ECDSA")
    return path


def _is_authority(_: Policy, certificate: x509.Certificate, extension: x509.BasicConstraints) -> None:
    if not extension.ca:
        raise ValueError("an issuer that is no authority")


def _certifies(_: Policy, certificate: x509.Certificate, extension: x509.KeyUsage | None) -> None:
    if extension is not None and not extension.key_cert_sign:
        raise ValueError("an authority whose key usage has no certificates")


def _may_certify_code(_: Policy, certificate: x509.Certificate, extension: x509.ExtendedKeyUsage | None) -> None:
    allowed = {ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if extension is not None and not allowed & set(extension):
        raise ValueError("an authority whose extended key usage has no code signing")


def _constrains(_: Policy, certificate: x509.Certificate, extension: x509.NameConstraints | None) -> None:
    """Refuse what the library holds no subject against; by itself it refuses that only where it is critical."""
    if extension is None:
        return
    for subtree in (*(extension.permitted_subtrees or ()), *(extension.excluded_subtrees or ())):
        if isinstance(subtree, x509.DirectoryName):
            raise ValueError("an authority whose name constraints have names of directories, which are not evaluated")


def _signs(_: Policy, certificate: x509.Certificate, extension: x509.KeyUsage) -> None:
    if not extension.digital_signature:
        raise ValueError("a signer whose key usage has no digital signatures")


def _signs_code(_: Policy, certificate: x509.Certificate, extension: x509.ExtendedKeyUsage) -> None:
    if ExtendedKeyUsageOID.CODE_SIGNING not in extension:
        raise ValueError("a signer whose extended key usage has no code signing")


def _is_no_authority(_: Policy, certificate: x509.Certificate, extension: x509.BasicConstraints | None) -> None:
    if extension is not None and extension.ca:
        raise ValueError("a signer that is an authority")


_EITHER_WAY = Criticality.AGNOSTIC
_AUTHORITY = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, _EITHER_WAY, _is_authority)
    .may_be_present(x509.KeyUsage, _EITHER_WAY, _certifies)
    .may_be_present(x509.ExtendedKeyUsage, _EITHER_WAY, _may_certify_code)
    .may_be_present(x509.NameConstraints, _EITHER_WAY, _constrains)
)
_SIGNER = (
    ExtensionPolicy.permit_all()
    .require_present(x509.KeyUsage, _EITHER_WAY, _signs)
    .require_present(x509.ExtendedKeyUsage, _EITHER_WAY, _signs_code)
    .may_be_present(x509.BasicConstraints, _EITHER_WAY, _is_no_authority)
)

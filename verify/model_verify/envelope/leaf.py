"""What a chain of certificates says of who signed: the leaf's key and names, unverified. Spec: statement §10.1."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

from model_verify.envelope.key import PublicKey
from model_verify.errors import AttestError, MalformedDocument

# RFC 4514 §3: types of attributes that have a name of their own.
_NAMED_TYPES = {
    NameOID.COMMON_NAME,
    NameOID.LOCALITY_NAME,
    NameOID.STATE_OR_PROVINCE_NAME,
    NameOID.ORGANIZATION_NAME,
    NameOID.ORGANIZATIONAL_UNIT_NAME,
    NameOID.COUNTRY_NAME,
    NameOID.STREET_ADDRESS,
    NameOID.DOMAIN_COMPONENT,
    NameOID.USER_ID,
}


@dataclass(frozen=True, slots=True)
class CertifiedLeaf:
    """The certificates of a bundle, from the one of the signer's key upwards, and what the first says."""

    chain: tuple[x509.Certificate, ...]
    key: PublicKey
    names: tuple[str, ...]

    def __str__(self) -> str:
        return " or ".join(self.names) or "nobody"


def read_leaf(chain: Sequence[bytes]) -> CertifiedLeaf:
    """Return what a chain in DER says of who signed.

    Raises `MalformedDocument` with `BUNDLE_MALFORMED`, or `SIGNATURE_KIND_UNSUPPORTED` for a key of another kind.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of certificates that an attacker wrote
        try:
            certificates = tuple(x509.load_der_x509_certificate(der) for der in chain)
            if any(one.issuer == one.subject for one in certificates):
                raise _malformed("a root, which is the caller's to name")
            names = tuple(dict.fromkeys(_names(certificates[0])))
            for one in certificates:
                _ = one.extensions  # what is malformed in them is said only when asked
        except (AttestError, MemoryError):
            raise
        # What an attacker wrote makes the library raise far more than its own errors.
        except Exception as error:
            raise _malformed(f"a certificate that is none: {str(error)[:200]}") from error
        return CertifiedLeaf(certificates, _key(certificates[0]), names)


def _malformed(reason: str) -> MalformedDocument:
    return MalformedDocument("BUNDLE_MALFORMED", f"`x509CertificateChain` has {reason}", rule="statement §10.1")


def _key(certificate: x509.Certificate) -> PublicKey:
    try:
        return PublicKey.from_certified(certificate.public_key())
    except MemoryError:
        raise
    except Exception as error:
        raise MalformedDocument(
            "SIGNATURE_KIND_UNSUPPORTED", "the certificate's key is of another kind", rule="statement §10.2"
        ) from error


def _names(certificate: x509.Certificate) -> Iterator[str]:
    """Yield the alternative names that are a mail address, a URI or a host, and the subject if it has a text."""
    try:
        listed = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        listed = x509.SubjectAlternativeName([])
    for name in listed:
        if isinstance(name, x509.RFC822Name | x509.UniformResourceIdentifier | x509.DNSName):
            yield name.value
    subject = certificate.subject
    if list(subject) and all(part.oid in _NAMED_TYPES and isinstance(part.value, str) for part in subject):
        yield subject.rfc4514_string()

"""Whom a certificate of a Sigstore instance names. Nothing is verified here. Spec: statement §6.2."""

from __future__ import annotations

import contextlib
import warnings

from cryptography import x509

from model_verify.envelope.identity import Identity, JobClaims
from model_verify.errors import MalformedDocument

_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_ISSUER_OF_OLD = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_OTHER_NAME = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7")
_REPOSITORY = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.12")
_REF = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.14")
_WORKFLOW = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.18")
_UTF8_STRING = 0x0C


def read_identity(der: bytes) -> Identity:
    """Return the name in a certificate and the issuer that vouched for it.

    Raises `MalformedDocument` unless there is exactly one of each.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of certificates that an attacker wrote
            extensions = x509.load_der_x509_certificate(der).extensions
        return Identity(_name(extensions), _issuer(extensions))
    except x509.UnsupportedGeneralNameType as error:
        raise MalformedDocument(
            "BUNDLE_MALFORMED", "`certificate` has a name of another kind", rule="statement §6.2"
        ) from error
    except MemoryError:
        raise
    # What an attacker wrote makes the library raise far more than its own errors.
    except Exception as error:
        reason = f"`certificate` names no signer: {str(error)[:200]}"
        raise MalformedDocument("BUNDLE_MALFORMED", reason, rule="statement §6.2") from error


def read_claims(der: bytes) -> JobClaims:
    """Return what a certificate that `read_identity` has read says of a job. What is no UTF8String says nothing."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        extensions = x509.load_der_x509_certificate(der).extensions
    for oid, value in _private_extensions(extensions).items():
        with contextlib.suppress(ValueError):
            found[oid] = _utf8_string(value)
    return JobClaims(repository=found.get(_REPOSITORY), ref=found.get(_REF), workflow=found.get(_WORKFLOW))


def _name(extensions: x509.Extensions) -> str:
    names = list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    if len(names) != 1:
        raise ValueError(f"it has {len(names)} names")
    match names[0]:
        case x509.RFC822Name(value=name) | x509.UniformResourceIdentifier(value=name):
            return name
        case x509.OtherName(type_id=kind, value=der) if kind == _OTHER_NAME:
            return _utf8_string(der)
        case _:
            raise ValueError("its name is of another kind")


def _issuer(extensions: x509.Extensions) -> str:
    """Return the issuer's URL. Certificates carry it twice, in DER and, for clients of old, as it is."""
    values = _private_extensions(extensions)
    found = [_utf8_string(values[_ISSUER])] if _ISSUER in values else []
    if _ISSUER_OF_OLD in values:
        found.append(values[_ISSUER_OF_OLD].decode("utf-8"))
    if not found:
        raise ValueError("it has no issuer")
    if len(set(found)) != 1:
        raise ValueError("its two issuers differ")
    return found[0]


def _private_extensions(extensions: x509.Extensions) -> dict[x509.ObjectIdentifier, bytes]:
    return {
        extension.oid: extension.value.value
        for extension in extensions
        if isinstance(extension.value, x509.UnrecognizedExtension)
    }


def _utf8_string(der: bytes) -> str:
    """Return the text of a DER UTF8String; raises `ValueError` for anything else."""
    tag_and_first = 2
    if len(der) < tag_and_first or der[0] != _UTF8_STRING:
        raise ValueError("not a UTF8String")
    start, length = tag_and_first, der[1]
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[tag_and_first:start], "big")
    text = der[start:]
    if length != len(text):
        raise ValueError("a UTF8String of another length")
    return text.decode("utf-8")

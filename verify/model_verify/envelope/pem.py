"""Certificates and lists of revoked ones, in files of the caller's. Spec: statement §9.2, §10.2."""

from __future__ import annotations

import warnings

from cryptography import x509

from model_verify.errors import AttestError, CertificateUnreadable

MAX_CERTIFICATES = 1024
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_CRL = b"-----BEGIN X509 CRL-----"


def read_certificates(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Return the certificates of a PEM file, each once and in order; raises `CertificateUnreadable`."""
    if _CERTIFICATE not in pem:
        raise CertificateUnreadable("no certificate in PEM", hint=f"it has `{_CERTIFICATE.decode()}`")
    if pem.count(_CERTIFICATE) > MAX_CERTIFICATES:
        raise CertificateUnreadable(f"more than {MAX_CERTIFICATES} certificates")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of certificates that are read all the same
            found = tuple(dict.fromkeys(x509.load_pem_x509_certificates(pem)))
            for one in found:
                _ = one.subject, one.issuer, one.extensions  # what is malformed in them is said only when asked
            return found
    except MemoryError:
        raise
    except Exception as error:
        raise CertificateUnreadable(f"not a certificate: {_reason(error)}") from error


def read_crls(data: bytes) -> tuple[x509.CertificateRevocationList, ...]:
    """Return the certificate revocation lists of a file, in PEM or one in DER; raises `CertificateUnreadable`."""
    try:
        if _CRL not in data:
            return (x509.load_der_x509_crl(data),)
        parts = data.split(_CRL)[1:]
        if len(parts) > MAX_CERTIFICATES:
            raise CertificateUnreadable(f"more than {MAX_CERTIFICATES} revocation lists")
        return tuple(x509.load_pem_x509_crl(_CRL + part) for part in parts)
    except (AttestError, MemoryError):
        raise
    except Exception as error:
        raise CertificateUnreadable(f"not a certificate revocation list: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]

"""Timestamps of RFC 3161: somebody's word that data existed at a time. Spec: statement §6.7, §9."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

from cryptography import x509

from model_verify.envelope.authority import TimestampAuthority, signs_timestamps
from model_verify.envelope.evidence import TimeEvidence
from model_verify.errors import TimestampsMissing

try:
    from rfc3161_client import TimeStampResponse, VerificationError, VerifierBuilder, decode_timestamp_response
except ImportError as missing:
    raise TimestampsMissing(
        "timestamps are verified by rfc3161-client, which is not installed",
        hint="`pip install 'model-attest[timestamps]'`, or name no timestamping authority",
    ) from missing

MAX_TIMESTAMP_BYTES = 64 << 10


def verified_time(response: bytes, message: bytes, authorities: Sequence[TimestampAuthority]) -> TimeEvidence | None:
    """Return when one of the authorities says to have seen `message`; None where none of them does.

    The chain is judged at the time that it states: one that has expired since was good then.
    """
    if len(response) > MAX_TIMESTAMP_BYTES:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of certificates that an attacker wrote
            return _verified_time(response, message, authorities)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    # On what an attacker wrote, the library raises far more than its own errors; a panic of its Rust is no `Exception`.
    except BaseException:
        return None


def _verified_time(response: bytes, message: bytes, authorities: Sequence[TimestampAuthority]) -> TimeEvidence | None:
    stamped = decode_timestamp_response(response)
    time = stamped.tst_info.gen_time
    for authority in authorities:
        for signer in authority.signers or tuple(_named_signer(stamped)):
            verifier = VerifierBuilder(
                tsa_certificate=signer, intermediates=list(authority.between), roots=list(authority.roots)
            ).build()
            try:
                verifier.verify_message(stamped, message)
            except VerificationError:
                continue
            if authority.serves_at(time):
                return TimeEvidence("timestamp", signer.subject.rfc4514_string(), time)
    return None


def _named_signer(stamped: TimeStampResponse) -> Iterator[x509.Certificate]:
    """Yield the certificate that a timestamp brings with it and names as its signer's, if there is exactly one.

    Of two with one name and number, the signature could be held against the one and the usage against the other.
    """
    (signer,) = stamped.signed_data.signer_infos
    brought = [x509.load_der_x509_certificate(der) for der in stamped.signed_data.certificates]
    named = [one for one in brought if (one.issuer, one.serial_number) == (signer.issuer, signer.serial_number)]
    if len(named) == 1 and signs_timestamps(named[0]):
        yield named[0]

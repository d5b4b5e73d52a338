"""Timestamps of RFC 3161: somebody's word that data existed at a time. Spec: statement §6.5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

from model_verify.envelope.evidence import TimeEvidence


@dataclass(frozen=True, slots=True)
class TimestampAuthority:
    """One that the caller trusts: its chain from the certificate that signs to the root, and when it was in service."""

    chain: tuple[x509.Certificate, ...]
    start: datetime
    end: datetime | None


def verified_time(response: bytes, message: bytes, authorities: Sequence[TimestampAuthority]) -> TimeEvidence | None:
    """Return when one of the authorities says to have seen `message`; None where none of them does.

    The chain is judged at the time that it states: one that has expired since was good then.
    """
    try:
        stamped = decode_timestamp_response(response)
    except ValueError:
        return None
    for authority in authorities:
        signer, *between, root = authority.chain
        builder = VerifierBuilder().tsa_certificate(signer).add_root_certificate(root)
        for certificate in between:
            builder = builder.add_intermediate_certificate(certificate)
        try:
            builder.build().verify_message(stamped, message)
        except VerificationError:
            continue
        time = stamped.tst_info.gen_time
        if authority.start <= time and (authority.end is None or time < authority.end):
            return TimeEvidence("timestamp", signer.subject.rfc4514_string(), time)
    return None

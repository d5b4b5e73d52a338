"""Signatures under certificates of a Sigstore instance, verified by the sigstore client, offline. Spec: statement §6.

The one module of the verifier that imports the client. What the client promises, and this relies on: it takes exactly
one log entry, verifies the certificate's chain, its entry in a CT log, the inclusion proof, the log's promise, that the
entry is about this envelope, and the signature, at every verified time, and that there is one.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from model_verify.envelope.authority import TimestampAuthority
from model_verify.envelope.bundle import SignedPayload
from model_verify.envelope.certificate import read_claims, read_identity
from model_verify.envelope.check import SignatureCheck, failed
from model_verify.envelope.dating import untrusted_timestamps
from model_verify.envelope.evidence import LogPlace, SigningTime, TimeEvidence
from model_verify.envelope.identity import ExpectedIdentity, ExpectedJob, Identity, JobClaims
from model_verify.errors import SigstoreMissing, TrustConfigUnreadable
from model_verify.models import CertificateMaterial, LogEntry

try:
    from sigstore.models import Bundle, ClientTrustConfig, TrustedRoot
    from sigstore.verify import Verifier

    from model_verify.envelope.timestamps import verified_time
except ImportError as missing:
    raise SigstoreMissing(
        "identities are verified by the sigstore client, which is not installed",
        hint="`pip install 'model-attest[sigstore]'`, or name a key",
    ) from missing

# It warns on stderr that it is offline, unless somebody listens; that it is offline is what we want of it.
logging.getLogger("sigstore").addHandler(logging.NullHandler())

_MOST_REASON_CHARACTERS = 300


def verify_certified(
    signed: SignedPayload, material: CertificateMaterial, expected: ExpectedIdentity | ExpectedJob
) -> SignatureCheck:
    """Return whether the identity or job signed, and when; raises `TrustConfigUnreadable`.

    Whom the certificate names is looked at last, so that `IDENTITY_MISMATCH` names somebody who did sign.
    """
    root, verifier = _trust(expected.trust_config)
    named = _Named()
    try:
        kind, payload = verifier.verify_dsse(Bundle.from_json(signed.bundle), named)
        if (kind, payload) != (signed.payload_type, signed.payload):
            raise ValueError("the client read another payload")
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    # The client works on what an attacker wrote, and raises far more than its own errors, a panic of Rust among them,
    # which is no `Exception`. Whatever stops it, stops us.
    except BaseException as error:
        reason = " ".join((str(error) or type(error).__name__).split())[:_MOST_REASON_CHARACTERS]
        return failed("SIGNATURE_INVALID", f"signed by {expected}", reason)
    if named.identity is None or not named.is_expected(expected):
        job = f", {named.claims}" if isinstance(expected, ExpectedJob) else ""
        return failed("IDENTITY_MISMATCH", f"signed by {expected}", f"signed by {named.identity}{job}")
    stamps = [verified_time(stamp, signed.signature, root.timestamp_authorities) for stamp in signed.timestamps]
    evidence = (*(stamp for stamp in stamps if stamp), *_promised(material.log_entry))
    if not evidence:
        return failed("SIGNATURE_INVALID", f"signed by {expected}", "nothing shows when it was signed")
    return SignatureCheck(
        ExpectedIdentity(named.identity, expected.trust_config),
        claims=named.claims,
        findings=(untrusted_timestamps(f"{stamps.count(None)} by none"),) if None in stamps else (),
        time=SigningTime(evidence, _place(material.log_entry)),
    )


class _Named:
    """A policy of the client's that takes every certificate, and remembers whom the verified one names."""

    def __init__(self) -> None:
        self.identity: Identity | None = None
        self.claims = JobClaims()

    def verify(self, cert: x509.Certificate) -> None:
        der = cert.public_bytes(Encoding.DER)
        self.identity, self.claims = read_identity(der), read_claims(der)

    def is_expected(self, expected: ExpectedIdentity | ExpectedJob) -> bool:
        if isinstance(expected, ExpectedIdentity):
            return self.identity == expected.identity
        return self.identity is not None and expected.is_met(self.identity, self.claims)


class _Root:
    """A trusted root, with what of it is asked again."""

    def __init__(self, trusted_root: TrustedRoot) -> None:
        self.timestamp_authorities = [
            TimestampAuthority.from_chain(
                authority.certificates(allow_expired=True),
                authority.validity_period_start,
                authority.validity_period_end,
            )
            for authority in trusted_root.get_timestamp_authorities()
        ]


@functools.lru_cache(maxsize=8)
def _trust(trust_config: bytes | None) -> tuple[_Root, Verifier]:
    """Return a trusted root and the verifier that goes by it."""
    trusted_root = read_trust_config(trust_config).trusted_root
    try:
        return _Root(trusted_root), Verifier(trusted_root=trusted_root)
    except Exception as error:
        raise _unreadable(error) from error


def read_trust_config(trust_config: bytes | None) -> ClientTrustConfig:
    """Return a trust configuration, without a network; raises `TrustConfigUnreadable`.

    The public instance's is the client's own: the one that it was shipped with, or that it fetched since.
    """
    try:
        if trust_config is None:
            return ClientTrustConfig.production(offline=True)
        config = ClientTrustConfig.from_json(trust_config.decode("utf-8"))
        _ = config.trusted_root  # what it refuses, it refuses only when asked
    except Exception as error:
        raise _unreadable(error) from error
    return config


def _unreadable(error: Exception) -> TrustConfigUnreadable:
    reason = " ".join(str(error).split())[:_MOST_REASON_CHARACTERS]
    return TrustConfigUnreadable(
        f"not a Sigstore trust configuration: {reason}",
        hint="it is JSON of type application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
    )


def _promised(entry: LogEntry) -> Iterator[TimeEvidence]:
    """Yield when the log says to have taken an entry; the client has verified its signature over that."""
    if entry.promised_time_s is not None:
        yield TimeEvidence("log", _origin(entry), datetime.fromtimestamp(entry.promised_time_s, UTC))


def _place(entry: LogEntry) -> LogPlace:
    """Return where an entry is; the log's key identifier is no part of it, as nothing signs that in Rekor v2."""
    return LogPlace(_origin(entry), int(entry.log_index))


def _origin(entry: LogEntry) -> str:
    """Return the name of a log: the first line of the checkpoint that it signed."""
    return entry.inclusion_proof.checkpoint.envelope.split("\n", 1)[0]

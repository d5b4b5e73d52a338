"""When a bundle was signed, by the timestamps that it carries. Spec: statement §9."""

from __future__ import annotations

from model_verify.envelope.authority import MOST_SKEW, TimeTrust
from model_verify.envelope.bundle import SignedPayload
from model_verify.envelope.evidence import SigningTime, TimeEvidence
from model_verify.findings import Finding
from model_verify.models import BUNDLE_PATH


def date_signature(signed: SignedPayload, trust: TimeTrust) -> tuple[SigningTime | None, tuple[Finding, ...]]:
    """Return the verified times, None where there is none, and what is to be said of the other timestamps.

    Where the caller trusts no authority, no timestamp is looked at. Raises `TimestampsMissing` where one should be, and
    the software for it is not installed.
    """
    if not (signed.timestamps and trust.authorities):
        return None, ()
    # Only here, so that bundles without timestamps need no software for them.
    from model_verify.envelope.timestamps import verified_time

    evidence: list[TimeEvidence] = []
    untrusted = ahead = 0
    latest = trust.verified_at + MOST_SKEW
    for stamp in signed.timestamps:
        word = verified_time(stamp, signed.signature, trust.authorities)
        if word is None:
            untrusted += 1
        elif word.time > latest:
            ahead += 1
        else:
            evidence.append(word)
    said = [f"{untrusted} by none"] if untrusted else []
    said += [f"{ahead} ahead of the clock here"] if ahead else []
    findings = [untrusted_timestamps(", ".join(said))] if said else []
    return SigningTime(tuple(evidence)) if evidence else None, tuple(findings)


def untrusted_timestamps(actual: str) -> Finding:
    """Return what is said of timestamps that are no evidence."""
    return Finding("TIMESTAMP_UNTRUSTED", BUNDLE_PATH, "timestamps by authorities that you trust", actual)

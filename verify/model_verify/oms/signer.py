"""Whether somebody whom the caller named signed a `model.sig`. Spec: oms §2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from model_verify.envelope import (
    ExpectedSigner,
    PublicKey,
    SignatureCheck,
    SignedPayload,
    TimeTrust,
    check_signature,
    names_signer,
)
from model_verify.files import OMS_SIGNATURE_PATH
from model_verify.findings import Finding
from model_verify.oms.hint import pem_hint


@dataclass(frozen=True, slots=True)
class SignerCheck:
    """Who signed; where nobody did whom the caller named, the findings say whether that is a false claim."""

    signature: SignatureCheck = field(default_factory=SignatureCheck)
    findings: tuple[Finding, ...] = ()


def check_signer(
    signed: SignedPayload,
    expected: Sequence[ExpectedSigner],
    trust: TimeTrust | None,
    accepts: Callable[[SignatureCheck], bool],
) -> SignerCheck:
    """Return the check under the first of `expected` who signed and whom `accepts` takes; there is at least one.

    Whom the bundle names decides the order, and, where nobody signed, between a signature that is false and one by
    somebody else. Neither counts for anything.

    Raises `SigstoreMissing` and `TrustConfigUnreadable` where an identity is expected and this cannot be found out.
    """
    named = [signer for signer in expected if _names(signed, signer)]
    reasons: list[Finding] = []
    for signer in (*named, *(other for other in expected if other not in named)):
        signature = check_signature(signed, signer, trust)
        if signature.holds and accepts(signature):
            findings = tuple(replace(finding, where=OMS_SIGNATURE_PATH) for finding in signature.findings)
            return SignerCheck(signature, findings)
        reasons += signature.findings
    if not named:
        other = Finding("OMS_SIGNER_OTHER", OMS_SIGNATURE_PATH, "signed by a signer named by you", claimed(signed))
        return SignerCheck(findings=(other,))
    why = f"{reasons[0].code}: {reasons[0].actual}" if reasons else "your policy does not accept that"
    invalid = Finding("OMS_SIGNATURE_INVALID", OMS_SIGNATURE_PATH, f"signed by {_described(named[0])}", why)
    return SignerCheck(findings=(invalid,))


def claimed(signed: SignedPayload) -> str:
    """Return whom a bundle names, which it may do wrongly."""
    return signed.named if signed.hint is None else f"key of hint {signed.hint}"


def _names(signed: SignedPayload, signer: ExpectedSigner) -> bool:
    if isinstance(signer, PublicKey) and signed.hint == pem_hint(signer):
        return True
    return names_signer(signed, signer)


def _described(signer: ExpectedSigner) -> str:
    return f"key {signer.hint}" if isinstance(signer, PublicKey) else str(signer)

"""From a statement's bytes to its bundle, by any signer, checked as a verifier will. Spec: statement §4, §8."""

from __future__ import annotations

from dataclasses import dataclass

from model_attest.signers.signer import Signer
from model_verify.envelope import SignatureCheck, SignedPayload, TimeTrust, check_signature, is_statement, open_bundle
from model_verify.errors import MalformedInput, OutputError


@dataclass(frozen=True, slots=True)
class SignedBundle:
    """A bundle that passed its own verification: its bytes, and who signed it when, as a verifier finds it."""

    data: bytes
    signature: SignatureCheck


def sign_statement(statement: bytes, signer: Signer, trust: TimeTrust | None = None) -> SignedBundle:
    """Return the bundle that carries `statement` under the signer's signature; nothing is written.

    `placement.replace_file` and `placement.place_new_file` write it, whole or not at all. Raises `OutputError` where
    the bundle does not pass its own verification, and what the signer raises. `trust` says whose timestamps count.
    """
    bundle = signer.sign(statement)
    return SignedBundle(bundle, check_own_bundle(bundle, signer, statement, trust)[1])


def check_own_bundle(
    bundle: bytes, signer: Signer, statement: bytes, trust: TimeTrust | None = None
) -> tuple[SignedPayload, SignatureCheck]:
    """Return a finished bundle as a verifier opens it, and who signed it.

    Raises `OutputError` where it objects, or would not take a timestamp by those whom `trust` names.
    """
    try:
        signed = open_bundle(bundle)
        signature = check_signature(signed, signer.expected(signed), trust)
    except MalformedInput as error:
        raise OutputError(f"the attestation does not pass its own verification: {error}") from error
    if not signature.holds:
        problem = signature.findings[0].actual
        raise OutputError(f"the attestation does not pass its own verification: the signature is not valid: {problem}")
    if trust is not None and trust.authorities and signature.findings:
        problem = f"{signature.findings[0].expected}: {signature.findings[0].actual}"
        raise OutputError(f"the attestation does not pass its own verification: {problem}")
    if not is_statement(signed) or signed.payload != statement:
        raise OutputError("the attestation does not pass its own verification: the bundle holds another payload")
    return signed, signature

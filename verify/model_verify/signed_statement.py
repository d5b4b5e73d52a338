"""A signed statement of any type, under one of several signers whom the caller expects. Spec: statement §8.

The one way from a bundle to a statement that is no attestation of a model: a summary, a commit, an observation, a
revocation. What its predicate says is read by the module of its type, after this.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from pydantic import ValidationError

from model_verify.canonical import loads
from model_verify.envelope import (
    MAX_BUNDLE_BYTES,
    ExpectedSigner,
    SignatureCheck,
    SignedPayload,
    TimeTrust,
    check_signature,
    is_statement,
    names_signer,
    open_bundle,
)
from model_verify.errors import MalformedDocument, MalformedJson
from model_verify.findings import Finding
from model_verify.models import PAYLOAD_TYPE
from model_verify.models.any_statement import AnyStatementHead
from model_verify.validation import first_problem


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """What came of reading a bundle. `head` is there only below a signature that holds."""

    findings: tuple[Finding, ...]
    signed: SignedPayload | None = None
    """What the bundle carries; None where it is none. Nothing of it is verified but by `signature`."""
    signature: SignatureCheck = field(default_factory=SignatureCheck)
    head: AnyStatementHead | None = None
    """The statement, its predicate unread; None where something stopped the reading, which the findings say."""


def read_signed_statement(
    bundle: bytes,
    expected: Sequence[ExpectedSigner],
    predicate_types: Collection[str],
    *,
    where: str,
    trust: TimeTrust | None = None,
) -> SignedStatement:
    """Return the statement in a bundle, of one of these types, if one of the expected signers signed it.

    `where` names the bundle in findings; `trust` says whose timestamps count, and when it is verified. Nothing of the
    payload is parsed below a signature that does not hold, so with nobody expected there is never a statement:
    SIGNER_NOT_EXPECTED. Findings have the codes of verification V2 to V4;
    one of severity warn does not stop.

    Raises `SigstoreMissing` and `TrustConfigUnreadable` where an identity is expected and this cannot be found out.
    """
    try:
        signed = open_bundle(bundle)
    except MalformedDocument as error:
        return SignedStatement((Finding(error.code, where, error.rule, error.reason),))
    if not expected:
        return SignedStatement((Finding("SIGNER_NOT_EXPECTED", where, "a signer named by you", signed.named),), signed)
    signature = _check(signed, expected, trust)
    findings = tuple(replace(finding, where=where) for finding in signature.findings)
    if not signature.holds:
        return SignedStatement(findings, signed, signature)
    try:
        head = _read_head(signed, predicate_types)
    except MalformedDocument as error:
        stopped = Finding(error.code, where, error.rule, error.reason)
        return SignedStatement((*findings, stopped), signed, signature)
    return SignedStatement(findings, signed, signature, head)


def _check(signed: SignedPayload, expected: Sequence[ExpectedSigner], trust: TimeTrust | None) -> SignatureCheck:
    """Return the check under the first expected signer who signed; else that under the one whom the bundle names.

    Whom it names decides nothing but the order: a hint that lies neither lets a bundle in nor keeps one out.
    """
    named = [signer for signer in expected if names_signer(signed, signer)]
    checks: list[SignatureCheck] = []
    for signer in (*named, *(other for other in expected if other not in named)):
        checks.append(check_signature(signed, signer, trust))
        if checks[-1].holds:
            return checks[-1]
    return checks[0]


def _read_head(signed: SignedPayload, predicate_types: Collection[str]) -> AnyStatementHead:
    """Return the statement in a payload, its predicate unread; raises `MalformedDocument`."""
    if not is_statement(signed):
        raise MalformedDocument("PAYLOAD_TYPE_WRONG", json.dumps(signed.payload_type)[:200], rule=PAYLOAD_TYPE)
    try:
        head = AnyStatementHead.read(loads(signed.payload, max_bytes=MAX_BUNDLE_BYTES))
    except MalformedJson as error:
        raise MalformedDocument("STATEMENT_MALFORMED", error.reason, rule=error.rule) from error
    except ValidationError as error:
        raise MalformedDocument("STATEMENT_MALFORMED", first_problem(error), rule="statement §8") from error
    if head.predicate_type not in predicate_types:
        raise MalformedDocument("PREDICATE_TYPE_UNKNOWN", json.dumps(head.predicate_type)[:200], rule="statement §8")
    return head

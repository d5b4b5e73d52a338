"""From what is no longer to be trusted to the statement that says so. Spec: history §1."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from pydantic import ValidationError

from model_verify.digest import CheckpointRoot
from model_verify.errors import CallerError
from model_verify.history.revocation import subject_digest
from model_verify.models.any_statement import AnyStatementHead, AnySubject
from model_verify.models.history import (
    REVOCATION_TYPE,
    Revocation,
    RevokedIdentity,
    RevokedKey,
    RevokedRoot,
    RevokedSigner,
)
from model_verify.validation import first_problem

_HINT = re.compile(r"(sha256:)?(?P<hint>[0-9a-f]{64})")


def revoked_root(text: str) -> RevokedRoot:
    """Return a checkpoint root that is to be revoked; raises `CallerError` for anything else."""
    try:
        return RevokedRoot(checkpoint_root=CheckpointRoot.parse(text))
    except ValueError as error:
        raise CallerError(f"`{text[:200]}` is not a root: {error}", hint="`attest hash DIR` prints one") from error


def revoked_signer(text: str, issuer: str | None) -> RevokedSigner:
    """Return a signer that is to be revoked: a key by its hint, or a name and its issuer; raises `CallerError`."""
    hint = _HINT.fullmatch(text)
    if issuer is None and hint is not None:
        return RevokedKey(key_hint=hint["hint"])
    if issuer is None:
        raise CallerError(f"`{text[:200]}` without `--issuer`", hint="a key is named by the 64 digits of its hint")
    try:
        return RevokedIdentity(identity=text, issuer=issuer)
    except ValidationError as error:
        raise CallerError(f"the signer: {first_problem(error)}") from error


def build_revocation(
    revokes: RevokedRoot | RevokedSigner, reason: str, *, since: str | None = None, now: datetime | None = None
) -> bytes:
    """Return the statement, as canonical JSON; `now` is when it is issued. Raises `CallerError`."""
    issued = (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    try:
        predicate = Revocation(revokes=revokes, issued=issued, reason=reason, revoked_since=since)
    except ValidationError as error:
        raise CallerError(f"the revocation: {first_problem(error)}", hint="a time is 2026-07-01T12:00:00Z") from error
    head = AnyStatementHead(
        statement_type="https://in-toto.io/Statement/v1",
        subject=[AnySubject(digest=subject_digest(revokes))],
        predicate_type=REVOCATION_TYPE,
        predicate=predicate.model_dump(mode="json", by_alias=True, exclude_none=True),
    )
    return head.canonical()

"""What a verifier has taken back of what it said. Spec: summary S4; history §1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import ValidationError

from model_verify.envelope import ExpectedSigner, SignatureCheck, TimeTrust
from model_verify.envelope.check import claimed_signer
from model_verify.envelope.evidence import utc_text
from model_verify.findings import Finding
from model_verify.history.folder import BundleFile
from model_verify.history.revocation import is_about
from model_verify.history.target import names
from model_verify.models.history import REVOCATION_TYPE, Revocation, RevokedRoot
from model_verify.signed_statement import read_signed_statement
from model_verify.summary.reading import Summary, moment
from model_verify.validation import first_problem


def revoked(
    files: Sequence[BundleFile],
    expected: Sequence[ExpectedSigner],
    summary: Summary,
    signature: SignatureCheck,
    trust: TimeTrust,
) -> Iterator[Finding]:
    """Yield what revocations mean for a summary; only whoever is accepted as its signer may take it back."""
    for file in files:
        read = read_signed_statement(file.data, expected, {REVOCATION_TYPE}, where=file.label, trust=trust)
        if read.head is None:
            if read.signed is None or read.signature.holds:
                stopped = read.findings[-1]
                yield _malformed(file, stopped.actual or stopped.code)
            else:
                named = f"it names {claimed_signer(read.signed)}"
                yield Finding("REVOCATION_NOT_HONOURED", file.label, "signed by the verifier", named)
            continue
        try:
            revocation = Revocation.read(read.head.predicate)
            since = None if revocation.revoked_since is None else moment(revocation.revoked_since)
        except ValidationError as error:
            yield _malformed(file, first_problem(error))
            continue
        except ValueError:
            yield _malformed(file, "a time that no calendar has")
            continue
        if not is_about(read.head.subject, revocation):
            yield _malformed(file, "the subject is not what is revoked")
            continue
        revokes, said = revocation.revokes, f"{file.label}: {revocation.reason[:200]}"
        if isinstance(revokes, RevokedRoot):
            if revokes.checkpoint_root in summary.roots:
                yield Finding("ROOT_REVOKED", str(revokes), "weights that stand", said)
        elif signature.signer is not None and names(revokes, signature.signer):
            time = signature.time
            if since is not None and time is not None and time.earliest.time < since:
                signed = f"signed before {utc_text(time.earliest.time)}"
                yield Finding("SIGNER_REVOKED_LATER", str(revokes), f"revoked since {utc_text(since)}", signed)
            else:
                yield Finding("SIGNER_REVOKED", str(revokes), "a verifier that stands", said)


def _malformed(file: BundleFile, reason: str) -> Finding:
    return Finding("REVOCATION_MALFORMED", file.label, "a revocation", reason)

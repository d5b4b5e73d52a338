"""What a `model.sig` means in the procedure and in the report. Spec: oms; verification V7."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from model_verify.envelope import ExpectedSigner, TimeTrust
from model_verify.files import OMS_SIGNATURE_PATH
from model_verify.findings import REASONS, Severity
from model_verify.folder import FolderCheck
from model_verify.models import Manifest
from model_verify.oms import ModelSigCase, ModelSigCheck, check_model_sig
from model_verify.oms.content import Attested
from model_verify.policy.document import AcceptedSigners
from model_verify.report import ReportModelSig, ReportNotChecked
from model_verify.signature_report import describe_expected, describe_time
from model_verify.sources.source import Source

_NOT_BOUND = {code for code, (severity, _) in REASONS.items() if severity is Severity.FAIL} | {"OMS_UNSUPPORTED"}


def hold_model_sig(
    source: Source,
    expected: Sequence[ExpectedSigner],
    policy: AcceptedSigners | None,
    trust: TimeTrust,
    manifest: Manifest | None,
    folder: FolderCheck,
    threads: int | None,
) -> ModelSigCheck | None:
    """Return what came of the `model.sig` in the root; None where there is none.

    The signers of a policy are expected of it too: it may be by somebody else than the attestation.
    """
    attested = None
    if manifest is not None:
        attested = Attested(frozenset(file.path for file in manifest.files), folder.as_signed)
    case = ModelSigCase(
        source,
        expected=[*expected, *(policy.signers if policy else ())],
        accepts=lambda signature: policy is None or policy.accepts(signature),
        trust=trust,
        attested=attested,
        threads=threads,
    )
    return check_model_sig(case)


def describe_model_sig(check: ModelSigCheck | None) -> ReportModelSig | None:
    """Return the part of the report; None where nobody whom the caller named has signed it."""
    if check is None or check.signature.signer is None:
        return None
    listing, content = check.listing, check.content
    return ReportModelSig(
        signer=describe_expected(check.signature.signer, anchor=check.signature.anchor),
        time=describe_time(check.signature.time),
        serialization=None if listing is None else "files" if listing.shard_bytes is None else "shards",
        hash_type=None if listing is None else listing.hash_type,
        files_listed=0 if listing is None else len(listing.files),
        files_matched=0 if content is None else content.files_matched,
        left_out=0 if content is None else content.left_out,
        binds=check.binds,
    )


def what_it_binds(check: ModelSigCheck | None, *, attested: bool) -> str:
    """Return what the headline says of it, where there is nothing else that binds the folder to anybody."""
    described = describe_model_sig(check)
    codes = {finding.code for finding in check.findings} if check else set()
    if attested or described is None or described.serialization is None or codes & _NOT_BOUND:
        return ""
    what = "every byte" if described.binds else f"{described.files_matched} files, not all that are there,"
    return (
        f"; `model.sig` binds {what} to {described.signer.described}, and says nothing of where the weights come from"
    )


def model_sig_not_checked(source: Source, check: ModelSigCheck | None) -> Iterator[ReportNotChecked]:
    """Yield that it was not checked, and why; where the procedure stopped before, it was not looked at."""
    if check is not None and check.why_not:
        yield ReportNotChecked(what=OMS_SIGNATURE_PATH, why=check.why_not)
    elif check is None and any(entry.path == OMS_SIGNATURE_PATH for entry in source.entries()):
        yield ReportNotChecked(what=OMS_SIGNATURE_PATH, why="the procedure stopped before")

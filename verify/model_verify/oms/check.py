"""A `model.sig` from its bytes to findings. Spec: oms; verification V7."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from model_verify.envelope import (
    MAX_BUNDLE_BYTES,
    ExpectedSigner,
    SignatureCheck,
    SignedPayload,
    TimeTrust,
    open_bundle,
)
from model_verify.errors import MalformedDocument
from model_verify.files import OMS_SIGNATURE_PATH
from model_verify.findings import Finding, Severity
from model_verify.oms.content import Attested, ContentCheck, check_content
from model_verify.oms.listing import Listing, read_listing
from model_verify.oms.roots import without_roots
from model_verify.oms.signer import check_signer, claimed
from model_verify.sources.source import Entry, EntryKind, Source, read_whole


@dataclass(frozen=True, slots=True)
class ModelSigCase:
    """What a `model.sig` is held against."""

    source: Source
    expected: Sequence[ExpectedSigner]
    """Whom the caller named, in any way."""
    accepts: Callable[[SignatureCheck], bool] = lambda signature: True
    """Whether the caller's policy takes somebody who signed."""
    trust: TimeTrust | None = None
    """Whose timestamps count."""
    attested: Attested | None = None
    """None where the folder has no attestation."""
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class ModelSigCheck:
    """What came of it. `content` is there only below a signature by somebody whom the caller named."""

    findings: tuple[Finding, ...] = ()
    signature: SignatureCheck = field(default_factory=SignatureCheck)
    listing: Listing | None = None
    content: ContentCheck | None = None
    why_not: str = ""
    """Why it was not checked, where it was not."""

    @property
    def binds(self) -> bool:
        """Whether a signer whom the caller named binds every byte that is in the folder."""
        return self.content is not None and not any(
            finding.severity in (Severity.FAIL, Severity.INCOMPLETE) for finding in self.findings
        )


def check_model_sig(case: ModelSigCase) -> ModelSigCheck | None:
    """Return what came of the `model.sig` in a folder's root; None where there is none.

    Raises `SourceError` where files cannot be read or change meanwhile, and what `check_signature` raises.
    """
    entry = next((entry for entry in case.source.entries() if entry.path == OMS_SIGNATURE_PATH), None)
    if entry is None:
        return None
    try:
        signed = _open(case.source, entry)
    except MalformedDocument as error:
        if error.code == "SIGNATURE_KIND_UNSUPPORTED":
            return ModelSigCheck(why_not=f"{error.reason}, which is not evaluated by this version")
        found = Finding("OMS_BUNDLE_MALFORMED", OMS_SIGNATURE_PATH, error.rule, error.reason)
        return ModelSigCheck((found,), why_not="it is no bundle")
    if not case.expected:
        return ModelSigCheck(why_not=f"nobody said whose signature to expect; it names {claimed(signed)}")
    who = check_signer(signed, case.expected, case.trust, case.accepts)
    if not who.signature.holds:
        return ModelSigCheck(who.findings, why_not="nobody whom you named has signed it")
    try:
        listing = read_listing(signed)
        content = check_content(case.source, listing, case.attested, threads=case.threads)
    except MalformedDocument as error:
        stopped = Finding(error.code, OMS_SIGNATURE_PATH, error.rule, error.reason)
        return ModelSigCheck((*who.findings, stopped), who.signature, why_not="it cannot be read")
    return ModelSigCheck((*who.findings, *content.findings), who.signature, listing, content)


def _open(source: Source, entry: Entry) -> SignedPayload:
    if entry.kind is EntryKind.IRREGULAR:
        raise MalformedDocument("OMS_BUNDLE_MALFORMED", entry.detail, rule="a regular file")
    if entry.size_bytes > MAX_BUNDLE_BYTES:
        raise MalformedDocument(
            "OMS_BUNDLE_MALFORMED", f"{entry.size_bytes} bytes", rule=f"at most {MAX_BUNDLE_BYTES} bytes"
        )
    data = read_whole(source, OMS_SIGNATURE_PATH, max_bytes=MAX_BUNDLE_BYTES)
    return open_bundle(without_roots(data, max_bytes=MAX_BUNDLE_BYTES))

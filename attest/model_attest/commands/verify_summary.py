"""`attest verify-summary`: whether another's verification may be taken for one's own."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from model_attest.commands.arguments import (
    JsonFlag,
    TrustConfigOption,
    place,
    read_small_file,
)
from model_attest.commands.references import Models, local_roots
from model_attest.commands.trust import (
    CertificateRootOption,
    CrlOption,
    IssuerOption,
    SourceRefOption,
    TsaOption,
    WorkflowOption,
    any_expected_signer,
    read_authorities,
)
from model_attest.commands.verify import MOST_NOTES, trust_notes
from model_attest.console import Answer
from model_verify.errors import CallerError, KeyUnreadable, SourceError, SourceMissing

if TYPE_CHECKING:
    from model_verify.digest import Digest, FileDigest

_D = TypeVar("_D", bound="Digest")


def verify_summary(
    summary: Annotated[str, typer.Argument(metavar="FILE", help="The summary that somebody signed.")],
    model: Annotated[
        str | None, typer.Argument(metavar="REF", help="The model that you have: a folder, or `org/model@revision`.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="PUB", help="The public key of the verifier whom you trust, PEM.")
    ] = None,
    identity: Annotated[
        str | None,
        typer.Option("--identity", metavar="NAME", help="The verifier whom you trust, where no key is named."),
    ] = None,
    issuer: IssuerOption = None,
    source_repository: Annotated[
        str | None,
        typer.Option("--source-repository", metavar="URL", help="Whose CI job you trust, in place of an identity."),
    ] = None,
    workflow: WorkflowOption = None,
    source_ref: SourceRefOption = None,
    trust_config: TrustConfigOption = None,
    certificate_root: CertificateRootOption = None,
    crl: CrlOption = None,
    tsa: TsaOption = None,
    verifier: Annotated[
        str | None, typer.Option("--verifier", metavar="URI", help="What that verifier calls itself in the summary.")
    ] = None,
    resource: Annotated[
        str | None,
        typer.Option("--resource", metavar="URI", help="From where you have the model; else REF's place on the Hub."),
    ] = None,
    policy: Annotated[
        str | None, typer.Option("--policy", metavar="FILE", help="The policy that it was to be held against.")
    ] = None,
    attestation: Annotated[
        str | None,
        typer.Option("--attestation", metavar="FILE|DIR", help="The attestation outside of REF that was verified."),
    ] = None,
    manifest: Annotated[
        str | None,
        typer.Option("--manifest", metavar="DIGEST", help="The manifest's SHA-256, where you have no REF: sha256:…"),
    ] = None,
    root: Annotated[
        str | None, typer.Option("--root", metavar="DIGEST", help="The checkpoint root; it speaks of weights alone.")
    ] = None,
    revocations: Annotated[
        str | None,
        typer.Option("--revocations", metavar="PATH", help="What the verifier took back: a file, or a folder of them."),
    ] = None,
    read_files: Annotated[
        bool, typer.Option("--read-files", help="Read every byte of REF too, and compare it with its manifest.")
    ] = False,
    require_level: Annotated[
        int, typer.Option("--require-level", min=1, max=3, help="A lower level than this is exit code 3.")
    ] = 1,
    max_age_days: Annotated[
        int | None,
        typer.Option("--max-age-days", metavar="DAYS", min=1, max=36_500, help="How old the verification may be."),
    ] = None,
    json: JsonFlag = False,
) -> Answer:
    """Check the signed summary of somebody else's verification.

    Takes the word of a verifier whom you name, on the model that you have. It checks the signature, that the summary is
    about that model and that resource, that it passed, and that it holds now. Of REF it reads the manifest and the
    attestation, and no weights: where nobody but you can have changed them since, add `--read-files`.

    \b
    exit codes
      0  SUMMARY ACCEPTED: you can rely on it as far as you trust who signed it
      1  SUMMARY REJECTED: it is not theirs, not about this, did not pass, or is too old
      2  could not run: there is no answer
      3  SUMMARY INCOMPLETE: nothing is wrong, but you did not say enough, or
         the level is below what `--require-level` asks for

    \b
    example
      attest verify-summary town-7b.summary.json ./town-7b --key agency.pub --resource pkg:huggingface/town/town-7b
    """
    from model_attest.commands.summary_text import summary_lines
    from model_verify.digest import CheckpointRoot, FileDigest
    from model_verify.history.folder import load_revocations
    from model_verify.sources.detached import DetachedAttestation
    from model_verify.summary import SummaryRequest, judge_summary

    expected = any_expected_signer(
        key=key,
        identity=identity,
        issuer=issuer,
        trust_config=trust_config,
        repository=source_repository,
        workflow=workflow,
        ref=source_ref,
        certificate_root=certificate_root,
        crls=crl,
    )
    if model is None and (attestation is not None or read_files):
        option = "--attestation" if attestation is not None else "--read-files"
        raise CallerError(f"`{option}` without a model", hint="name its folder after the summary")
    source = None if model is None else Models().at(model)
    trusted = [("key", key), ("trust configuration", trust_config), ("certificate root", certificate_root)]
    trusted += [("policy", policy), *(("timestamping authority", path) for path in tsa or [])]
    roots = [] if source is None else local_roots([source])
    notes = [note for what, path in trusted for note in trust_notes(what, path, roots)][:MOST_NOTES]
    report = judge_summary(
        SummaryRequest(
            bundle=_read(summary),
            label=summary,
            expected_signers=[] if expected is None else [expected],
            now=datetime.now(UTC),
            source=source,
            attestation=None if attestation is None else DetachedAttestation(place(attestation)),
            read_folder=read_files,
            manifest=_digest("--manifest", manifest, FileDigest),
            root=_digest("--root", root, CheckpointRoot),
            verifier=verifier,
            resource=resource,
            policy=_policy(policy),
            minimum_level=require_level,
            maximum_age_days=max_age_days,
            revocations=[] if revocations is None else load_revocations(place(revocations)),
            timestamp_authorities=read_authorities(tsa),
        )
    )
    return Answer(summary_lines(report), report.model_dump(mode="json", by_alias=True), report.exit_code, notes)


def _read(text: str) -> bytes:
    """Return a bundle's bytes; raises `SourceError` where there is no file that could be one."""
    from model_verify.envelope import MAX_BUNDLE_BYTES
    from model_verify.sources.local import LocalFolder
    from model_verify.sources.source import read_whole

    path = place(text)
    if not path.exists():
        raise SourceMissing(f"{path} does not exist", hint="name the file that `attest verify --summary` wrote")
    target = path.resolve()  # named by the caller, so a link may lead anywhere
    if target.is_dir():
        raise SourceError(f"{path} is a folder", hint="name the summary itself; the model's folder comes after it")
    return read_whole(LocalFolder(target.parent), target.name, max_bytes=MAX_BUNDLE_BYTES)


def _digest(option: str, text: str | None, kind: type[_D]) -> _D | None:
    try:
        return None if text is None else kind.parse(text)
    except ValueError as error:
        raise CallerError(
            f"`{option} {text}`: {error}", hint="`attest verify --json` has both under `roots`"
        ) from error


def _policy(text: str | None) -> FileDigest | None:
    """Return the digest of a policy's bytes, as they are: nothing of it is evaluated here."""
    from model_verify.digest import FileDigest
    from model_verify.policy.document import MAX_POLICY_BYTES

    if text is None:
        return None
    try:
        data = read_small_file(place(text), "policy", max_bytes=MAX_POLICY_BYTES)
    except KeyUnreadable as error:
        raise CallerError(error.message, hint=error.hint) from error
    return FileDigest(hashlib.sha256(data).digest())

"""`attest publish`: sign a model folder, upload it, and verify what the Hub then has."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from model_attest import console
from model_attest.commands.arguments import (
    JsonFlag,
    PasswordOption,
    TrustConfigOption,
    folder_at,
    place,
    weight_bytes,
)
from model_attest.commands.model_sig import OmsOption, check_oms, has_model_sig
from model_attest.commands.references import DepthName, Models, depth_of
from model_attest.commands.trust import (
    CertificateOption,
    CertificateRootOption,
    IdentityTokenOption,
    KmsOption,
    PrivateKeyOption,
    TimestampUrlOption,
    TsaOption,
    any_signer,
    read_authorities,
    timestamped,
)
from model_attest.console import Answer, size_text
from model_verify.errors import CallerError, SourceMissing

if TYPE_CHECKING:
    from model_attest.publish import UploadPlan
    from model_verify.models import Manifest
    from model_verify.report import Report
    from model_verify.sources.hub import HubReference
    from model_verify.sources.source import Source

REJECTED = 1
_MOST_NAMED = 20


def publish(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="The model folder.")],
    repository: Annotated[str, typer.Argument(metavar="REPO", help="`org/model`, or `org/model@branch`.")],
    key: PrivateKeyOption = None,
    kms: KmsOption = None,
    certificate: CertificateOption = None,
    certificate_root: CertificateRootOption = None,
    password_file: PasswordOption = None,
    identity_token: IdentityTokenOption = None,
    trust_config: TrustConfigOption = None,
    timestamp_url: TimestampUrlOption = None,
    tsa: TsaOption = None,
    name: Annotated[str | None, typer.Option("--name", help="The model's name; else the repository's.")] = None,
    version: Annotated[str | None, typer.Option("--version", help="The model's version.")] = None,
    message: Annotated[str, typer.Option("--message", metavar="TEXT", help="The message of the commit.")] = (
        "Publish with attestation"
    ),
    private: Annotated[bool, typer.Option("--private", help="Make a new repository a private one.")] = False,
    remove_others: Annotated[
        bool, typer.Option("--remove-others", help="Remove files of the repository that are not in DIR.")
    ] = False,
    depth: Annotated[
        DepthName,
        typer.Option("--depth", help="hub: the Hub's digests are compared. full: every byte is read back."),
    ] = DepthName.hub,
    oms: OmsOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would happen; sign and send nothing.")] = False,
    json: JsonFlag = False,
) -> Answer:
    """Sign a model folder, put it on the Hub as one commit, and verify what the Hub has at that commit.

    The attestation is for that repository. What arrives is held against what was signed: by the SHA-256 that the Hub
    states of each large file, or with `--depth full` by reading every byte back. A wrong upload is exit code 1.

    Files of the repository that are not in DIR would be rejected by every verifier, as nobody signed them:
    `--remove-others` removes them in the same commit.

    \b
    exit codes
      0  published, and the Hub has what was signed
      1  published, and the Hub has something else
      2  could not run; nothing was published unless it says so

    \b
    example
      attest publish ./merged town/merged --key lab --dry-run
      attest publish ./merged town/merged --key lab
    """
    from model_attest.inventory import total_bytes
    from model_attest.publish import check_published, upload
    from model_attest.sign import sign_folder
    from model_verify.envelope import TimeTrust
    from model_verify.sources.hub import HubReference

    target = _target(repository)
    models = Models()
    source = folder_at(folder)
    there = _there(models, target)
    if dry_run:
        return _dry_answer(folder, target, there)
    depth_there = depth_of(depth)
    trust = TimeTrust(read_authorities(tsa))
    chosen = any_signer(
        key=key,
        kms=kms,
        password_file=password_file,
        certificate=certificate,
        certificate_root=certificate_root,
        identity_token=identity_token,
        trust_config=trust_config,
    )
    if oms:
        check_oms(chosen)
    elif has_model_sig(source.root):
        raise CallerError(
            f"{folder}/model.sig would not fit the new attestation", hint="remove it, or make it again with `--oms`"
        )
    signer = timestamped(chosen, timestamp_url)
    _refuse_others(_plan(folder, there, None), remove_others)
    name = target.repository.split("/")[1] if name is None else name
    with console.progress("signing", lambda: total_bytes(source)) as advance:
        signed = sign_folder(
            place(folder), signer, name=name, version=version, uri=target.purl, progress=advance, trust=trust, oms=oms
        )
    assert signed.signature.signer is not None
    plan = _plan(folder, there, _signed_manifest(folder))
    shows_progress = sys.stderr is not None and sys.stderr.isatty()
    commit = upload(source.root, plan, target, message=message, is_private=private, shows_progress=shows_progress)
    published = HubReference(target.repository, commit)
    with console.progress("verifying", lambda: weight_bytes([source])) as advance:
        report = check_published(
            models.connection(),
            published,
            signed.signature.signer,
            depth_there,
            fetch=models.fetcher(),
            progress=advance,
        )
    return _answer(folder, published, plan, report)


def _target(text: str) -> HubReference:
    from model_verify.sources.hub import parse_reference

    reference = parse_reference(text)
    if reference is None:
        raise CallerError(f"`{text}` is no repository of the Hub", hint="write `org/model`")
    if reference.commit is not None:
        raise CallerError(f"`{text}` names a commit", hint="name a branch: a commit cannot be written to")
    return reference


def _there(models: Models, target: HubReference) -> Source | None:
    """Return what is on the Hub, or None where the repository is not there yet."""
    try:
        return models.at(f"hf:{target}")
    except SourceMissing:
        return None


def _plan(folder: str, there: Source | None, manifest: Manifest | None) -> UploadPlan:
    """Return what would be uploaded; without a manifest, as if the Hub had nothing of it."""
    from model_attest.publish import plan_upload

    digests = {} if manifest is None else {file.path: file.file_digest for file in manifest.files}
    return plan_upload(folder_at(folder), digests, there)


def _signed_manifest(folder: str) -> Manifest:
    from model_verify.manifest import MAX_MANIFEST_BYTES, read_manifest
    from model_verify.models import MANIFEST_PATH
    from model_verify.sources.source import read_whole

    return read_manifest(read_whole(folder_at(folder), MANIFEST_PATH, max_bytes=MAX_MANIFEST_BYTES))


def _refuse_others(plan: UploadPlan, remove_others: bool) -> None:
    if plan.removed and not remove_others:
        more = f" and {len(plan.removed) - 1} more" if len(plan.removed) > 1 else ""
        raise CallerError(
            f"the repository has `{plan.removed[0]}`{more}, which is not in the folder",
            hint="`--remove-others` removes what is not signed; or put it into the folder",
        )


def _document(action: str, target: HubReference, plan: UploadPlan, report: Report | None) -> object:
    return {
        "action": action,
        "repository": target.purl,
        "commit": target.commit,
        "parent_commit": plan.head,
        "sent": list(plan.sent),
        "there": list(plan.there),
        "removed": list(plan.removed),
        "sent_bytes": plan.sent_bytes,
        "report": None if report is None else report.model_dump(mode="json", by_alias=True),
    }


def _plan_lines(plan: UploadPlan) -> list[str]:
    follows = f"follows {plan.head}" if plan.head else "a new repository"
    lines = [f"  commit    {follows}", f"  send      {len(plan.sent)} files, {size_text(plan.sent_bytes)}"]
    if plan.there:
        lines.append(f"  keep      {len(plan.there)} files, whose SHA-256 the Hub has")
    lines += [f"  remove    {path}" for path in plan.removed[:_MOST_NAMED]]
    if len(plan.removed) > _MOST_NAMED:
        lines.append(f"  remove    {len(plan.removed) - _MOST_NAMED} more")
    return lines


def _dry_answer(folder: str, target: HubReference, there: Source | None) -> Answer:
    from model_attest.inventory import take_inventory, total_bytes
    from model_attest.record import read_records

    source = folder_at(folder)
    steps = ", ".join(f"{record.step.id} ({record.step.type})" for record in read_records(place(folder)))
    with console.progress("hashing", lambda: total_bytes(source)) as advance:
        inventory = take_inventory(source, progress=advance)
    plan = _plan(folder, there, inventory.manifest)
    lines = [
        f"would publish  {folder} as {target}",
        f"  sign      {len(inventory.manifest.files)} files, {inventory.checkpoint_root}, for {target.purl}",
        f"  steps     {steps or 'none: its origin is not stated'}",
        *_plan_lines(plan),
    ]
    return Answer(lines, _document("would-publish", target, plan, None), 0)


def _answer(folder: str, published: HubReference, plan: UploadPlan, report: Report) -> Answer:
    from model_attest.commands.report_text import report_lines

    document = _document("published", published, plan, report)
    if report.verdict == "REJECTED":
        wrong = f"WRONG  {published}: what the Hub has is not what was signed"
        hint = "hint: this commit is published; publish again, or take it back"
        return Answer([wrong, *report_lines(report), hint], document, REJECTED)
    read = "every byte was read back" if report.depth == "full" else "the Hub's digests are those that were signed"
    lines = [f"published  {folder} as {published}", *_plan_lines(plan), f"  verified  {read}"]
    lines.append(f"check it as others will: `attest verify {published}` with the signer that they expect")
    return Answer(lines, document, 0)

"""`attest sign`: commit to every byte of a model folder."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from model_attest import console
from model_attest.commands.arguments import (
    JsonFlag,
    PasswordOption,
    TrustConfigOption,
    folder_at,
    place,
)
from model_attest.commands.model_sig import OmsOption, check_oms, has_model_sig
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
from model_verify.errors import CallerError

if TYPE_CHECKING:
    from model_attest.commands.documents import SignAnswer
    from model_attest.sign import SignResult
    from model_verify.models.history import Superseded
    from model_verify.report import ReportTime


def sign(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="The model folder.")],
    key: PrivateKeyOption = None,
    kms: KmsOption = None,
    certificate: CertificateOption = None,
    certificate_root: CertificateRootOption = None,
    password_file: PasswordOption = None,
    identity_token: IdentityTokenOption = None,
    trust_config: TrustConfigOption = None,
    timestamp_url: TimestampUrlOption = None,
    tsa: TsaOption = None,
    name: Annotated[str | None, typer.Option("--name", help="The model's name; else the folder's.")] = None,
    version: Annotated[str | None, typer.Option("--version", help="The model's version.")] = None,
    uri: Annotated[
        str | None, typer.Option("--uri", metavar="PURL", help="Its repository, like pkg:huggingface/ORG/NAME.")
    ] = None,
    detached: Annotated[
        str | None,
        typer.Option("--detached", metavar="OUT", help="A new folder for the attestation; DIR is not written to."),
    ] = None,
    oms: OmsOption = False,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Why this takes the place of your attestation that is here.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget the attestations that are here: they were never published.")
    ] = False,
    json: JsonFlag = False,
) -> Answer:
    """Sign a model folder, every byte of it.

    Covers every file, every tensor, and the steps on record in DIR/.attest. Writes DIR/attestation, whole or not at
    all, and only after it has passed the verifier's own checks. With `--detached` that goes into a folder of your own:
    you can attest to a model that is not yours to change, and others name OUT to `attest verify --attestation`.

    An attestation of yours that is here is superseded: the new one names it and says why, and it stays in
    DIR/attestation/history for everybody to follow.

    Without `--key` an identity signs by way of Sigstore: a CI job's, or yours, which a browser asks for. The public
    Sigstore shows who signed, and when, to everybody and for good.

    \b
    exit codes
      0  DIR is signed
      2  could not sign; then DIR is as it was before

    \b
    example
      attest sign ./merged --key lab --name town-7b --uri pkg:huggingface/town/town-7b
      attest sign ./merged --identity-token token --name town-7b
      attest sign ./merged --key lab --oms
    """
    from model_attest.commands.documents import SignAnswer, members
    from model_attest.inventory import total_bytes
    from model_attest.record.progress import PROGRESS_PATH
    from model_attest.sign import sign_folder
    from model_verify.envelope import TimeTrust
    from model_verify.files import OMS_SIGNATURE_PATH
    from model_verify.signature_report import describe_signer, describe_time

    if detached is not None and (reason is not None or fresh):
        raise CallerError("`--reason` or `--fresh` with `--detached`", hint="a detached attestation supersedes none")
    source = folder_at(folder)
    out = None if detached is None else place(detached)
    trust = TimeTrust(read_authorities(tsa))
    chosen = any_signer(
        key=key,
        kms=kms,
        certificate=certificate,
        certificate_root=certificate_root,
        password_file=password_file,
        identity_token=identity_token,
        trust_config=trust_config,
    )
    if oms:
        check_oms(chosen, detached=detached is not None)
    signer = timestamped(chosen, timestamp_url)
    with console.progress("signing", lambda: total_bytes(source)) as advance:
        result = sign_folder(
            place(folder),
            signer,
            name=name,
            version=version,
            uri=uri,
            detached=out,
            progress=advance,
            trust=trust,
            oms=oms,
            reason=reason,
            fresh=fresh,
        )
    described = describe_signer(None, result.signature)
    assert described is not None
    answer = SignAnswer(
        name=result.name,
        bundle=str(result.bundle_path),
        signer=described,
        time=describe_time(result.signature.time),
        manifest_digest=result.manifest_digest,
        checkpoint_root=result.checkpoint_root,
        tensor_count=result.tensor_count,
        file_count=result.file_count,
        size_bytes=result.size_bytes,
        materials=list(result.materials),
        steps=list(result.steps),
        other_weight_sets=list(result.other_weight_sets),
        model_sig=str(place(folder) / OMS_SIGNATURE_PATH) if result.model_sig else None,
        supersedes=result.supersedes,
    )
    notes = [f"warning: no step gives the weights in {other}" for other in answer.other_weight_sets]
    if (place(folder) / PROGRESS_PATH).exists():
        notes.append(f"warning: a training on record in {folder} has not ended: no step speaks of it")
    if timestamp_url is not None and answer.time is None:
        notes.append(f"note: whose the timestamp of {timestamp_url} is was not checked: `--tsa` names whom you trust")
    if result.uri is None:
        notes.append("note: no `--uri` names a repository: in the Hub's cache, copies of this will be rejected")
    if detached is None and not oms and has_model_sig(place(folder)):
        notes.append(f"warning: {folder}/model.sig was made before this attestation: make it again, or use `--oms`")
    if result.replaced_steps > len(result.steps):
        notes.append(
            f"warning: the attestation that was here stated {result.replaced_steps} steps, this one states "
            f"{len(result.steps)}: steps are taken from {folder}/.attest/steps, which is not published"
        )
    return Answer(_lines(folder, result, answer, trust_config, detached), members(answer), notes=notes)


def _lines(
    folder: str, result: SignResult, answer: SignAnswer, trust_config: str | None, detached: str | None
) -> list[str]:
    steps = ", ".join(f"{step.id} ({step.type})" for step in result.steps) or "none: its origin is not stated"
    elsewhere = "" if detached is None else f" --attestation {shlex.quote(detached)}"
    options = f"{_expected(answer, trust_config)}{elsewhere}"
    options += "".join(f" --parent {material.name}=DIR" for material in result.materials)
    return [
        f"signed  {folder}: {result.name}",
        f"  weights   {result.tensor_count} tensors, {result.checkpoint_root}",
        f"  files     {result.file_count}, {size_text(result.size_bytes)}",
        f"  steps     {steps}",
        *_superseded(result.supersedes),
        f"  signer    {answer.signer.described}",
        *_time_lines(answer.time),
        f"  bundle    {result.bundle_path}",
        *([f"  model.sig {answer.model_sig}, {result.model_sig.file_count} files"] if result.model_sig else []),
        f"check it as others will: `attest verify {shlex.quote(folder)} {options}`",
    ]


def _superseded(supersedes: Superseded | None) -> list[str]:
    if supersedes is None:
        return []
    return [f"  instead   of your attestation of {supersedes.checkpoint_root}, which stays in its history"]


def _time_lines(time: ReportTime | None) -> list[str]:
    if time is None:
        return []
    logged = "" if time.log is None else f", entry {time.log.index} of the log {time.log.origin}"
    return [f"  time      before {time.signed_before} by the word of {time.by}{logged}"]


def _expected(answer: SignAnswer, trust_config: str | None) -> str:
    """Return the options that name this signer to a verifier."""
    signer = answer.signer
    if signer.kind == "key":
        return "--key PUB"
    if signer.kind == "certificate":
        return f"--identity {shlex.quote(signer.identity or '')} --certificate-root FILE"
    instance = f" --trust-config {shlex.quote(trust_config)}" if trust_config else ""
    return f"--identity {shlex.quote(signer.identity or '')} --issuer {shlex.quote(signer.issuer or '')}{instance}"

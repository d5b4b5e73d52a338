"""`attest sign`: commit to every byte of a model folder."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from model_attest import console
from model_attest.commands.arguments import JsonFlag, PasswordOption, folder_at, place, read_signer
from model_attest.console import Answer, size_text

if TYPE_CHECKING:
    from model_attest.sign import SignResult


def sign(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="The model folder.")],
    key: Annotated[str, typer.Option("--key", metavar="FILE", help="The private key, PEM.")],
    password_file: PasswordOption = None,
    name: Annotated[str | None, typer.Option("--name", help="The model's name; else the folder's.")] = None,
    version: Annotated[str | None, typer.Option("--version", help="The model's version.")] = None,
    uri: Annotated[
        str | None, typer.Option("--uri", metavar="PURL", help="Its repository, like pkg:huggingface/ORG/NAME.")
    ] = None,
    json: JsonFlag = False,
) -> Answer:
    """Sign a model folder, every byte of it.

    Covers every file, every tensor, and the steps on record in DIR/.attest. Writes DIR/attestation, whole or not at
    all, and only after it has passed the verifier's own checks.

    \b
    exit codes
      0  DIR is signed
      2  could not sign; then DIR is as it was before

    \b
    example
      attest sign ./merged --key lab --name town-7b --uri pkg:huggingface/town/town-7b
    """
    from model_attest.commands.documents import SignAnswer, members
    from model_attest.inventory import total_bytes
    from model_attest.sign import sign_folder

    source = folder_at(folder)
    signer = read_signer(key, password_file)
    with console.progress("signing", lambda: total_bytes(source)) as advance:
        result = sign_folder(place(folder), signer, name=name, version=version, uri=uri, progress=advance)
    answer = SignAnswer(
        name=result.name,
        bundle=str(result.bundle_path),
        signer=result.signer,
        manifest_digest=result.manifest_digest,
        checkpoint_root=result.checkpoint_root,
        tensor_count=result.tensor_count,
        file_count=result.file_count,
        size_bytes=result.size_bytes,
        materials=list(result.materials),
        steps=list(result.steps),
        other_weight_sets=list(result.other_weight_sets),
    )
    notes = [f"warning: no step gives the weights in {other}" for other in answer.other_weight_sets]
    if result.uri is None:
        notes.append("note: no `--uri` names a repository: in the Hub's cache, copies of this will be rejected")
    if result.replaced_steps > len(result.steps):
        notes.append(
            f"warning: the attestation that was here stated {result.replaced_steps} steps, this one states "
            f"{len(result.steps)}: steps are taken from {folder}/.attest/steps, which is not published"
        )
    return Answer(_lines(folder, result), members(answer), notes=notes)


def _lines(folder: str, result: SignResult) -> list[str]:
    steps = ", ".join(f"{step.id} ({step.type})" for step in result.steps) or "none: its origin is not stated"
    parents = "".join(f" --parent {material.name}=DIR" for material in result.materials)
    return [
        f"signed  {folder}: {result.name}",
        f"  weights   {result.tensor_count} tensors, {result.checkpoint_root}",
        f"  files     {result.file_count}, {size_text(result.size_bytes)}",
        f"  steps     {steps}",
        f"  signer    key sha256:{result.signer}",
        f"  bundle    {result.bundle_path}",
        f"check it as others will: `attest verify {shlex.quote(folder)} --key PUB{parents}`",
    ]

"""`attest commit`: say what will be published, before it is."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from model_attest import console
from model_attest.commands.arguments import (
    JsonFlag,
    PasswordOption,
    ThreadsOption,
    TrustConfigOption,
    folder_at,
    place,
)
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
from model_attest.console import Answer


def commit(
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
    threads: ThreadsOption = None,
    json: JsonFlag = False,
) -> Answer:
    """Commit to a model before anything of it is published.

    Signs its name, version and checkpoint root, and writes DIR/attestation/commit.sigstore.json. An identity's
    signature is dated and logged; one by a key needs `--timestamp-url`, or nothing shows when it was made. Later,
    `attest sign` keeps the commitment, and every verifier holds the attestation to it: a wrong upload can then be told
    from a story that changed.

    It shows that these weights were there under this name at that time. It does not show that no others were.

    \b
    exit codes
      0  the commitment is written
      2  could not commit; then DIR is as it was before

    \b
    example
      attest commit ./merged --name town-7b --version 1.0
      attest commit ./merged --key lab --timestamp-url http://timestamp.example --name town-7b
    """
    from model_attest.commands.documents import CommitAnswer, members
    from model_attest.commit import commit_folder
    from model_attest.diff import open_weights, read_weights
    from model_verify.envelope import TimeTrust
    from model_verify.signature_report import describe_expected, describe_time

    folder_at(folder)
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
    signer = timestamped(chosen, timestamp_url)
    weights = open_weights(folder)
    with console.progress("hashing", lambda: weights.size_bytes) as advance:
        (checkpoint,), _ = read_weights([weights], threads=threads, progress=advance)
    result = commit_folder(place(folder), checkpoint.root, signer, name=name, version=version, uri=uri, trust=trust)
    assert result.signature.signer is not None
    model = result.commitment.model
    answer = CommitAnswer(
        bundle=str(result.bundle_path),
        name=model.name,
        version=model.version,
        checkpoint_root=model.checkpoint_root,
        manifest_digest=result.commitment.manifest_digest,
        signer=describe_expected(result.signature.signer),
        time=describe_time(result.signature.time),
    )
    lines = [
        f"committed  {folder}: {' '.join(text for text in (model.name, model.version) if text)}",
        f"  weights   {model.checkpoint_root}",
        f"  signer    {answer.signer.described}",
        *([f"  time      before {answer.time.signed_before}"] if answer.time else []),
        f"  bundle    {answer.bundle}",
        f"sign it under the same name: `attest sign {shlex.quote(folder)}`",
    ]
    notes = []
    if answer.time is None and timestamp_url is None:
        notes.append("warning: nothing shows when this was signed: with a key, `--timestamp-url` dates it")
    elif answer.time is None:
        notes.append(f"note: whose the timestamp of {timestamp_url} is was not checked: `--tsa` names whom you trust")
    return Answer(lines, members(answer), notes=notes)

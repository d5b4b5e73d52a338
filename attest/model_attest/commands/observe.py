"""`attest observe`: sign what is there, of a model that its publisher does not attest to."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from model_attest import console
from model_attest.commands.arguments import (
    JsonFlag,
    PasswordOption,
    TrustConfigOption,
    place,
)
from model_attest.commands.references import BandwidthOption, Models
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


def observe(
    model: Annotated[str, typer.Argument(metavar="REF", help="The model: a folder, or `org/model@commit` of the Hub.")],
    out: Annotated[str, typer.Option("--out", metavar="OUT", help="A new folder for the observation.")],
    uri: Annotated[
        str | None,
        typer.Option("--uri", metavar="PURL", help="Where a folder is from: pkg:huggingface/ORG/NAME@COMMIT."),
    ] = None,
    key: PrivateKeyOption = None,
    kms: KmsOption = None,
    certificate: CertificateOption = None,
    certificate_root: CertificateRootOption = None,
    password_file: PasswordOption = None,
    identity_token: IdentityTokenOption = None,
    trust_config: TrustConfigOption = None,
    timestamp_url: TimestampUrlOption = None,
    tsa: TsaOption = None,
    max_bandwidth: BandwidthOption = None,
    json: JsonFlag = False,
) -> Answer:
    """Read a model once, and sign what was there.

    Writes OUT: the digests of all files, the roots of all tensors and their leaves, and a signed statement that this is
    what PURL has. A model on the Hub is streamed at one commit and stored nowhere, and PURL is that commit. It claims
    nothing of where the weights come from. Others who name you as an observer then know the root of a parent whose
    publisher attests to nothing: `attest verify --observation OUT --observer-key PUB`.

    \b
    exit codes
      0  OUT is written
      2  could not observe; then OUT is not there

    \b
    example
      attest observe lab/a-7b@0123…cdef --key office --out a.observed
      attest observe ./a --uri pkg:huggingface/lab/a-7b@0123…cdef --key office --out a.observed
    """
    from model_attest.commands.documents import ObserveAnswer, members
    from model_attest.inventory import total_bytes
    from model_attest.observe import observe_model
    from model_verify.envelope import TimeTrust
    from model_verify.manifest import primary
    from model_verify.signature_report import describe_expected, describe_time

    source = Models(max_bandwidth=max_bandwidth).at(model)
    chosen = any_signer(
        key=key,
        kms=kms,
        certificate=certificate,
        certificate_root=certificate_root,
        password_file=password_file,
        identity_token=identity_token,
        trust_config=trust_config,
    )
    signer = timestamped(chosen, timestamp_url)
    trust = TimeTrust(read_authorities(tsa))
    with console.progress("reading", lambda: total_bytes(source)) as advance:
        result = observe_model(source, place(out), signer, uri=uri, trust=trust, progress=advance)
    assert result.signature.signer is not None
    seen, manifest = result.observation, result.inventory.manifest
    answer = ObserveAnswer(
        out=out,
        uri=seen.uri,
        checkpoint_root=seen.checkpoint_root,
        manifest_digest=seen.manifest_digest,
        tensor_count=len(primary(manifest).tensors or ()),
        file_count=len(manifest.files),
        size_bytes=sum(file.size_bytes for file in manifest.files),
        signer=describe_expected(result.signature.signer),
        time=describe_time(result.signature.time),
    )
    by = "your word" if source.hub is None else f"the word of {source.hub.endpoint}"
    lines = [
        f"observed  {model}: {answer.uri} by {by}",
        f"  weights   {answer.tensor_count} tensors, {answer.checkpoint_root}",
        f"  files     {answer.file_count}, {size_text(answer.size_bytes)}",
        f"  signer    {answer.signer.described}",
        *([f"  time      before {answer.time.signed_before}"] if answer.time else []),
        f"  bundle    {result.bundle_path}",
        f"others take it by `attest verify … --observation {shlex.quote(out)} --observer-key PUB`",
    ]
    return Answer(lines, members(answer))

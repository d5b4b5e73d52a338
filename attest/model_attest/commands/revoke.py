"""`attest revoke`: say that a model, or whatever somebody signed, is no longer to be trusted."""

from __future__ import annotations

from typing import Annotated

import typer

from model_attest.commands.arguments import JsonFlag, PasswordOption, TrustConfigOption, place
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
from model_verify.errors import CallerError, OutputError


def revoke(
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="Write the revocation there; nothing is replaced.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, in words.")],
    root: Annotated[str | None, typer.Option("--root", help="The checkpoint root of a model that is revoked.")] = None,
    signer: Annotated[
        str | None, typer.Option("--signer", help="The signer that is revoked: a key's hint, or an identity's name.")
    ] = None,
    issuer: Annotated[
        str | None, typer.Option("--issuer", metavar="URL", help="Who vouches for the identity that is revoked.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="What the signer is known to have signed before this stands."),
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
    json: JsonFlag = False,
) -> Answer:
    """Revoke a model's root, or a signer.

    A signer revokes roots of its own, and itself. Everything else is honoured from those whom a verifier's policy
    names. With `--since`, what the signer signed before that time stands where somebody else vouches for the time; what
    has no such time is revoked with the rest.

    Put FILE into the model's repository as `attestation/revocations/NAME.sigstore.json`, NAME in lower case, and give
    it to whoever verifies: `attest verify --revocations FILE`.

    \b
    exit codes
      0  FILE is written
      2  could not revoke; then FILE is not there

    \b
    example
      attest revoke --root sha256:4fb00222… --reason "wrong upload" --key lab --out wrong.sigstore.json
      attest revoke --signer 1f0c5bd8… --since 2026-07-01T00:00:00Z --reason "key lost" --key lab --out lost.json
    """
    from model_attest.commands.documents import RevokeAnswer, members
    from model_attest.placement import output_errors, place_new_file
    from model_attest.revoke import build_revocation, revoked_root, revoked_signer
    from model_attest.signed_statement import sign_statement
    from model_verify.envelope import TimeTrust
    from model_verify.signature_report import describe_expected, describe_time

    path = place(out)
    if (root is None) == (signer is None):
        raise CallerError("one of `--root` and `--signer` is needed", hint="a revocation is of one thing")
    if root is not None and issuer is not None:
        raise CallerError("`--issuer` without `--signer`", hint="it is that of the identity that is revoked")
    revokes = revoked_signer(signer, issuer) if signer is not None else revoked_root(root or "")
    statement = build_revocation(revokes, reason, since=since)
    if path.exists():
        raise OutputError(f"{path} is already there", hint="name another file: a revocation is never replaced")
    chosen = any_signer(
        key=key,
        kms=kms,
        password_file=password_file,
        certificate=certificate,
        certificate_root=certificate_root,
        identity_token=identity_token,
        trust_config=trust_config,
    )
    signer_of_this = timestamped(chosen, timestamp_url)
    signed = sign_statement(statement, signer_of_this, TimeTrust(read_authorities(tsa)))
    with output_errors(path):
        try:
            place_new_file(path, signed.data)
        except FileExistsError as error:
            raise OutputError(f"{path} is already there", hint="name another file") from error
    assert signed.signature.signer is not None
    answer = RevokeAnswer(
        out=str(path),
        revokes=str(revokes),
        reason=reason,
        since=since,
        signer=describe_expected(signed.signature.signer),
        time=describe_time(signed.signature.time),
    )
    lines = [
        f"revoked  {answer.revokes}{f' since {since}' if since else ''}: {reason}",
        f"  signer    {answer.signer.described}",
        *([f"  time      before {answer.time.signed_before}"] if answer.time else []),
        f"  file      {answer.out}",
    ]
    return Answer(lines, members(answer))

"""Options on who signs, who is expected to have signed, and when, and what they name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from model_attest.commands.arguments import (
    choose_signer,
    place,
    read_expected_signer,
    read_password,
    read_signer,
    read_small_file,
)
from model_verify.errors import CallerError, CertificateUnreadable, KeyUnreadable

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_attest.signers.bundling import SigningKey
    from model_attest.signers.signer import Signer
    from model_verify.envelope import ExpectedCertificate, ExpectedSigner, TimestampAuthority

MAX_CERTIFICATE_BYTES = 4 << 20
MAX_CRL_BYTES = 64 << 20

PrivateKeyOption = Annotated[
    str | None, typer.Option("--key", metavar="FILE", help="The private key, PEM; else an identity signs.")
]
IdentityTokenOption = Annotated[
    str | None,
    typer.Option(
        "--identity-token", metavar="FILE", help="Who signs; else the CI job that this runs in, or who answers."
    ),
]
IssuerOption = Annotated[
    str | None, typer.Option("--issuer", metavar="URL", help="Who vouches for that identity, or for a CI job.")
]
WorkflowOption = Annotated[
    str | None, typer.Option("--workflow", metavar="PATH", help="The file in that repository that defines the job.")
]
SourceRefOption = Annotated[
    str | None,
    typer.Option("--source-ref", metavar="REF", help="The branch or tag of the job; `refs/tags/*` is any tag."),
]
TsaOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tsa", metavar="FILE", help="A timestamping authority whose word you take: its certificates, PEM; repeatable."
    ),
]
TimestampUrlOption = Annotated[
    str | None,
    typer.Option("--timestamp-url", metavar="URL", help="Have this timestamping authority date the signature."),
]

CertificateRootOption = Annotated[
    str | None,
    typer.Option(
        "--certificate-root",
        metavar="FILE",
        help="The authorities whose word on names in certificates is taken, PEM.",
    ),
]
CertificateOption = Annotated[
    str | None,
    typer.Option("--certificate", metavar="FILE", help="The key's certificate and those up to its root, PEM."),
]
KmsOption = Annotated[
    str | None,
    typer.Option("--kms", metavar="URI", help="The private key, in a token or a key service, as in hsm:2."),
]
CrlOption = Annotated[
    list[str] | None,
    typer.Option(
        "--crl", metavar="FILE", help="A certificate revocation list; with one, each certificate needs one; repeatable."
    ),
]

_T = TypeVar("_T")


def read_authorities(paths: Sequence[str] | None) -> tuple[TimestampAuthority, ...]:
    """Return the timestamping authorities in some files; raises `CertificateUnreadable` that names the file."""
    from model_verify.envelope import TimestampAuthority

    return tuple(_read(path, TimestampAuthority.from_pem) for path in paths or ())


def any_expected_signer(
    *,
    key: str | None,
    identity: str | None,
    issuer: str | None,
    trust_config: str | None,
    repository: str | None,
    workflow: str | None,
    ref: str | None,
    certificate_root: str | None,
    crls: Sequence[str] | None,
) -> ExpectedSigner | None:
    """Return whom the caller expects to have signed, of every kind, or None; raises `CallerError` for two."""
    certified = read_expected_certificate(identity, certificate_root, crls)
    if certified is None:
        return read_expected_signer(
            key, identity, issuer, trust_config, repository=repository, workflow=workflow, ref=ref
        )
    others = {"--key": key, "--issuer": issuer, "--trust-config": trust_config, "--source-repository": repository}
    refuse_beside("--certificate-root", {**others, "--workflow": workflow, "--source-ref": ref})
    return certified


def any_signer(
    *,
    key: str | None,
    kms: str | None,
    certificate: str | None,
    certificate_root: str | None,
    password_file: str | None,
    identity_token: str | None,
    trust_config: str | None,
    options: str = "--",
) -> Signer:
    """Return who signs, of every kind; raises `CallerError` for two, and what each kind raises.

    `options` is how the options begin that named them, for what is said of them.
    """
    of_sigstore = {f"{options}identity-token": identity_token, f"{options}trust-config": trust_config}
    if kms is not None:
        refuse_beside(f"{options}kms", {f"{options}key": key, **of_sigstore})
    if certificate is not None or certificate_root is not None:
        refuse_beside(f"{options}certificate", of_sigstore)
        return certified_signer(key, kms, password_file, certificate, certificate_root, options=options)
    if kms is not None:
        return kms_signer(kms, password_file)
    return choose_signer(key, password_file, identity_token, trust_config, options=options)


def refuse_beside(option: str, others: Mapping[str, str | None]) -> None:
    """Raise `CallerError` where one of some other options is given beside an option that excludes it."""
    for name, value in others.items():
        if value is not None:
            raise CallerError(f"`{option}` and `{name}`", hint="name one signer")


def read_expected_certificate(
    identity: str | None, roots: str | None, crls: Sequence[str] | None
) -> ExpectedCertificate | None:
    """Return whom the caller expects in a certificate, None where no root is named; raises `CallerError`."""
    from model_verify.envelope import ExpectedCertificate
    from model_verify.envelope.pem import read_certificates, read_crls

    if roots is None:
        if crls:
            raise CallerError("`--crl` without `--certificate-root`", hint="it is about certificates of private roots")
        return None
    if not identity:
        raise CallerError("`--certificate-root` without `--identity`", hint="name who is to have signed")
    lists = tuple(_read(path, _checked(read_crls), MAX_CRL_BYTES) for path in crls or ())
    return ExpectedCertificate(identity, _read(roots, _checked(read_certificates)), lists)


def kms_signer(uri: str, pin_file: str | None) -> Signer:
    """Return the signer whose key a URI names; raises `CallerError` and `SigningFailed`."""
    from model_attest.signers.kms import KmsKey, KmsSigner

    return KmsSigner(KmsKey.from_uri(uri, _pin_source(uri, pin_file)))


def _pin_source(uri: str, pin_file: str | None) -> Callable[[], str]:
    """Return what gives a token's PIN; raises `CallerError` for a token without one, before hours of reading."""

    def read_pin() -> str:
        pin = read_password(pin_file)
        if pin is None:
            raise CallerError("the key needs a PIN", hint="`--password-file` names a file whose first line it is")
        return pin.decode("utf-8", "replace")

    if uri.startswith("hsm:"):
        read_pin()
    return read_pin


def certified_signer(
    key: str | None,
    kms: str | None,
    password_file: str | None,
    certificate: str | None,
    roots: str | None,
    *,
    options: str = "--",
) -> Signer:
    """Return the signer whose key a certificate is for; raises `CallerError`."""
    from model_attest.signers.certificate import CertificateSigner
    from model_verify.envelope.pem import read_certificates

    if certificate is None:
        raise CallerError(
            f"`{options}certificate-root` without `{options}certificate`", hint="name the certificate of the key"
        )
    if roots is None:
        raise CallerError(
            f"`{options}certificate` without `{options}certificate-root`",
            hint="name the root that verifiers will go by, to check it",
        )
    chain = _read(certificate, read_certificates)
    signing: SigningKey
    if kms is not None:
        from model_attest.signers.kms import KmsKey
        from model_verify.envelope import PublicKey

        signing = KmsKey(kms, PublicKey.from_certified(chain[0].public_key()), _pin_source(kms, password_file))
    elif key is not None:
        signing = read_signer(key, password_file, certified=True)
    else:
        raise CallerError(
            f"`{options}certificate` without `{options}key`",
            hint=f"name the private key that it is for, or `{options}kms`",
        )
    return CertificateSigner(signing, chain, _read(roots, _checked(read_certificates)))


def timestamped(signer: Signer, url: str | None, *, options: str = "--") -> Signer:
    """Return a signer whose signatures an authority dates, where a URL names one; raises `CallerError`."""
    if url is None:
        return signer
    from model_attest.signers.sigstore import SigstoreSigner
    from model_attest.signers.timestamping import TimestampedSigner, TimestampSource

    if isinstance(signer, SigstoreSigner):
        raise CallerError(
            f"`{options}timestamp-url` without `{options}key`", hint="an identity's instance has its own authority"
        )
    return TimestampedSigner(signer, TimestampSource(url))


def _checked(parse: Callable[[bytes], object]) -> Callable[[bytes], bytes]:
    """Return what gives bytes back once they are found to be what is meant."""

    def read(data: bytes) -> bytes:
        parse(data)
        return data

    return read


def _read(path: str, parse: Callable[[bytes], _T], max_bytes: int = MAX_CERTIFICATE_BYTES) -> _T:
    try:
        return parse(read_small_file(place(path), "certificate", max_bytes=max_bytes))
    except (KeyUnreadable, CertificateUnreadable) as error:
        message = error.message if isinstance(error, KeyUnreadable) else f"{path}: {error.message}"
        raise CertificateUnreadable(message, hint=error.hint) from error

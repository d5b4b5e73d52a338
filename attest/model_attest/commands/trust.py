"""Options on certificates and timestamps, and what they name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from model_attest.commands.arguments import place, read_small_file
from model_verify.errors import CallerError, CertificateUnreadable, KeyUnreadable

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_attest.signers.signer import Signer
    from model_verify.envelope import TimestampAuthority

MAX_CERTIFICATE_BYTES = 4 << 20

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

_T = TypeVar("_T")


def read_authorities(paths: Sequence[str] | None) -> tuple[TimestampAuthority, ...]:
    """Return the timestamping authorities in some files; raises `CertificateUnreadable` that names the file."""
    from model_verify.envelope import TimestampAuthority

    return tuple(_read(path, TimestampAuthority.from_pem) for path in paths or ())


def timestamped(signer: Signer, url: str | None) -> Signer:
    """Return a signer whose signatures an authority dates, where a URL names one; raises `CallerError`."""
    if url is None:
        return signer
    from model_attest.signers.sigstore import SigstoreSigner
    from model_attest.signers.timestamping import TimestampedSigner, TimestampSource

    if isinstance(signer, SigstoreSigner):
        raise CallerError("`--timestamp-url` without `--key`", hint="an identity's instance has its own authority")
    return TimestampedSigner(signer, TimestampSource(url))


def _read(path: str, parse: Callable[[bytes], _T]) -> _T:
    try:
        return parse(read_small_file(place(path), "certificate", max_bytes=MAX_CERTIFICATE_BYTES))
    except (KeyUnreadable, CertificateUnreadable) as error:
        message = error.message if isinstance(error, KeyUnreadable) else f"{path}: {error.message}"
        raise CertificateUnreadable(message, hint=error.hint) from error

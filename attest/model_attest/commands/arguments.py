"""What several commands take: folders, keys, passwords, sizes."""

from __future__ import annotations

import os
import re
import select
import stat
import time
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model_verify.errors import CallerError, KeyUnreadable, SourceError, SourceMissing, TrustConfigUnreadable

if TYPE_CHECKING:
    from model_attest.signers.key import KeySigner
    from model_attest.signers.signer import Signer
    from model_verify.envelope import ExpectedSigner, PublicKey
    from model_verify.sources.local import LocalFolder
    from model_verify.sources.source import Source

MAX_KEY_BYTES = 64 << 10
MAX_TRUST_CONFIG_BYTES = 4 << 20
PIPE_TIMEOUT_S = 5.0

_UNITS = {
    "": 1, "B": 1,
    "K": 10**3, "KB": 10**3, "KIB": 1 << 10,
    "M": 10**6, "MB": 10**6, "MIB": 1 << 20,
    "G": 10**9, "GB": 10**9, "GIB": 1 << 30,
    "T": 10**12, "TB": 10**12, "TIB": 1 << 40,
}  # fmt: skip


class Device(StrEnum):
    """Where merge arithmetic runs. The bits are the same everywhere."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


JsonFlag = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="Threads that read and compute.", show_default="all processors")
]
DeviceOption = Annotated[
    Device, typer.Option("--device", help="Where merges are computed; the bits are the same everywhere.")
]
TrustConfigOption = Annotated[
    str | None,
    typer.Option(
        "--trust-config", metavar="FILE", help="A private Sigstore's trust configuration; else the public instance's."
    ),
]
PasswordOption = Annotated[
    str | None,
    typer.Option("--password-file", metavar="FILE", help="File whose first line is the private key's password."),
]


def place(text: str) -> Path:
    """Return the path that `text` writes. An empty one is refused: it would mean the current folder."""
    if not text:
        raise CallerError("an empty path", hint="a variable in the command line may have been empty")
    return Path(text)


def folder_at(text: str) -> LocalFolder:
    """Return the model folder at a path; raises `SourceMissing` with what to do."""
    from model_verify.sources.local import LocalFolder

    try:
        return LocalFolder(place(text))
    except SourceMissing as error:
        raise SourceMissing(error.message, hint="name a folder on this machine that holds a model") from error


def named_folders(options: Sequence[str]) -> dict[str, LocalFolder]:
    """Return the folders of options written ID=DIR; raises `CallerError` and `SourceMissing`."""
    folders: dict[str, LocalFolder] = {}
    for name, path in named_paths("--parent", options):
        try:
            folders[name] = folder_at(path)
        except SourceMissing as error:
            raise SourceMissing(f"parent `{name}`: {error.message}", hint=error.hint) from error
    return folders


def named_paths(option: str, values: Sequence[str]) -> list[tuple[str, str]]:
    """Return identifiers and paths of options written ID=PATH, each identifier once; raises `CallerError`."""
    found: dict[str, str] = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not (name and equals and path):
            raise CallerError(f"`{option} {value}` is not ID=PATH", hint=f"write `{option} base-7b=./base-7b`")
        if name in found:
            raise CallerError(f"two of `{option}` for the parent `{name}`")
        found[name] = path
    return list(found.items())


def read_public_key(text: str) -> PublicKey:
    """Return the public key in a file; raises `KeyUnreadable` that names the file and says what to do."""
    from model_verify.envelope import PublicKey

    pem = read_small_file(place(text), "key")
    if b"PRIVATE KEY-----" in pem:
        raise KeyUnreadable(f"{text} is a private key", hint="name the public one: `attest keygen` writes PATH.pub")
    try:
        return PublicKey.from_pem(pem)
    except KeyUnreadable as error:
        raise KeyUnreadable(f"{text}: {error.message}", hint=error.hint) from error


def read_expected_signer(
    key: str | None,
    identity: str | None,
    issuer: str | None,
    trust_config: str | None,
    *,
    repository: str | None = None,
    workflow: str | None = None,
    ref: str | None = None,
) -> ExpectedSigner | None:
    """Return whom the caller expects to have signed; raises `CallerError` for half an identity, or two signers."""
    from model_verify.envelope import ExpectedIdentity, ExpectedJob, Identity

    of_a_job = {"--source-repository": repository, "--workflow": workflow, "--source-ref": ref}
    named = {"--identity": identity, "--issuer": issuer, **of_a_job, "--trust-config": trust_config}
    given = [name for name, value in named.items() if value is not None]
    if key is not None and given:
        raise CallerError("a key and an identity", hint="name the one that you expect to have signed")
    if key is not None:
        return read_public_key(key)
    if not given:
        return None
    if empty := [name for name in given if not named[name]]:
        raise CallerError(f"`{empty[0]}` is empty", hint="a variable in the command line may have been empty")
    if identity is None and repository is None:
        raise CallerError(
            f"`{given[0]}` without `--identity` or `--source-repository`", hint="name who is to have signed"
        )
    if issuer is None:
        raise CallerError(f"`{given[0]}` without `--issuer`", hint="anybody can run an issuer that vouches for a name")
    if identity is not None and (more := [name for name in of_a_job if named[name]]):
        raise CallerError(f"`--identity` and `{more[0]}`", hint="an identity names its workflow and ref itself")
    trusted = None if trust_config is None else read_trust_config(trust_config)
    if repository is not None:
        return ExpectedJob(issuer, repository, workflow, _source_ref(ref), trusted)
    return ExpectedIdentity(Identity(identity or "", issuer), trusted)


def _source_ref(text: str | None) -> str | None:
    if text is not None and "*" in text[:-1]:
        raise CallerError(f"`--source-ref {text}` has a `*` inside", hint="one may stand at its end: `refs/tags/v*`")
    return text


def read_trust_config(text: str) -> bytes:
    """Return a Sigstore trust configuration's bytes; raises `TrustConfigUnreadable` that names the file."""
    try:
        return read_small_file(place(text), "trust configuration", max_bytes=MAX_TRUST_CONFIG_BYTES)
    except KeyUnreadable as error:
        raise TrustConfigUnreadable(error.message, hint=error.hint) from error


def choose_signer(
    key: str | None,
    password_file: str | None,
    identity_token: str | None,
    trust_config: str | None,
    *,
    options: str = "--",
) -> Signer:
    """Return who signs: a private key, or an identity where none is named; raises `CallerError` for both.

    `options` is how the options begin that named them, for what is said of them.
    """
    if key is not None:
        if identity_token is not None or trust_config is not None:
            raise CallerError("a key and an identity", hint="name the one that is to sign")
        return read_signer(key, password_file)
    if password_file is not None:
        raise CallerError(f"`{options}password-file` without `{options}key`", hint="it is a private key's password")
    from model_attest.console import say
    from model_attest.signers.identity_token import token_source
    from model_attest.signers.sigstore import SigstoreSigner

    config = None if trust_config is None else read_trust_config(trust_config)

    def read_token() -> str:
        return read_small_file(place(identity_token or ""), "token").decode("ascii", "replace").strip()

    source = token_source(None if identity_token is None else read_token, config, announce=say, options=options)
    return SigstoreSigner(source, config)


def read_signer(text: str, password_file: str | None, *, certified: bool = False) -> KeySigner:
    """Return the signer whose private key is in a file; raises `KeyUnreadable` that names the file.

    One that is `certified` may be RSA.
    """
    from model_attest.signers.key import KeySigner

    pem = read_small_file(place(text), "key")
    password = read_password(password_file)
    try:
        return KeySigner.from_pem(pem, password, certified=certified)
    except KeyUnreadable as error:
        raise KeyUnreadable(f"{text}: {error.message}", hint=error.hint) from error


def read_password(text: str | None) -> bytes | None:
    """Return the first line of a file without its line end, or None for no file."""
    if text is None:
        return None
    password = read_small_file(place(text), "password").split(b"\n")[0].rstrip(b"\r")
    if not password:
        raise KeyUnreadable(f"{text}: the first line is empty", hint="it is the password")
    return password


def read_small_file(path: Path, what: str, *, max_bytes: int = MAX_KEY_BYTES) -> bytes:
    """Return a small file's bytes; a pipe will do, as in `--key <(vault read …)`, but nobody waits for it forever."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISREG(mode):
                data = os.read(descriptor, max_bytes + 1)
            elif stat.S_ISFIFO(mode):
                data = _read_pipe(descriptor, path, max_bytes)
            else:
                kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
                raise KeyUnreadable(f"{path} is {kind}", hint=f"name the {what} file itself")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise KeyUnreadable(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise KeyUnreadable(f"{path}: {error}") from error
    if not data:
        raise KeyUnreadable(f"{path} is empty")
    if len(data) > max_bytes:
        raise KeyUnreadable(f"{path} is larger than a {what} can be")
    return data


def _read_pipe(descriptor: int, path: Path, max_bytes: int) -> bytes:
    data = b""
    deadline = time.monotonic() + PIPE_TIMEOUT_S
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while len(data) <= max_bytes:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise KeyUnreadable(f"{path} is a pipe, and nothing came out of it in {PIPE_TIMEOUT_S:.0f} s")
        block = os.read(descriptor, max_bytes + 1)
        if not block:
            break
        data += block
    return data


def moment(option: str, text: str) -> datetime:
    """Return the time that an option writes, by RFC 3339 and with its offset from UTC; raises `CallerError`."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise CallerError(f"`{option} {text[:100]}` is no time", hint="write it as 2026-07-01T12:00:00Z") from error
    if time.tzinfo is None:
        raise CallerError(f"`{option} {text}` does not say in which time zone", hint="`Z` at its end is UTC")
    return time


def size_bytes(text: str) -> int:
    """Return the bytes that a size such as `5GB` or `512MiB` stands for; raises `CallerError`."""
    match = re.fullmatch(r"([0-9]{1,15})\s*([A-Za-z]*)", text.strip(), re.ASCII)
    unit = _UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None or int(match[1]) == 0:
        raise CallerError(f"`{text}` is not a size", hint="write it like 5GB, 500MB or 4GiB")
    return int(match[1]) * unit


def weight_bytes(folders: Sequence[Source]) -> int:
    """Return about how many bytes of weights lie in some folders, for whoever shows progress."""
    from model_verify.files import has_tensors

    total = 0
    for folder in folders:
        try:
            total += sum(entry.size_bytes for entry in folder.entries() if has_tensors(entry.path))
        except SourceError:
            continue  # whoever reads it says so
    return total

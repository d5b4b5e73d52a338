"""The reference implementation of OpenSSF Model Signing, as oracle: it signs and it verifies."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it imports is not ours to mend
    from model_signing import hashing, signing, verifying


@dataclass(frozen=True)
class Serialization:
    """How it is to serialise a model; its names, which differ from those that it writes."""

    hash_name: Literal["sha256", "blake2", "blake3"] = "sha256"
    shard_bytes: int | None = None
    allow_symlinks: bool = False
    ignore: tuple[str, ...] = ()
    ignore_git: bool = True

    def config(self) -> Any:
        made = hashing.Config()
        if self.shard_bytes is None:
            made.use_file_serialization(hashing_algorithm=self.hash_name, allow_symlinks=self.allow_symlinks)
        else:
            made.use_shard_serialization(
                hashing_algorithm=self.hash_name,
                shard_size=self.shard_bytes,
                allow_symlinks=self.allow_symlinks,
            )
        made.set_ignored_paths(
            paths=[Path("model.sig"), *(Path(path) for path in self.ignore)], ignore_git_paths=self.ignore_git
        )
        return made.set_allow_symlinks(self.allow_symlinks)


SIMPLE = Serialization()


def sign_with_key(folder: Path, private_key: Path, how: Serialization = SIMPLE) -> Path:
    """Let it write `model.sig` into a folder."""
    with _quiet():
        signing.Config().use_elliptic_key_signer(private_key=private_key).set_hashing_config(how.config()).sign(
            folder, folder / "model.sig"
        )
    return folder / "model.sig"


def sign_with_certificate(
    folder: Path, private_key: Path, certificate: Path, chain: Iterable[Path], how: Serialization = SIMPLE
) -> None:
    with _quiet():
        signing.Config().use_certificate_signer(
            private_key=private_key, signing_certificate=certificate, certificate_chain=chain
        ).set_hashing_config(how.config()).sign(folder, folder / "model.sig")


def sign_with_token(folder: Path, token: str, trust_config: Path, how: Serialization = SIMPLE) -> None:
    with _quiet():
        signing.Config().use_sigstore_signer(
            use_ambient_credentials=False, identity_token=token, trust_config=trust_config
        ).set_hashing_config(how.config()).sign(folder, folder / "model.sig")


def problem_with_key(folder: Path, public_key: Path, how: Serialization | None = None) -> str | None:
    """Return why it refuses the `model.sig` of a folder, or None."""
    return _problem(verifying.Config().use_elliptic_key_verifier(public_key=public_key), folder, how)


def problem_with_certificate(folder: Path, roots: Path) -> str | None:
    config = verifying.Config()
    with _quiet():
        config.use_certificate_verifier(certificate_chain=[roots])
    return _problem(config, folder, None)


def problem_with_identity(folder: Path, identity: str, issuer: str, trust_config: Path) -> str | None:
    config = verifying.Config()
    with _quiet():
        config.use_sigstore_verifier(identity=identity, oidc_issuer=issuer, trust_config=trust_config)
    return _problem(config, folder, None)


def _problem(config: Any, folder: Path, how: Serialization | None) -> str | None:
    if how is not None:
        config.set_hashing_config(how.config())
    try:
        with _quiet():
            config.verify(folder, folder / "model.sig")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def all_ways() -> Iterable[Serialization]:
    """Every way that it has to write a signature. By BLAKE3 it makes no shards."""
    return [
        Serialization("sha256"),
        Serialization("blake2"),
        Serialization("blake3"),
        Serialization("sha256", shard_bytes=1000),
        Serialization("blake2", shard_bytes=1),
        Serialization("sha256", shard_bytes=1_000_000_000),
    ]

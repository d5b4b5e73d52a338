"""How a repository of the Hub is written, and what of it a caller means. Spec: hub §1."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass

from model_verify.errors import CallerError

DEFAULT_ENDPOINT = "https://huggingface.co"
_SEGMENT = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_REPOSITORY = re.compile(rf"{_SEGMENT}/{_SEGMENT}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PURL_TYPE = "pkg:huggingface/"
_SCHEME = "hf:"
_MOST_REVISION_CHARACTERS = 250


@dataclass(frozen=True, slots=True)
class HubReference:
    """A repository, and the branch, tag or commit of it that is meant; the branch `main` where that is None."""

    repository: str
    revision: str | None = None

    @property
    def purl(self) -> str:
        """The package URL of the repository, without a version. Spec: statement §3.2."""
        return f"{_PURL_TYPE}{self.repository}"

    @property
    def commit(self) -> str | None:
        """The commit, where the reference names one itself."""
        return self.revision if self.revision and _COMMIT.fullmatch(self.revision) else None

    def __str__(self) -> str:
        return f"{self.repository}@{self.revision}" if self.revision else self.repository


def parse_reference(text: str, *, endpoints: tuple[str, ...] = (DEFAULT_ENDPOINT,)) -> HubReference | None:
    """Return the repository that `text` names, or None where it can only be a path.

    `org/model`, `org/model@revision`, `hf:` before either, a package URL, or a URL of one of the `endpoints`. A plain
    `org/model` can be a folder too; who asks decides. Raises `CallerError` for what is written like a reference and
    names nothing.
    """
    if text.startswith(("https://", "http://")):
        return _from_url(text, endpoints)
    explicit = text.startswith((_SCHEME, _PURL_TYPE))
    rest = text.removeprefix(_SCHEME).removeprefix(_PURL_TYPE)
    repository, at, revision = rest.partition("@")
    if not _is_repository(repository):
        if explicit:
            raise CallerError(f"`{text}` names no repository", hint=f"write `{_SCHEME}org/model@revision`")
        return None
    if at:
        _check_revision(text, revision)
    return HubReference(repository, revision or None)


def is_explicit(text: str) -> bool:
    """Return whether `text` can be nothing but a repository of the Hub."""
    return text.startswith((_SCHEME, _PURL_TYPE, "https://", "http://"))


def _from_url(text: str, endpoints: tuple[str, ...]) -> HubReference:
    endpoint = next((endpoint for endpoint in endpoints if text.startswith(f"{endpoint}/")), None)
    if endpoint is None:
        hint = f"the Hub is at {endpoints[0]}; `HF_ENDPOINT` names another one"
        raise CallerError(f"{text} is no address of the Hub", hint=hint)
    path = urllib.parse.urlsplit(text.removeprefix(endpoint)).path.strip("/")
    segments = [urllib.parse.unquote(segment) for segment in path.split("/")]
    repository, rest = "/".join(segments[:2]), segments[2:]
    if not _is_repository(repository) or (rest and (rest[0] not in ("tree", "commit") or len(rest) < 2)):
        raise CallerError(f"{text} is no address of a model", hint=f"write `{endpoint}/org/model/tree/revision`")
    revision = "/".join(rest[1:])
    if revision:
        _check_revision(text, revision)
    return HubReference(repository, revision or None)


def _is_repository(text: str) -> bool:
    return _REPOSITORY.fullmatch(text) is not None and ".." not in text and "--" not in text


def _check_revision(text: str, revision: str) -> None:
    # What is left here is quoted in URLs; control characters and the like are nobody's branch.
    if not revision or len(revision) > _MOST_REVISION_CHARACTERS or not revision.isprintable() or " " in revision:
        raise CallerError(f"`{text}` names no revision", hint="a branch, a tag, or the 40 digits of a commit")

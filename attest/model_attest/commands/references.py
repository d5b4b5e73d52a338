"""Where a command's models are: folders, or repositories of the Hub. Spec: hub §1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model_attest.commands.arguments import folder_at, named_paths, size_bytes
from model_verify.errors import CallerError, HubMissing, SourceMissing

if TYPE_CHECKING:
    from model_verify.depth import Depth
    from model_verify.sources.hub import Connection
    from model_verify.sources.local import LocalFolder
    from model_verify.sources.source import Source


class DepthName(StrEnum):
    """How much is read of a repository of the Hub."""

    full = "full"
    hub = "hub"
    sample = "sample"


DepthOption = Annotated[
    DepthName,
    typer.Option("--depth", help="full: every byte is read. hub: no weights are, the Hub's digests are trusted."),
]
FetchParentsFlag = Annotated[
    bool, typer.Option("--fetch-parents", help="Read parents that are not given from the Hub, as the statement says.")
]
BandwidthOption = Annotated[
    str | None,
    typer.Option("--max-bandwidth", metavar="SIZE", help="The most to read from the Hub in a second, such as 50MB."),
]


def model_here() -> LocalFolder:
    """Return the folder that the caller is in; raises `CallerError` where nothing in it looks like a model.

    Only its own files are looked at: a folder that is no model can be the top of a whole disk.
    """
    from model_verify.files import has_tensors
    from model_verify.models import ATTESTATION_FOLDER

    names = {entry.name for entry in Path().iterdir()}
    if not names & {ATTESTATION_FOLDER, "model.sig", "config.json"} and not any(has_tensors(name) for name in names):
        raise CallerError(
            "no model is named, and there is none in this folder",
            hint="name a folder, or a repository of the Hub: `attest verify org/model`",
        )
    return folder_at(".")


class Models:
    """Opens what references name; one connection to the Hub serves all of them, made when it is first needed."""

    def __init__(self, *, max_bandwidth: str | None = None) -> None:
        self._max_bytes_per_s = None if max_bandwidth is None else size_bytes(max_bandwidth)
        self._opened: Connection | None = None

    def at(self, text: str) -> Source:
        """Return the model that `text` names. A folder of that name comes before a repository of the Hub.

        Raises `CallerError`, `HubMissing` and `SourceError`.
        """
        from model_verify.sources.hub import is_explicit

        if not text or (Path(text).exists() and not is_explicit(text)):
            return folder_at(text)
        return self._of_reference(text) or folder_at(text)

    def _of_reference(self, text: str) -> Source | None:
        from model_verify.sources import hub

        if not hub.is_explicit(text) and hub.parse_reference(text) is None:
            return None
        try:
            offline = hub.is_offline()
        except HubMissing as error:
            place = "" if hub.is_explicit(text) else f"there is no folder `{text}`, and "
            raise HubMissing(place + error.message, hint=error.hint) from error
        reference = hub.parse_reference(text, endpoints=hub.endpoints())
        assert reference is not None
        if offline:
            return folder_at(str(hub.cached_snapshot(reference)))
        try:
            return hub.HubSource(self.connection(), reference)
        except SourceMissing as error:
            hint = error.hint if hub.is_explicit(text) else f"there is no folder `{text}` either"
            raise SourceMissing(error.message, hint=hint) from error

    def named(self, option: str, values: Sequence[str]) -> dict[str, Source]:
        """Return the models of options written ID=REF; raises as `at`."""
        found: dict[str, Source] = {}
        for name, text in named_paths(option, values):
            try:
                found[name] = self.at(text)
            except SourceMissing as error:
                raise SourceMissing(f"parent `{name}`: {error.message}", hint=error.hint) from error
        return found

    def fetcher(self) -> Callable[[str], Source | None]:
        """Return what opens the repository that a package URL names with a commit, and nothing else."""
        from model_verify.sources.hub import HubSource, parse_reference

        def fetch(uri: str) -> Source | None:
            try:
                reference = parse_reference(uri) if uri.startswith("pkg:huggingface/") else None
            except CallerError:
                return None
            # A branch of a parent may have moved since: only a commit is what the signer had.
            if reference is None or reference.commit is None:
                return None
            return HubSource(self.connection(), reference)

        return fetch

    def connection(self) -> Connection:
        """Return the connection. Raises `HubMissing`, `SourceUnreadable`."""
        from model_verify.sources.hub import Connection

        if self._opened is None:
            self._opened = Connection(max_bytes_per_s=self._max_bytes_per_s)
        return self._opened


def depth_of(name: DepthName, source: Source | None = None) -> Depth:
    """Return the depth that the caller asks for; raises `CallerError` for one that is not to be had of `source`."""
    from model_verify.depth import Depth

    match name:
        case DepthName.full:
            return Depth.FULL
        case DepthName.sample:
            raise CallerError("`--depth sample` is not there yet", hint="`--depth full` reads every byte")
        case DepthName.hub:
            if source is not None and source.hub is None:
                raise CallerError("`--depth hub` of a folder", hint="it is for a repository that is read from the Hub")
            return Depth.HUB


def local_roots(sources: Sequence[Source]) -> list[Path]:
    """Return the folders among some models."""
    from model_verify.sources.local import LocalFolder

    folders: list[LocalFolder] = [source for source in sources if isinstance(source, LocalFolder)]
    return [folder.root for folder in folders]

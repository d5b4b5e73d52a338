"""A model folder with an attestation that lies outside of it. Spec: verification V1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from model_verify.digest import FileDigest
from model_verify.errors import SourceMissing
from model_verify.models import ATTESTATION_FOLDER, BUNDLE_PATH, LEAVES_PATH, MANIFEST_PATH
from model_verify.sources.local import LocalFolder
from model_verify.sources.source import Entry, File, HubPlace, Reach, Source

DETACHED_PATHS = (MANIFEST_PATH, LEAVES_PATH, BUNDLE_PATH)


class DetachedAttestation:
    """The files of an attestation that somebody made of a model in another place."""

    def __init__(self, path: Path) -> None:
        """`path` is a folder with the files of `attestation/`, or a bundle that has the other two beside it or not.

        Raises `SourceMissing` where there is no bundle.
        """
        self.label = str(path)
        # A bundle that the caller names may be a link; one in a folder is held to what holds for every folder.
        bundle = path / _name(BUNDLE_PATH) if path.is_dir() else path.resolve()
        if not bundle.exists():
            raise SourceMissing(f"{bundle} does not exist", hint="name a bundle, or the folder that holds one")
        self.folder = LocalFolder(bundle.parent)
        beside = {place: _name(place) for place in DETACHED_PATHS} | {BUNDLE_PATH: bundle.name}
        self.entries: Mapping[str, Entry] = {
            place: replace(entry, path=place)
            for place, name in beside.items()
            if (entry := self.folder.entry(name)) is not None
        }
        self.names = {place: beside[place] for place in self.entries}


class DetachedSource:
    """A model as it is, but for `attestation/`: what lies outside stands in the place of what lies there."""

    def __init__(self, model: Source, attestation: DetachedAttestation) -> None:
        self._model = model
        self._attestation = attestation

    @property
    def label(self) -> str:
        return self._model.label

    @property
    def repository(self) -> str | None:
        return self._model.repository

    @property
    def commit(self) -> str | None:
        return self._model.commit

    @property
    def hub(self) -> HubPlace | None:
        return self._model.hub

    def reach(self) -> Reach:
        return self._model.reach()

    def commit_date(self) -> datetime | None:
        return self._model.commit_date()

    def entries(self) -> Sequence[Entry]:
        own = [entry for entry in self._model.entries() if entry.path not in self._attestation.entries]
        both = [*own, *self._attestation.entries.values()]
        return sorted(both, key=lambda entry: entry.path.encode("utf-8", "surrogateescape"))

    def stated_digests(self) -> Mapping[str, FileDigest]:
        stated = self._model.stated_digests()
        return {path: digest for path, digest in stated.items() if path not in self._attestation.entries}

    def open(self, path: str) -> AbstractContextManager[File]:
        name = self._attestation.names.get(path)
        return self._model.open(path) if name is None else self._attestation.folder.open(name)


def _name(path: str) -> str:
    return path.removeprefix(f"{ATTESTATION_FOLDER}/")

"""Data sets as a record names them. What is not known is left out: nothing is guessed. Spec: pipeline §4.7."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from model_attest.record.values import MAX_NAME, safe_text
from model_verify.canonical import Json, dumps
from model_verify.digest import FileDigest
from model_verify.errors import SourceMissing
from model_verify.models import MAX_ENTRIES, DataSet
from model_verify.sources.local import LocalFolder
from model_verify.sources.source import EntryKind

_BLOCK_BYTES = 1 << 20
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_NAME = re.compile(r"[\w.-]+___[\w.-]+", re.ASCII)


def data_set(
    path: str | Path, *, name: str | None = None, uri: str | None = None, revision: str | None = None
) -> DataSet:
    """Return the data set in a file or in all files of a folder, with its digest. Raises `SourceError`."""
    place = Path(path)
    if place.is_dir():
        digest, of_what = _folder_digest(place), "files"
    elif place.exists():
        digest, of_what = _file_digest(LocalFolder(place.resolve().parent), place.resolve().name), "file"
    else:
        raise SourceMissing(f"{path} does not exist")
    return DataSet(
        name=name or safe_text(place.resolve().name),
        uri=uri,
        revision=revision,
        digest=digest,
        digest_of="files" if of_what == "files" else "file",
    )


def _folder_digest(folder: Path) -> FileDigest:
    """Return the digest of the list of a folder's files. Spec: pipeline §4.7."""
    source = LocalFolder(folder)
    paths = [entry.path for entry in source.entries() if entry.kind is EntryKind.FILE]
    listed: list[Json] = [{"file_digest": _file_digest(source, path).text, "path": path} for path in paths]
    return FileDigest(hashlib.sha256(dumps(listed)).digest())


def _file_digest(source: LocalFolder, path: str) -> FileDigest:
    state = hashlib.sha256()
    with source.open(path) as file:
        for offset in range(0, file.size_bytes, _BLOCK_BYTES):
            state.update(file.read(offset, min(_BLOCK_BYTES, file.size_bytes - offset)))
    return FileDigest(state.digest())


def described(data: object) -> list[DataSet]:
    """Return what is known of data: of a path, of a data set of the `datasets` library, or of any other object.

    One of the `datasets` library that was loaded from the Hub tells the repository and the commit by where its tables
    lie. One that was put together of several tells each of them. A list of these is several; any other list is rows.
    """
    match data:
        case DataSet():
            return [data]
        case str() | Path():
            return [data_set(data)]
        case list() | tuple() if all(map(_names_data, data)):
            return [one for item in data for one in described(item)][:MAX_ENTRIES]
        case _:
            return _of_object(data)


def _names_data(item: object) -> bool:
    """Return whether an item of a list is data by itself, and not a row of it."""
    return isinstance(item, DataSet | str | Path) or hasattr(item, "_fingerprint")


def _of_object(data: object) -> list[DataSet]:
    info = getattr(data, "info", None)
    fingerprint = getattr(data, "_fingerprint", None)
    split = getattr(data, "split", None)
    known = DataSet(
        name=safe_text(getattr(info, "dataset_name", None) or type(data).__name__),
        split=safe_text(split, MAX_NAME) if split is not None else None,
        rows=_rows(data),
        fingerprint=fingerprint if isinstance(fingerprint, str) and 0 < len(fingerprint) <= MAX_NAME else None,
    )
    origins = _hub_origins(getattr(data, "cache_files", None) or ())
    if not origins:
        return [known]
    if len(origins) > 1:  # the rows of each are not told apart
        known = known.model_copy(update={"rows": None, "split": None, "fingerprint": None})
    return [
        known.model_copy(update={"name": name, "revision": commit, "uri": f"pkg:huggingface/datasets/{name}@{commit}"})
        for name, commit in origins[:MAX_ENTRIES]
    ]


def _rows(data: object) -> int | None:
    try:
        return len(data)  # type: ignore[arg-type]
    except Exception:  # a stream, or an object that counts only when it is read
        return None


def _hub_origins(cache_files: Iterable[object]) -> list[tuple[str, str]]:
    """Return repository and commit of tables in the cache: .../ORG___NAME/CONFIG/VERSION/COMMIT/NAME-SPLIT.arrow."""
    found: dict[tuple[str, str], None] = {}
    for entry in cache_files:
        path = entry.get("filename") if isinstance(entry, dict) else None
        parts: Sequence[str] = Path(path).parts if isinstance(path, str) else ()
        if len(parts) >= 5 and _COMMIT.fullmatch(parts[-2]) and _HUB_NAME.fullmatch(parts[-5]):
            found[parts[-5].replace("___", "/", 1), parts[-2]] = None
    return list(found)

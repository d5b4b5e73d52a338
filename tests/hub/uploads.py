"""What the Hub does with what is sent to it: LFS objects, and commits that name them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable

from tests.hub.storage import LFS_BYTES, LFS_SUFFIXES, Repository, Storage, StoredFile


class Refused(Exception):
    """An upload that the Hub does not take; `status` is the answer's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def modes(repository: Repository, revision: str, asked: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return for each file whether it goes to LFS, and what is there already."""
    head = repository.commits[repository.branches[revision]].files
    answers: list[dict[str, object]] = []
    for file in asked:
        path, size, sample = str(file["path"]), int(str(file["size"])), base64.b64decode(str(file["sample"]))
        is_large = path.endswith(LFS_SUFFIXES) or size > LFS_BYTES or b"\0" in sample
        answer: dict[str, object] = {
            "path": path,
            "uploadMode": "lfs" if is_large else "regular",
            "shouldIgnore": False,
        }
        if path in head:
            answer["oid"] = head[path].sha256 or head[path].oid
        answers.append(answer)
    return answers


def lfs_batch(storage: Storage, base_url: str, asked: dict[str, object], part_bytes: int) -> dict[str, object]:
    """Return where to send each object that is not there yet; in parts where they are larger than `part_bytes`."""
    objects: list[dict[str, object]] = []
    assert isinstance(asked["objects"], list)
    for wanted in asked["objects"]:
        oid, size = wanted["oid"], wanted["size"]
        answer: dict[str, object] = {"oid": oid, "size": size, "authenticated": True}
        if not storage.path_of(oid).exists():
            upload: dict[str, object] = {"href": f"{base_url}/lfs-upload/{oid}"}
            if part_bytes and size > part_bytes:
                parts = {f"{n + 1:05d}": f"{base_url}/lfs-part/{oid}/{n + 1}" for n in range(-(-size // part_bytes))}
                upload = {"href": f"{base_url}/lfs-complete/{oid}", "header": {"chunk_size": str(part_bytes), **parts}}
            answer["actions"] = {"upload": upload, "verify": {"href": f"{base_url}/lfs-verify"}}
        objects.append(answer)
    return {"transfer": "multipart" if part_bytes else "basic", "objects": objects}


def receive(storage: Storage, name: str, blocks: Iterable[bytes], *, sha256: str | None = None) -> None:
    """Store what was sent, under `name`; raises `Refused` where it is not what it is to be."""
    state = hashlib.sha256()
    arriving = storage.path_of(f"{name}.arriving")
    with arriving.open("wb") as out:
        for block in blocks:
            out.write(block)
            state.update(block)
    if sha256 is not None and state.hexdigest() != sha256:
        arriving.unlink()
        raise Refused(400, "the object is not the one that was announced")
    arriving.rename(storage.path_of(name))


def join_parts(storage: Storage, oid: str, numbers: list[int]) -> None:
    parts = [storage.path_of(f"{oid}.{number}") for number in numbers]
    receive(storage, oid, (part.read_bytes() for part in parts), sha256=oid)
    for part in parts:
        part.unlink()


def commit(storage: Storage, repository: Repository, revision: str, body: bytes) -> str:
    """Return the commit that a sequence of operations, one JSON document a line, makes; raises `Refused`."""
    operations = [json.loads(line) for line in body.splitlines() if line]
    header = operations[0]["value"]
    parent = repository.branches.get(revision)
    if parent is None:
        raise Refused(404, f"no branch {revision}")
    if (stated := header.get("parentCommit")) and not parent.startswith(stated):
        raise Refused(412, "a commit has happened since")
    files = dict(repository.commits[parent].files)
    for operation in operations[1:]:
        value = operation["value"]
        match operation["key"]:
            case "file":
                files[value["path"]] = storage.regular(base64.b64decode(value["content"]))
            case "lfsFile":
                files[value["path"]] = _large(storage, value["oid"])
            case "deletedFile":
                files.pop(value["path"], None)
            case "deletedFolder":
                files = {path: file for path, file in files.items() if not path.startswith(value["path"])}
    return storage.commit(repository, files, header["summary"], ref=revision)


def _large(storage: Storage, oid: str) -> StoredFile:
    if not storage.path_of(oid).exists():
        raise Refused(400, f"there is no LFS object {oid}")
    return storage.large(oid, storage.path_of(oid).stat().st_size)

"""Put files and folders in place whole or not at all: written beside, synced, then renamed."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from model_verify.errors import OutputError

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_NOT_OFFERED = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})
"""What a kernel or a file system answers that does not have the kind of rename asked for."""

_HINTS = {
    errno.ENOSPC: "free some space there and run it again",
    errno.EDQUOT: "free some of the quota there and run it again",
    errno.EACCES: "make the place writable, or name another one",
    errno.EPERM: "make the place writable, or name another one",
    errno.EROFS: "the file system is read-only: name another place",
}


@contextlib.contextmanager
def output_errors(place: Path) -> Iterator[None]:
    """Turn every `OSError` inside into an `OutputError` that names the file, or `place` where the system names none."""
    try:
        yield
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else str(place)
        raise OutputError(f"{where}: {error.strerror or error}", hint=_HINTS.get(error.errno or 0)) from error


@contextlib.contextmanager
def stage_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Yield a new folder in `parent`, and remove it with all that is left in it, however the block ends."""
    stage = parent / f"{prefix}{secrets.token_hex(8)}"
    try:
        stage.mkdir()
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def write_synced(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a new file and wait until it is on the disk. Raises `FileExistsError`, and any other `OSError`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Wait until everything in a folder is on the disk."""
    for root, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(Path(root, name), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(root))


def place_new_file(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Make `data` the file at `path`, whole or not at all. Raises `FileExistsError` rather than replace anything."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        write_synced(beside, data, mode=mode)
        if not _rename(beside, path, _RENAME_NOREPLACE):
            os.link(beside, path)  # like that rename, it never replaces
        try:
            sync_folder(path.parent)
        except BaseException:
            path.unlink(missing_ok=True)  # what is reported as not written must not be there
            raise
    finally:
        beside.unlink(missing_ok=True)


def replace_file(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Make `data` the file at `path`, whole or not at all, in the place of what was there.

    Raises `OSError`, also where a folder is there.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        write_synced(beside, data, mode=mode)
        beside.replace(path)
        sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def replace_folder(new: Path, target: Path, aside: Path) -> None:
    """Make `new` the folder at `target`. What stood there is then at `new` or at `aside`, for the caller to remove.

    Where the system can exchange two names in one step, there is no moment without a whole folder at `target`;
    elsewhere there is one between two renames, and a failure then puts the old folder back.
    """
    if not os.path.lexists(target):
        new.rename(target)
    elif not _rename(new, target, _RENAME_EXCHANGE):
        try:
            target.rename(aside)
            new.rename(target)
        except BaseException:
            if not os.path.lexists(target):
                aside.rename(target)
            raise
    sync_folder(target.parent)


def _rename(source: Path, target: Path, flags: int) -> bool:
    """Rename by renameat2 with `flags`; return whether the system offers that. Raises `OSError` where it fails."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    if renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), ctypes.c_uint(flags)) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_OFFERED:
        return False
    raise OSError(code, os.strerror(code), str(target))

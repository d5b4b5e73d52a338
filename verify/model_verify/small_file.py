"""Small files that a caller names, read whole: policies, keys, revocations."""

from __future__ import annotations

from pathlib import Path

from model_verify.errors import CallerError


def read_small(path: Path, most_bytes: int) -> bytes:
    """Return the bytes of a regular file: nobody waits for a pipe here. Raises `CallerError` that names the file."""
    try:
        if path.exists() and not path.is_file():
            raise CallerError(f"{path}: not a regular file")
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise CallerError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise CallerError(f"{str(path)!r}: {error}") from error
    if len(data) > most_bytes:
        raise CallerError(f"{path}: larger than {most_bytes} bytes")
    return data

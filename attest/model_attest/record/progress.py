"""`.attest/training.json`: what is recorded of a training that has not ended yet, so that an interrupted one can go on.

It is replaced whole, at the start and at every checkpoint. `attest sign` does not look at it.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, ValidationError

from model_attest.placement import output_errors, write_synced
from model_verify.canonical import loads
from model_verify.errors import MalformedDocument, MalformedJson, SourceMissing
from model_verify.models import (
    MAX_CHECKPOINTS,
    MAX_ENTRIES,
    LossCurve,
    Moment,
    Resumption,
    Size,
    Wire,
    WireCheckpointRoot,
)
from model_verify.sources.local import LocalFolder
from model_verify.sources.source import read_whole
from model_verify.validation import first_problem

PROGRESS_PATH = Path(".attest") / "training.json"
MAX_PROGRESS_BYTES = 16 << 20
_MALFORMED = "TRAINING_PROGRESS_MALFORMED"


class SavedCheckpoint(Wire):
    """Weights on the way, and how many losses were logged until then."""

    step: Size
    checkpoint_root: WireCheckpointRoot
    logged: Size


class Progress(Wire):
    """A training on its way: from which weights, since when, and how far."""

    document_schema: Literal["https://model-attest.github.io/training-progress/v1"] = Field(alias="schema")
    trained: WireCheckpointRoot
    """The root of what is trained."""
    started: Moment
    resumed: Annotated[list[Resumption], Field(max_length=MAX_ENTRIES)]
    recorded_from: Size
    checkpoints: Annotated[list[SavedCheckpoint], Field(max_length=MAX_CHECKPOINTS)]
    loss: LossCurve

    model_config = ConfigDict(populate_by_name=True)


def write_progress(folder: Path, progress: Progress) -> None:
    """Make `progress` what is recorded in `folder`, whole or not at all. Raises `OutputError`."""
    path = folder / PROGRESS_PATH
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_synced(beside, progress.canonical() + b"\n")
            beside.rename(path)
        finally:
            beside.unlink(missing_ok=True)


def read_progress(folder: Path) -> Progress | None:
    """Return what is recorded of an unfinished training in `folder`, or None.

    Raises `MalformedDocument` and `SourceError`.
    """
    try:
        source = LocalFolder(folder / PROGRESS_PATH.parent)
        data = read_whole(source, PROGRESS_PATH.name, max_bytes=MAX_PROGRESS_BYTES)
    except SourceMissing:
        return None
    try:
        return Progress.read(loads(data, max_bytes=MAX_PROGRESS_BYTES))
    except MalformedJson as error:
        raise MalformedDocument(_MALFORMED, error.reason, where=str(folder / PROGRESS_PATH), rule=error.rule) from error
    except ValidationError as error:
        raise MalformedDocument(_MALFORMED, first_problem(error), where=str(folder / PROGRESS_PATH)) from error


def remove_progress(folder: Path) -> None:
    """Remove what is recorded of an unfinished training; nothing happens where there is none. Raises `OutputError`."""
    path = folder / PROGRESS_PATH
    with output_errors(path):
        path.unlink(missing_ok=True)

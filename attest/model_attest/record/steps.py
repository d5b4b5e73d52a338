"""Working records: `.attest/steps/NNN.json`, one step each, written as it happens and absorbed by `attest sign`."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from model_attest.placement import output_errors, place_new_file, replace_folder, stage_folder, sync_folder
from model_verify.canonical import Json, loads
from model_verify.errors import CallerError, MalformedDocument, MalformedJson, SourceMissing
from model_verify.models import KnownStep, Material, StepRecord
from model_verify.sources.local import LocalFolder
from model_verify.sources.source import EntryKind, read_whole
from model_verify.validation import first_problem

RECORD_FOLDER = Path(".attest") / "steps"
MAX_RECORD_BYTES = 16 << 20

_NAME = re.compile(r"[0-9]{3,6}\.json")
_LAST_NUMBER = 999_999
_MALFORMED = "STEP_RECORD_MALFORMED"


def record_of(step: KnownStep, materials: Sequence[Material]) -> StepRecord:
    """Return the record of a step and of the materials that it is the first to name."""
    return StepRecord(
        document_schema="https://model-attest.github.io/step-record/v1", materials=list(materials), step=step
    )


def write_record(folder: Path, record: StepRecord) -> Path:
    """Write `record` under the next free number of a model folder, and return its path.

    Raises `OutputError`; then there is no file. Two writers at once get two numbers.
    """
    records = folder / RECORD_FOLDER
    with output_errors(records):
        records.mkdir(parents=True, exist_ok=True)
        number = max((int(path.stem) for path in records.iterdir() if _NAME.fullmatch(path.name)), default=0)
        while True:
            number += 1
            assert number <= _LAST_NUMBER
            path = records / f"{number:03}.json"
            try:
                place_new_file(path, record.canonical() + b"\n")
            except FileExistsError:
                continue
            return path


def main_records(records: Sequence[StepRecord]) -> list[StepRecord]:
    """Return the records that lead to a folder's primary weights: all but those of other weight sets in it."""
    return [record for record in records if record.step.output.weight_set is None]


def replace_records(folder: Path, records: Sequence[StepRecord]) -> Path:
    """Make `records` those of a model folder, whole or not at all, and return the path of the last one.

    Records of other steps, which spoke of weights that were there before, are set aside under `.attest`.
    Raises `OutputError`, and what `read_records` raises.
    """
    there = read_records(folder)
    if there == list(records[:-1]):
        return write_record(folder, records[-1])
    steps = folder / RECORD_FOLDER
    aside = steps.with_name(f"replaced-{secrets.token_hex(8)}")
    with output_errors(steps):
        steps.parent.mkdir(parents=True, exist_ok=True)
        with stage_folder(steps.parent, "stage-") as stage:
            written = [write_record(stage, record) for record in records]
            replace_folder(stage / RECORD_FOLDER, steps, aside)
            if os.path.lexists(stage / RECORD_FOLDER):  # exchanged in one step
                (stage / RECORD_FOLDER).rename(aside)
            sync_folder(steps.parent)
    return steps / written[-1].name


def read_records(folder: Path) -> list[StepRecord]:
    """Return the records of a model folder in the order of their numbers; none where it has none.

    Raises `MalformedDocument` that names the file, and `SourceError`. A file that looks like a record and is not named
    like one is refused: a step must not be left out because of a slip.
    """
    try:
        source = LocalFolder(folder / RECORD_FOLDER)
    except SourceMissing:
        return []
    names: list[str] = []
    for entry in source.entries():
        if entry.path.startswith(".") or not entry.path.endswith(".json"):
            continue  # what an interrupted writer or an editor left
        if _NAME.fullmatch(entry.path) is None or entry.kind is not EntryKind.FILE:
            raise MalformedDocument(_MALFORMED, "not a file named like 001.json", where=_where(entry.path))
        names.append(entry.path)
    return [_read_record(source, name) for name in sorted(names, key=lambda name: int(name.partition(".")[0]))]


def _read_record(source: LocalFolder, name: str) -> StepRecord:
    try:
        members = loads(read_whole(source, name, max_bytes=MAX_RECORD_BYTES), max_bytes=MAX_RECORD_BYTES)
        record = StepRecord.read(members)
    except MalformedJson as error:
        raise MalformedDocument(_MALFORMED, error.reason, where=_where(name), rule=error.rule) from error
    except ValidationError as error:
        raise MalformedDocument(_MALFORMED, first_problem(error), where=_where(name)) from error
    # The models of a statement's parts pass over what they do not know; what is signed must not drop it silently.
    if (
        unknown := unknown_member(members, record.model_dump(mode="json", by_alias=True, exclude_none=True))
    ) is not None:
        problem = f"has a member that this version does not know: {unknown}"
        raise MalformedDocument(_MALFORMED, problem, where=_where(name))
    return record


def unknown_member(members: Json, known: object, place: str = "") -> str | None:
    """Return the place of a member of a document that is not among those `known`, what a model made of it; or None."""
    pairs: list[tuple[str, Json, object]] = []
    match members, known:
        case dict(), dict():
            unknown = next((name for name in members if name not in known), None)
            if unknown is not None:
                return f"{place}{json.dumps(unknown)[1:-1]}"[:200]
            pairs = [(name, value, known[name]) for name, value in members.items()]
        case list(), list():
            pairs = [(str(number), *pair) for number, pair in enumerate(zip(members, known, strict=True), start=1)]
        case _:
            pass
    found = (unknown_member(value, other, f"{place}{name}/") for name, value, other in pairs)
    return next((one for one in found if one is not None), None)


def joined_records(records: Iterable[StepRecord]) -> list[StepRecord]:
    """Return records in their order, each once. They are those of several inputs, and of what was made of them.

    Raises `CallerError` where one identifier stands for two things, and what `merge_materials` raises.
    """
    joined: dict[str, StepRecord] = {}
    for record in records:
        if joined.setdefault(record.step.id, record).step != record.step:
            raise CallerError(f"two steps are called `{record.step.id}`", hint="give one of the inputs another name")
    materials = {material.name for material in merge_materials(list(joined.values()))}
    if twice := next((name for name in joined if name in materials), None):
        raise CallerError(f"two materials or steps are called `{twice}`", hint="give one of the inputs another name")
    return list(joined.values())


def merge_materials(records: Sequence[StepRecord]) -> list[Material]:
    """Return the materials of all records, each once, in the order in which they are first named.

    Raises `MalformedDocument` where one identifier stands for two roots or two uris.
    """
    merged: dict[str, Material] = {}
    for record in records:
        for material in record.materials:
            known = merged.setdefault(material.name, material)
            if known.digest != material.digest:
                roots = [m.digest.checkpoint_root.text for m in (known, material)]
                raise MalformedDocument(
                    _MALFORMED, f"material {material.name} is {roots[0]} in one record and {roots[1]} in another"
                )
            if known.uri is None:
                merged[material.name] = material
            elif material.uri not in (None, known.uri):
                raise MalformedDocument(
                    _MALFORMED, f"material {material.name} is {known.uri} in one record and {material.uri} in another"
                )
    return list(merged.values())


def _where(name: str) -> str:
    return (RECORD_FOLDER / name).as_posix()

"""`attest diff`: which tensors, and which parts of them, differ."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model_attest import console
from model_attest.commands.arguments import JsonFlag, ThreadsOption
from model_attest.console import Answer
from model_verify.errors import CallerError

if TYPE_CHECKING:
    from model_attest.diff import Checkpoint, TensorChange, Weights
    from model_verify.merge.difference import Difference

_MOST_RANGES = 8


class Origin(StrEnum):
    """What is compared."""

    manifest = "manifest"
    weights = "weights"


def diff(
    one: Annotated[str, typer.Argument(metavar="A", help="A model folder, a .safetensors file, or a manifest.json.")],
    other: Annotated[str, typer.Argument(metavar="B", help="What to compare it with.")],
    origin: Annotated[
        Origin | None,
        typer.Option(
            "--from",
            help="Compare what manifests say, or read the weights.",
            show_default="a manifest for manifest.json, weights for everything else",
        ),
    ] = None,
    threads: ThreadsOption = None,
    json: JsonFlag = False,
) -> Answer:
    """Say which tensors and ranges of two checkpoints differ.

    From weights also in how many elements and by how many ULP. Manifests are taken at their word: no weight is read and
    no signature checked. Only the weight sets that loaders take are compared.

    \b
    exit codes
      0  the same tensors, to the bit
      1  different
      2  could not compare

    \b
    example
      attest diff ./model-v1 ./model-v2
    """
    from model_attest.commands.diff_documents import diff_answer
    from model_attest.commands.documents import members
    from model_attest.diff import compare, open_weights, read_manifest_side, read_weights

    texts = (one, other)
    by_word = [_is_by_word(text, origin) for text in texts]
    weights = [open_weights(text) for text, word in zip(texts, by_word, strict=True) if not word]
    with console.progress("comparing", lambda: sum(side.size_bytes for side in weights)) as advance:
        differences: dict[str, Difference] = {}
        read: list[Checkpoint] = []
        if weights:
            read, differences = read_weights(weights, threads=threads, progress=advance)
    sides = [read_manifest_side(text) if word else read.pop(0) for text, word in zip(texts, by_word, strict=True)]
    changes = compare(sides[0], sides[1], differences)
    return Answer(
        _lines(sides, changes),
        members(diff_answer(sides, changes)),
        exit_code=1 if changes else 0,
        notes=_notes(weights),
    )


def _is_by_word(text: str, origin: Origin | None) -> bool:
    """Return whether a side is a manifest that is taken at its word."""
    is_manifest = not Path(text).is_dir() and text.endswith(".json") and not text.endswith(".index.json")
    if origin is Origin.weights and is_manifest:
        raise CallerError(f"{text} is a manifest and has no weights", hint="name the model folder")
    return is_manifest or origin is Origin.manifest


def _lines(sides: list[Checkpoint], changes: list[TensorChange]) -> list[str]:
    one, other = sides
    tensors = len(one.tensors.keys() | other.tensors.keys())
    by_word = ", by manifests taken at their word" if one.taken_at_its_word or other.taken_at_its_word else ""
    if changes:
        lines = [f"DIFFERENT  {one.label} {other.label}: {len(changes)} of {tensors} tensors differ{by_word}"]
    else:
        lines = [f"SAME  {one.label} {other.label}: {tensors} tensors, {one.root}{by_word}"]
    lines += [
        f"  warn  {side.label}: its manifest was taken at its word, no weight was read and no signature checked"
        for side in sides
        if side.taken_at_its_word
    ]
    return lines + [line for change in changes for line in _change_lines(change)]


def _change_lines(change: TensorChange) -> list[str]:
    before, after = change.before, change.after
    if before is None or after is None:
        info = before or after
        assert info is not None
        return [f"  only in {'B' if before is None else 'A'}  {change.name}  {info.dtype} {list(info.shape)}"]
    if before != after:
        kinds = f"{before.dtype} {list(before.shape)} in A, {after.dtype} {list(after.shape)} in B"
        return [f"  retyped    {change.name}  {kinds}"]
    lines = [f"  changed    {change.name}  {before.dtype} {list(before.shape)}"]
    if change.difference is not None:
        lines.append(f"    {change.difference}")
    if change.ranges is not None:
        listed = ", ".join(f"{first} to {last}" for first, last in change.ranges[:_MOST_RANGES])
        more = f" and {len(change.ranges) - _MOST_RANGES} more ranges" if len(change.ranges) > _MOST_RANGES else ""
        lines.append(f"    in the chunks at bytes {listed}{more}")
    return lines


def _notes(weights: list[Weights]) -> list[str]:
    return [f"note: {other} of {side.label} is not compared" for side in weights for other in side.other_sets]

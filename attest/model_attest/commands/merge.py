"""`attest merge`: run a recipe and record it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from model_attest import console
from model_attest.commands.arguments import Device, DeviceOption, JsonFlag, ThreadsOption, place, size_bytes
from model_attest.console import Answer, size_text
from model_verify.merge.methods.linear_f64 import LINEAR_F64_V1

if TYPE_CHECKING:
    from model_attest.merge import MergeResult


def merge(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A mergekit YAML file.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="The folder to write: new, or empty.")],
    device: DeviceOption = Device.auto,
    max_shard_size: Annotated[
        str, typer.Option("--max-shard-size", metavar="SIZE", help="Largest weight file, like 5GB or 500MB.")
    ] = "5GB",
    threads: ThreadsOption = None,
    json: JsonFlag = False,
) -> Answer:
    """Merge models as a mergekit YAML says, and record the step.

    The result is reproducible to the bit, and `attest sign` absorbs the record. A linear merge is computed as
    linear/f64-v1 unless the recipe names a profile, other methods as mergekit-0.1.5/fma. Methods that draw random
    numbers are refused. OUT appears whole or not at all.

    \b
    exit codes
      0  OUT is there, with its step record
      2  could not merge; then OUT is as it was before

    \b
    example
      attest merge recipe.yaml ./merged
    """
    from model_attest.commands.documents import MergeAnswer, members
    from model_attest.merge import run_merge
    from model_attest.parents import total_bytes
    from model_attest.recipes.mergekit import read_recipe

    shard_bytes = size_bytes(max_shard_size)
    read = read_recipe(place(recipe))
    with console.progress("merging", lambda: total_bytes(read)) as advance:
        result = run_merge(
            read, place(out), device=device.value, max_shard_bytes=shard_bytes, threads=threads, progress=advance
        )
    answer = MergeAnswer(
        out=str(result.out),
        checkpoint_root=result.checkpoint_root,
        materials=list(result.materials),
        step=result.step,
        blended_tensors=result.blended_tensors,
        copied_tensors=result.copied_tensors,
        weight_files=list(result.weight_files),
        copied_files=list(result.copied_files),
        size_bytes=result.size_bytes,
        no_effect=list(result.no_effect),
        backend=result.backend,
    )
    notes = [f"note: {note}" for note in read.notes]
    notes += [f"warning: {name} changes nothing in the result" for name in result.no_effect]
    return Answer(_lines(result), members(answer), notes=notes)


def _lines(result: MergeResult) -> list[str]:
    files = len(result.weight_files)
    computed = [] if result.step.profile == LINEAR_F64_V1 else [f"  {result.method} of {result.step.profile}"]
    return [
        f"{result.checkpoint_root}  {result.out}",
        *computed,
        f"  {result.blended_tensors} tensors blended, {result.copied_tensors} copied, "
        f"{size_text(result.size_bytes)} in {files} file{'s' if files != 1 else ''}",
        *(f"  from {material.name}  {material.digest.checkpoint_root}" for material in result.materials),
        f"  recorded in {result.record_path}: `attest sign {shlex.quote(str(result.out))} --key KEY` absorbs it",
    ]

"""`attest record mergekit`: a merge that mergekit made."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from model_attest import console
from model_attest.commands.arguments import Device, DeviceOption, JsonFlag, ThreadsOption, named_folders, place
from model_attest.console import Answer
from model_verify.merge.kernel import Standing

if TYPE_CHECKING:
    from model_attest.commands.documents import TriedProfile
    from model_attest.record.mergekit import RecordedMerge
    from model_attest.record.trials import Trial


def record_mergekit(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="The mergekit YAML that OUT was made with.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="The folder that mergekit wrote.")],
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile", metavar="PROFILE", help="The profile to try.", show_default="each that has the method"
        ),
    ] = None,
    parent: Annotated[
        list[str] | None,
        typer.Option("--parent", metavar="MODEL=DIR", help="Where a model of CONFIG is; may be given several times."),
    ] = None,
    unmatched: Annotated[
        bool, typer.Option("--unmatched", help="Record the step even where no profile gives the weights of OUT.")
    ] = False,
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = None,
    json: JsonFlag = False,
) -> Answer:
    """Record a merge that mergekit made.

    Resolves CONFIG for each tensor, with every default written out, replays it, and finds the profile that gives the
    weights of OUT: mergekit's versions compute differently, and its output seldom says which one it was. Model paths in
    CONFIG start at its folder; the Hub's cache is looked in, the network is not.

    \b
    exit codes
      0  a profile gives OUT, and the step is recorded
      1  none does: nothing is recorded, unless `--unmatched`
      2  could not record

    \b
    example
      attest record mergekit merged/mergekit_config.yml merged --parent ../base-7b=base-7b
    """
    from model_attest.commands.documents import RecordMergekitAnswer, members
    from model_attest.inventory import total_bytes as output_bytes
    from model_attest.parents import total_bytes
    from model_attest.recipes import read_recipe
    from model_attest.record.mergekit import record_merge
    from model_verify.sources.local import LocalFolder

    folder = place(out)
    given = {name: source.root for name, source in named_folders(parent or ()).items()}
    recipe = read_recipe(place(config), given=given, made_by_mergekit=True)
    with console.progress("recording", lambda: total_bytes(recipe) + output_bytes(LocalFolder(folder))) as advance:
        found = record_merge(
            recipe,
            folder,
            profile=profile,
            unmatched=unmatched,
            device=device.value,
            threads=threads,
            progress=advance,
        )
    answer = RecordMergekitAnswer(
        out=str(found.out),
        config=str(recipe.path),
        method=recipe.method,
        checkpoint_root=found.checkpoint_root,
        profile=found.best.profile if found.matches else None,
        tried=[_tried(trial) for trial in found.trials],
        materials=list(found.materials),
        step=found.step,
        record=None if found.record_path is None else str(found.record_path),
        left_out=list(found.left_out),
        no_effect=list(found.no_effect),
        backend=found.backend,
    )
    notes = [*(f"note: {note}" for note in recipe.notes), *_notes(found)]
    return Answer(list(_lines(found)), members(answer), exit_code=0 if found.matches else 1, notes=notes)


def _tried(trial: Trial) -> TriedProfile:
    from model_attest.commands.documents import TriedProfile

    outcome = trial.outcome
    return TriedProfile(
        profile=trial.profile,
        loaded_as=trial.loaded_as,
        standing=_STANDINGS[outcome.standing],
        exact=outcome.exact,
        within=outcome.within,
        examined=outcome.examined,
        different=outcome.different,
        problem=outcome.problem,
    )


_STANDINGS: dict[Standing, Literal["exact", "within", "examined", "different"]] = {
    Standing.EXACT: "exact",
    Standing.WITHIN: "within",
    Standing.EXAMINED: "examined",
    Standing.DIFFERENT: "different",
}


def _lines(found: RecordedMerge) -> Iterator[str]:
    if not found.matches:
        yield f"DIFFERENT  {found.out}: no profile of {found.recipe.method} gives these weights"
        for trial in found.trials:
            yield f"  FAIL  {_named(trial)}  {_different(trial)}"
    else:
        yield f"RECORDED  {found.out}: {found.recipe.method} of {_named(found.best)}, {_degree(found.best)}"
        for material in found.materials:
            yield f"  from {material.name}  {material.digest.checkpoint_root}"
        yield f"  gives  {found.checkpoint_root}"
    if found.record_path is not None:
        sign = f"`attest sign {shlex.quote(str(found.out))} --key KEY` absorbs it"
        yield f"  recorded in {found.record_path}: {sign}"


def _named(trial: Trial) -> str:
    """Return the profile, and how models were loaded for their adapters where that is not as they are stored."""
    loaded = f", models with adapters loaded as {trial.loaded_as}" if trial.loaded_as is not None else ""
    return f"{trial.profile}{loaded}"


def _degree(trial: Trial) -> str:
    """Return how far a profile gives the output, for a sentence."""
    outcome = trial.outcome
    total = outcome.exact + outcome.within + outcome.examined
    if outcome.exact == total:
        return f"{total} tensors to the bit"
    parts = []
    if outcome.exact:
        parts.append(f"{outcome.exact} to the bit")
    if outcome.within:
        parts.append(f"{outcome.within} within the bound of the method")
    if outcome.examined:
        parts.append(f"{outcome.examined} examined, which can have come about so")
    return f"of {total} tensors {', '.join(parts)}"


def _different(trial: Trial) -> str:
    outcome = trial.outcome
    total = outcome.exact + outcome.within + outcome.examined + outcome.different
    return f"{outcome.different} of {total} tensors differ, first {outcome.problem}"


def _notes(found: RecordedMerge) -> Iterator[str]:
    if found.matches:
        others = {trial.profile: trial for trial in reversed(found.trials) if trial.profile != found.best.profile}
        for trial in reversed(others.values()):
            if trial.standing is Standing.DIFFERENT:
                yield f"note: not {_named(trial)}: {_different(trial)}"
            else:
                yield f"note: {_named(trial)} gives as much: {_degree(trial)}"
        yield from (f"warning: {name} changes nothing in the result" for name in found.no_effect)
        if found.best.outcome.warning:
            yield f"warning: {found.best.outcome.warning}"
    elif found.record_path is None:
        yield "nothing was recorded: another configuration, another order of models, or other parents made this"
    else:
        yield "warning: recorded all the same, and a verifier will contradict it"
    if found.left_out:
        yield f"note: mergekit did not write what the parents have as {', '.join(found.left_out[:3])}"
    if not found.matches and found.recipe.tokenizer is not None:
        yield f"note: `{found.recipe.tokenizer}` permutes or extends embeddings where vocabularies differ"

"""What the weights say of a training, as lines for people: how far they moved, of what rank, near what blend."""

from __future__ import annotations

from collections.abc import Iterator

from model_verify.report import ReportMovement, ReportRank, ReportStep, ReportTrial


def training_lines(step: ReportStep) -> Iterator[str]:
    """Yield one line for each component that moved, one for a declared rank, and what came of every blend."""
    yield from (_movement_text(movement) for movement in step.movement if movement.moved)
    if step.rank is not None:
        yield _rank_text(step.rank)
    for trial in step.trials:
        yield from _trial_lines(trial)


def _movement_text(movement: ReportMovement) -> str:
    """Return how far one component moved."""
    still = movement.tensors - movement.tensors_moved
    tensors = f"; {still} of {movement.tensors} tensors not at all" if still else ""
    text = f"{movement.component} {movement.dtype}: {_share(movement.moved, movement.elements)} moved"
    if movement.ulp_median is None:
        return text + tensors
    distances = f"{movement.ulp_median} ULP (median), {movement.ulp_99} (99 %), {movement.ulp_largest} (largest)"
    return f"{text}, by {distances}{tensors}"


def _rank_text(rank: ReportRank) -> str:
    looked_at = f"rank {rank.declared} declared: of {rank.tensors} weights that were looked at"
    return f"{looked_at}, {rank.conclusive} moved enough to say, and {rank.exceeded} exceed it"


def _trial_lines(trial: ReportTrial) -> Iterator[str]:
    """Yield what came of holding a training against a blend. Candidates are numbered as they were given."""
    if trial.coefficients is None:
        fitted = _blend_text(trial.estimated, trial.parents)
        yield f"nearest to {fitted}, and no round coefficients near these give the weights to the bit"
    else:
        replayed = _blend_text(trial.coefficients, trial.parents)
        profile = f", {trial.profile} in {trial.compute_dtype}" if trial.compute_dtype else ""
        normalized = ", normalized" if trial.normalize else ""
        yield f"replayed as {replayed}{normalized}{profile}: {'equal' if trial.equal else 'not equal'} to the bit"
    cell = trial.cell
    if cell is not None:
        blend = _blend_text(cell.coefficients or trial.estimated, trial.parents)
        yield f"within rounding of {blend}: {_share(cell.inside, cell.elements)} of all elements"
        yield (
            f"and {_share(cell.moved_inside, cell.moved)} of those that moved; had they moved the other way, "
            f"{_share(cell.moved_inside_mirrored, cell.moved)}"
        )


def _share(part: int, whole: int) -> str:
    """Return a share in per cent, rounded down so that 100 means all, and not to nothing where there is something."""
    hundredths = part * 10_000 // max(1, whole)
    return "less than 0.01 %" if part and not hundredths else f"{hundredths / 100:.2f} %"


def _blend_text(coefficients: list[str], parents: list[str]) -> str:
    return " + ".join(f"{value}·{parent}" for value, parent in zip(coefficients, parents, strict=True))

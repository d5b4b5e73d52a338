"""What those commands of `attest record` answer that replay a step before they record it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_attest.console import Answer

if TYPE_CHECKING:
    from model_attest.record.replaying import Replayed


def replayed_answer(out: str, result: Replayed) -> Answer:
    """Return what was recorded, as lines and as JSON."""
    from model_attest.commands.documents import members, recorded, recorded_lines

    answer = recorded(out, result.path, result.records)
    answer = answer.model_copy(update={"within": list(result.within), "no_effect": list(result.no_effect)})
    profile: str | None = getattr(result.records[-1].step, "profile", None)
    count = len(result.within)
    standing = f"{count} tensor{'s' if count != 1 else ''} within its bound" if count else "to the bit"
    lines = [*recorded_lines(answer), f"  replayed{f' by {profile}' if profile else ''}: {standing}"]
    notes = [f"warning: {name} changes nothing in the result" for name in result.no_effect]
    if result.not_computed:
        named = f"{len(result.not_computed)} tensor{'s' if len(result.not_computed) > 1 else ''}"
        notes.append(f"warning: {named} of types that nobody can compute: a verifier will leave the step unchecked")
    return Answer(lines, members(answer), notes=notes)

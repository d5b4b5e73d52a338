"""`attest demo`: the whole of it on two tiny models."""

from __future__ import annotations

from typing import Annotated

import typer

from model_attest import console
from model_attest.commands.arguments import JsonFlag, place
from model_attest.console import Answer


def demo(
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Keep models, keys and recipe here: new, or empty.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Make the same models and coefficients again.")
    ] = None,
    json: JsonFlag = False,
) -> Answer:
    """Merge, sign and check two tiny models, then catch three lies about them.

    Trains them from one base, merges them with coefficients drawn at random, and shows what each attack looks like.
    Needs no network and no GPU.

    \b
    exit codes
      0  every outcome was the expected one
      1  one was not: this installation is not to be relied on
      2  could not run

    \b
    example
      attest demo --out ./demo
    """
    from model_attest.demo import run_demo

    folder = None if out is None else place(out)
    result = run_demo(folder, seed=seed, write=_unsaid if json else console.show)
    return Answer([], result.document(), result.exit_code)


def _unsaid(_line: str) -> None:
    """Take the place of a line that `--json` replaces by the document."""

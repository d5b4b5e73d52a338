"""`attest demo`: two models are trained and merged before your eyes, and three lies about them are told and caught.

    texts       what the models learn
    models      a small language model of characters
    show        lines as it goes, and whether every outcome is the expected one
    publishing  what an honest publisher does: train, merge, sign
    attacks     what others do
    play        all of it, in order

Nothing printed is canned: every verdict is that of `model_verify` on folders that lie on the disk, and a verdict other
than the expected one makes the demo fail.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from model_verify.errors import AttestError

if TYPE_CHECKING:
    from model_attest.demo.play import DemoResult


def run_demo(out: Path | None = None, *, seed: int | None = None, write: Callable[[str], None]) -> DemoResult:
    """Return every outcome, and whether it was as expected; `write` is given the lines as they come.

    Folders, keys and recipe are kept in `out`, a new or an empty folder, where one is given. With the same `seed`
    and the same torch the models and the coefficients are the same; without one it is drawn from the system.

    Raises `AttestError` where torch or safetensors are missing, and `OutputError` where `out` cannot be written.
    """
    try:
        import safetensors.torch  # noqa: F401
    except ImportError as error:
        raise AttestError(
            "the demo trains real models, and torch or safetensors is not installed",
            hint="`pip install 'model-attest[replay]'`",
        ) from error
    from model_attest.demo.play import play

    return play(out, seed=seed, write=write)

"""The demo from beginning to end."""

from __future__ import annotations

import contextlib
import random
import secrets
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_attest.demo import attacks, models, publishing
from model_attest.demo.show import Outcome, Show
from model_attest.placement import output_errors
from model_verify.errors import OutputError

_SEEDS = 1_000_000


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What was drawn, and every verification with what it was held against."""

    seed: int
    coefficients: tuple[str, str]
    outcomes: tuple[Outcome, ...]

    @property
    def exit_code(self) -> int:
        return 0 if self.outcomes and all(outcome.as_expected for outcome in self.outcomes) else 1

    def document(self) -> dict[str, Any]:
        """Return all of it for `--json`."""
        return {
            "seed": self.seed,
            "coefficients": list(self.coefficients),
            "as_expected": self.exit_code == 0,
            "outcomes": [
                {
                    "name": outcome.name,
                    "command": outcome.command,
                    "as_expected": outcome.as_expected,
                    "checks": [{"what": check.what, "holds": check.holds} for check in outcome.checks],
                    "report": outcome.report.model_dump(mode="json", by_alias=True),
                }
                for outcome in self.outcomes
            ],
        }


def play(out: Path | None, *, seed: int | None, write: Callable[[str], None]) -> DemoResult:
    """Play everything in `out`, or in a folder that is gone afterwards. Raises `AttestError`."""
    started = time.monotonic()
    drawn = secrets.randbelow(_SEEDS) if seed is None else seed
    chance = random.Random(drawn)
    coefficients = draw_coefficients(chance)
    write("two models, their merge, and three attacks: nothing leaves this machine, and every verdict is computed now")
    write(f"seed {drawn}{', drawn from the system: it gives models and coefficients' if seed is None else ''}")
    with _stage(out) as stage, models.one_thread():
        show = Show(stage, write)
        publishing.train_parents(show, chance.randrange(1 << 32))
        published = publishing.publish_merge(show, coefficients)
        attacks.flip_one_bit(show, published, chance)
        vendor = attacks.call_blend_training(show, published)
        attacks.really_train(show, published, vendor)
        attacks.declare_honestly(show, published, vendor)
        attacks.upload_wrong_checkpoint(show, published)
    result = DemoResult(drawn, coefficients, tuple(show.outcomes))
    _conclude(result, out, time.monotonic() - started, write)
    return result


def draw_coefficients(chance: random.Random) -> tuple[str, str]:
    """Return two coefficients of two decimals, from 0.20 to 0.80, that sum to 1."""
    hundredths = chance.randint(20, 80)
    return f"0.{hundredths:02}", f"0.{100 - hundredths:02}"


@contextlib.contextmanager
def _stage(out: Path | None) -> Iterator[Path]:
    """Yield the folder to play in. Raises `OutputError` for one that holds something."""
    if out is None:
        with output_errors(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory(prefix="attest-demo-") as name:
            yield Path(name)
        return
    with output_errors(out):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OutputError(f"{out} is already there", hint="name a new or an empty folder")
        out.mkdir(parents=True, exist_ok=True)
        yield out


def _conclude(result: DemoResult, out: Path | None, seconds: float, write: Callable[[str], None]) -> None:
    write("")
    good = sum(outcome.as_expected for outcome in result.outcomes)
    count = len(result.outcomes)
    if result.exit_code == 0:
        write(f"all {count} verdicts as expected, in {seconds:.0f} s")
    else:
        write(f"{count - good} of {count} verdicts NOT as expected: please report this, with seed {result.seed}")
    if out is None:
        write("`attest demo --out DIR` keeps the folders; the same commands work on your own models")
    else:
        write(f"kept in {shlex.quote(str(out))}: each `attest verify` line works there as it stands")

"""Print how long commands take that read no model, beside the interpreter doing nothing: whole processes, in turn.

    python tests/bench/start_up.py [ROUNDS]

`attest --help` is to come in under 0.3 s.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ATTEST = Path(sysconfig.get_path("scripts")) / "attest"
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import typer'": [sys.executable, "-c", "import typer"],
    "attest --help": [str(ATTEST), "--help"],
    "attest verify --help": [str(ATTEST), "verify", "--help"],
    "attest verify NOWHERE": [str(ATTEST), "verify", "nowhere"],
}


def main(rounds: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            seconds[name].append(time.perf_counter() - started)
    for name, times in seconds.items():
        print(f"{name:26}  least {min(times):.3f}  median {statistics.median(times):.3f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)

"""Time what recording costs a training: the callback's share of the steps, checkpoint hashing aside.

    python tests/bench/recording_overhead.py [--steps 60] [--pairs 5] [--width 256]

Trains a small model with transformers' Trainer, the loss logged at every step, in turn without and with the callback.
It prints two things. The share is the time inside the callback's own methods, divided by the time of all steps: exact,
whatever else the machine does. The ratio compares whole runs pair by pair: it also has what the trainer spends on
calling a callback, and all the noise of the machine. Hashing (base, checkpoints, result) lies outside the steps and is
printed apart. Exits with 1 where the share is 1 % or more.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

from model_attest.record import AttestCallback

LIMIT = 0.01
LENGTH = 64
BATCH = 8
VOCABULARY = 512
HASHING = ("on_train_begin", "on_save", "on_train_end")


class Clock(TrainerCallback):
    """Takes the time from the beginning of the first step to the end of the last."""

    def __init__(self) -> None:
        self.started_s = self.ended_s = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.started_s = self.started_s or time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.ended_s = time.perf_counter()

    @property
    def seconds(self) -> float:
        return self.ended_s - self.started_s


def timed(callback: AttestCallback) -> dict[str, float]:
    """Make a callback's methods take their own time; return where they put it, in seconds by name."""
    spent: dict[str, float] = {}

    def measured(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*arguments: Any, **options: Any) -> Any:
            started_s = time.perf_counter()
            try:
                return method(*arguments, **options)
            finally:
                spent[name] = spent.get(name, 0.0) + time.perf_counter() - started_s

        return call

    for name in dir(callback):
        if name.startswith("on_"):
            setattr(callback, name, measured(name, getattr(callback, name)))
    return spent


def train(base: Path, out: Path, steps: int, *callbacks: TrainerCallback) -> None:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(VOCABULARY, (4 * BATCH, LENGTH), generator=generator).tolist()
    arguments = TrainingArguments(
        output_dir=str(out), max_steps=steps, per_device_train_batch_size=BATCH, logging_steps=1, save_steps=steps // 2,
        report_to="none", disable_tqdm=True, use_cpu=True, seed=0,
    )  # fmt: skip
    trainer = Trainer(
        LlamaForCausalLM.from_pretrained(base),
        arguments,
        train_dataset=[{"input_ids": row, "labels": row} for row in ids],  # type: ignore[arg-type]
        callbacks=list(callbacks),
    )
    trainer.train()


def measure(work: Path, steps: int, pairs: int) -> float:
    """Return the largest share that the callback had."""
    base = work / "base"
    train(base, work / "warm", 2)
    shares: list[float] = []
    ratios: list[float] = []
    for pair in range(pairs):
        without, with_it = Clock(), Clock()
        train(base, work / f"without-{pair}", steps, without)
        callback = AttestCallback(base)
        spent = timed(callback)
        train(base, work / f"with-{pair}", steps, callback, with_it)
        hashing_s = sum(spent.get(name, 0.0) for name in HASHING)
        inside_s = sum(spent.values()) - hashing_s
        in_saving_s = spent.get("on_save", 0.0)  # lies between two steps, so the clock ran
        shares.append(inside_s / (with_it.seconds - in_saving_s))
        ratios.append((with_it.seconds - in_saving_s) / without.seconds)
        print(
            f"pair {pair + 1}: {1e3 * without.seconds / steps:.1f} ms a step without, "
            f"{1e3 * (with_it.seconds - in_saving_s) / steps:.1f} ms with, ratio {ratios[-1]:.3f}; "
            f"callback {1e6 * inside_s / steps:.0f} µs a step, share {shares[-1]:.4%}; hashing {hashing_s:.2f} s",
            file=sys.stderr,
        )
    print(f"share: median {statistics.median(shares):.4%}, max {max(shares):.4%}")
    print(f"ratio: min {min(ratios):.3f}, median {statistics.median(ratios):.3f}, max {max(ratios):.3f}")
    return max(shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--width", type=int, default=256, help="of the model's layers")
    options = parser.parse_args()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=options.width, intermediate_size=2 * options.width, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=LENGTH,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="attest-bench-") as work:
        LlamaForCausalLM(config).save_pretrained(Path(work) / "base")
        share = measure(Path(work), options.steps, options.pairs)
    sys.exit(share >= LIMIT)


if __name__ == "__main__":
    main()

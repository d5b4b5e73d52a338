"""Time the merge methods, ours and mergekit's, on the same tensors in the same process, on one thread each.

    python tests/bench/merge_methods.py [--rows 2048] [--columns 2048] [--pairs 5] [--dtype BF16] [--methods NAME …]

A pair is one merge by mergekit's own function and one by the kernel that replays it, in turn, each from bytes in memory
to bytes in memory; the kernel also compares the result with what mergekit gave, as a verification does. Random methods
are not computed again: there the time is that of examining what mergekit drew.

It prints the bytes of all operands by the processor's time, and the ratio of the times pair by pair: below 1 the replay
is the cheaper one. Processor's time, as other work on the machine disturbs it less than the clock's.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings

import torch

from model_verify.merge.kernel import Block, Call, Kernel, Standing
from model_verify.merge.methods import load
from model_verify.merge.tensor import TorchBackend
from model_verify.merge.torch_kernel import TORCH_DTYPES
from tests.mergekit.cases import calls
from tests.mergekit.tensor_oracle import merge
from tests.mergekit.tensors import data, room

PROFILE = "mergekit-0.1.5/fma"
METHODS = (
    "linear", "task_arithmetic", "passthrough", "nearswap", "ties", "breadcrumbs", "breadcrumbs_ties", "slerp",
    "nuslerp", "model_stock", "karcher", "multislerp", "sce", "dare_linear", "dare_ties", "della", "della_linear",
)  # fmt: skip
CPU = TorchBackend("cpu")


def tensors(shape: tuple[int, int], dtype: str, count: int) -> tuple[Block, ...]:
    """Return tensors that differ from each other by a twentieth of their size."""
    generator = torch.Generator().manual_seed(0)
    base = 0.02 * torch.randn(shape, generator=generator)
    kind = TORCH_DTYPES[dtype]
    near = (base + 0.001 * torch.randn(shape, generator=generator) for _ in range(count))
    return tuple(Block(dtype, shape, data(values.to(kind))) for values in near)


def seconds_of_replay(kernel: Kernel, given: tuple[Block, ...], merged: bytes) -> tuple[float, Standing]:
    """Return the time that a replay takes, and how mergekit's output stands to it."""
    out = room(given[0].dtype, given[0].shape)
    there = Block(out.dtype, out.shape, merged)
    started_s = time.process_time()
    if kernel.best is Standing.EXAMINED:
        standing = kernel.judge(given, there, there).standing
    elif kernel.run(CPU, given, out, expected=merged).as_expected:
        standing = Standing.EXACT
    else:
        standing = kernel.judge(given, out, there).standing
    return time.process_time() - started_s, standing


def measure(method: str, call: Call, shape: tuple[int, int], pairs: int) -> str:
    """Return a row of the table."""
    assert call.compute_dtype is not None
    given = tensors(shape, call.compute_dtype, len(call.own))
    kernel = load(call)
    theirs_s, ours_s = [], []
    standing = Standing.EXACT
    for pair in range(pairs + 1):
        torch.manual_seed(pair)
        started_s = time.process_time()
        merged = data(merge(call, given))
        between_s = time.process_time() - started_s
        replay_s, standing = seconds_of_replay(kernel, given, merged)
        if pair:  # the first compiles loops and asks known answers
            theirs_s.append(between_s)
            ours_s.append(replay_s)
    read_gb = sum(len(block.data) for block in given) / 1e9
    ratios = [ours / theirs for ours, theirs in zip(ours_s, theirs_s, strict=True)]
    theirs, ours = (read_gb / statistics.median(times_s) for times_s in (theirs_s, ours_s))
    return (
        f"| {method} | {len(given)} | {theirs:.2f} GB/s | {ours:.2f} GB/s | {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}) | {standing.name.lower()} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--columns", type=int, default=2048)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--dtype", choices=("F32", "BF16", "F16"), default="BF16")
    parser.add_argument("--methods", nargs="*", default=METHODS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print("| method | operands | mergekit | replay | ratio of times (median, smallest, largest) | standing |")
    print("|---|---|---|---|---|---|")
    for method in options.methods:
        (call, *_) = calls(method, PROFILE, options.dtype)
        print(measure(method, call, (options.rows, options.columns), options.pairs), flush=True)


if __name__ == "__main__":
    main()

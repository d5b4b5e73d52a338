"""Time the blend that verification computes, on a CUDA device and on the CPU, transfers included.

    PYTHONPATH=verify:. python tests/gpu/bench_cuda.py [--gigabytes 4] [--threads 8] [--devices cuda,cpu]

For each dtype and block size it prints GB/s of parents and child together: `blend` is the backend alone, as `replay`
calls it (bytes in, bytes out, compared with the child); `engine` is the whole engine on data in memory, with hashing.
Needs torch, numpy and this project's `merge` and `replay`; numba is used for the CPU where it is installed.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from model_verify.merge.backend import CheckedBackend, Operand
from model_verify.merge.coefficient import parse_weight
from model_verify.merge.methods.linear_f64 import LinearF64, linear_call
from model_verify.merge.selection import select_backend
from model_verify.replay import Computed, Stored, TensorJob, run
from model_verify.tensors import TensorInfo

BITS = {"F32": np.uint32, "BF16": np.uint16, "F16": np.uint16}
DTYPES = ("BF16", "F32", "F16")
BLOCK_BYTES = (1 << 20, 8 << 20, 64 << 20)
TENSOR_BYTES = 256 << 20
WEIGHTS = tuple(parse_weight(text).value for text in ("0.6", "0.4"))
CHECKPOINTS = 3
"""Two parents and their child."""


@dataclass(frozen=True)
class Memory:
    """A file of the engine that holds its bytes in memory."""

    data: bytes
    path: str = "memory"

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def read(self, offset: int, size_bytes: int) -> bytes:
        return self.data[offset : offset + size_bytes]

    def read_into(self, buffer: memoryview, offset: int) -> None:
        buffer[:] = memoryview(self.data)[offset : offset + len(buffer)]

    def check_unchanged(self) -> None: ...


def weights_of(dtype: str, size_bytes: int, seed: int) -> bytes:
    """Return values as in models, of exponents around 2^-6."""
    element_bytes = np.dtype(BITS[dtype]).itemsize
    values = 0.02 * np.random.default_rng(seed).standard_normal(size_bytes // element_bytes, dtype=np.float32)
    match dtype:
        case "F32":
            return values.tobytes()
        case "BF16":
            return (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16).tobytes()
        case _:
            return values.astype(np.float16).tobytes()


def seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def time_blend(backend: CheckedBackend, dtype: str, block_bytes: int, total_bytes: int, threads: int) -> float:
    """Return seconds for blocks of `total_bytes` of child, shared out to threads; two rounds warm up first."""
    parents = [memoryview(weights_of(dtype, TENSOR_BYTES, seed)) for seed in (1, 2)]
    child = memoryview(bytearray(TENSOR_BYTES))
    backend.linear(_operands(parents, dtype), child, dtype=dtype, normalize=False)
    blocks_of_a_thread = max(1, total_bytes // block_bytes // threads)

    def work(thread: int, blocks: int) -> None:
        out = memoryview(bytearray(block_bytes))
        for block in range(blocks):
            # From place to place, so that what is timed is memory and not the cache.
            start = (block * threads + thread) * block_bytes % TENSOR_BYTES
            operands = _operands([parent[start : start + block_bytes] for parent in parents], dtype)
            expected = child[start : start + block_bytes]
            if not backend.linear(operands, out, dtype=dtype, normalize=False, expected=expected).as_expected:
                raise SystemExit(f"{backend.name} gave other bytes than a moment ago")

    with ThreadPoolExecutor(threads) as pool:

        def work_all(blocks: int) -> None:
            list(pool.map(work, range(threads), [blocks] * threads))

        work_all(2)
        elapsed = seconds_of(lambda: work_all(blocks_of_a_thread))
    return elapsed * total_bytes / (blocks_of_a_thread * threads * block_bytes)


def _operands(parents: Sequence[memoryview], dtype: str) -> list[Operand]:
    return [Operand(weight, dtype, data) for weight, data in zip(WEIGHTS, parents, strict=True)]


def time_engine(backend: CheckedBackend, dtype: str, total_bytes: int, threads: int) -> float:
    """Return seconds in which the engine hashes parents and child of `total_bytes` each, and replays the merge."""
    parents = [weights_of(dtype, TENSOR_BYTES, seed) for seed in (1, 2)]
    child = bytearray(TENSOR_BYTES)
    operands = _operands([memoryview(data) for data in parents], dtype)
    backend.linear(operands, memoryview(child), dtype=dtype, normalize=False)
    files = [Memory(data) for data in (*parents, bytes(child))]
    kernel = LinearF64(linear_call(WEIGHTS, dtype, normalize=False))
    nodes = ("parent 0", "parent 1", "child")
    jobs = []
    for number in range(max(1, total_bytes // TENSOR_BYTES)):
        info = TensorInfo(f"tensor {number}", dtype, (TENSOR_BYTES // np.dtype(BITS[dtype]).itemsize,))
        stored = tuple(Stored(node, info, file, 0) for node, file in zip(nodes, files, strict=True))
        keys = tuple((node, info.name) for node in nodes[:2])
        jobs.append(TensorJob(stored, (Computed("step", info, keys, kernel, compare_with=("child", info.name)),)))
    run(jobs[:1], backend=backend, threads=threads)
    elapsed = seconds_of(lambda: run(jobs, backend=backend, threads=threads))
    return elapsed * total_bytes / (len(jobs) * TENSOR_BYTES)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4.0, help="of parents and child together, per measurement")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--devices", default="cuda,cpu", help="of cuda and cpu, separated by commas")
    options = parser.parse_args()
    child_bytes = int(options.gigabytes * 1e9) // CHECKPOINTS
    backends = []
    for device in options.devices.split(","):
        if device == "cuda" and not torch.cuda.is_available():
            say("cuda: torch finds no CUDA device, left out")
            continue
        backends.append(select_backend(device))
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    say(f"device {name}; {len(os.sched_getaffinity(0))} processors, {platform.machine()}; torch {torch.__version__}")
    say(f"{options.threads} threads, {options.gigabytes:g} GB of parents and child in each measurement")
    for backend in backends:
        for dtype in DTYPES:
            for block_bytes in BLOCK_BYTES:
                seconds = time_blend(backend, dtype, block_bytes, child_bytes, options.threads)
                rate = CHECKPOINTS * child_bytes / seconds / 1e9
                say(f"blend   {backend.name:11} {dtype:4} blocks of {block_bytes >> 20:2} MiB  {rate:7.2f} GB/s")
            seconds = time_engine(backend, dtype, child_bytes, options.threads)
            rate = CHECKPOINTS * child_bytes / seconds / 1e9
            say(f"engine  {backend.name:11} {dtype:4} units of   1 MiB  {rate:7.2f} GB/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Time `attest verify` of a merge against plain SHA-256 of the same bytes, side by side, as whole processes.

    python tests/bench/verify_vs_hash.py [--gigabytes 2.15] [--runs 5] [--keep DIR]

Makes two parents and their merge (so three times the size on disk), signs, and runs in turn: hashlib over every byte of
the three checkpoints with one thread per processor, and `attest verify` with replay. Prints the ratio pair by pair, the
peak memory of the verifying process, and how many bytes it read against how many there are. The limit is the hash rate:
nothing can verify faster than it can read and hash.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HEADER_LENGTH = 8
BLOCK_ELEMENTS = 1 << 24
ROWS = 4096
TENSOR_ELEMENTS = ROWS * 4096
TENSORS_PER_SHARD = 32

BASELINE = """
import hashlib, os, sys
from concurrent.futures import ThreadPoolExecutor
def hash_range(job):
    path, start, stop = job
    state, buffer = hashlib.sha256(), bytearray(1 << 20)
    descriptor = os.open(path, os.O_RDONLY)
    while start < stop:
        count = os.preadv(descriptor, [memoryview(buffer)[: min(1 << 20, stop - start)]], start)
        state.update(memoryview(buffer)[:count])
        start += count
    os.close(descriptor)
jobs = []
for path in sys.argv[1:]:
    size = os.path.getsize(path)
    jobs += [(path, start, min(start + (64 << 20), size)) for start in range(0, size, 64 << 20)]
with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
    list(pool.map(hash_range, jobs))
"""


def write_parent(folder: Path, tensors: int, *, seed: int) -> None:
    """Write a checkpoint of `tensors` bf16 tensors of 32 MiB each, sharded, with an index."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    block = (generator.standard_normal(BLOCK_ELEMENTS, dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16)
    shards = -(-tensors // TENSORS_PER_SHARD)
    weight_map: dict[str, str] = {}
    for shard in range(shards):
        names = [
            f"layers.{i}.weight"
            for i in range(shard * TENSORS_PER_SHARD, min(tensors, (shard + 1) * TENSORS_PER_SHARD))
        ]
        path = folder / (f"model-{shard + 1:05d}-of-{shards:05d}.safetensors" if shards > 1 else "model.safetensors")
        size = 2 * TENSOR_ELEMENTS
        header = json.dumps(
            {
                name: {
                    "dtype": "BF16",
                    "shape": [ROWS, TENSOR_ELEMENTS // ROWS],
                    "data_offsets": [i * size, (i + 1) * size],
                }
                for i, name in enumerate(names)
            }
        ).encode()
        header += b" " * (-len(header) % 8)
        with path.open("wb") as file:
            file.write(len(header).to_bytes(HEADER_LENGTH, "little") + header)
            for _ in names:
                # Other mantissas in every tensor, exponents as drawn: finite, and no two tensors alike.
                file.write((block ^ generator.integers(0, 128, dtype=np.uint16)).tobytes())
        weight_map |= dict.fromkeys(names, path.name)
    if shards > 1:
        index = {"metadata": {"total_size": tensors * 2 * TENSOR_ELEMENTS}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text("{}")


def prepare(work: Path, gigabytes: float) -> None:
    tensors = max(1, round(gigabytes * 1e9 / (2 * TENSOR_ELEMENTS)))
    for seed, name in enumerate(("a", "b")):
        write_parent(work / name, tensors, seed=seed)
    (work / "recipe.yaml").write_text(
        "merge_method: linear\n"
        "models:\n"
        f"  - model: {work / 'a'}\n    parameters: {{weight: 0.6}}\n"
        f"  - model: {work / 'b'}\n    parameters: {{weight: 0.4}}\n"
        "parameters: {normalize: false}\n"
        "attest: {profile: linear/f64-v1, copy_from: a}\n"
    )
    attest("keygen", "--out", str(work / "key"))
    attest("merge", str(work / "recipe.yaml"), str(work / "merged"))
    attest("sign", str(work / "merged"), "--key", str(work / "key"))


def attest_path() -> str:
    return str(Path(sys.executable).parent / "attest")


def attest(*arguments: str) -> None:
    subprocess.run([attest_path(), *arguments], check=True, stdout=subprocess.DEVNULL)


def timed(command: list[str]) -> tuple[float, float, int]:
    """Return wall seconds, peak memory in MiB and bytes read (by the kernel's count) of a command."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    read_bytes = 0
    # The count is gone once the process is reaped: wait without reaping, look, then reap.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    seconds = time.monotonic() - started
    counts = Path(f"/proc/{process.pid}/io")
    if counts.exists():
        lines = dict(line.split(": ") for line in counts.read_text().splitlines())
        read_bytes = int(lines["rchar"])
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{command[0]} ended with status {status}")
    return seconds, usage.ru_maxrss / 1024, read_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.15, help="size of each parent and of the merge")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="make the models here, or use those that are here")
    options = parser.parse_args()
    work = options.keep or Path(tempfile.mkdtemp(prefix="attest-bench-"))
    try:
        if not (work / "merged" / "attestation").exists():
            prepare(work, options.gigabytes)
        measure(work, options.runs)
    finally:
        if options.keep is None:
            shutil.rmtree(work)


def measure(work: Path, runs: int) -> None:
    weights = sorted(str(path) for name in ("a", "b", "merged") for path in (work / name).glob("*.safetensors"))
    total = sum(Path(path).stat().st_size for path in weights)
    hashing = [sys.executable, "-c", BASELINE, *weights]
    verifying = [attest_path(), "verify", str(work / "merged"), "--key", str(work / "key.pub")]
    verifying += ["--parent", f"a={work / 'a'}", "--parent", f"b={work / 'b'}", "--device", "cpu"]
    timed(hashing)  # warms the page cache
    timed(verifying)  # and the compiled kernels
    ratios: list[float] = []
    print(f"{total / 1e9:.2f} GB in {len(weights)} files, {len(os.sched_getaffinity(0))} processors, warm")
    for run in range(runs):
        hash_s, _, _ = timed(hashing)
        verify_s, peak_mib, read_bytes = timed(verifying)
        ratios.append(verify_s / hash_s)
        print(
            f"run {run + 1}: hashlib {hash_s:.2f} s ({total / hash_s / 1e9:.2f} GB/s), verify {verify_s:.2f} s,"
            f" ratio {ratios[-1]:.2f}, peak {peak_mib:.0f} MiB, read {read_bytes / total:.3f} of the weights' bytes"
        )
    print(f"ratio: min {min(ratios):.2f}, median {statistics.median(ratios):.2f}, max {max(ratios):.2f}")


if __name__ == "__main__":
    main()

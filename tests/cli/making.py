"""Small models written byte by byte, and the real console script in a process of its own."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SCRIPT = Path(sys.executable).with_name("attest")
TIMEOUT_S = 60

RECIPE = """
merge_method: linear
models:
  - model: ./a
    parameters: {weight: 0.6}
  - model: ./b
    parameters: {weight: 0.4}
parameters: {normalize: false}
out_dtype: bfloat16
attest: {copy_from: a, copy_tensors: [positions]}
"""

Tensors = Mapping[str, tuple[str, list[int], bytes]]


def weight_file(tensors: Tensors) -> bytes:
    """Return a safetensors file of tensors given as dtype, shape and data."""
    header: dict[str, object] = {}
    position = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + len(data)]}
        position += len(data)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(data for _, _, data in tensors.values())


def bfloat16(count: int, seed: int) -> bytes:
    """Return finite BF16 numbers between 2^-63 and 2^64 of both signs."""
    generator = random.Random(seed)
    data = bytearray(generator.randbytes(2 * count))
    data[1::2] = bytes((byte & 0x9F) | 0x20 for byte in data[1::2])
    return bytes(data)


def tensors(seed: int) -> dict[str, tuple[str, list[int], bytes]]:
    """Return tensors of which one has three chunks."""
    return {
        "layers.0.up_proj.weight": ("BF16", [1200, 1000], bfloat16(1_200_000, seed)),
        "layers.0.norm.weight": ("BF16", [500], bfloat16(500, seed + 1)),
        "positions": ("I64", [4], bytes(range(32))),
    }


def write_model(folder: Path, content: Tensors) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(weight_file(content))
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("read me")
    return folder


def flip(path: Path, offset: int) -> None:
    """Flip one bit, `offset` bytes into the file, counted from its end where negative."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def attest(*arguments: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the console script and return what came of it."""
    return subprocess.run(
        [SCRIPT, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

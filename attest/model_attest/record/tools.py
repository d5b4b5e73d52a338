"""Which software a command is made of: the Python that its script names, and what is installed there.

That Python is asked, in a process of its own, for versions of packages that can change what comes out. A command of
another kind is not looked into.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from model_attest.record.confidential import without_secrets
from model_attest.record.surroundings import MAX_VERSION, PACKAGES
from model_attest.record.values import MAX_NAME, safe_text
from model_verify import __version__

_TIMEOUT_S = 60
_MOST_OUTPUT_BYTES = 1 << 20
_SHEBANG = re.compile(rb"#!\s*(\S+)(?:\s+(\S+))?")
_PYTHON = re.compile(r"(python|pypy)[0-9.]*")
_TRAMPOLINE = re.compile(rb"#!/bin/sh\n'''exec' \"?([^\"\s]+)\"?")
"""What pip writes where the path of the interpreter is too long for a first line."""

_QUESTION = """
import sys
sys.path[:] = [place for place in sys.path if place]
import json
import platform
from importlib import metadata
known, script = json.loads(sys.argv[1])
found = {"python": platform.python_version()}
for entry in metadata.entry_points(group="console_scripts"):
    if entry.name == script and entry.dist is not None:
        known.append(entry.dist.name)
for name in known:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""

ENVIRONMENT = frozenset(
    {
        "ATEN_CPU_CAPABILITY", "CUBLAS_WORKSPACE_CONFIG", "CUDA_DEVICE_ORDER", "CUDA_LAUNCH_BLOCKING",
        "CUDA_VISIBLE_DEVICES", "HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE", "HIP_VISIBLE_DEVICES", "LC_ALL",
        "LOCAL_WORLD_SIZE", "MKL_CBWR", "MKL_NUM_THREADS", "NCCL_ALGO", "NCCL_PROTO", "NVIDIA_TF32_OVERRIDE",
        "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONHASHSEED", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF",
        "ROCR_VISIBLE_DEVICES", "SOURCE_DATE_EPOCH", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "TORCHDYNAMO_DISABLE",
        "TRANSFORMERS_OFFLINE", "WORLD_SIZE",
    }
)  # fmt: skip
"""Variables that can change what a command computes. No others are recorded: they may be anybody's secrets."""


def environment() -> dict[str, str]:
    """Return the variables of the list that are set."""
    present = ((name, os.environ.get(name)) for name in sorted(ENVIRONMENT))
    return {name: without_secrets(safe_text(value)) for name, value in present if value is not None}


def tool_versions(executable: Path) -> dict[str, str]:
    """Return the versions of what an executable is made of, as far as that can be found out."""
    found = {"model-attest": __version__}
    python = interpreter_of(executable)
    if python is not None:
        found |= _ask(python, executable.name)
    return found


def interpreter_of(executable: Path) -> str | None:
    """Return the Python that an executable is, or that its first line names; None for any other."""
    if _PYTHON.fullmatch(executable.name):
        return str(executable)
    try:
        with executable.open("rb") as file:
            start = file.read(4096)
    except OSError:
        return None
    if match := _TRAMPOLINE.match(start):
        return os.fsdecode(match[1])
    match = _SHEBANG.match(start.partition(b"\n")[0])
    if match is None:
        return None
    named = os.fsdecode(match[1])
    if Path(named).name == "env" and match[2] is not None:
        named = shutil.which(os.fsdecode(match[2])) or ""
    return named if _PYTHON.fullmatch(Path(named).name) else None


def _ask(python: str, script: str) -> Mapping[str, str]:
    question = json.dumps([sorted({*PACKAGES.values()}), script])
    try:
        done = subprocess.run(
            [python, "-c", _QUESTION, question],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT_S,
            check=True,
        )
        answer = json.loads(done.stdout[:_MOST_OUTPUT_BYTES])
    except (OSError, ValueError, subprocess.SubprocessError):
        return {}
    if not isinstance(answer, dict):
        return {}
    return {safe_text(name, MAX_NAME): safe_text(version, MAX_VERSION) for name, version in answer.items() if version}

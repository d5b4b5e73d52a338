"""What a training runs on: versions of software, names of devices, seeds.

Nothing is imported for it. What the training has loaded is looked at; what it has not loaded does not take part.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

from model_attest.record.values import safe_text
from model_verify import __version__
from model_verify.models import Hardware, HardwareDevice

PACKAGES: Mapping[str, str] = {
    "torch": "torch", "transformers": "transformers", "trl": "trl", "peft": "peft", "accelerate": "accelerate",
    "datasets": "datasets", "tokenizers": "tokenizers", "safetensors": "safetensors", "numpy": "numpy",
    "bitsandbytes": "bitsandbytes", "deepspeed": "deepspeed", "flash_attn": "flash-attn", "triton": "triton",
    "xformers": "xformers", "liger_kernel": "liger-kernel", "unsloth": "unsloth", "axolotl": "axolotl",
    "lightning": "lightning", "pytorch_lightning": "pytorch-lightning", "jax": "jax", "jaxlib": "jaxlib",
    "flax": "flax", "optax": "optax", "mlx": "mlx", "tensorflow": "tensorflow", "mergekit": "mergekit",
}  # fmt: skip
"""Module -> distribution: those whose version can change what comes out of a training."""
_DRIVER = Path("/proc/driver/nvidia/version")
_DRIVER_VERSION = re.compile(r"\b([0-9]{3,}\.[0-9]+(\.[0-9]+)?)\b")
_CPU_NAME = re.compile(r"^(?:model name|Model|cpu model)\s*:\s*(.+)$", re.MULTILINE)
MAX_VERSION = 256


def software() -> dict[str, str]:
    """Return the versions of what this process has loaded, of Python, and of the GPU's software."""
    found = {"python": platform.python_version(), "model-attest": __version__}
    for module, distribution in PACKAGES.items():
        if module in sys.modules:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found[distribution] = importlib.metadata.version(distribution)
    if (torch := _loaded("torch")) is not None:
        found["torch"] = torch.__version__  # with the build, such as +cu128
        found |= {name: version for name, version in _gpu_software(torch) if version}
    return {name: safe_text(version, MAX_VERSION) for name, version in found.items() if version}


def _gpu_software(torch: ModuleType) -> Iterator[tuple[str, str | None]]:
    yield "cuda", torch.version.cuda
    yield "hip", torch.version.hip
    if torch.cuda.is_available():
        cudnn = torch.backends.cudnn.version()
        yield "cudnn", None if cudnn is None else str(cudnn)
        with contextlib.suppress(OSError):
            match = _DRIVER_VERSION.search(_DRIVER.read_text("ascii", "replace"))
            yield "driver", match[1] if match else None


def hardware(processes: int | None = None) -> Hardware:
    """Return the devices that torch computes on here, times the machines where the processes say how many these are.

    Without a GPU it is the processor. `processes` is how many take part, on all machines.
    """
    devices = _gpus() or Counter({cpu_name(): 1})
    machines = _machines(processes)
    listed = [HardwareDevice(name=name, count=count * machines) for name, count in devices.items()]
    return Hardware(devices=listed, processes=processes)


def _gpus() -> Counter[str]:
    torch = _loaded("torch")
    if torch is None or not torch.cuda.is_available():
        return Counter()
    names = (torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
    return Counter(safe_text(name, MAX_VERSION) for name in names)


def cpu_name() -> str:
    """Return what the machine calls its processor."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        match = _CPU_NAME.search(Path("/proc/cpuinfo").read_text("utf-8", "replace"))
        name = match[1].strip() if match else name
    return safe_text(name or "processor", MAX_VERSION)


def _machines(processes: int | None) -> int:
    """Return on how many machines the processes run, as launchers such as torchrun tell each of them."""
    here = os.environ.get("LOCAL_WORLD_SIZE", "")
    if processes is None or not here.isascii() or not here.isdigit() or not int(here):
        return 1
    return max(1, processes // int(here))


def rank() -> int:
    """Return which of the processes of a distributed training this is; 0 where it is alone."""
    if (torch := _loaded("torch")) is not None:
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            return int(distributed.get_rank())
    text = os.environ.get("RANK", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _loaded(name: str) -> ModuleType | None:
    """Return a module if it is loaded, and loaded whole."""
    module = sys.modules.get(name)
    return module if getattr(getattr(module, "__spec__", None), "_initializing", False) is False else None

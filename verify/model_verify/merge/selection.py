"""Choose who computes: the compiled loops, plain numpy, or torch on a device."""

from __future__ import annotations

import contextlib
from pathlib import Path

from model_verify.errors import BackendUnavailable
from model_verify.merge.backend import Backend, CheckedBackend


def select_backend(device: str) -> CheckedBackend:
    """Return the backend for `device`: `cpu`, `cuda`, or `auto`, which takes CUDA where there is a device for it.

    Raises `BackendUnavailable` where its software or device is missing.
    """
    if device == "auto" and _has_nvidia_device():
        with contextlib.suppress(BackendUnavailable):  # a driver, and a torch that cannot use it
            return CheckedBackend(_torch_backend())
    return CheckedBackend(_torch_backend() if device == "cuda" else _cpu_backend())


def _has_nvidia_device() -> bool:
    """Look for a driver without importing torch, which takes longer than verifying a small model."""
    return Path("/proc/driver/nvidia/version").exists()


def _torch_backend() -> Backend:
    try:
        from model_verify.merge.tensor import TorchBackend
    except ImportError as error:
        raise BackendUnavailable("torch is not installed", hint="`pip install 'model-attest[replay]'`") from error
    return TorchBackend("cuda")


def _cpu_backend() -> Backend:
    try:
        from model_verify.merge.reference import NumpyBackend
    except ImportError as error:
        raise BackendUnavailable("numpy is not installed", hint="`pip install 'model-attest[replay]'`") from error
    try:
        from model_verify.merge.compiled import NumbaBackend
    except (ImportError, RuntimeError):
        # Numba raises RuntimeError where it may write its cache nowhere, as in a read-only installation without a home.
        return NumpyBackend()
    return NumbaBackend()

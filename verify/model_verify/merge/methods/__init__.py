"""The methods that a step can name, one file each, and the kernel of a call.

Each file has one kernel class for each method that it computes. Which file has which is in `_KERNELS`; it is loaded
when a call needs it, since most of them need torch. What a method takes is in `table.py`.
"""

from __future__ import annotations

from importlib import import_module

from model_verify.errors import BackendUnavailable
from model_verify.merge.kernel import Call, Kernel
from model_verify.merge.methods.table import METHODS

_MERGEKIT = {
    "breadcrumbs": ("breadcrumbs", "Breadcrumbs"),
    "breadcrumbs_ties": ("breadcrumbs", "BreadcrumbsTies"),
    "dare_linear": ("dare", "DareLinear"),
    "dare_ties": ("dare", "DareTies"),
    "della": ("della", "Della"),
    "della_linear": ("della", "DellaLinear"),
    "karcher": ("karcher", "Karcher"),
    "linear": ("linear", "Linear"),
    "model_stock": ("model_stock", "ModelStock"),
    "multislerp": ("multislerp", "Multislerp"),
    "nearswap": ("nearswap", "NearSwap"),
    "nuslerp": ("nuslerp", "Nuslerp"),
    "passthrough": ("passthrough", "Passthrough"),
    "sce": ("sce", "Sce"),
    "slerp": ("slerp", "Slerp"),
    "task_arithmetic": ("task_arithmetic", "TaskArithmetic"),
    "ties": ("ties", "Ties"),
}
"""The methods of `table.py`, which every mergekit profile computes with the same class."""

_KERNELS: dict[tuple[str, str], tuple[str, str]] = {
    **{(profile, method): kernel for method, kernel in _MERGEKIT.items() for profile in METHODS[method].profiles},
    ("linear/f64-v1", "linear"): ("linear_f64", "LinearF64"),
    ("cast/v1", "cast"): ("cast", "Cast"),
    ("lora/f64-v1", "lora"): ("lora", "LoraFloat64"),
    ("peft", "lora"): ("lora", "LoraPeft"),
    ("dequantize/v1", "dequantize"): ("dequantize", "Dequantize"),
    ("ggml/nofma", "quantize"): ("quantize", "Quantize"),
    ("ggml/fma", "quantize"): ("quantize", "Quantize"),
}
"""(Profile, method) -> module in this package, and class there. Built with `class(call)`."""


def load(call: Call) -> Kernel:
    """Return what computes `call`. Raises `BackendUnavailable` where its software is not there."""
    if (call.profile, call.method) not in _KERNELS:
        raise BackendUnavailable(f"{call.method} of {call.profile} is not computed by this version")
    module, name = _KERNELS[call.profile, call.method]
    try:
        found = import_module(f"{__name__}.{module}")
    except ImportError as error:
        hint = "`pip install 'model-attest[replay]'`"
        raise BackendUnavailable(f"{error.name or 'torch'} is not installed", hint=hint) from error
    kernel: Kernel = getattr(found, name)(call)
    return kernel

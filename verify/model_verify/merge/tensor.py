"""`linear/f64-v1` in torch, for CUDA; on the CPU it serves to test the same code without a device. Spec: merge §2."""

# Shape suffixes: E elements of one block.

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from model_verify.errors import BackendUnavailable
from model_verify.merge.backend import Blended, Buffer, Operand
from model_verify.merge.coefficient import weight_sum
from model_verify.merge.difference import equal

_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


class TorchBackend:
    """Blends on a device. Every operation is its own kernel, so nothing is fused, reordered or approximated."""

    def __init__(self, device: str) -> None:
        """Raises `BackendUnavailable` where torch cannot use `device`."""
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise BackendUnavailable("torch finds no CUDA device", hint="`--device cpu` gives the same bits")
        self.name = f"torch {device}"
        self.device = device
        self._device = torch.device(device)

    def linear(
        self,
        operands: Sequence[Operand],
        out: memoryview,
        *,
        dtype: str,
        normalize: bool,
        expected: Buffer | None = None,
    ) -> Blended:
        if not len(out):
            return Blended(True, expected is not None)  # torch cannot view no bytes as elements
        sum_E = self._load(operands[0]) * operands[0].weight
        for operand in operands[1:]:
            sum_E = sum_E + self._load(operand) * operand.weight
        if normalize:
            # A tensor, not a number: by a Python number torch multiplies with the reciprocal on CUDA.
            divisor = torch.tensor(weight_sum([o.weight for o in operands]), dtype=torch.float64, device=self._device)
            sum_E = torch.div(sum_E, divisor)
        blended_E = sum_E.to(torch.float32).to(_DTYPES[dtype])
        finite = bool(torch.isfinite(blended_E).all().item())
        out[:] = blended_E.view(torch.uint8).cpu().numpy().tobytes()
        return Blended(finite, expected is not None and equal(out, expected))

    def _load(self, operand: Operand) -> torch.Tensor:
        return _elements(operand.data, operand.dtype).to(self._device).to(torch.float64)


def _elements(data: Buffer, dtype: str) -> torch.Tensor:
    """Return the elements in `data`. The copy is there because torch warns about buffers that it may not write to."""
    return torch.from_numpy(np.frombuffer(data, dtype=np.uint8).copy()).view(_DTYPES[dtype])

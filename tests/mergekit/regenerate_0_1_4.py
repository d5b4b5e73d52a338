"""Write what mergekit 0.1.4 makes of the cases in `cases.py` to `outputs_0_1_4/`, which tests replay.

mergekit 0.1.4 pins an older pydantic than this project takes, so it has an environment of its own:

    python3.11 -m venv .venv/mergekit-0.1.4
    .venv/mergekit-0.1.4/bin/pip install mergekit==0.1.4 'transformers<5' torch==2.13.0
    PYTHONHASHSEED=0 PYTHONPATH=verify:. .venv/mergekit-0.1.4/bin/python tests/mergekit/regenerate_0_1_4.py

The order of the inputs of `multislerp` and `sce` is that of a set of Python's, hence the first variable.

`outputs.bin` holds the outputs of all cases in their order, `index.json` the versions that gave them and, for each
method and dtype, a digest of the operands, so that another random generator is seen, and the cases that mergekit
refused.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from model_verify.merge.kernel import Block, Call
from model_verify.merge.torch_kernel import TORCH_DTYPES, load_block
from tests.mergekit.cases import DTYPES, calls, data_kinds, operands

FOLDER = Path(__file__).with_name("outputs_0_1_4")
PROFILE = "mergekit-0.1.4"
METHODS = (
    "linear",
    "passthrough",
    "task_arithmetic",
    "ties",
    "breadcrumbs",
    "breadcrumbs_ties",
    "nearswap",
    "slerp",
    "karcher",
    "model_stock",
    "multislerp",
    "nuslerp",
    "sce",
    "dare_linear",
    "dare_ties",
    "della",
    "della_linear",
)
DEFAULTS = {"int8_mask": False, "rescale": False}
"""Of the methods that add differences."""


@dataclass(frozen=True)
class Case:
    call: Call
    operands: tuple[Block, ...]


def cases(method: str, dtype: str) -> Iterator[Case]:
    """Yield the cases of a method, few elements in each: what 0.1.5 shares with 0.1.4 is tried on more there."""
    for number, kind in enumerate(data_kinds()):
        for seed, call in enumerate(calls(method, PROFILE, dtype)):
            shape = ((64,), (5, 13), (1,))[(number + seed) % 3]
            yield Case(call, operands(kind, [dtype] * len(call.own), shape, seed))


def digest_of(given: Sequence[Case]) -> str:
    """Return a digest of all operands."""
    digest = hashlib.sha256()
    for case in given:
        for operand in case.operands:
            digest.update(operand.data)
    return digest.hexdigest()


def merge(case: Case) -> bytes | None:
    """Return the output of mergekit 0.1.4 in the compute dtype, None where it stops."""
    from mergekit.architecture import WeightInfo
    from mergekit.common import ImmutableMap, ModelReference
    from mergekit.io.tasks import GatherTensors
    from mergekit.merge_methods import get

    call = case.call
    assert call.compute_dtype is not None
    torch.manual_seed(0)
    shared = {name: int(value) if name == "max_iter" else value for name, value in call.shared.items()}
    models = [ModelReference.model_validate(f"model{number}") for number in range(len(call.own))]
    weight = WeightInfo(name="t")
    task = get(call.method).make_task(
        output_weight=weight,
        tensors=GatherTensors(weight_info=ImmutableMap(dict.fromkeys(models, weight))),
        parameters=ImmutableMap({**(DEFAULTS if {"lambda", "select_topk"} & shared.keys() else {}), **shared}),
        tensor_parameters=ImmutableMap(
            {model: ImmutableMap(dict(own)) for model, own in zip(models, call.own, strict=True)}
        ),
        base_model=None if call.base is None else models[call.base],
    )
    dtype = TORCH_DTYPES[call.compute_dtype]
    tensors = {
        model: load_block(operand, "cpu").to(dtype) for model, operand in zip(models, case.operands, strict=True)
    }
    try:
        merged: torch.Tensor = task.execute(tensors=tensors)
    except (AssertionError, IndexError, RuntimeError, TypeError, ValueError):
        return None
    if merged.shape != case.operands[0].shape:
        return None  # where `sce` selects nothing, it gives a tensor for each input
    return merged.to(TORCH_DTYPES[call.dtype]).contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def main() -> int:
    torch.set_num_threads(1)
    outputs, index = [], {"versions": {name: version(name) for name in ("mergekit", "torch", "numpy")}, "cases": []}
    for method in METHODS:
        for dtype in DTYPES:
            given = list(cases(method, dtype))
            merged = [merge(case) for case in given]
            outputs += [output for output in merged if output is not None]
            refused = [number for number, output in enumerate(merged) if output is None]
            index["cases"].append(
                {
                    "method": method,
                    "dtype": dtype,
                    "operands": digest_of(given),
                    "count": len(given),
                    "refused": refused,
                }
            )
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "outputs.bin").write_bytes(b"".join(outputs))
    (FOLDER / "index.json").write_text(json.dumps(index, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

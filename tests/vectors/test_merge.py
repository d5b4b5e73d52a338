from __future__ import annotations

from dataclasses import replace

import pytest

from model_verify.errors import OperationRefused
from model_verify.merge.backend import Backend
from model_verify.merge.coefficient import parse_weight, weight_sum
from model_verify.merge.compiled import NumbaBackend
from model_verify.merge.methods.linear_f64 import LinearF64, linear_call
from model_verify.merge.reference import NumpyBackend
from model_verify.merge.tensor import TorchBackend
from model_verify.replay import Computed, ReplayResult, Stored, TensorJob, run
from model_verify.tensors import TensorInfo
from tests.vectors.vector import Vector

AREA = "merge"
BACKENDS: list[Backend] = [NumpyBackend(), NumbaBackend(), TorchBackend("cpu")]


class Memory:
    """A file of the engine that holds its bytes in memory."""

    path = "memory"

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size_bytes = len(data)

    def read(self, offset: int, size_bytes: int) -> bytes:
        return self.data[offset : offset + size_bytes]

    def read_into(self, buffer: memoryview, offset: int) -> None:
        buffer[:] = self.data[offset : offset + len(buffer)]

    def check_unchanged(self) -> None: ...


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name.replace(" ", "-"))
def test_blends_have_the_bytes_of_the_vector(vector: Vector, backend: Backend) -> None:
    stated = vector.input
    weights = [parse_weight(coefficient["decimal"]) for coefficient in stated["coefficients"]]
    assert [weight.float32 for weight in weights] == [c["float32"] for c in stated["coefficients"]]
    out, result = replay(vector, [weight.value for weight in weights], backend)
    if vector.expected["accepted"]:
        assert out == (vector.folder / vector.expected["file"]).read_bytes()
        effects = [("step", f"input {i}") in result.effective for i in range(len(weights))]
        assert effects == vector.expected["effects"]
    elif vector.expected["codes"] == ["OPERAND_INVALID"]:
        assert stated["normalize"]
        assert weight_sum([weight.value for weight in weights]) == 0
    else:
        computed = result.tensors["step", "t"]
        assert not computed.finite
        code = "NONFINITE_INPUT" if computed.nonfinite_inputs else "NONFINITE_OUTPUT"
        assert [code] == vector.expected["codes"]


def replay(vector: Vector, weights: list[float], backend: Backend) -> tuple[bytearray, ReplayResult]:
    """Return the output of the vector's blend from the engine that verification uses, and what it noted."""
    stated = vector.input
    stored = []
    for position, given in enumerate(stated["inputs"]):
        info = TensorInfo("t", given["dtype"], (stated["elements"],))
        stored.append(Stored(f"input {position}", info, Memory((vector.folder / given["file"]).read_bytes()), 0))
    info = TensorInfo("t", stated["dtype"], (stated["elements"],))
    out = bytearray(info.size_bytes)

    def sink(info: TensorInfo, offset: int, data: memoryview) -> None:
        out[offset : offset + len(data)] = data

    kernel = LinearF64(linear_call(weights, stated["dtype"], normalize=stated["normalize"]))
    computed = Computed("step", info, tuple(tensor.key for tensor in stored), kernel, sink=sink)
    job = TensorJob(tuple(stored), (computed,))
    try:
        return out, run([job], backend=backend)
    except OperationRefused:
        silent = TensorJob(tuple(stored), (replace(computed, sink=None),))
        return out, run([silent], backend=backend)

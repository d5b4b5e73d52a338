from __future__ import annotations

from typing import Any

from model_verify.merge.kernel import Block, Call, Kernel, Standing
from model_verify.merge.methods import load
from model_verify.merge.methods.dequantize import block_parameters
from model_verify.merge.tensor import TorchBackend
from model_verify.replay import Computed, ReplayResult, Stored, TensorJob, run
from model_verify.tensors import TensorInfo
from tests.vectors.test_merge import Memory
from tests.vectors.vector import Vector

AREA = "form"
_JUDGED = {
    "reproduced-within": Standing.WITHIN,
    "attested": Standing.EXAMINED,
    "contradicted": Standing.DIFFERENT,
}


def test_tensors_have_the_bytes_of_the_vector(vector: Vector) -> None:
    call = call_of(vector.input)
    blocks = [
        Block(given["dtype"], tuple(given["shape"]), vector.data(given["data"])) for given in vector.input["operands"]
    ]
    kernel = load(call)
    result, out = replay(kernel, blocks, shape_of(vector.input))
    computed = result.tensors["step", "t"]
    if not vector.expected["accepted"]:
        refused = "OPERAND_INVALID" if computed.refused else "NONFINITE_OUTPUT"
        assert computed.refused or not computed.finite
        assert ["NONFINITE_INPUT" if computed.nonfinite_inputs else refused] == vector.expected["codes"]
        return
    assert computed.finite
    assert not computed.refused
    assert out == vector.data(vector.expected["data"])
    for judged in vector.expected.get("judged", ()):
        assert kernel.bounded
        shape = shape_of(vector.input)
        there = Block(call.dtype, shape, vector.data(judged["data"]))
        assert kernel.judge(blocks, Block(call.dtype, shape, out), there).standing is _JUDGED[judged["standing"]]


def call_of(stated: dict[str, Any]) -> Call:
    match stated["type"]:
        case "lora":
            parameters = {**stated["parameters"], "scale": float(stated["parameters"]["scale"])}
            return Call(stated["profile"], "lora", stated["dtype"], shared=parameters)
        case "dequantize":
            return Call("dequantize/v1", "dequantize", stated["dtype"], shared=block_parameters(stated["block"]))
        case "quantize":
            parameters = {
                name: float(value) if name == "add" else value for name, value in stated["parameters"].items()
            }
            return Call(stated["profile"], "quantize", stated["dtype"], shared=parameters)
    raise AssertionError(stated["type"])


def shape_of(stated: dict[str, Any]) -> tuple[int, ...]:
    shape = tuple(stated["operands"][0]["shape"])
    return (len(stated["operands"]), *shape) if stated["type"] == "quantize" and len(stated["operands"]) > 1 else shape


def replay(kernel: Kernel, blocks: list[Block], shape: tuple[int, ...]) -> tuple[ReplayResult, bytes]:
    """Return what the engine that verification uses noted, and the output."""
    stored = [
        Stored(f"input {place}", TensorInfo("t", block.dtype, block.shape), Memory(bytes(block.data)), 0)
        for place, block in enumerate(blocks)
    ]
    info = TensorInfo("t", kernel.call.dtype, shape)  # type: ignore[attr-defined]
    computed = Computed("step", info, tuple(tensor.key for tensor in stored), kernel)
    result = run([TensorJob(tuple(stored), (computed,), whole=True)], backend=TorchBackend("cpu"))
    out = Block(info.dtype, shape, memoryview(bytearray(info.size_bytes)))
    if result.tensors[computed.key].finite and not result.tensors[computed.key].refused:
        kernel.run(TorchBackend("cpu"), blocks, out)
    return result, bytes(out.data)

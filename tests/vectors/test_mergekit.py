from __future__ import annotations

from typing import Any

import pytest

from model_verify.errors import OperationRefused
from model_verify.merge.formats import as_bits, nonfinite
from model_verify.merge.kernel import Block, Call, Kernel, Number, Opinion, Standing
from model_verify.merge.methods import load
from model_verify.merge.methods.table import METHODS, Base, Kind
from model_verify.merge.tensor import TorchBackend
from tests.vectors.vector import Vector

AREA = "mergekit"
CPU = TorchBackend("cpu")


def call_of(stated: dict[str, Any]) -> Call:
    def numbers(given: dict[str, Any]) -> dict[str, Number]:
        return {name: value if isinstance(value, bool) else float(value) for name, value in given.items()}

    return Call(
        stated["profile"],
        stated["method"],
        stated["dtype"],
        compute_dtype=stated["computeDtype"],
        base=stated["base"],
        shared=numbers(stated["parameters"]),
        own=tuple(numbers(own) for own in stated["inputParameters"]),
    )


def operands_of(vector: Vector) -> list[Block]:
    shape = tuple(vector.input["shape"])
    return [Block(g["dtype"], shape, (vector.folder / g["file"]).read_bytes()) for g in vector.input["inputs"]]


def room(vector: Vector) -> Block:
    """Return an output with all bits set, so that what is not written shows."""
    elements = 1
    for length in vector.input["shape"]:
        elements *= length
    dtype = vector.input["dtype"]
    return Block(
        dtype, tuple(vector.input["shape"]), memoryview(bytearray(b"\xff" * elements * (4 if dtype == "F32" else 2)))
    )


def test_outputs_are_those_of_the_vector(vector: Vector) -> None:
    kernel, operands, out = load(call_of(vector.input)), operands_of(vector), room(vector)
    if "there" in vector.input:
        there = Block(out.dtype, out.shape, (vector.folder / vector.input["there"]).read_bytes())
        opinion = opinion_of(kernel, operands, out, there)
        assert opinion.standing.name.lower() == vector.expected["standing"], opinion.text
        assert bool(opinion.warning) is vector.expected.get("warns", False)
    elif vector.expected["accepted"]:
        expected = (vector.folder / vector.expected["file"]).read_bytes()
        blended = kernel.run(CPU, operands, out, expected=expected)
        assert bytes(out.data).hex() == expected.hex()
        assert blended.finite
        assert blended.as_expected
        effects = [kernel.has_effect(CPU, operands, position, out) for position in range(len(operands))]
        assert effects == vector.expected["effects"]
    else:
        assert [code_of(kernel, operands, out)] == vector.expected["codes"]


def opinion_of(kernel: Kernel, operands: list[Block], out: Block, there: Block) -> Opinion:
    """Return the kernel's opinion; a choice among equals that happens to be the kernel's own counts as within."""
    if kernel.best is Standing.EXAMINED:
        return kernel.judge(operands, there, there)
    if kernel.run(CPU, operands, out, expected=there.data).as_expected:
        assert kernel.bounded
        return Opinion(Standing.WITHIN)
    opinion = kernel.judge(operands, out, there)
    assert kernel.bounded or opinion.standing is Standing.DIFFERENT
    return opinion


def code_of(kernel: Kernel, operands: list[Block], out: Block) -> str:
    """Return the reason code by which the engine refuses these operands."""
    try:
        blended = kernel.run(CPU, operands, out)
    except OperationRefused as refusal:
        return refusal.code
    assert not blended.finite
    if any(nonfinite(as_bits(operand.data, operand.dtype), operand.dtype).any() for operand in operands):
        return "NONFINITE_INPUT"
    return "NONFINITE_OUTPUT"


def test_every_call_has_what_the_table_says(vector: Vector) -> None:
    call = call_of(vector.input)
    method = METHODS[call.method]
    kinds = {Kind.BOOL: bool, Kind.DECIMAL: float, Kind.WHOLE: float}
    assert call.profile in method.profiles
    assert method.fewest <= len(call.own) <= method.most
    assert (call.base is not None) is (method.base is Base.REQUIRED) or method.base is Base.OPTIONAL
    assert {name: type(value) for name, value in call.shared.items()} == {
        name: kinds[kind] for name, kind in method.shared.items()
    }
    for position, own in enumerate(call.own):
        if position == call.base:
            assert own == {}
        else:
            assert method.own.keys() - method.optional <= own.keys() <= method.own.keys()
    kernel = load(call)
    assert (kernel.whole, kernel.best) == (method.whole, method.best)


@pytest.mark.parametrize("method", METHODS)
def test_the_table_says_what_the_kernel_says(method: str) -> None:
    """Every method of the table has a kernel in each of its profiles."""
    taken = METHODS[method]
    own = dict.fromkeys(taken.own, 0.5)
    base = 0 if taken.base is Base.REQUIRED else None
    inputs = tuple({} if position == base else own for position in range(max(taken.fewest, 1)))
    shared: dict[str, Number] = {name: 0.5 if kind is Kind.DECIMAL else True for name, kind in taken.shared.items()}
    for profile in taken.profiles:
        kernel = load(Call(profile, method, "BF16", compute_dtype="BF16", base=base, shared=shared, own=inputs))
        assert (kernel.whole, kernel.best) == (taken.whole, taken.best)

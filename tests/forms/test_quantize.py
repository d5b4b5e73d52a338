"""The block formats of ggml, against the `gguf` package, whose results ggml's own code confirms.

The package takes the sign of a zero from numpy, ggml from the first element; blocks here have zeros of one sign.
"""

from __future__ import annotations

from fractions import Fraction

import gguf
import numpy as np
import pytest
import torch

from model_verify.errors import OperationRefused
from model_verify.merge.kernel import Block, Call
from model_verify.merge.methods.quantize import Quantize
from model_verify.merge.tensor import TorchBackend
from model_verify.tensors import BLOCK_DTYPES
from tests.forms.kernels import block

TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4", "TQ1_0", "TQ2_0"]
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, inside the package


def test_blocks_have_the_sizes_of_the_package() -> None:
    sizes = {f"GGML_{kind.name}": size for kind, size in gguf.GGML_QUANT_SIZES.items() if size[0] > 1}
    assert sizes == BLOCK_DTYPES


def values(kind: str) -> np.ndarray:
    generator = np.random.default_rng(11)
    normal = generator.standard_normal((512, 256)).astype(np.float32)
    match kind:
        case "weights":
            return normal * np.float32(0.02)
        case "bf16":
            return torch.from_numpy(normal).to(torch.bfloat16).to(torch.float32).numpy()
        case "integers":
            return generator.integers(-8, 9, (512, 256)).astype(np.float32)
        case "wide":
            return (normal * 10.0 ** generator.integers(-30, 4, (512, 1))).astype(np.float32)
        case "one in many":
            return np.where(generator.random((512, 256)) < 0.05, np.abs(normal), 0).astype(np.float32)
        case "near powers of two":
            bits = generator.integers(107, 142, (512, 256)).astype(np.uint32) << 23
            bits = bits - generator.integers(0, 60, (512, 256)).astype(np.uint32)
            return np.where(generator.random((512, 256)) < 0.5, 1, -1).astype(np.float32) * bits.view(np.float32)
        case "zeros":
            return np.zeros((8, 256), dtype=np.float32)
    raise AssertionError(kind)


def quantized(kind: str, rows: np.ndarray, profile: str = "ggml/nofma", **shared: int) -> bytes:
    call = Call(profile, "quantize", f"GGML_{kind}", shared=shared)
    elements, size_bytes = BLOCK_DTYPES[call.dtype]
    out = Block(call.dtype, rows.shape, memoryview(bytearray(rows.size // elements * size_bytes)))
    assert Quantize(call).run(TorchBackend("cpu"), [block(torch.from_numpy(rows))], out).finite
    return bytes(out.data)


@pytest.mark.parametrize("given", ["weights", "bf16", "integers", "wide", "one in many", "near powers of two", "zeros"])
@pytest.mark.parametrize("kind", TYPES)
def test_blocks_are_those_of_the_package(kind: str, given: str) -> None:
    rows = values(given)
    expected = gguf.quants.quantize(rows, gguf.GGMLQuantizationType[kind])
    assert quantized(kind, rows) == expected.tobytes()


def test_mxfp4_exponents_near_every_power_of_two() -> None:
    steps = np.arange(80, dtype=np.uint32)
    for exponent in range(-120, 128):
        rows = np.zeros((80, 32), dtype=np.float32)
        rows[:, 0] = ((np.uint32(exponent + 127) << np.uint32(23)) - steps).view(np.float32)
        expected = gguf.quants.quantize(rows, gguf.GGMLQuantizationType.MXFP4)
        assert quantized("MXFP4", rows) == expected.tobytes(), exponent


@pytest.mark.parametrize(("kind", "levels"), [("Q4_0", 16), ("Q5_0", 32)])
def test_fused_codes_are_rounded_once(kind: str, levels: int) -> None:
    rows = values("bf16").reshape(-1, 32)
    plain, fused = (
        np.frombuffer(quantized(kind, rows, profile), np.uint8).reshape(len(rows), -1)
        for profile in ("ggml/nofma", "ggml/fma")
    )
    differing = np.nonzero((plain != fused).any(axis=1))[0]
    assert len(differing)
    for at in differing:
        row = rows[at]
        scale = row[np.abs(row).argmax()] / np.float32(-levels / 2)
        inverse = np.float32(1) / scale
        codes = [
            min(levels - 1, int(once(Fraction(float(x)) * Fraction(float(inverse)) + Fraction(levels + 1, 2))))
            for x in row
        ]
        low = bytes(one & 15 | (other & 15) << 4 for one, other in zip(codes[:16], codes[16:], strict=True))
        high = (
            sum((code >> 4) << place for place, code in enumerate(codes)).to_bytes(4, "little") if levels == 32 else b""
        )
        assert fused[at].tobytes()[2:] == high + low


def once(value: Fraction) -> Fraction:
    """Return the float32 nearest to a positive value."""
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    exponent -= value < Fraction(2) ** exponent
    step = Fraction(2) ** (exponent - 23)
    return round(value / step) * step


def test_pieces_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {kind: quantized(kind, values("weights")) for kind in TYPES}
    monkeypatch.setattr("model_verify.merge.methods.quantize._PIECE_ELEMENTS", 512)
    assert {kind: quantized(kind, values("weights")) for kind in TYPES} == whole


def test_heads_are_permuted_as_the_converter_does_it() -> None:
    rows = values("weights")[:64, :32]
    permuted = rows.reshape(4, 2, 8, 32).swapaxes(1, 2).reshape(64, 32)
    assert quantized("Q8_0", np.ascontiguousarray(rows), permuteHeads=4) == quantized("Q8_0", permuted)


@pytest.mark.parametrize(
    ("kind", "size"), [("Q8_0", 2.0**-125), ("Q8_0", 3e7), ("Q4_1", 1e6), ("TQ2_0", 1e5), ("MXFP4", 2.0**-126)]
)
def test_blocks_without_a_scale_are_refused(kind: str, size: float) -> None:
    rows = np.full((1, 256), size, dtype=np.float32)
    rows[0, 1] = -size
    with pytest.raises(OperationRefused):
        quantized(kind, rows)


def test_what_is_not_finite_has_no_block() -> None:
    rows = values("weights")[:1]
    rows[0, 3] = np.nan
    call = Call("ggml/nofma", "quantize", "GGML_Q8_0")
    out = Block(call.dtype, rows.shape, memoryview(bytearray(272)))
    assert not Quantize(call).run(TorchBackend("cpu"), [block(torch.from_numpy(rows))], out).finite

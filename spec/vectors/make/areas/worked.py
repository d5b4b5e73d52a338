"""The worked examples of the chapters, as vectors: one tensor, in one file, in one folder."""

from __future__ import annotations

from collections.abc import Iterator

from data import hexed
from envelope import Signing
from folder import Claim, given, vector, verified
from keys import RELEASE_ED25519
from merkle import Tensor
from vector import Vector
from weights_file import safetensors

from areas import tree, weights

TENSOR = Tensor("w", "F32", (2,), bytes.fromhex("0000803f00000040"))


def vectors() -> Iterator[Vector]:
    """Yield the vectors `worked-example` of the areas tree, weights and verify."""
    described = tree.Described(TENSOR.name, TENSOR.dtype, TENSOR.shape, hexed(TENSOR.data))
    words = "The worked example of the chapter."
    yield tree.vector("worked-example", "§6", words, tree.checkpoint(described))
    file = safetensors([TENSOR])
    yield weights.good("worked-example", "1", words, file, [TENSOR])
    claim = Claim(files={"model.safetensors": file}, signing=Signing(RELEASE_ED25519))
    words = "The worked example of the chapters manifest and statement."
    made = given(claim, key=RELEASE_ED25519)
    yield vector("worked-example", "manifest §7, statement §7", words, made, verified(1))

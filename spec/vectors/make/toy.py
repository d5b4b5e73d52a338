"""Small models for the vectors of area `verify`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from data import Dice
from dyadic import FORMATS, Number, encode
from envelope import Copy, Linear
from linear import Merge, merge
from merkle import Tensor, checkpoint_root
from weights_file import safetensors

Model = dict[str, Tensor]

SHAPES = {"embed.weight": ("BF16", (16, 8)), "layers.0.weight": ("BF16", (8, 8)), "norm.weight": ("F32", (8,))}
POSITIONS = "position_ids"
FLOATS = tuple(sorted(SHAPES))


def model(name: str) -> Model:
    """Return a model of four tensors whose values follow from its name."""
    dice = Dice(f"verify/model/{name}")
    made = {one: Tensor(one, dtype, shape, floats(dice, dtype, prod(shape))) for one, (dtype, shape) in SHAPES.items()}
    made[POSITIONS] = Tensor(POSITIONS, "I64", (4,), b"".join(n.to_bytes(8, "little") for n in range(4)))
    return made


def floats(dice: Dice, dtype: str, count: int) -> bytes:
    """Return `count` values from 1/32 to 2, of either sign."""
    kind = FORMATS[dtype]
    top = 1 << (kind.precision - 1)
    bits = [
        encode(
            Number(bool(dice.bits(1)), top | dice.bits(kind.precision - 1), dice.between(-5, 0) - kind.precision + 1),
            kind,
        )
        for _ in range(count)
    ]
    return pack(dtype, bits)


def pack(dtype: str, bits_E: Sequence[int]) -> bytes:
    """Return elements as little-endian bytes."""
    size = FORMATS[dtype].size_bits // 8
    return b"".join(bits.to_bytes(size, "little") for bits in bits_E)


def unpack(tensor: Tensor) -> list[int]:
    """Return the bits of a tensor's elements."""
    size = FORMATS[tensor.dtype].size_bits // 8
    return [int.from_bytes(tensor.data[at : at + size], "little") for at in range(0, len(tensor.data), size)]


def root(made: Model) -> bytes:
    """Return the checkpoint root of a model."""
    return checkpoint_root(list(made.values()))


def file(made: Model, order: Sequence[str] | None = None, metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the model as one safetensors file."""
    return safetensors([made[name] for name in order or made], metadata=metadata)


def folder(made: Model) -> dict[str, bytes]:
    """Return a model folder of one weight file and three others."""
    return {
        "LICENSE": b"A licence.\n",
        "README.md": b"# Town\n",
        "config.json": b'{"model_type":"toy","layer_norm_eps":1e-05}\n',
        "model.safetensors": file(made),
    }


def sharded(made: Model, stem: str = "model", variant: str = "") -> dict[str, bytes]:
    """Return the model in two shards with their index."""
    names = list(made)
    parts = {f"{stem}-00001-of-00002.safetensors": names[2:], f"{stem}-00002-of-00002.safetensors": names[:2]}
    files = {path: file(made, part) for path, part in parts.items()}
    placed = {name: path.rsplit("/", 1)[-1] for path, part in parts.items() for name in part}
    suffix = f"{variant}.json" if variant else "json"
    return {**files, f"{stem}.safetensors.index.{suffix}": index(placed)}


def index(weight_map: Mapping[str, str]) -> bytes:
    """Return a weight index."""
    return json.dumps({"metadata": {"total_size": 512}, "weight_map": dict(weight_map)}, indent=2).encode()


@dataclass(frozen=True, slots=True)
class Recipe:
    """The operations of a merge step, applied here independently of how they are written down."""

    operations: tuple[Linear | Copy, ...]

    def run(self, inputs: Mapping[str, Model]) -> Model:
        """Return the output. The last operation is the one that takes the rest."""
        named = {name for one in self.operations if not isinstance(one.tensors, str) for name in one.tensors}
        every = [name for name in next(iter(inputs.values())) if name not in named]
        made: Model = {}
        for one in self.operations:
            for name in every if isinstance(one.tensors, str) else one.tensors:
                made[name] = inputs[one.source][name] if isinstance(one, Copy) else blended(one, name, inputs)
        return made


def blended(operation: Linear, name: str, inputs: Mapping[str, Model]) -> Tensor:
    """Return one tensor of a linear operation."""
    tensors = [one[name] for one in inputs.values()]
    plan = Merge(operation.texts, operation.dtype, operation.normalize)
    bits = merge(plan, [(one.dtype, unpack(one)) for one in tensors])
    return Tensor(name, operation.dtype, tensors[0].shape, pack(operation.dtype, bits))


def town(*texts: str, normalize: bool = False) -> Recipe:
    """Return the recipe of most vectors: BF16 for the matrices, F32 for the norm, positions copied from `a`."""
    norm = Linear(texts, "F32", ("norm.weight",), normalize)
    return Recipe((norm, Copy("a", (POSITIONS,)), Linear(texts, "BF16", "rest", normalize)))


def with_data(made: Model, name: str, change: Callable[[bytes], bytes]) -> Model:
    """Return the model with other data in one tensor."""
    old = made[name]
    return {**made, name: Tensor(name, old.dtype, old.shape, change(old.data))}


def flipped(data: bytes) -> bytes:
    """Return the data with the lowest bit of the first byte turned: one ULP of a little-endian number."""
    return bytes([data[0] ^ 1]) + data[1:]


def trained(made: Model, names: Sequence[str] = FLOATS) -> Model:
    """Return the model after a training step: every seventh element moves by one ULP or two."""
    out = dict(made)
    for name in names:
        bits = [one + (1 + at % 2 if at % 7 == 3 else 0) for at, one in enumerate(unpack(made[name]))]
        out[name] = Tensor(name, made[name].dtype, made[name].shape, pack(made[name].dtype, bits))
    return out

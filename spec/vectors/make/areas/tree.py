"""Area `tree`: Merkle heads, tensor roots, checkpoint roots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from data import Data, concat, hexed, stream, zeros
from merkle import (
    CHUNK_BYTES,
    DTYPE_BITS,
    Tensor,
    by_name,
    checkpoint_head,
    checkpoint_root,
    digest_text,
    entry,
    head_of_leaves,
    leaf,
    tensor_leaves,
    tensor_root,
)
from vector import JsonObject, Vector
from weights_file import safetensors

MIB = CHUNK_BYTES


@dataclass(frozen=True, slots=True)
class Subject:
    """Something with a root: its description for `input` and what must come out for `expected`."""

    described: JsonObject
    expected: JsonObject

    @property
    def root(self) -> object:
        """The root that decides whether two subjects are equal."""
        return self.expected.get("checkpoint_root", self.expected.get("root"))


@dataclass(frozen=True, slots=True)
class Described:
    """A tensor whose data are described."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: Data

    def tensor(self) -> Tensor:
        """Return the tensor itself."""
        return Tensor(self.name, self.dtype, self.shape, self.data.make())

    def described(self) -> JsonObject:
        """Return the tensor as it stands in `input`."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape), "data": self.data.described}


def tensor(data: Data, dtype: str = "U8", shape: Sequence[int] | None = None) -> Subject:
    """Return one tensor; without a shape, a flat one of bytes."""
    made = data.make()
    dims = [len(made)] if shape is None else list(shape)
    assert 8 * len(made) == DTYPE_BITS[dtype] * prod(dims)
    leaves = tensor_leaves(made)
    return Subject(
        {"kind": "tensor", "dtype": dtype, "shape": dims, "data": data.described},
        {
            "size_bytes": len(made),
            "chunks": len(leaves),
            "leaves": [digest_text(digest) for digest in leaves],
            "root": digest_text(head_of_leaves(leaves)),
        },
    )


def checkpoint(*tensors: Described) -> Subject:
    """Return a checkpoint of described tensors."""
    return Subject(
        {"kind": "checkpoint", "tensors": [one.described() for one in tensors]},
        checkpoint_expected([one.tensor() for one in tensors]),
    )


def checkpoint_expected(tensors: Sequence[Tensor]) -> JsonObject:
    """Return what must come out for a checkpoint: entries in order, head, checkpoint root."""
    ordered = by_name(tensors)
    return {
        "tensors": [{"name": one.name, "root": digest_text(tensor_root(one.data))} for one in ordered],
        "entries": [entry(one).decode() for one in ordered],
        "head": digest_text(checkpoint_head(tensors)),
        "checkpoint_root": digest_text(checkpoint_root(tensors)),
    }


def stored(folder: str, files: dict[str, list[Tensor]]) -> tuple[Subject, dict[str, bytes]]:
    """Return a checkpoint that is stored as safetensors files, and those files."""
    made = {f"{folder}/{name}": safetensors(tensors) for name, tensors in files.items()}
    every = [one for tensors in files.values() for one in tensors]
    return Subject({"kind": "files", "files": list(made)}, checkpoint_expected(every)), made


def vector(name: str, clause: str, description: str, subject: Subject) -> Vector:
    """Return a vector of one subject."""
    return Vector("tree", name, f"tensor-tree {clause}", description, subject.described, subject.expected)


def pair(
    name: str, clause: str, description: str, a: Subject, b: Subject, files: dict[str, bytes] | None = None
) -> Vector:
    """Return a vector of two subjects and whether their roots are equal."""
    given = {"kind": "pair", "a": a.described, "b": b.described}
    expected = {"equal": a.root == b.root, "a": a.expected, "b": b.expected}
    return Vector("tree", name, f"tensor-tree {clause}", description, given, expected, files or {})


def heads() -> Iterator[Vector]:
    """Yield Merkle heads over short strings."""
    strings = [b"", b"\x00", b"\x10", b" !", b"01", b"@ABC", b"PQRSTUVW", bytes(range(0x60, 0x70)), b"\xff" * 3]
    for count in range(10):
        given = {"kind": "strings", "strings": [{"hex": one.hex()} for one in strings[:count]]}
        head = head_of_leaves([leaf(one) for one in strings[:count]])
        words = f"Merkle head over {count} strings; up to eight these are the inputs of the RFC 6962 test data."
        expected = {"head": digest_text(head)}
        yield Vector("tree", f"head-{count}", "tensor-tree §2", words, given, expected)


def tensors() -> Iterator[Vector]:
    """Yield tensor roots by size and shape."""
    empty = tensor(hexed(b""))
    yield vector("empty", "§2.1, §3", "A tensor of no bytes has no chunk; its root is SHA-256 of nothing.", empty)
    words = "A dimension of zero makes an empty tensor, however large the others."
    yield vector("empty-huge", "§3", words, tensor(hexed(b""), "F32", [0, 2**53 - 1]))
    yield vector("one-byte", "§2.2, §3", "One byte: one short chunk.", tensor(hexed(b"\x00")))
    scalar = tensor(hexed(bytes.fromhex("0000803f")), "F32", [])
    yield vector("scalar", "§3", "An empty shape has the product 1: four bytes of F32.", scalar)
    sizes = {
        "one-below-chunk": MIB - 1, "exact-chunk": MIB, "short-tail": MIB + 1, "two-chunks": 2 * MIB,
        "three-chunks": 3 * MIB, "five-chunks": 5 * MIB, "six-chunks": 5 * MIB + 7,
    }  # fmt: skip
    for name, size in sizes.items():
        yield vector(name, "§3", f"{size} bytes.", tensor(stream(f"tree/{name}", size)))
    words = "Chunks are cut by bytes, not by rows: a row of 3 bytes straddles the boundary."
    yield vector("row-straddles", "§3", words, tensor(stream("tree/rows", 349_526 * 3), "U8", [349_526, 3]))
    words = "Sub-byte elements: 2,097,154 of four bits are 1 MiB and one byte."
    yield vector("short-tail-f4", "§3", words, tensor(stream("tree/f4", MIB + 1), "F4", [2 * MIB + 2]))
    yield vector("zero-chunk-and-tail", "§3", "A chunk of zeros is a chunk.", tensor(zeros(MIB + 4), "F32", [262_145]))


def tensor_pairs() -> Iterator[Vector]:
    """Yield pairs of tensors."""
    first, second = stream("tree/chunk-0", MIB), stream("tree/chunk-1", MIB)
    swapped = tensor(concat(second, first))
    yield pair("swapped-chunks", "§2.3", "Two chunks in the other order.", tensor(concat(first, second)), swapped)
    left, right = tensor_leaves(first.make() + second.make())
    words = "The 64 bytes of two leaves as data: a leaf's prefix keeps them apart from the node over the two leaves."
    inner = tensor(hexed(left + right))
    yield pair("inner-node-as-leaf", "§2", words, tensor(concat(first, second)), inner)
    third = stream("tree/chunk-2", MIB)
    three, last = concat(first, second, third), tensor(concat(first, second, third, third))
    words = "Three chunks, and four of which the last repeats the third: an odd node is never duplicated."
    yield pair("odd-not-duplicated", "§2.3", words, tensor(three), last)
    words = "Trailing zeros are data: a chunk is never padded."
    yield pair("not-padded", "§3", words, tensor(hexed(b"\x01")), tensor(hexed(b"\x01\x00")))


def dtypes() -> Iterator[Vector]:
    """Yield a checkpoint of one tensor for every dtype of the table."""
    for dtype, bits in DTYPE_BITS.items():
        name = "dtype-" + dtype.lower().replace("_", "-")
        one = Described("t", dtype, (3, 8), stream(f"tree/{name}", 3 * bits))
        yield vector(name, "§3, §4", f"A tensor of {dtype}, {bits} bits each, shape 3 by 8.", checkpoint(one))


def small(name: str, dtype: str = "F32", shape: tuple[int, ...] = (2, 2)) -> Described:
    """Return a small tensor whose data follow from its name."""
    return Described(name, dtype, shape, stream(f"tree/{name}", DTYPE_BITS[dtype] * prod(shape) // 8))


def checkpoints() -> Iterator[Vector]:
    """Yield checkpoint roots."""
    yield vector("checkpoint-none", "§4", "A checkpoint of no tensors.", checkpoint())
    yield vector("checkpoint-one", "§4", "A checkpoint of one tensor.", checkpoint(small("w")))
    many = [small(f"layers.{n}.weight", "BF16", (4, n + 1)) for n in range(12)]
    words = "Twelve tensors; `layers.10` sorts before `layers.2`."
    yield vector("checkpoint-many", "§4", words, checkpoint(*many))
    reverse = checkpoint(*reversed(many))
    words = "The order in which tensors come does not matter."
    yield pair("checkpoint-order", "§4", words, checkpoint(*many), reverse)
    words = "U+FF5E sorts before U+1F600 by UTF-8 bytes, and after it by UTF-16 code units."
    yield vector("name-order", "§4", words, checkpoint(small("\U0001f600"), small("\uff5e"), small("\uff5e.b")))
    words = "Bytes of names compare as unsigned: `z` before U+00E9; a prefix before what it begins."
    yield vector("name-order-unsigned", "§4", words, checkpoint(small("é"), small("z"), small("za")))
    odd = [small(""), small("../up"), small("a\nb"), small('q"\\'), small("\x7f"), small("__metadata__x")]
    yield vector("names-opaque", "§4, §5", "Names that need escapes, an empty one, a path.", checkpoint(*odd))


def checkpoint_pairs() -> Iterator[Vector]:
    """Yield pairs of checkpoints, the two collisions among them."""
    base = [small("a"), small("b")]
    renamed = Described("c", "F32", (2, 2), base[1].data)
    words = "One tensor renamed, with the same data."
    yield pair("renamed", "§4", words, checkpoint(*base), checkpoint(base[0], renamed))
    retyped = Described("b", "I32", (2, 2), base[1].data)
    words = "Another dtype with the same bytes."
    yield pair("retyped", "§4", words, checkpoint(*base), checkpoint(base[0], retyped))
    reshaped = Described("b", "F32", (4,), base[1].data)
    words = "Another shape with the same bytes."
    yield pair("reshaped", "§4", words, checkpoint(*base), checkpoint(base[0], reshaped))
    exchanged = [Described("a", "F32", (2, 2), base[1].data), Described("b", "F32", (2, 2), base[0].data)]
    words = "Two tensors exchange their data."
    yield pair("exchanged", "§4", words, checkpoint(*base), checkpoint(*exchanged))
    one = small("w")
    as_bytes = tensor(hexed(entry(one.tensor())))
    words = "A checkpoint of one tensor, and a U8 tensor that holds its entry: without the prefix, one root."
    yield pair("collision-entry", "§4", words, checkpoint(one), as_bytes)
    words = "A checkpoint of no tensors, and a tensor of no bytes: without the prefix, one root."
    yield pair("collision-empty", "§4", words, checkpoint(), tensor(hexed(b"")))
    yield twins()


def twins() -> Vector:
    """Return one checkpoint, stored in one file and in three."""
    every = [small(f"layers.{n}.weight", "BF16", (8, 8)).tensor() for n in range(5)]
    one, one_file = stored("one", {"model.safetensors": every})
    shards = {
        "model-00001-of-00003.safetensors": [every[3], every[0]],
        "model-00002-of-00003.safetensors": [every[4]],
        "model-00003-of-00003.safetensors": [every[2], every[1]],
    }
    three, three_files = stored("three", shards)
    words = "The same tensors in one file and in three, in another order: one root."
    made = pair("resharded", "§4", words, one, three, {**one_file, **three_files})
    assert made.expected["equal"] is True
    return made


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this area."""
    for part in (heads, tensors, tensor_pairs, dtypes, checkpoints, checkpoint_pairs):
        yield from part()

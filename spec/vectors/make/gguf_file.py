"""Writing and reading GGUF files: good ones from tensors, and any parts at all for bad ones. Spec: tensor-tree §6."""

from __future__ import annotations

from collections.abc import Sequence

from merkle import BLOCKS, DTYPE_BITS, Tensor, sha256

TYPES = {
    "F32": 0, "F16": 1, "GGML_Q4_0": 2, "GGML_Q4_1": 3, "GGML_Q5_0": 6, "GGML_Q5_1": 7, "GGML_Q8_0": 8,
    "GGML_Q4_K": 12, "I8": 24, "I32": 26, "BF16": 30, "GGML_TQ1_0": 34, "GGML_TQ2_0": 35, "GGML_MXFP4": 39,
}  # fmt: skip
U32, BOOL, STRING, ARRAY = 4, 7, 8, 9
SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


def u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


def string(text: bytes) -> bytes:
    return u64(len(text)) + text


def pair(key: bytes, kind: int, value: bytes) -> bytes:
    """Return one key-value pair."""
    return string(key) + u32(kind) + value


def described(name: bytes, extents: Sequence[int], kind: int, offset: int) -> bytes:
    """Return the description of one tensor."""
    return string(name) + u32(len(extents)) + b"".join(map(u64, extents)) + u32(kind) + u64(offset)


def assembled(
    pairs: Sequence[bytes] = (),
    tensors: Sequence[bytes] = (),
    data: bytes = b"",
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
    alignment: int = 32,
    gap: bytes | None = None,
) -> bytes:
    """Return a file of these parts; `counts`, of tensors and pairs, can lie."""
    told = counts or (len(tensors), len(pairs))
    head = b"GGUF" + u32(version) + u64(told[0]) + u64(told[1]) + b"".join(pairs) + b"".join(tensors)
    return head + (bytes(-len(head) % alignment) if gap is None else gap) + data


def gguf(tensors: Sequence[Tensor], pairs: Sequence[bytes] = (), *, alignment: int = 32, padded: bool = True) -> bytes:
    """Return a file that holds the tensors in the order given."""
    rows, data = [], b""
    for tensor in tensors:
        data += bytes(-len(data) % alignment)
        rows.append(described(tensor.name.encode(), tensor.shape[::-1], TYPES[tensor.dtype], len(data)))
        data += tensor.data
    return assembled(pairs, rows, data + bytes(-len(data) % alignment if padded else 0), alignment=alignment)


class _Cursor:
    def __init__(self, file: bytes) -> None:
        self.file = file
        self.at = 24

    def number(self, size: int) -> int:
        self.at += size
        return int.from_bytes(self.file[self.at - size : self.at], "little")

    def string(self) -> bytes:
        size = self.number(8)
        self.at += size
        return self.file[self.at - size : self.at]

    def value(self, kind: int) -> int | None:
        """Return a number; pass over anything else."""
        if kind == STRING:
            self.string()
        elif kind == ARRAY:
            inner, count = self.number(4), self.number(8)
            for _ in range(count):
                self.value(inner)
        else:
            return self.number(SCALARS[kind])
        return None


def parts(file: bytes) -> tuple[bytes, list[Tensor]]:
    """Return what stands before the data of a good file, and its tensors."""
    cursor = _Cursor(file)
    alignment, found = 32, []
    tensor_count, pair_count = int.from_bytes(file[8:16], "little"), int.from_bytes(file[16:24], "little")
    for _ in range(pair_count):
        key = cursor.string()
        value = cursor.value(cursor.number(4))
        if key == b"general.alignment":
            assert value is not None
            alignment = value
    names = {number: name for name, number in TYPES.items()}
    for _ in range(tensor_count):
        name = cursor.string().decode()
        extents = [cursor.number(8) for _ in range(cursor.number(4))]
        found.append((name, names[cursor.number(4)], tuple(extents[::-1]), cursor.number(8)))
    if not found:
        return file, []
    start = -(-cursor.at // alignment) * alignment
    tensors = []
    for name, dtype, shape, offset in found:
        elements, size = BLOCKS.get(dtype) or (1, DTYPE_BITS[dtype] // 8)
        count = 1
        for extent in shape:
            count *= extent
        tensors.append(Tensor(name, dtype, shape, file[start + offset : start + offset + count // elements * size]))
    return file[:start], tensors


def header_digest(file: bytes) -> bytes:
    """Return the SHA-256 of everything before the data."""
    return sha256(parts(file)[0])

"""GGUF files: good ones from the real `gguf` package, and any bytes at all for bad ones."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np

U32, STRING, ARRAY, BOOL = 4, 8, 9, 7


def write_real(path: Path, tensors: dict[str, tuple[np.ndarray, str]], *, alignment: int | None = None) -> Path:
    """Write float32 tensors in the named types of ggml, with the package and some usual metadata."""
    writer = gguf.GGUFWriter(path, "llama")
    if alignment is not None:
        writer.add_custom_alignment(alignment)
    writer.add_name("tiny")
    writer.add_context_length(128)
    writer.add_bool("tokenizer.ggml.add_bos_token", True)
    writer.add_token_list([b"<s>", "né".encode(), b"\xff\xfe"])
    writer.add_array("some.scores", [0.5, -1.0])
    for name, (values, kind) in tensors.items():
        quantized = gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind])
        writer.add_tensor(name, quantized, raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def pair(key: bytes, kind: int, value: bytes) -> bytes:
    return string(key) + struct.pack("<I", kind) + value


def tensor(name: bytes, extents: Sequence[int], kind: int, offset: int) -> bytes:
    axes = b"".join(struct.pack("<Q", extent) for extent in extents)
    return string(name) + struct.pack("<I", len(extents)) + axes + struct.pack("<IQ", kind, offset)


def assembled(
    pairs: Sequence[bytes] = (),
    tensors: Sequence[bytes] = (),
    data: bytes = b"",
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    counts: tuple[int, int] | None = None,
    alignment: int = 32,
    padding: bytes | None = None,
) -> bytes:
    """Return a file of these parts; `counts` are numbers of tensors and pairs that lie."""
    told = counts or (len(tensors), len(pairs))
    head = magic + struct.pack("<IQQ", version, *told) + b"".join(pairs) + b"".join(tensors)
    gap = bytes(-len(head) % alignment) if padding is None else padding
    return head + gap + data

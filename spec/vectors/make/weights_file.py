"""Writing safetensors files: good ones from tensors, and any header at all for bad ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from merkle import Tensor, sha256


def safetensors(tensors: Sequence[Tensor], *, metadata: Mapping[str, str] | None = None) -> bytes:
    """Return a file that holds the tensors in the order given; the header is padded to 8 bytes, as usual."""
    header: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    at = 0
    for tensor in tensors:
        end = at + len(tensor.data)
        header[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return framed(text + b" " * (-len(text) % 8), b"".join(tensor.data for tensor in tensors))


def framed(header: bytes, data: bytes = b"", *, stated: int | None = None) -> bytes:
    """Return N, the header and the data; `stated` is an N that lies."""
    size = len(header) if stated is None else stated
    return size.to_bytes(8, "little") + header + data


def header_digest(file: bytes) -> bytes:
    """Return the SHA-256 of the 8 + N bytes before the data. Spec: tensor-tree §5."""
    return sha256(file[: 8 + int.from_bytes(file[:8], "little")])

from __future__ import annotations

from pathlib import Path

import pytest

from model_verify import merkle
from model_verify.errors import MalformedWeights
from model_verify.sources.local import LocalFolder
from model_verify.weight_files import read_weight_file
from tests.vectors.vector import Vector

AREA = "weights"


def test_files_are_read_or_refused_as_the_vector_says(vector: Vector, tmp_path: Path) -> None:
    path = f"file.{vector.input.get('format', 'safetensors')}"
    (tmp_path / path).write_bytes(vector.data(vector.input["file"]))
    with LocalFolder(tmp_path).open(path) as file:
        if not vector.expected["accepted"]:
            with pytest.raises(MalformedWeights) as refused:
                read_weight_file(file)
            assert [refused.value.code] == vector.expected["codes"]
            return
        weights = read_weight_file(file)
        assert weights.header_digest.text == vector.expected["header_digest"]
        ordered = sorted(weights.tensors, key=lambda tensor: tensor.info.name.encode())
        found = [
            {
                "name": tensor.info.name,
                "dtype": tensor.info.dtype,
                "shape": list(tensor.info.shape),
                "root": merkle.tensor_root(merkle.chunk_leaves(file.read(tensor.offset, tensor.info.size_bytes))).text,
            }
            for tensor in ordered
        ]
        assert found == vector.expected["tensors"]

from __future__ import annotations

import pytest

from model_verify.canonical import dumps, loads
from model_verify.errors import MalformedJson
from tests.vectors.vector import Vector

AREA = "json"


def test_json_is_read_and_written_as_the_vector_says(vector: Vector) -> None:
    document = vector.data(vector.input["document"])
    if vector.expected["accepted"]:
        assert dumps(loads(document, max_bytes=1 << 20)) == vector.data(vector.expected["canonical"])
    else:
        with pytest.raises(MalformedJson):
            loads(document, max_bytes=1 << 20)

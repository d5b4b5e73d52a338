from __future__ import annotations

import pytest

from model_verify.errors import RecipeInvalid
from model_verify.merge.coefficient import parse_weight
from tests.vectors.vector import Vector

AREA = "coefficient"


def test_decimal_text_gives_the_bits_of_the_vector(vector: Vector) -> None:
    if vector.expected["accepted"]:
        assert parse_weight(vector.input["decimal"]).float32 == vector.expected["float32"]
    else:
        with pytest.raises(RecipeInvalid):
            parse_weight(vector.input["decimal"])

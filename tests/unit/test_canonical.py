"""Canonical JSON against another implementation, and strict reading against bombs."""

from __future__ import annotations

import json
import time

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from model_verify.canonical import MAX_INTEGER, dumps, loads
from model_verify.errors import MalformedJson

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | text
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4))


@given(values)
def test_writing_equals_the_rfc8785_package(value: object) -> None:
    assert dumps(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


@given(values)
def test_what_was_written_is_read_back(value: object) -> None:
    assert loads(dumps(value), max_bytes=1 << 20) == value  # type: ignore[arg-type]


@given(st.binary(max_size=60))
def test_any_bytes_give_a_value_or_malformed_json(data: bytes) -> None:
    try:
        value = loads(data, max_bytes=64)
    except MalformedJson:
        return
    assert json.loads(data) == value


def test_member_names_beyond_the_bmp_sort_by_utf16_units() -> None:
    # U+10000 is D800 DC00 in UTF-16 and so comes before U+FB33, although its code point is larger.
    assert dumps({"\ufb33": 1, "\U00010000": 2}) == '{"\U00010000":2,"\ufb33":1}'.encode()


def test_a_depth_bomb_is_refused_quickly() -> None:
    started = time.monotonic()
    with pytest.raises(MalformedJson, match="deeper than 64"):
        loads(b"[" * 5_000_000, max_bytes=10_000_000)
    assert time.monotonic() - started < 20  # not a timing of ours: recursion or backtracking would take minutes or die


def test_brackets_inside_strings_do_not_count_as_depth() -> None:
    assert loads(json.dumps(["[" * 200]).encode(), max_bytes=1000) == ["[" * 200]


def test_a_size_over_the_limit_is_refused_before_parsing() -> None:
    with pytest.raises(MalformedJson, match="over the limit of 10"):
        loads(b"[" + b" " * 20 + b"]", max_bytes=10)


def test_a_long_number_is_refused_without_converting_it() -> None:
    with pytest.raises(MalformedJson, match="not an integer within"):
        loads(b"[" + b"9" * 1_000_000 + b"]", max_bytes=2_000_000)


@pytest.mark.parametrize("value", [1.5, 2**53, {"a": 0.1}, b"x"])
def test_values_without_canonical_json_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"canonical JSON|past 2\^53"):
        dumps(value)  # type: ignore[arg-type]


def test_the_place_is_named() -> None:
    with pytest.raises(MalformedJson, match=r"^here\.json: "):
        loads(b"{", max_bytes=10, where="here.json")

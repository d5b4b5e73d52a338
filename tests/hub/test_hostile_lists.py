"""Lists that no Hub would send: each is an error that names the Hub, never a traceback."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from model_verify.errors import SourceUnreadable
from model_verify.sources.hub.reference import HubReference
from model_verify.sources.hub.repository import Repository

COMMIT = "0" * 40


@dataclass
class Answers:
    """A connection to a Hub that answers with what a test says; `{}` headers unless there are others."""

    listed: object
    headers: Mapping[str, str] = field(default_factory=dict)
    endpoint: str = "https://hub.example"

    def document(self, url: str, *, missing: str) -> tuple[object, Mapping[str, str]]:
        if "/revision/" in url:
            return {"id": "lab/model", "sha": COMMIT}, {}
        return self.listed, self.headers


def repository(listed: object, headers: Mapping[str, str] | None = None) -> Repository:
    return Repository(Answers(listed, headers or {}), HubReference("lab/model", "main"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "refs",
    [
        [],
        5,
        None,
        {"branches": 5},
        {"tags": True},
        {"branches": None},
        {"branches": {"name": "main"}},
        {"branches": [5]},
        {"branches": [{"name": "main"}]},
        {"branches": [{"name": "\ud800", "targetCommit": "1" * 40}]},
    ],
)
def test_branches_that_are_no_list_of_branches_are_refused(refs: object) -> None:
    with pytest.raises(SourceUnreadable, match="branches is malformed"):
        repository(refs).reach()


@pytest.mark.parametrize("link", ['<http://[>; rel="next"', '<https://[::1/x>; rel="next"'])
def test_an_address_of_a_next_page_that_is_none_is_refused(link: str) -> None:
    with pytest.raises(SourceUnreadable, match="next page is malformed"):
        repository([], {"link": link}).files()


def test_a_long_header_takes_no_time() -> None:
    started = time.process_time()
    assert repository([], {"link": "<" * 200_000}).files() == {}
    assert time.process_time() - started < 5  # not a timing of ours: quadratic work would take minutes


@pytest.mark.parametrize("path", ["\ud800", "a/\udfff"])
def test_a_path_that_is_not_unicode_is_refused(path: str) -> None:
    listed = [{"type": "file", "path": path, "size": 1, "oid": "1" * 40}]
    with pytest.raises(SourceUnreadable, match="not Unicode text"):
        repository(listed).files()

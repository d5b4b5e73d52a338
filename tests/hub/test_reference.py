"""How repositories of the Hub are written."""

from __future__ import annotations

import pytest

from model_verify.errors import CallerError
from model_verify.sources.hub import HubReference, parse_reference

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "repository", "revision"),
    [
        ("lab/model", "lab/model", None),
        ("lab/model@v1.0", "lab/model", "v1.0"),
        ("lab/model@feature/x", "lab/model", "feature/x"),
        (f"hf:lab/model@{COMMIT}", "lab/model", COMMIT),
        (f"pkg:huggingface/lab/model@{COMMIT}", "lab/model", COMMIT),
        ("https://huggingface.co/lab/model", "lab/model", None),
        ("https://huggingface.co/lab/model/", "lab/model", None),
        ("https://huggingface.co/lab/model/tree/refs%2Fpr%2F1", "lab/model", "refs/pr/1"),
        (f"https://huggingface.co/lab/model/commit/{COMMIT}?x=1#y", "lab/model", COMMIT),
    ],
)
def test_what_names_a_repository(text: str, repository: str, revision: str | None) -> None:
    assert parse_reference(text) == HubReference(repository, revision)


@pytest.mark.parametrize(
    "text", ["./lab/model", "/lab/model", "model", "a/b/c", "lab/", "lab/mo del", "../model", "lab/..", "lab/a--b", ""]
)
def test_what_can_only_be_a_path(text: str) -> None:
    assert parse_reference(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "hf:model",
        "hf:lab/model@",
        "lab/model@a b",
        "lab/model@a\x1b",
        "hf:../x",
        "https://example.com/lab/model",
        "https://huggingface.co.example.com/lab/model",
        "http://huggingface.co/lab/model",
        "https://huggingface.co/datasets/lab/model",
        "https://huggingface.co/lab/model/blob/main/config.json",
        "https://huggingface.co/",
    ],
)
def test_what_is_written_like_a_reference_and_names_nothing(text: str) -> None:
    with pytest.raises(CallerError):
        parse_reference(text)


def test_a_commit_is_known_as_one() -> None:
    assert HubReference("lab/model", COMMIT).commit == COMMIT
    assert HubReference("lab/model", COMMIT[:-1]).commit is None
    assert HubReference("lab/model", COMMIT.upper()).commit is None
    assert str(HubReference("lab/model", "v1")) == "lab/model@v1"
    assert HubReference("lab/model", "v1").purl == "pkg:huggingface/lab/model"

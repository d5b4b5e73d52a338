"""Paths, classes and exemptions. Spec: manifest §2 to §4."""

from __future__ import annotations

import pytest

from model_verify import files


@pytest.mark.parametrize(
    "path",
    [
        "", "/etc/passwd", "a//b", "./a", "a/../b", "..", "a/", "a\\b", "a\x00b", "a\nb", "a\x1b[31mb", "a\x7fb",
        "a\u202eb", "a\u200fb", "e\u0301", "a\u2028b", "\ud800", "x" * 1025,
    ],
)  # fmt: skip
def test_unsafe_paths_are_refused(path: str) -> None:
    assert files.path_problem(path) is not None


@pytest.mark.parametrize("path", ["a", "a/b.txt", "\u00e9", "模型.safetensors", "..a", "a b", "x" * 1024])
def test_ordinary_paths_are_accepted(path: str) -> None:
    assert files.path_problem(path) is None


def test_paths_that_some_file_systems_cannot_tell_apart_collide() -> None:
    assert files.colliding_paths(["Model", "model"]) == [("Model", "model")]
    assert files.colliding_paths(["\uff4d", "m"]) == [("\uff4d", "m")]
    assert files.colliding_paths(["straße", "STRASSE"]) == [("straße", "STRASSE")]
    assert files.colliding_paths(["a", "b", "a/b"]) == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("model.safetensors", "weights"),
        ("x/PYTORCH_MODEL.BIN", "weights"),
        ("net.pth.tar", "weights"),
        ("README.md", "documentation"),
        ("readme", "documentation"),
        ("docs/README.txt", "documentation"),
        ("readme.json", "config"),
        ("readmefirst.py", "code"),
        ("figure.PNG", "documentation"),
        ("LICENSE", "other"),
        ("LICENSE.md", "other"),
        ("modeling_x.py", "code"),
        ("tokenizer.json", "tokenizer"),
        ("tokenizer_config.json", "tokenizer"),
        ("spiece.model", "tokenizer"),
        ("chat_template.jinja", "tokenizer"),
        ("config.json", "config"),
        ("model.safetensors.index.json", "config"),
    ],
)
def test_the_class_follows_from_the_path(path: str, expected: str) -> None:
    assert files.file_class(path) == expected


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"*.bin filter=lfs diff=lfs merge=lfs -text\n",
        b"# comment\r\n*.h5 filter=lfs diff=lfs merge=lfs -text\r\n\n",
    ],
)
def test_gitattributes_of_lfs_patterns_are_exempt(content: bytes) -> None:
    assert files.has_only_lfs_attributes(content)


@pytest.mark.parametrize(
    "content",
    [
        b"*.bin filter=evil diff=lfs merge=lfs -text\n",
        b"*.bin filter=lfs\n",
        b"[attr]x filter=lfs diff=lfs merge=lfs -text extra\n",
        b"*.json export-subst\n",
    ],
)
def test_other_gitattributes_are_listed_like_any_file(content: bytes) -> None:
    assert not files.has_only_lfs_attributes(content)


def test_only_what_the_spec_names_is_exempt() -> None:
    exempt = ["attestation/manifest.json", "attestation/leaves.sha256tree", "attestation/pipeline.sigstore.json"]
    assert all(files.is_exempt(path) for path in [*exempt, "model.sig", ".git/config", ".attest/steps/001.json"])
    others = ["attestation/other.json", "sub/model.sig", "attestation", ".gitignore", ".cache/other", "x/.git/config"]
    assert not any(files.is_exempt(path) for path in others)

"""mergekit's tokenizer options are taken where they move no row of an embedding, and refused by name elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_attest.recipes import read_recipe
from model_attest.resolution import check_vocabularies
from model_verify.errors import RecipeInvalid
from model_verify.sources.local import LocalFolder
from tests.mergekit.plans import read_parent
from tests.mergekit.shapes import VOCABULARY, write_model

CONFIG = "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 0.5}\ndtype: float32\n"


def tokenizer(*, size: int = VOCABULARY, kind: str = "BPE") -> dict[str, Any]:
    tokens = {f"t{number}": number for number in range(size - 1)}
    vocab = tokens if kind == "BPE" else [[token, -1.0] for token in tokens]
    return {"model": {"type": kind, "vocab": vocab}, "added_tokens": [{"id": size - 1, "content": "<end>"}]}


def check(folder: Path, option: str = "tokenizer_source: base") -> None:
    (folder / "config.yml").write_text(f"{CONFIG}{option}\n")
    recipe = read_recipe(folder / "config.yml", made_by_mergekit=True)
    folders = [parent.folder for parent in recipe.parents]
    check_vocabularies(recipe, [read_parent(folder) for folder in folders], [LocalFolder(f) for f in folders])


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for seed, name in enumerate(("a", "b")):
        write_model(tmp_path / name, "qwen2", layers=1, seed=seed)
        (tmp_path / name / "tokenizer.json").write_text(json.dumps(tokenizer()))
    return tmp_path


@pytest.mark.parametrize(
    "option", ["tokenizer_source: base", "tokenizer_source: union", "tokenizer: {}", "tokenizer: {source: a}"]
)
def test_one_vocabulary_with_a_row_for_each_token_is_taken(models: Path, option: str) -> None:
    check(models, option)
    (models / "a" / "tokenizer.json").write_text(json.dumps(tokenizer(kind="Unigram")))
    check(models, option)


def change(document: dict[str, Any], token: str, number: object) -> dict[str, Any]:
    document["model"]["vocab"][token] = number
    return document


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda: tokenizer(size=VOCABULARY + 1), "b has another vocabulary than a"),
        (lambda: change(tokenizer(), "t3", 4), "b has another vocabulary than a"),
        (lambda: {"model": {"vocab": 7}}, "b has a tokenizer.json that is none"),
        (lambda: change(tokenizer(), "t3", "4"), "b has a tokenizer.json that is none"),
        (list, "b has a tokenizer.json that is none"),
    ],
)
def test_another_vocabulary_is_refused(models: Path, spoil: Callable[[], object], problem: str) -> None:
    (models / "b" / "tokenizer.json").write_text(json.dumps(spoil()))
    with pytest.raises(RecipeInvalid, match=f"`tokenizer_source: base` permutes or extends embeddings, .*{problem}"):
        check(models)


def test_rows_without_tokens_and_gaps_are_refused(models: Path) -> None:
    for change_both, problem in [
        (tokenizer(size=VOCABULARY - 1), "a has 16 rows of embeddings for 15 tokens"),
        (change(tokenizer(), "t3", 99), "the vocabulary of a has gaps"),
    ]:
        for name in ("a", "b"):
            (models / name / "tokenizer.json").write_text(json.dumps(change_both))
        with pytest.raises(RecipeInvalid, match=problem):
            check(models)


def test_without_a_tokenizer_nobody_can_tell(models: Path) -> None:
    (models / "b" / "tokenizer.json").unlink()
    with pytest.raises(RecipeInvalid, match=r"b has no tokenizer\.json to tell by"):
        check(models)
    check(models, "")

"""Whether mergekit's tokenizer options change any tensor.

With them mergekit builds one vocabulary for the output and puts the rows of every parent's embeddings in its order:
rows move, are made up, or are left out. Where all parents have one vocabulary and a row for each token, and no more,
every row stays where it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from model_attest.recipes.recipe import Recipe
from model_attest.resolution.layers import counts_tokens
from model_attest.resolution.models import Model
from model_verify.errors import RecipeInvalid, SourceMissing
from model_verify.sources.source import Source, read_whole

_TOKENIZER = "tokenizer.json"
_MAX_TOKENIZER_BYTES = 256 << 20


def check_vocabularies(recipe: Recipe, models: Sequence[Model], sources: Sequence[Source]) -> None:
    """Raise `RecipeInvalid` unless the tokenizer options of the recipe, if it has any, change no tensor."""
    if recipe.tokenizer is None:
        return
    known: dict[str, int] | None = None
    for parent, model, source in zip(recipe.parents, models, sources, strict=True):
        vocabulary = _vocabulary(recipe, parent.id, source)
        if known is None:
            known = vocabulary
        if vocabulary != known:
            raise _changes(recipe, f"{parent.id} has another vocabulary than {recipe.parents[0].id}")
        if sorted(vocabulary.values()) != list(range(len(vocabulary))):
            raise _changes(recipe, f"the vocabulary of {parent.id} has gaps")
        rows = {info.shape[0] for name, info in model.tensors.items() if counts_tokens(name) and info.shape}
        if rows != {len(vocabulary)}:
            listed = ", ".join(str(count) for count in sorted(rows)) or "no known"
            raise _changes(recipe, f"{parent.id} has {listed} rows of embeddings for {len(vocabulary)} tokens")


def _vocabulary(recipe: Recipe, parent_id: str, source: Source) -> dict[str, int]:
    """Return the number of each token."""
    try:
        members = json.loads(read_whole(source, _TOKENIZER, max_bytes=_MAX_TOKENIZER_BYTES))
        tokens = members["model"]["vocab"]
        found = dict(tokens) if isinstance(tokens, dict) else {piece[0]: i for i, piece in enumerate(tokens)}
        found.update({token["content"]: token["id"] for token in members.get("added_tokens") or []})
    except SourceMissing as error:
        raise _changes(recipe, f"{parent_id} has no {_TOKENIZER} to tell by") from error
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise _changes(recipe, f"{parent_id} has a {_TOKENIZER} that is none") from error
    if not all(type(number) is int for number in found.values()):
        raise _changes(recipe, f"{parent_id} has a {_TOKENIZER} that is none")
    return found


def _changes(recipe: Recipe, why: str) -> RecipeInvalid:
    return RecipeInvalid(
        f"{recipe.path}: `{recipe.tokenizer}` permutes or extends embeddings, which no profile computes: {why}",
        hint="take the option out, and give all parents one vocabulary first",
    )

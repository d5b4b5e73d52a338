"""What is known of a model that nobody has attested: digests by the Hub's word, and what its card claims. Spec: hub §6.

Nothing here is checked, and no verdict rests on it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from model_verify.errors import SourceError
from model_verify.files import path_problem
from model_verify.report import ReportStatedFile, ReportUnattested
from model_verify.sources.source import EntryKind, Source, read_whole

CARD_PATH = "README.md"
MAX_CARD_BYTES = 4 << 20
MAX_FRONT_MATTER_BYTES = 64 << 10
MOST_CLAIMED = 20
MOST_CHARACTERS = 200

_FRONT_MATTER = re.compile(rb"---[ \t]*\r?\n(.*?\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


def describe_unattested(source: Source) -> ReportUnattested:
    """Return what is known. Raises `SourceError` where the list of files cannot be had."""
    entries = {entry.path: entry for entry in source.entries() if entry.kind is EntryKind.FILE}
    stated = source.stated_digests()
    files = [
        ReportStatedFile(path=path, size_bytes=entry.size_bytes, stated_digest=stated[path])
        for path, entry in entries.items()
        if path in stated and path_problem(path) is None
    ]
    card = _front_matter(source) if CARD_PATH in entries else {}
    relation = card.get("base_model_relation")
    return ReportUnattested(
        files=files,
        claimed_base_models=_texts(card.get("base_model")),
        claimed_relation=relation[:MOST_CHARACTERS] if isinstance(relation, str) else None,
    )


def _front_matter(source: Source) -> Mapping[str, Any]:
    """Return what stands before the text of a model card; nothing where it cannot be read."""
    import yaml

    try:
        match = _FRONT_MATTER.match(read_whole(source, CARD_PATH, max_bytes=MAX_CARD_BYTES))
        if match is None or len(match[1]) > MAX_FRONT_MATTER_BYTES:
            return {}
        # Names and texts as they are written: nothing here needs numbers or dates, whose conversion can take for ever.
        members = yaml.load(match[1], Loader=yaml.BaseLoader)
    except (SourceError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return members if isinstance(members, dict) else {}


def _texts(value: object) -> list[str]:
    """Return a text, or a list of them, as a list, within bounds."""
    items = value if isinstance(value, list) else [value]
    return [item[:MOST_CHARACTERS] for item in items if isinstance(item, str) and item][:MOST_CLAIMED]

"""From signed bytes to a statement. Spec: statement §2, §3; verification V4."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from model_verify.canonical import loads
from model_verify.digest import FileDigest
from model_verify.envelope import MAX_BUNDLE_BYTES
from model_verify.errors import MalformedDocument, MalformedJson
from model_verify.models import MANIFEST_PATH, PIPELINE_TYPE, Material, ModelIdentity, Predicate, StatementHead
from model_verify.models.history import Superseded
from model_verify.validation import first_problem


@dataclass(frozen=True, slots=True)
class Statement:
    """What a signer states. `steps` are as they were read; `pipeline.check_pipeline` makes sense of them."""

    manifest_digest: FileDigest
    other_subjects: dict[str, FileDigest]
    model: ModelIdentity
    materials: tuple[Material, ...]
    steps: tuple[dict[str, Any], ...]
    unknown_critical: tuple[str, ...]
    not_evaluated: tuple[str, ...]
    """Reserved members that are present, and that this verifier does not evaluate."""
    supersedes: Superseded | None = None

    @property
    def has_card(self) -> bool:
        return "card" in self.not_evaluated


def read_statement(payload: bytes) -> Statement:
    """Return the statement in a payload.

    Raises `MalformedDocument` with `STATEMENT_MALFORMED` or `PREDICATE_TYPE_UNKNOWN`.
    """
    try:
        members = loads(payload, max_bytes=MAX_BUNDLE_BYTES)
        stated = members.get("predicateType") if isinstance(members, dict) else None
        if isinstance(stated, str) and stated != PIPELINE_TYPE:
            raise MalformedDocument("PREDICATE_TYPE_UNKNOWN", json.dumps(stated)[:200], rule="statement §2.3")
        head = StatementHead.read(members)
        predicate = Predicate.read(head.predicate)
    except MalformedJson as error:
        raise MalformedDocument("STATEMENT_MALFORMED", error.reason, rule=error.rule) from error
    except ValidationError as error:
        raise MalformedDocument("STATEMENT_MALFORMED", first_problem(error), rule="statement §2") from error
    if head.subject[0].name != MANIFEST_PATH:
        raise MalformedDocument(
            "STATEMENT_MALFORMED", f"the first subject is not `{MANIFEST_PATH}`", rule="statement §2.2"
        )
    others = {subject.name: subject.digest.sha256 for subject in head.subject[1:]}
    if len(others) != len(head.subject) - 1 or MANIFEST_PATH in others:
        raise MalformedDocument("STATEMENT_MALFORMED", "two subjects have one name", rule="statement §2.2")
    absent = sorted(set(predicate.critical or ()) - head.predicate.keys())
    if absent:
        name = json.dumps(absent[0])[:200]
        raise MalformedDocument(
            "STATEMENT_MALFORMED", f"`critical` names {name}, which is absent", rule="statement §3.4"
        )
    return Statement(
        manifest_digest=head.subject[0].digest.sha256,
        other_subjects=others,
        model=predicate.model,
        materials=tuple(predicate.resolved_dependencies),
        steps=tuple(predicate.steps),
        unknown_critical=tuple(name for name in predicate.critical or () if name not in Predicate.KNOWN),
        not_evaluated=tuple(name for name in ("card", "extensions") if name in head.predicate),
        supersedes=predicate.supersedes,
    )

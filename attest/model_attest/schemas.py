"""JSON Schemas of every document, generated from the wire models.

    python -m model_attest.schemas           write schemas/v1/ of this checkout anew
    python -m model_attest.schemas --check   exit with 1 if it would change

A schema says what a document looks like; what else it must hold to is in spec/. A member that may be left out may not
be null.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from model_verify.models import (
    MANIFEST_PATH,
    PIPELINE_TYPE,
    STEP_MODELS,
    TYPE_PREFIX,
    Bundle,
    Manifest,
    Predicate,
    StatementHead,
    StepHead,
    StepRecord,
)
from model_verify.models.any_statement import AnyStatementHead
from model_verify.models.commitment import COMMITMENT_TYPE, Commitment
from model_verify.models.history import REVOCATION_TYPE, Revocation
from model_verify.models.observation import OBSERVATION_TYPE, Observation
from model_verify.models.policy import PolicyDocument
from model_verify.models.summary import SUMMARY_TYPE, SummaryPredicate
from model_verify.report import Report
from model_verify.summary import SummaryReport

FOLDER = Path(__file__).resolve().parents[2] / "schemas" / "v1"
ID_PREFIX = TYPE_PREFIX + "schemas/v1/"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"

Document = Literal[
    "manifest", "statement", "bundle", "step-record", "report", "policy", "revocation", "commit", "observation",
    "summary", "summary-report",
]  # fmt: skip
Schema = dict[str, Any]

_MODELS: Mapping[Document, type[BaseModel] | None] = {
    "manifest": Manifest,
    "statement": None,  # composed of several, as is a summary
    "bundle": Bundle,
    "step-record": StepRecord,
    "report": Report,
    "policy": PolicyDocument,
    "revocation": None,
    "commit": None,
    "observation": None,
    "summary": None,
    "summary-report": SummaryReport,
}
_REPORTS = (Report, SummaryReport)
_PREDICATES: Mapping[Document, tuple[str, type[BaseModel]]] = {
    "revocation": (REVOCATION_TYPE, Revocation),
    "commit": (COMMITMENT_TYPE, Commitment),
    "observation": (OBSERVATION_TYPE, Observation),
    "summary": (SUMMARY_TYPE, SummaryPredicate),
}
"""Of statements of other types: what they are called, and their models."""


def schema(document: Document) -> Schema:
    """Return the JSON Schema of a kind of document."""
    model = _MODELS[document]
    if model is not None:
        body = _of_model(model)
    else:
        body = _other_statement(*_PREDICATES[document]) if document in _PREDICATES else _statement()
    return {"$schema": _DIALECT, "$id": f"{ID_PREFIX}{document}.schema.json", "title": document, **body}


def schema_files() -> dict[str, bytes]:
    """Return the content of every file of schemas/v1 by its name."""
    return {
        f"{document}.schema.json": (json.dumps(schema(document), indent=2, ensure_ascii=False) + "\n").encode("utf-8")
        for document in _MODELS
    }


def _of_model(model: type[BaseModel]) -> Schema:
    # What we write (a report) has all of its members; what others write may leave out those with a default.
    mode: Literal["serialization", "validation"] = "serialization" if model in _REPORTS else "validation"
    return _tidy(model.model_json_schema(by_alias=True, mode=mode), nulls=model in _REPORTS)


def _other_statement(predicate_type: str, predicate: type[BaseModel]) -> Schema:
    """Return the schema of a statement of another type, with its predicate."""
    models: Sequence[type[BaseModel]] = (AnyStatementHead, predicate)
    _, definitions = models_json_schema([(model, "validation") for model in models], by_alias=True)
    known: Schema = _tidy(definitions, nulls=False)["$defs"]
    head = known.pop("AnyStatementHead")
    head["properties"]["predicateType"] = {"const": predicate_type}
    head["properties"]["predicate"] = {"$ref": f"#/$defs/{predicate.__name__}"}
    return {**head, "$defs": dict(sorted(known.items()))}


def _statement() -> Schema:
    """Return the schema of statement and predicate in one; steps of types that are not known need only a head."""
    models: Sequence[type[BaseModel]] = (StatementHead, Predicate, *STEP_MODELS, StepHead)
    _, definitions = models_json_schema([(model, "validation") for model in models], by_alias=True)
    known: Schema = _tidy(definitions, nulls=False)["$defs"]
    head = known.pop("StatementHead")
    head["properties"]["predicateType"] = {"const": PIPELINE_TYPE}
    head["properties"]["predicate"] = {"$ref": "#/$defs/Predicate"}
    head["properties"]["subject"]["prefixItems"] = [
        {"$ref": "#/$defs/Subject", "properties": {"name": {"const": MANIFEST_PATH}}}
    ]
    names = [model.__name__ for model in STEP_MODELS]
    known["Predicate"]["properties"]["steps"]["items"] = {
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in (*names, "OtherStep")]
    }
    known["OtherStep"] = {
        **known.pop("StepHead"),
        "description": "A step of a type, or a merge of a profile, that this version does not know.",
        "not": {"anyOf": [{"properties": _type_of(known[name])} for name in names]},
    }
    return {**head, "$defs": dict(sorted(known.items()))}


def _type_of(step: Schema) -> Schema:
    """Return what tells a kind of step from others: its type and, where it has them, its profiles."""
    return {name: step["properties"][name] for name in ("type", "profile") if name in step["properties"]}


def _tidy(node: Mapping[str, Any], *, nulls: bool) -> Schema:
    """Return a schema in plain JSON Schema: no generated titles, no OpenAPI, ECMAScript patterns, and no nulls."""
    tidy: Schema = {}
    for key, value in node.items():
        match key, value:
            case (("title" | "discriminator"), _):
                continue
            case "default", None:
                continue
            case (("properties" | "$defs"), dict()):
                tidy[key] = {name: _tidy(member, nulls=nulls) for name, member in value.items()}
            case "patternProperties", dict():
                tidy[key] = {
                    pattern.replace(r"\z", "$"): _tidy(member, nulls=nulls) for pattern, member in value.items()
                }
            case "pattern", str():
                tidy[key] = value.replace(r"\z", "$")
            case "anyOf", list() if not nulls:
                options = [_tidy(option, nulls=nulls) for option in value if option != {"type": "null"}]
                tidy.update(options[0] if len(options) == 1 else {"anyOf": options})
            case _, dict():
                tidy[key] = _tidy(value, nulls=nulls)
            case _, list():
                tidy[key] = [_tidy(item, nulls=nulls) if isinstance(item, dict) else item for item in value]
            case _:
                tidy[key] = value
    return tidy


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the schemas, or with `--check` exit with 1 where those on the disk are others."""
    parser = argparse.ArgumentParser(
        prog="python -m model_attest.schemas", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--check", action="store_true", help="write nothing, exit with 1 if something would change")
    check = parser.parse_args(arguments).check
    wanted = schema_files()
    present = {path.name: path.read_bytes() for path in FOLDER.glob("*.schema.json")}
    if check:
        changed = sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))
        if changed:
            raise SystemExit(f"error: {', '.join(changed)} not as the wire models have it\nhint: run `make schemas`")
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in present.keys() - wanted.keys():
        (FOLDER / name).unlink()
    for name, content in wanted.items():
        (FOLDER / name).write_bytes(content)


if __name__ == "__main__":
    main()

"""The statement but for its steps. Spec: statement §2, §3; pipeline §1."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints

from model_verify.models.history import Superseded
from model_verify.models.wire import (
    HexCheckpointRoot,
    HexFileDigest,
    Identifier,
    Maybe,
    Open,
    Wire,
    WireCheckpointRoot,
    refuse_null,
)


class Sha256Only(Wire):
    sha256: HexFileDigest


class Subject(Open):
    name: str
    digest: Sha256Only


class MaterialDigest(Wire):
    checkpoint_root: HexCheckpointRoot = Field(alias="model-attest-checkpoint-v1")

    model_config = ConfigDict(populate_by_name=True)


class Material(Open):
    name: Identifier
    digest: MaterialDigest
    uri: Maybe[Annotated[str, StringConstraints(min_length=1, max_length=2048)]] = None
    license: Maybe[Annotated[str, StringConstraints(min_length=1, max_length=1024)]] = None
    """An expression of SPDX, by the signer's word."""


class ModelIdentity(Open):
    name: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    checkpoint_root: WireCheckpointRoot
    version: Maybe[Annotated[str, StringConstraints(min_length=1, max_length=256)]] = None
    uri: Maybe[Annotated[str, StringConstraints(min_length=1, max_length=2048)]] = None


class Predicate(Open):
    """`steps` stay as they were read: a step of an unknown type is a finding of its own, not a malformed statement."""

    model: ModelIdentity
    resolved_dependencies: list[Material]
    steps: list[dict[str, Any]]
    critical: Maybe[list[str]] = None
    card: Annotated[Any, BeforeValidator(refuse_null)] = None
    supersedes: Maybe[Superseded] = None
    extensions: Annotated[Any, BeforeValidator(refuse_null)] = None

    KNOWN: ClassVar[frozenset[str]] = frozenset({"model", "resolvedDependencies", "steps", "critical", "supersedes"})


class StatementHead(Open):
    """The statement before its predicate is read. The names of in-toto begin with an underscore once."""

    statement_type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: list[Subject] = Field(min_length=1)
    predicate_type: str
    predicate: dict[str, Any]

"""An in-toto statement of any type, its predicate unread. Spec: statement §8."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from model_verify.models.wire import Maybe, Open

STATEMENT_TYPE: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
CHECKPOINT_ALGORITHM = "model-attest-checkpoint-v1"
"""What a checkpoint root is called among a subject's digests."""

_Algorithm = Annotated[str, StringConstraints(min_length=1, max_length=64)]
_Digest = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class AnySubject(Open):
    """What a statement is about, by one or more digests. Which of them count, the predicate's own chapter says."""

    digest: Annotated[dict[_Algorithm, _Digest], Field(min_length=1, max_length=16)]
    name: Maybe[Annotated[str, StringConstraints(max_length=2048)]] = None
    uri: Maybe[Annotated[str, StringConstraints(max_length=2048)]] = None


class AnyStatementHead(Open):
    """The statement before its predicate is read. The names of in-toto begin with an underscore once."""

    statement_type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: Annotated[list[AnySubject], Field(min_length=1, max_length=1024)]
    predicate_type: str
    predicate: dict[str, Any]

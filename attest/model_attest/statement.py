"""From a manifest and steps to the bytes that are signed. Spec: statement §2, §3.

Built from the wire models alone, so that a member that they do not know cannot be written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from model_verify.digest import CheckpointRoot, FileDigest
from model_verify.errors import CallerError
from model_verify.manifest import primary
from model_verify.models import (
    MANIFEST_PATH,
    PIPELINE_TYPE,
    KnownStep,
    Manifest,
    Material,
    ModelIdentity,
    Predicate,
    Sha256Only,
    StatementHead,
    Subject,
)
from model_verify.models.history import Superseded
from model_verify.validation import first_problem

_REPOSITORY_URL = re.compile(r"pkg:[a-z][a-z0-9.+-]*/[^@?#\s]+")


def describe_model(
    name: str, checkpoint_root: CheckpointRoot, *, version: str | None = None, uri: str | None = None
) -> ModelIdentity:
    """Return the identity that a statement gives to a model.

    Raises `CallerError` for an empty or overlong text, and for a `uri` that is no package URL without a version.

    Spec: statement §3.1, §3.2.
    """
    if uri is not None and _REPOSITORY_URL.fullmatch(uri) is None:
        raise CallerError(
            f"`{uri[:200]}` is not the package URL of a repository",
            hint="write it without a version, like pkg:huggingface/ORG/NAME",
        )
    try:
        return ModelIdentity(name=name, checkpoint_root=checkpoint_root, version=version, uri=uri)
    except ValidationError as error:
        raise CallerError(f"the model's {first_problem(error)}") from error


def build_statement(
    manifest: Manifest,
    manifest_digest: FileDigest,
    model: ModelIdentity,
    materials: Sequence[Material],
    steps: Sequence[KnownStep],
    supersedes: Superseded | None = None,
) -> bytes:
    """Return the statement as canonical JSON. Its subjects are the manifest and the primary set's weight files.

    Spec: statement §2, §3.
    """
    predicate = Predicate(
        model=model,
        resolved_dependencies=list(materials),
        steps=[step_members(step) for step in steps],
        supersedes=supersedes,
    )
    statement = StatementHead(
        statement_type="https://in-toto.io/Statement/v1",
        subject=_subjects(manifest, manifest_digest),
        predicate_type=PIPELINE_TYPE,
        predicate=predicate.model_dump(mode="json", by_alias=True, exclude_none=True),
    )
    return statement.canonical()


def step_members(step: KnownStep) -> dict[str, Any]:
    """Return a step as its JSON members."""
    return step.model_dump(mode="json", by_alias=True, exclude_none=True)


def _subjects(manifest: Manifest, manifest_digest: FileDigest) -> list[Subject]:
    digests = {file.path: file.file_digest for file in manifest.files}
    weight_files = [(path, digests[path]) for path in primary(manifest).files]
    return [
        Subject(name=name, digest=Sha256Only(sha256=digest))
        for name, digest in [(MANIFEST_PATH, manifest_digest), *weight_files]
    ]

"""What somebody read of a checkpoint that others publish. Spec: observation §1."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from model_verify.models.training import Moment
from model_verify.models.wire import TYPE_PREFIX, Open, WireCheckpointRoot, WireFileDigest

OBSERVATION_TYPE = TYPE_PREFIX + "observation/v1"
OBSERVATION_PATH = "observation.sigstore.json"
OBSERVED_MANIFEST_PATH = "manifest.json"
OBSERVED_LEAVES_PATH = "leaves.sha256tree"

_OF_THE_HUB = re.compile(r"pkg:huggingface/[^@]+@[0-9a-f]{40}")


def _is_at_a_commit(uri: str) -> str:
    if uri.startswith("pkg:huggingface/") and _OF_THE_HUB.fullmatch(uri) is None:
        raise ValueError("the version of a repository of the Hub is a commit, 40 hexadecimal digits")
    return uri


PinnedUri = Annotated[
    str,
    StringConstraints(max_length=2048, pattern=r"^pkg:[a-z][a-z0-9.+-]*/[^@?#\s]+@[^@?#\s]+\z"),
    AfterValidator(_is_at_a_commit),
]
"""A package URL with its version."""


class Observation(Open):
    """These bytes were there, by the word of whoever read them. It says nothing of where they come from."""

    uri: PinnedUri
    checkpoint_root: WireCheckpointRoot
    manifest_digest: WireFileDigest
    """Of a manifest of everything that was read, with all files, tensors and the digest of the leaves."""
    observed: Moment
    """When it was read, by the observer's word."""

"""What a publisher commits to before anything is published. Spec: history §3."""

from __future__ import annotations

from model_verify.models.statement import ModelIdentity
from model_verify.models.wire import TYPE_PREFIX, Maybe, Open, WireFileDigest

COMMITMENT_TYPE = TYPE_PREFIX + "commit/v1"


class Commitment(Open):
    """A model by its name and root, and, where it was already listed, by the digest of its manifest."""

    model: ModelIdentity
    manifest_digest: Maybe[WireFileDigest] = None

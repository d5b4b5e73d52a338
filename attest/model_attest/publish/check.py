"""Hold what the Hub has at a commit against what was signed: the cure for a wrong upload."""

from __future__ import annotations

from collections.abc import Callable

from model_verify.depth import Depth
from model_verify.envelope import ExpectedSigner
from model_verify.errors import SourceError
from model_verify.procedure import Request, verify
from model_verify.report import Report
from model_verify.sources.hub import Connection, HubReference, HubSource
from model_verify.sources.source import Source


def check_published(
    connection: Connection,
    published: HubReference,
    signer: ExpectedSigner,
    depth: Depth,
    *,
    fetch: Callable[[str], Source | None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Return the report on a commit that was just made. Raises `SourceError` that says how to go on."""
    try:
        source = HubSource(connection, published)
        request = Request(source, expected_signer=signer, depth=depth, fetch=fetch, progress=progress)
        return verify(request)
    except SourceError as error:
        hint = f"it is published: `attest verify {published}` checks it"
        raise type(error)(f"{published}: {error.message}", hint=hint) from error

"""What the user has set for huggingface_hub: its endpoint, whether it is offline, and its cache."""

from __future__ import annotations

import re
from pathlib import Path

from model_verify.errors import HubMissing, SourceMissing
from model_verify.sources.hub.reference import DEFAULT_ENDPOINT, HubReference

_COMMIT = re.compile(r"[0-9a-f]{40}")
_MAX_REF_BYTES = 100


def endpoints() -> tuple[str, ...]:
    """Return the addresses of the Hub: the one that is set, and the one there is."""
    from huggingface_hub import constants

    return tuple(dict.fromkeys([constants.ENDPOINT.rstrip("/"), DEFAULT_ENDPOINT]))


def is_offline() -> bool:
    """Return whether nothing may be asked of the network. Raises `HubMissing`."""
    try:
        from huggingface_hub import constants
    except ImportError as error:
        hint = "`pip install 'model-attest[hub]'`"
        raise HubMissing("the software that reads the Hub is not installed", hint=hint) from error
    return constants.HF_HUB_OFFLINE


def cached_snapshot(reference: HubReference) -> Path:
    """Return the folder of the Hub's cache that has a repository at a revision; raises `SourceMissing`."""
    from huggingface_hub import constants

    entry = Path(constants.HF_HUB_CACHE) / f"models--{reference.repository.replace('/', '--')}"
    revision = reference.revision or "main"
    commit = reference.commit or _cached_commit(entry / "refs", revision)
    if commit is None or not (entry / "snapshots" / commit).is_dir():
        raise SourceMissing(f"the Hub's cache does not have `{reference}`", hint="`HF_HUB_OFFLINE` is set")
    return entry / "snapshots" / commit


def _cached_commit(refs: Path, revision: str) -> str | None:
    if any(segment in ("", ".", "..") for segment in revision.split("/")):
        return None
    try:
        with (refs / revision).open("rb") as file:
            text = file.read(_MAX_REF_BYTES).decode("ascii", "replace").strip()
    except OSError:
        return None
    return text if _COMMIT.fullmatch(text) else None

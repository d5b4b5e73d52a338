"""Put files on the Hub as one commit, with huggingface_hub."""

from __future__ import annotations

import re
from pathlib import Path

from model_attest.publish.plan import UploadPlan
from model_verify import __version__
from model_verify.errors import HubMissing, OutputError
from model_verify.sources.hub import HubReference

_COMMIT = re.compile(r"[0-9a-f]{40}")


def upload(
    root: Path, plan: UploadPlan, target: HubReference, *, message: str, is_private: bool, shows_progress: bool
) -> str:
    """Return the commit that has the files of `plan` as they are in the folder `root`.

    It follows the commit that the plan was made for, or there is none. Raises `OutputError` where the Hub does not take
    it, and `HubMissing`.
    """
    try:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
        from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    except ImportError as error:
        hint = "`pip install 'model-attest[hub]'`"
        raise HubMissing("the software that uploads to the Hub is not installed", hint=hint) from error
    client = HfApi(library_name="model-attest", library_version=__version__)
    added = [CommitOperationAdd(path_in_repo=path, path_or_fileobj=root / path) for path in plan.paths]
    removed = [CommitOperationDelete(path_in_repo=path) for path in plan.removed]
    silenced = not shows_progress and not are_progress_bars_disabled()
    if silenced:
        disable_progress_bars()
    try:
        if plan.head is None:
            client.create_repo(target.repository, private=is_private, exist_ok=True)
        made = client.create_commit(
            target.repository,
            [*added, *removed],
            commit_message=message,
            revision=target.revision or "main",
            parent_commit=plan.head,
        )
    except Exception as error:  # the client's classes, and those of the library that it stands on
        said = " ".join(str(error).split())[:300]
        hint = "nothing was committed; files that arrived are not sent again"
        raise OutputError(f"the Hub does not take it: {type(error).__name__}: {said}", hint=hint) from error
    finally:
        if silenced:
            enable_progress_bars()
    if not _COMMIT.fullmatch(made.oid):
        raise OutputError(f"the Hub names no commit: {made.oid!r}"[:200])
    return made.oid

"""What lies in `attestation/` and stays there when a model is signed anew. Spec: history."""

from __future__ import annotations

from model_verify.errors import CallerError
from model_verify.history.folder import revocations_in
from model_verify.sources.source import Source


def kept_files(source: Source) -> dict[str, bytes]:
    """Return the files that a new attestation takes over from the old one; raises `CallerError` for unreadable ones."""
    revocations, problems = revocations_in(source)
    if problems:
        problem = problems[0]
        raise CallerError(f"{problem.where}: {problem.expected}, not {problem.actual}", hint="remove it")
    return {file.label: file.data for file in revocations}

"""Which code runs: the repository of a file, its commit, and whether something in it was not committed. Spec: §4.7.

git is asked, and never told to run anything: no hooks, no external diff, no file system monitor, no pager.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Literal

from model_attest.record.confidential import without_secrets
from model_attest.record.values import safe_text
from model_verify.digest import FileDigest
from model_verify.models import Code, Script

_TIMEOUT_S = 60
_OPTIONS = ("--no-optional-locks", "--no-pager", "-c", "core.fsmonitor=false", "-c", "core.quotePath=true")
_DIFF = (
    "diff", "--binary", "--full-index", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames",
    "--diff-algorithm=myers", "--unified=3", "--inter-hunk-context=0", "--indent-heuristic", "--submodule=short",
    "--src-prefix=a/", "--dst-prefix=b/", "-O/dev/null", "HEAD",
)  # fmt: skip
"""Whatever the user's own settings say, the same changes give the same bytes."""
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def main_script() -> Path | None:
    """Return the file that this process was started with, if it is one."""
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None) or (sys.argv[0] if sys.argv else "")
    return Path(path).resolve() if path and Path(path).is_file() else None


def code_state(script: Path | None, folder: Path) -> Code | None:
    """Return the state of the repository that `script`, or else `folder`, lies in; None where nothing is known.

    Untracked files are not part of the diff; the script itself is named with its digest, tracked or not.
    """
    places = [folder] if script is None else [script.parent, folder]
    root = next((top for place in places if (top := _top(place)) is not None), None)
    written = _script(script, root) if script is not None else None
    if root is None:
        return Code(script=written) if written is not None else None
    head = (_git(root, "rev-parse", "--verify", "HEAD") or b"").decode("ascii", "replace").strip()
    remote = (_git(root, "remote", "get-url", "origin") or b"").decode("utf-8", "replace").strip()
    return Code(
        uri=safe_text(_without_user(remote), 2048) if remote else None,
        commit=head if _COMMIT.fullmatch(head) else None,
        diff=_diff(root),
        script=written,
    )


def _top(place: Path) -> Path | None:
    top = _git(place, "rev-parse", "--show-toplevel")
    return Path(top.decode("utf-8", "surrogateescape").rstrip("\n")) if top else None


def _diff(root: Path) -> FileDigest | Literal["none"] | None:
    diff = _git(root, *_DIFF)
    if diff is None:
        return None
    return FileDigest(hashlib.sha256(diff).digest()) if diff else "none"


def _script(script: Path, root: Path | None) -> Script | None:
    try:
        digest = FileDigest(hashlib.sha256(script.read_bytes()).digest())
    except OSError:
        return None
    path = script.relative_to(root) if root is not None and script.is_relative_to(root) else Path(script.name)
    return Script(path=safe_text(path.as_posix()), file_digest=digest)


def _without_user(url: str) -> str:
    """Return a remote's address without whose it is; a path on this machine is its last part."""
    if "://" not in url and ":" not in url:
        return Path(url).name
    return without_secrets(url)


def _git(place: Path, *arguments: str) -> bytes | None:
    """Return what git prints, or None where it is not there or does not know."""
    try:
        done = subprocess.run(
            ["git", *_OPTIONS, *arguments],
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None

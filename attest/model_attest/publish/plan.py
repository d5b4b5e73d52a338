"""What a publication would change on the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model_verify import files
from model_verify.digest import FileDigest
from model_verify.sources.local import LocalFolder
from model_verify.sources.source import Source


@dataclass(frozen=True, slots=True)
class UploadPlan:
    """What becomes of the files of a repository. `head` is the commit that the new one follows, None for a new one."""

    head: str | None
    sent: tuple[str, ...]
    """New files, and such as may differ: nothing is known of small ones but git's names."""
    there: tuple[str, ...]
    """Files whose SHA-256 the Hub has already."""
    removed: tuple[str, ...]
    """Files of the repository that are not in the folder: they are not signed, so that every verifier rejects them."""
    sent_bytes: int

    @property
    def paths(self) -> list[str]:
        """Every file that the new commit has by the folder."""
        return sorted((*self.sent, *self.there))


def plan_upload(folder: LocalFolder, digests: Mapping[str, FileDigest], repository: Source | None) -> UploadPlan:
    """Return what it takes to make a repository what a folder is.

    `digests` are those of the folder's files, as far as they are known; `repository` is what is on the Hub, None where
    there is none yet. Raises `SourceError`.
    """
    sizes = {entry.path: entry.size_bytes for entry in folder.entries()}
    stated = repository.stated_digests() if repository is not None else {}
    there = {path for path in sizes if path in digests and stated.get(path) == digests[path]}
    on_the_hub = {entry.path for entry in repository.entries()} if repository is not None else set()
    sent = sizes.keys() - there
    return UploadPlan(
        head=None if repository is None else repository.commit,
        sent=tuple(sorted(sent)),
        there=tuple(sorted(there)),
        # The Hub makes one for every repository; the manifest need not list it.
        removed=tuple(sorted(on_the_hub - sizes.keys() - {files.GITATTRIBUTES_PATH})),
        sent_bytes=sum(sizes[path] for path in sent),
    )

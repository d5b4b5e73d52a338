"""A repository at one commit: which commit that is, what leads to it, and what files it has. Spec: hub §1, §2."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from model_verify.digest import FileDigest
from model_verify.errors import SourceMissing, SourceUnreadable
from model_verify.sources.hub.connection import Connection
from model_verify.sources.hub.reference import HubReference
from model_verify.sources.source import Entry, EntryKind, Reach

MOST_ENTRIES = 1_000_000
MOST_PAGES = 20_000
MOST_PAGES_OF_COMMITS = 100
"""Of all branches and tags together: what is not found in so many is not known to be on one."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DATE = re.compile(r"[12]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", re.ASCII)
_NEXT = re.compile(r'<([^<>]*)>\s*;\s*rel="?next"?')


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file as the Hub lists it; `digest` is its SHA-256 by the Hub's word, which only LFS files have.

    `git_oid` is git's name of what it stores: for an LFS file, of its pointer.
    """

    entry: Entry
    digest: FileDigest | None
    git_oid: str


class Repository:
    def __init__(self, connection: Connection, reference: HubReference) -> None:
        """Resolve the reference to a commit, once. Raises `SourceMissing` and other `SourceError`."""
        self.connection = connection
        self.reference = reference
        self._api = f"{connection.endpoint}/api/models/{reference.repository}"
        self.commit = self._resolve()

    def _resolve(self) -> str:
        revision = self.reference.revision or "main"
        url = f"{self._api}/revision/{urllib.parse.quote(revision, safe='')}"
        missing = f"the Hub has no model `{self.reference.repository}` with a revision `{revision}` that you may see"
        info, _ = self.connection.document(url, missing=missing)
        name, commit = (info.get("id"), info.get("sha")) if isinstance(info, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
            raise self._odd("what it says of the repository names no commit")
        if name != self.reference.repository:
            hint = f"if it is the one that you mean: `hf:{name}`"
            raise SourceUnreadable(f"the Hub has `{self.reference.repository}` as `{name}`", hint=hint)
        if self.reference.commit not in (None, commit):
            raise self._odd(f"asked for commit {self.reference.commit}, it answers with {commit}")
        return commit

    def files(self) -> dict[str, ListedFile]:
        """Return everything in the repository at this commit, by path. Raises `SourceError`."""
        listed: dict[str, ListedFile] = {}
        for item in self._pages(f"{self._api}/tree/{self.commit}?recursive=true"):
            if item.get("type") == "directory":
                continue
            file = self._listed(item)
            if file.entry.path in listed:
                raise self._odd(f"it lists {file.entry.path!r} twice")
            listed[file.entry.path] = file
            if len(listed) > MOST_ENTRIES:
                raise self._odd(f"it lists more than {MOST_ENTRIES} files")
        return listed

    def _listed(self, item: Mapping[str, Any]) -> ListedFile:
        path, size, oid, lfs = (item.get(name) for name in ("path", "size", "oid", "lfs"))
        if not isinstance(path, str) or type(size) is not int or size < 0 or not isinstance(oid, str):
            raise self._odd("its list of files is malformed")
        if not _is_unicode(path):
            raise self._odd("it lists a path that is not Unicode text")
        if item.get("type") != "file":
            return ListedFile(Entry(path, EntryKind.IRREGULAR, 0, "neither a file nor a folder"), None, oid)
        digest = None
        if lfs is not None:
            stated = lfs.get("oid") if isinstance(lfs, dict) else None
            if not isinstance(stated, str) or not _SHA256.fullmatch(stated) or lfs.get("size") != size:
                raise self._odd(f"what it lists of {path!r} is malformed")
            digest = FileDigest(bytes.fromhex(stated))
        return ListedFile(Entry(path, EntryKind.FILE, size), digest, oid)

    def reach(self) -> Reach:
        """Return whether a branch or a tag leads to the commit, or nothing but what anybody can propose."""
        refs, _ = self.connection.document(f"{self._api}/refs", missing="the Hub does not list the branches")
        heads = self._heads(refs)
        if self.commit in heads.values():
            return Reach.BRANCH
        pages = 0
        for name in heads:
            url: str | None = f"{self._api}/commits/{urllib.parse.quote(name, safe='')}"
            while url is not None:
                if (pages := pages + 1) > MOST_PAGES_OF_COMMITS:
                    return Reach.UNKNOWN
                items, url = self._page(url)
                if any(item.get("id") == self.commit for item in items):
                    return Reach.BRANCH
        return Reach.PROPOSAL

    def commit_date(self) -> datetime | None:
        """Return the date that the Hub lists of the commit, in whole seconds; None where it lists none. Spec: hub §1.5.

        Whoever made the commit can have written any date into it. A Hub that lists no commits, or not as lists are,
        states none. Raises `SourceUnreachable`.
        """
        try:
            items, _ = self._page(f"{self._api}/commits/{self.commit}")
        except (SourceMissing, SourceUnreadable):
            return None
        return _read_date(next((item.get("date") for item in items if item.get("id") == self.commit), None))

    def _heads(self, refs: object) -> dict[str, str]:
        """Return the commits that branches and tags lead to, by name."""
        heads: dict[str, str] = {}
        for kind in ("branches", "tags"):
            listed = refs.get(kind, []) if isinstance(refs, dict) else None
            if not isinstance(listed, list):
                raise self._odd("its list of branches is malformed")
            for ref in listed:
                name, commit = (ref.get("name"), ref.get("targetCommit")) if isinstance(ref, dict) else (None, None)
                if not isinstance(name, str) or not isinstance(commit, str) or not _is_unicode(name):
                    raise self._odd("its list of branches is malformed")
                heads[name] = commit
        return heads

    def _pages(self, url: str) -> Iterator[Mapping[str, Any]]:
        for _ in range(MOST_PAGES):
            items, following = self._page(url)
            yield from items
            if following is None:
                return
            url = following
        raise self._odd(f"its list of files has more than {MOST_PAGES} pages")

    def _page(self, url: str) -> tuple[list[Mapping[str, Any]], str | None]:
        """Return the entries of one page, and the address of the next."""
        items, headers = self.connection.document(url, missing=f"the Hub has no commit {self.commit}")
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise self._odd("what it lists is malformed")
        match = _NEXT.search(headers.get("link", ""))
        if match is None:
            return items, None
        # A page of another list would be taken for one of this; a mirror may name the host that it mirrors.
        try:
            query = urllib.parse.urlsplit(urllib.parse.urljoin(url, match[1])).query
        except ValueError as error:
            raise self._odd("the address of its next page is malformed") from error
        return items, f"{url.partition('?')[0]}?{query}"

    def content_url(self, path: str) -> str:
        return (
            f"{self.connection.endpoint}/{self.reference.repository}/resolve/{self.commit}/{urllib.parse.quote(path)}"
        )

    def _odd(self, what: str) -> SourceUnreadable:
        return SourceUnreadable(f"the Hub at {self.connection.endpoint}, `{self.reference}`: {what}")


def _is_unicode(text: str) -> bool:
    """Return whether a text has no lone surrogate, which JSON can write and UTF-8 cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _read_date(stated: object) -> datetime | None:
    if not isinstance(stated, str) or not _DATE.fullmatch(stated):
        return None
    try:
        return datetime.fromisoformat(stated).replace(microsecond=0)
    except ValueError:
        return None

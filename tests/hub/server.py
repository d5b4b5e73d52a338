"""A Hub on this machine: what huggingface_hub asks of one, and faults on request.

Two servers share a storage: the Hub, and under another host name the CDN that its redirects lead to.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO, Literal, cast

from tests.hub import api, uploads
from tests.hub.bodies import Body, asked_span
from tests.hub.faults import Fault, Faults, Redirect, Status
from tests.hub.storage import Commit, Repository, Storage
from tests.hub.uploads import Refused

TOKEN = "hf_loopback"
_POLL_S = 0.02
_NAME = r"(?P<name>[^/]+/[^/]+)"
_MODEL = re.compile(rf"/api/models/{_NAME}(?:/(?P<verb>[^/]+)(?:/(?P<revision>[^/]+)(?:/(?P<path>.+))?)?)?")
_RESOLVE = re.compile(rf"/{_NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
_BATCH = re.compile(rf"/{_NAME}\.git/info/lfs/objects/batch")
_UPLOAD = re.compile(r"/lfs-(?P<verb>upload|complete|part)/(?P<oid>[0-9a-f]{64})(?:/(?P<number>\d+))?")
_OBJECT = re.compile(r"/objects/(?P<oid>[0-9a-f]{64})")

Host = Literal["hub", "cdn"]
Query = dict[str, str]


@dataclass(frozen=True)
class Asked:
    """A request, as the tests look at it afterwards."""

    method: str
    path: str
    host: Host
    range: str | None
    authorization: str | None
    accept_encoding: str | None


@dataclass
class Hub:
    """The state of both servers. `url` is the endpoint, `cdn_url` where LFS files come from."""

    storage: Storage
    faults: Faults = field(default_factory=Faults)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    cdn_url: str = ""
    page_entries: int = 1000
    part_bytes: int = 0
    signature: int = 0
    """What signed URLs carry; the CDN takes no other."""

    def expire_urls(self) -> None:
        """Make every URL that was signed so far one that the CDN refuses."""
        self.signature += 1

    def downloads(self, path: str = "") -> list[Asked]:
        """Return the requests for content, those of the CDN among them."""
        return [one for one in self.asked if one.method == "GET" and "/api/" not in one.path and path in one.path]


class _Refusal(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    timeout = 30

    @property
    def hub(self) -> Hub:
        return cast(_Server, self.server).hub

    @property
    def host(self) -> Host:
        return cast(_Server, self.server).host

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: tests print what they need."""

    def answer(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        stated = [self.headers[name] for name in ("Range", "Authorization", "Accept-Encoding")]
        self.hub.asked.append(Asked(self.command, self.path, self.host, *stated))
        fault = self.hub.faults.take(self.command, url.path, self.host, self.headers["Range"])
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        try:
            match fault:
                case Status(code, retry_after):
                    self.drop_body()
                    wait = [] if retry_after is None else [("Retry-After", retry_after)]
                    self.send_json({"error": "injected"}, status=code, headers=wait)
                case Redirect(location):
                    self.drop_body()
                    self.send_json({}, status=302, headers=[("Location", location)])
                case _ if self.host == "cdn":
                    self.from_cdn(url.path, query, fault)
                case _:
                    self.from_hub(url.path, query, fault)
        except (_Refusal, Refused) as refusal:
            code = refusal.code if isinstance(refusal, _Refusal) else "BadRequest"
            stated = [("X-Error-Code", code), ("X-Error-Message", str(refusal))]
            self.send_json({"error": str(refusal)}, status=refusal.status, headers=stated)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True  # the client has seen enough

    do_GET = do_HEAD = do_POST = do_PUT = answer

    # What the Hub and the CDN answer.

    def from_cdn(self, path: str, query: Query, fault: Fault | None) -> None:
        match = _OBJECT.fullmatch(path)
        if match is None:
            raise _Refusal(404, "EntryNotFound", "no such object")
        if query.get("Signature") != str(self.hub.signature):
            raise _Refusal(403, "AccessDenied", "this URL has expired")
        self.send_file(self.hub.storage.path_of(match["oid"]), fault, [("ETag", f'"{match["oid"]}"')])

    def from_hub(self, path: str, query: Query, fault: Fault | None) -> None:
        if path == "/api/whoami-v2":
            role = {"accessToken": {"role": "write", "displayName": "loopback"}}
            self.send_json({"type": "user", "name": "tester", "auth": role, "orgs": []})
        elif path == "/api/validate-yaml":
            self.drop_body()
            self.send_json({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            self.create_repository()
        elif match := _RESOLVE.fullmatch(path):
            repository = self.repository(match["name"])
            commit = self.commit_of(repository, urllib.parse.unquote(match["revision"]))
            self.resolve(commit, urllib.parse.unquote(match["path"]), fault)
        elif match := _BATCH.fullmatch(path):
            answer = uploads.lfs_batch(self.hub.storage, self.hub.url, self.read_json(), self.hub.part_bytes)
            self.send_json(answer, content_type="application/vnd.git-lfs+json")
        elif match := _UPLOAD.fullmatch(path):
            self.take_object(match["verb"], match["oid"], match["number"])
        elif path == "/lfs-verify":
            asked = self.read_json()
            there = self.hub.storage.path_of(str(asked["oid"]))
            is_there = there.exists() and there.stat().st_size == asked["size"]
            self.send_json({}, status=200 if is_there else 404)
        elif match := _MODEL.fullmatch(path):
            revision = urllib.parse.unquote(match["revision"] or "main")
            inside = urllib.parse.unquote(match["path"] or "")
            self.about_model(self.repository(match["name"]), match["verb"] or "revision", revision, inside, query)
        else:
            self.drop_body()
            raise _Refusal(404, "Unknown", f"no route {self.command} {path}")

    def repository(self, name: str) -> Repository:
        repository = self.hub.storage.repositories.get(name)
        if repository is None:
            raise _Refusal(404, "RepoNotFound", "Repository not found")
        if repository.is_private and self.headers["Authorization"] != f"Bearer {TOKEN}":
            raise _Refusal(401, "RepoNotFound", "Invalid username or password.")
        return repository

    def commit_of(self, repository: Repository, revision: str) -> Commit:
        sha = repository.resolve(revision)
        if sha is None:
            raise _Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repository.commits[sha]

    def create_repository(self) -> None:
        asked = self.read_json()
        name = f"{asked.get('organization') or 'tester'}/{asked['name']}"
        url = f"{self.hub.url}/{name}"
        if name in self.hub.storage.repositories:
            self.send_json({"error": "You already created this model repo", "url": url}, status=409)
        else:
            self.hub.storage.create(name, is_private=bool(asked.get("private")))
            self.send_json({"url": url, "name": name, "id": name})

    def about_model(self, repository: Repository, verb: str, revision: str, path: str, query: Query) -> None:
        storage = self.hub.storage
        match verb:
            case "revision":
                commit = self.commit_of(repository, revision)
                with_blobs = query.get("blobs", "").casefold() in ("true", "1")
                self.send_json(api.model_info(storage, repository, commit, with_blobs=with_blobs))
            case "tree":
                recursive = query.get("recursive", "").casefold() in ("true", "1")
                self.send_page(
                    api.tree(self.commit_of(repository, revision), path, recursive=recursive), query, "cursor"
                )
            case "commits":
                history = api.history(repository, self.commit_of(repository, revision).sha)
                self.send_page(history, query, "p")
            case "refs":
                self.send_json(api.refs(repository, with_proposals="include_prs" in query))
            case "paths-info":
                commit = self.commit_of(repository, revision)
                body = urllib.parse.parse_qsl(self.read_body().decode())
                self.send_json(api.paths_info(commit, [value for name, value in body if name == "paths"]))
            case "preupload":
                files = self.read_json()["files"]
                assert isinstance(files, list)
                self.send_json({"files": uploads.modes(repository, revision, files)})
            case "commit":
                sha = uploads.commit(storage, repository, revision, self.read_body())
                url = f"{self.hub.url}/{repository.name}/commit/{sha}"
                self.send_json({"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})
            case _:
                self.drop_body()
                raise _Refusal(404, "Unknown", f"no route {self.command} {self.path}")

    def resolve(self, commit: Commit, path: str, fault: Fault | None) -> None:
        file = commit.files.get(path)
        if file is None:
            raise _Refusal(404, "EntryNotFound", "Entry not found")
        headers = [("X-Repo-Commit", commit.sha), ("ETag", f'"{file.oid}"')]
        if file.sha256 is None:
            self.send_file(self.hub.storage.path_of(file.blob), fault, headers)
        else:
            headers += [("X-Linked-Size", str(file.size_bytes)), ("X-Linked-ETag", f'"{file.sha256}"')]
            location = f"{self.hub.cdn_url}/objects/{file.sha256}?Signature={self.hub.signature}"
            self.send_json({}, status=302, headers=[*headers, ("Location", location)])

    def take_object(self, verb: str, oid: str, number: str | None) -> None:
        match verb:
            case "upload":
                uploads.receive(self.hub.storage, oid, self.blocks(), sha256=oid)
            case "part":
                uploads.receive(self.hub.storage, f"{oid}.{number}", self.blocks())
            case "complete":
                parts = self.read_json()["parts"]
                assert isinstance(parts, list)
                uploads.join_parts(self.hub.storage, oid, [part["partNumber"] for part in parts])
        self.send_json({}, headers=[("ETag", f'"{oid}"')])

    # Sending and receiving.

    def send_page(self, entries: Sequence[object], query: Query, name: str) -> None:
        """Send as many entries as fit on a page, with a link to the next where there are more."""
        page = int(query.get(name, "0"))
        start, stop = page * self.hub.page_entries, (page + 1) * self.hub.page_entries
        link: list[tuple[str, str]] = []
        if stop < len(entries):
            path = urllib.parse.urlsplit(self.path).path
            following = urllib.parse.urlencode({**query, name: str(page + 1)})
            link = [("Link", f'<{self.hub.url}{path}?{following}>; rel="next"')]
        self.send_json(list(entries[start:stop]), headers=link)

    def send_json(
        self,
        document: object,
        *,
        status: int = 200,
        headers: Sequence[tuple[str, str]] = (),
        content_type: str = "application/json",
    ) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        for header, value in (*headers, ("Content-Type", content_type), ("Content-Length", str(len(body)))):
            self.send_header(header, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def send_file(self, path: Path, fault: Fault | None, headers: Sequence[tuple[str, str]]) -> None:
        size_bytes = path.stat().st_size
        span = asked_span(self.headers["Range"], size_bytes)
        if span is None:
            self.send_json({}, status=416, headers=[("Content-Range", f"bytes */{size_bytes}")])
            return
        body = Body(path, span, fault)
        self.send_response(body.status)
        for header, value in (*headers, *body.headers()):
            self.send_header(header, value)
        self.end_headers()
        self.wfile.flush()
        if self.command != "HEAD" and not body.send(cast(BinaryIO, self.wfile), self.connection):
            self.close_connection = True

    def read_body(self) -> bytes:
        return b"".join(self.blocks())

    def read_json(self) -> dict[str, object]:
        document = json.loads(self.read_body())
        assert isinstance(document, dict)
        return document

    def drop_body(self) -> None:
        for _ in self.blocks():
            pass

    def blocks(self) -> Iterator[bytes]:
        """Yield the body of a request, of a declared length or in chunks."""
        if self.headers.get("Transfer-Encoding", "").casefold() == "chunked":
            while (length := int(self.rfile.readline().split(b";")[0], 16)) > 0:
                yield self.rfile.read(length)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", "0"))
        while left > 0:
            block = self.rfile.read(min(left, 1 << 20))
            if not block:
                raise ConnectionResetError
            left -= len(block)
            yield block


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, hub: Hub, host: Host) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub
        self.host = host

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that has gone away."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Running:
    """Both servers, until `stop`."""

    def __init__(self, root: Path) -> None:
        self.hub = Hub(Storage(root))
        self._servers = [_Server(self.hub, "hub"), _Server(self.hub, "cdn")]
        self.hub.url = f"http://127.0.0.1:{self._servers[0].server_port}"
        # Another name for the same machine: a client must not take its token there.
        self.hub.cdn_url = f"http://localhost:{self._servers[1].server_port}"
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True) for server in self._servers
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()

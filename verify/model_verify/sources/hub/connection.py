"""Requests to the Hub and to where it redirects, through huggingface_hub's own session.

Proxies, certificates and tokens are as users of huggingface_hub have set them. Its session is one of httpx or of
httpx2, by its version: neither is imported here. Redirects are followed by hand: the token must not go along.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from model_verify import __version__
from model_verify.errors import HubMissing, SourceMissing, SourceUnreachable, SourceUnreadable
from model_verify.sources.hub.clock import Clock, MachineClock, Throttle
from model_verify.sources.hub.kept import Kept

if TYPE_CHECKING:
    from types import ModuleType

STALL_TIMEOUT_S = 30.0
"""Without a byte for so long, a connection is given up and made again."""
TRIES = 6
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0
LONGEST_RETRY_AFTER_S = 600.0
MOST_REDIRECTS = 5
MAX_DOCUMENT_BYTES = 64 << 20
KEPT_BYTES = 128 << 20

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_Result = TypeVar("_Result")


class Interrupted(Exception):
    """A request that failed in a way that another try may cure; `wait_s` is how long the server asks to wait."""

    def __init__(self, reason: str, *, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose body has not been read. `first` has the headers of the Hub itself, before any redirect."""

    status: int
    headers: Mapping[str, str]
    first: Mapping[str, str]
    blocks: Iterator[bytes]
    close: Callable[[], None]


class Connection:
    """The Hub at one endpoint. May be used by several threads at once."""

    def __init__(self, *, clock: Clock | None = None, max_bytes_per_s: int | None = None) -> None:
        """Raises `HubMissing` where huggingface_hub is not installed, `SourceUnreadable` where it is set to offline."""
        library = _library()
        if library.constants.HF_HUB_OFFLINE:
            hint = "unset `HF_HUB_OFFLINE`, or name a folder"
            raise SourceUnreadable("huggingface_hub is set to be offline", hint=hint)
        self.endpoint = str(library.constants.ENDPOINT).rstrip("/")
        self.clock = clock or MachineClock()
        self.kept = Kept(KEPT_BYTES)
        self.throttle = Throttle(max_bytes_per_s, self.clock)
        self._library = library
        self._headers_lock = threading.Lock()
        self._headers: dict[str, str] | None = None

    def document(self, url: str, *, missing: str) -> tuple[Any, Mapping[str, str]]:
        """Return the JSON document at a URL of the endpoint, and the headers of the answer.

        Raises `SourceMissing` with the message `missing` where the Hub has no such thing, and `SourceError` else.
        """
        return self.persist(lambda: self._document(url, missing), what=url)

    def persist(self, attempt: Callable[[], _Result], *, what: str) -> _Result:
        """Return what `attempt` returns, trying again after it was `Interrupted`; raises `SourceUnreachable`."""
        patience = Patience(self.clock)
        while True:
            try:
                return attempt()
            except Interrupted as interrupted:
                patience.wait(interrupted, what)

    def _document(self, url: str, missing: str) -> tuple[Any, Mapping[str, str]]:
        answer = self.open(url, leaves_endpoint=False)
        with contextlib.closing(answer):
            self.check_status(answer, missing)
            body = bytearray()
            for block in answer.blocks:
                body += block
                if len(body) > MAX_DOCUMENT_BYTES:
                    raise SourceUnreadable(f"{url}: more than {MAX_DOCUMENT_BYTES} bytes")
        try:
            return json.loads(body), answer.headers
        except (ValueError, RecursionError) as error:
            raise Interrupted("the answer is no JSON document") from error

    def check_status(self, answer: Answer, missing: str) -> None:
        """Raise unless the Hub has given what was asked for."""
        code = answer.first.get("x-error-code", "")
        if answer.status in (200, 206):
            return
        if answer.status in (401, 403) and code == "GatedRepo":
            hint = "ask for access on its page, and log in with `hf auth login`"
            raise SourceUnreadable("the repository is gated, and the Hub does not let you in", hint=hint)
        if answer.status in (401, 404):
            private = "a private one needs your token: `hf auth login`, or `HF_TOKEN`"
            raise SourceMissing(missing, hint=private if code == "RepoNotFound" else None)
        raise SourceUnreadable(f"the Hub answers {answer.status}{f' ({code})' if code.isidentifier() else ''}")

    def open(self, url: str, *, byte_range: str | None = None, leaves_endpoint: bool) -> Answer:
        """Return the answer to one GET, after redirects. The token goes to the endpoint and nowhere else.

        Raises `Interrupted`; `SourceUnreadable` for a redirect that leaves the endpoint where it must not.
        """
        first: Mapping[str, str] | None = None
        for _ in range(MOST_REDIRECTS + 1):
            answer = self._request(url, byte_range)
            first = first or answer.headers
            if answer.status in _TRANSIENT:
                answer.close()
                raise Interrupted(f"the answer is {answer.status}", wait_s=_asked_wait_s(answer.headers))
            if answer.status not in (301, 302, 303, 307, 308):
                if answer.status == 403 and not self._is_endpoint(url):
                    answer.close()  # a signed URL that has expired: asking the Hub again gives a new one
                    raise Interrupted("the address that the Hub gave is refused")
                return Answer(answer.status, answer.headers, first, answer.blocks, answer.close)
            answer.close()
            target = _joined(url, answer.headers.get("location", ""))
            self._check_redirect(url, target, leaves_endpoint)
            url = target
        raise SourceUnreadable(f"more than {MOST_REDIRECTS} redirects, the last to {_shown(url)}")

    def _check_redirect(self, url: str, target: str, leaves_endpoint: bool) -> None:
        scheme = _origin(target)[0]
        if scheme not in ("https", "http") or (scheme == "http" and _origin(url)[0] == "https"):
            raise SourceUnreadable(f"the Hub redirects to {_shown(target)}, which is not safe")
        if not leaves_endpoint and not self._is_endpoint(target):
            raise SourceUnreadable(f"the Hub redirects to {_shown(target)}, away from {self.endpoint}")

    def _is_endpoint(self, url: str) -> bool:
        return _origin(url) == _origin(self.endpoint)

    def _request(self, url: str, byte_range: str | None) -> Answer:
        headers = dict(self._own_headers())
        if not self._is_endpoint(url):
            headers.pop("authorization", None)
        headers["accept-encoding"] = "identity"
        if byte_range is not None:
            headers["range"] = byte_range
        try:
            session = self._library.utils.get_session()
            request = session.build_request("GET", url, headers=headers, timeout=STALL_TIMEOUT_S)
            response = session.send(request, stream=True, follow_redirects=False)
        except self._library.errors.OfflineModeIsEnabled as error:
            raise SourceUnreadable("huggingface_hub is set to be offline") from error
        except Exception as error:  # the classes are httpx's or httpx2's: see above
            raise Interrupted(_said(error)) from error
        stated = {str(name).casefold(): str(value) for name, value in response.headers.items()}
        return Answer(response.status_code, stated, stated, _guarded(response.iter_raw()), response.close)

    def _own_headers(self) -> Mapping[str, str]:
        """Return user agent and, where there is one, the user's token."""
        with self._headers_lock:
            if self._headers is None:
                try:
                    built = self._library.utils.build_hf_headers(
                        library_name="model-attest", library_version=__version__
                    )
                except Exception as error:  # asking for a token can fail in as many ways as there are to have one
                    raise SourceUnreadable(f"huggingface_hub has no token: {_said(error)}") from error
                self._headers = {name.casefold(): value for name, value in built.items()}
            return self._headers


class Patience:
    """How often something is tried again, and how long is waited before."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0

    def progressed(self) -> None:
        """Begin to count anew: something came since."""
        self._failures = 0

    def wait(self, interrupted: Interrupted, what: str) -> None:
        """Wait before the next try; raises `SourceUnreachable` where there have been enough."""
        self._failures += 1
        if self._failures >= TRIES:
            self._give_up(interrupted, what, f"{TRIES} times in a row")
        wait_s = min(FIRST_WAIT_S * 2.0 ** (self._failures - 1), LONGEST_WAIT_S)
        if interrupted.wait_s is not None:
            if interrupted.wait_s > LONGEST_RETRY_AFTER_S:
                self._give_up(interrupted, what, f"and asks to wait {interrupted.wait_s:.0f} s")
            wait_s = max(wait_s, interrupted.wait_s)
        self._clock.sleep_s(wait_s)

    def _give_up(self, interrupted: Interrupted, what: str, how: str) -> NoReturn:
        message = f"{_shown(what)}: {interrupted.reason}, {how}"
        raise SourceUnreachable(message, hint="run it again later") from interrupted


def _library() -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError as error:
        hint = "`pip install 'model-attest[hub]'`"
        raise HubMissing("the software that reads the Hub is not installed", hint=hint) from error
    return huggingface_hub


def _guarded(blocks: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from blocks
    except Exception as error:  # as in `_request`
        raise Interrupted(_said(error)) from error


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def _shown(url: str) -> str:
    """Return a URL without what may be a secret: signed ones carry their permission in the query."""
    return url.partition("?")[0][:200]


def _joined(url: str, location: str) -> str:
    try:
        return urllib.parse.urljoin(url, location)
    except ValueError:
        return location  # no address at all, which is refused as any that is not safe


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urllib.parse.urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return "", "", None


def _asked_wait_s(headers: Mapping[str, str]) -> float | None:
    """Return how long an answer asks to wait: a number of seconds, or a time, by the clock of the same answer."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal() and text.isascii() and len(text) < 10:
        return float(text)
    try:
        until = email.utils.parsedate_to_datetime(text)
        now = email.utils.parsedate_to_datetime(headers["date"])
        return max(0.0, (until - now).total_seconds())
    except (KeyError, TypeError, ValueError):
        return None

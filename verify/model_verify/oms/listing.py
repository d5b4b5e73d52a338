"""From the payload of a `model.sig` to what it lists. Read only below a signature that holds. Spec: oms §3."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints, ValidationError

from model_verify.canonical import MAX_INTEGER, loads
from model_verify.envelope import MAX_BUNDLE_BYTES, SignedPayload, is_statement
from model_verify.errors import MalformedDocument, MalformedJson
from model_verify.models import PAYLOAD_TYPE, Wire
from model_verify.models.any_statement import AnyStatementHead
from model_verify.oms.hashes import DIGEST_BYTES
from model_verify.validation import first_problem

PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_SHARDED = re.compile(r"([a-z0-9]{1,16})-sharded-([1-9][0-9]{0,15})")
_SHARD_NAME = re.compile(r"([^:]*):(0|[1-9][0-9]{0,15}):([1-9][0-9]{0,15})", re.DOTALL)

_Hex = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2}){1,128}\z")]


class _Part(Wire):
    """A part of a foreign format: members that are not known are ignored."""

    model_config = ConfigDict(extra="ignore")


class _Serialization(_Part):
    method: str
    hash_type: str
    shard_size: int | None = None
    """None also for a number that is no integer: the reference writes 1000.0. The algorithm's name has it in digits."""
    ignore_paths: list[str] = Field(default_factory=list)


class _Resource(_Part):
    name: str
    algorithm: str
    digest: _Hex


class _Predicate(_Part):
    serialization: _Serialization
    resources: list[_Resource]


@dataclass(frozen=True, slots=True)
class Resource:
    """A file, or a part of one, and its digest. `end` is None for a whole file."""

    path: str
    digest: bytes
    start: int = 0
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """What a `model.sig` says of a folder. `files` has each path's resources, in order of their bytes."""

    hash_type: str
    shard_bytes: int | None
    """None where files are hashed whole."""
    files: dict[str, tuple[Resource, ...]]
    ignored: frozenset[str]
    """Paths that, with all below them, its signer left out."""

    @property
    def skips_empty_files(self) -> bool:
        """A file of no bytes has no shards, so nothing is said of it."""
        return self.shard_bytes is not None

    def leaves_out(self, path: str) -> bool:
        """Return whether the signer asked not to look at `path`."""
        if "" in self.ignored:
            return True
        parts = path.split("/")
        return any("/".join(parts[:count]) in self.ignored for count in range(1, len(parts) + 1))


def read_listing(signed: SignedPayload) -> Listing:
    """Return what is listed; raises `MalformedDocument` with a code of oms §5."""
    if not is_statement(signed):
        raise _malformed(json.dumps(signed.payload_type)[:200], PAYLOAD_TYPE)
    try:
        # Its numbers went through a protobuf Struct, which knows no integers.
        head = AnyStatementHead.read(loads(signed.payload, max_bytes=MAX_BUNDLE_BYTES, any_numbers=True))
        if head.predicate_type != PREDICATE_TYPE:
            raise MalformedDocument("OMS_UNSUPPORTED", json.dumps(head.predicate_type)[:200], rule=PREDICATE_TYPE)
        predicate = _Predicate.read(head.predicate)
    except MalformedJson as error:
        raise _malformed(error.reason, error.rule) from error
    except ValidationError as error:
        raise _malformed(first_problem(error), "oms §3") from error
    _check_subject(head, predicate)
    method, hash_type = predicate.serialization.method, predicate.serialization.hash_type
    if method not in ("files", "shards"):
        raise MalformedDocument("OMS_UNSUPPORTED", json.dumps(method)[:200], rule="serialization by files or shards")
    if hash_type not in DIGEST_BYTES:
        raise MalformedDocument("OMS_UNSUPPORTED", json.dumps(hash_type)[:200], rule=", ".join(DIGEST_BYTES))
    ignored = frozenset(_plain(path) for path in predicate.serialization.ignore_paths)
    if method == "files":
        return Listing(hash_type, None, _whole_files(predicate), ignored)
    shard_bytes = _shard_bytes(predicate)
    return Listing(hash_type, shard_bytes, _sharded_files(predicate, shard_bytes), ignored)


def subject_digest(digests: Sequence[bytes]) -> str:
    """Return the digest that stands for all resources: of their digests in the order listed, without their names."""
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _check_subject(head: AnyStatementHead, predicate: _Predicate) -> None:
    if len(head.subject) != 1 or "sha256" not in head.subject[0].digest:
        raise _malformed("the subject is not one with a sha256", "oms §3.2")
    computed = subject_digest([bytes.fromhex(resource.digest) for resource in predicate.resources])
    stated = head.subject[0].digest["sha256"]
    if stated != computed:
        raise MalformedDocument("OMS_SUBJECT_MISMATCH", stated[:200], rule=computed)


def _whole_files(predicate: _Predicate) -> dict[str, tuple[Resource, ...]]:
    hash_type = predicate.serialization.hash_type
    found: dict[str, tuple[Resource, ...]] = {}
    for listed in predicate.resources:
        _check_resource(listed, hash_type, hash_type)
        _check_path(listed.name)
        if listed.name in found:
            raise _malformed(f"{_quoted(listed.name)} twice", "oms §3.4")
        found[listed.name] = (Resource(listed.name, bytes.fromhex(listed.digest)),)
    return found


def _shard_bytes(predicate: _Predicate) -> int:
    """Return the size of a shard, which the algorithms' name has in digits. Without shards any will do."""
    serialization = predicate.serialization
    stated = serialization.shard_size
    if not predicate.resources:
        return stated or 1
    match = _SHARDED.fullmatch(predicate.resources[0].algorithm)
    if match is None or int(match[2]) > MAX_INTEGER or stated not in (None, int(match[2])):
        raise _malformed(f"{_quoted(predicate.resources[0].algorithm)} with a shard size of {stated}", "oms §3.5")
    return int(match[2])


def _sharded_files(predicate: _Predicate, shard_bytes: int) -> dict[str, tuple[Resource, ...]]:
    hash_type = predicate.serialization.hash_type
    shards: dict[str, list[Resource]] = {}
    for listed in predicate.resources:
        _check_resource(listed, hash_type, f"{hash_type}-sharded-{shard_bytes}")
        match = _SHARD_NAME.fullmatch(listed.name)
        if match is None:
            raise _malformed(f"{_quoted(listed.name)} is no PATH:START:END", "oms §3.5")
        _check_path(match[1])
        shard = Resource(match[1], bytes.fromhex(listed.digest), int(match[2]), int(match[3]))
        shards.setdefault(shard.path, []).append(shard)
    return {path: tuple(_in_order(path, of_file, shard_bytes)) for path, of_file in shards.items()}


def _in_order(path: str, shards: list[Resource], shard_bytes: int) -> Iterator[Resource]:
    """Yield the shards of a file; raises unless they leave no gap, do not overlap, and only the last is shorter."""
    end = 0
    for place, shard in enumerate(sorted(shards, key=lambda shard: shard.start)):
        assert shard.end is not None
        is_last = place == len(shards) - 1
        size = shard.end - shard.start
        if shard.start != end or not 0 < size <= shard_bytes or (size < shard_bytes and not is_last):
            raise _malformed(f"{_quoted(path)}: a shard from {shard.start} to {shard.end}", "oms §3.5")
        end = shard.end
        yield shard


def _check_resource(listed: _Resource, hash_type: str, algorithm: str) -> None:
    if listed.algorithm != algorithm:
        raise _malformed(f"{_quoted(listed.name)} by {_quoted(listed.algorithm)}, not {algorithm}", "oms §3.3")
    if len(listed.digest) != 2 * DIGEST_BYTES[hash_type]:
        raise _malformed(f"{_quoted(listed.name)} has a digest of another length", "oms §3.3")


def _check_path(path: str) -> None:
    """Raise for a path that does not name a file of the folder in the one way there is to name it."""
    if any(segment in ("", ".", "..") for segment in path.split("/")) or "\0" in path:
        raise MalformedDocument("OMS_PATH_UNSAFE", _quoted(path), rule="a path inside the folder")


def _plain(path: str) -> str:
    """Return a path to be ignored as the reference understands it: by its segments. A `..` in it fits no path."""
    segments = [segment for segment in path.split("/") if segment not in ("", ".")]
    return ("/" if path.startswith("/") else "") + "/".join(segments)


def _quoted(text: str) -> str:
    return json.dumps(text)[:200]


def _malformed(reason: str, rule: str) -> MalformedDocument:
    return MalformedDocument("OMS_MALFORMED", reason, rule=rule)

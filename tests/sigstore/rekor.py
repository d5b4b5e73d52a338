"""Transparency logs: Rekor v1, which promises and dates an entry, and Rekor v2, which only includes it."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Callable
from typing import Any

import rfc8785
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from tests.sigstore.certificates import now, public_der

Object = dict[str, Any]


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


class MerkleLog:
    """A log that only grows. RFC 6962 §2.1."""

    def __init__(self) -> None:
        self._leaves: list[bytes] = []
        self._lock = threading.Lock()

    def append(self, entry: bytes) -> tuple[int, bytes, list[bytes]]:
        """Return the entry's index, the head of the log that has it last, and the path from it to that head."""
        with self._lock:
            self._leaves.append(hashlib.sha256(b"\0" + entry).digest())
            index = len(self._leaves) - 1
            return index, self._head(self._leaves), self._path(index, self._leaves)

    def _head(self, leaves: list[bytes]) -> bytes:
        if len(leaves) == 1:
            return leaves[0]
        left, right = _halves(leaves)
        return hashlib.sha256(b"\1" + self._head(left) + self._head(right)).digest()

    def _path(self, index: int, leaves: list[bytes]) -> list[bytes]:
        if len(leaves) == 1:
            return []
        left, right = _halves(leaves)
        if index < len(left):
            return [*self._path(index, left), self._head(right)]
        return [*self._path(index - len(left), right), self._head(left)]


def _halves(leaves: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    place = 1 << ((len(leaves) - 1).bit_length() - 1)
    return leaves[:place], leaves[place:]


def _note(origin: str, size: int, head: bytes, key_id: bytes, sign: Callable[[bytes], bytes]) -> str:
    """Return a checkpoint: what the log's head is, signed."""
    text = f"{origin}\n{size}\n{encoded(head)}\n"
    return f"{text}\n\u2014 {origin} {encoded(key_id[:4] + sign(text.encode()))}\n"


class RekorV1:
    """Keeps hashes of a DSSE envelope, and answers with a promise that has a time in it."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.key_id = hashlib.sha256(public_der(self.key)).digest()
        self.ahead_s = 0
        """By how much the log's clock is wrong."""
        self._log = MerkleLog()

    def add(self, proposed: Object) -> Object:
        """Return the entry under a new identifier."""
        body = rfc8785.dumps(_dsse_body(proposed["spec"]["proposedContent"]))
        index, head, path = self._log.append(body)
        dated = {
            "body": encoded(body),
            "integratedTime": int(now().timestamp()) + self.ahead_s,
            "logID": self.key_id.hex(),
            "logIndex": index,
        }
        proof = {
            "logIndex": index,
            "treeSize": index + 1,
            "rootHash": head.hex(),
            "hashes": [digest.hex() for digest in path],
            "checkpoint": _note(self.origin, index + 1, head, self.key_id, self._sign),
        }
        promise = encoded(self._sign(rfc8785.dumps(dated)))
        entry = {**dated, "verification": {"signedEntryTimestamp": promise, "inclusionProof": proof}}
        return {secrets.token_hex(32): entry}

    def _sign(self, data: bytes) -> bytes:
        return self.key.sign(data, ec.ECDSA(hashes.SHA256()))


def _dsse_body(content: Object) -> Object:
    """Return the log's entry about an envelope: digests of it and of its payload, and who signed."""
    envelope = json.loads(content["envelope"])

    def digest(data: bytes) -> Object:
        return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}

    signatures = [
        {"signature": signature["sig"], "verifier": content["verifiers"][0]} for signature in envelope["signatures"]
    ]
    spec = {
        "envelopeHash": digest(content["envelope"].encode()),
        "payloadHash": digest(base64.b64decode(envelope["payload"])),
        "signatures": signatures,
    }
    return {"apiVersion": "0.0.1", "kind": "dsse", "spec": spec}


class RekorV2:
    """Keeps the digest of what was signed, and dates nothing."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.key = ed25519.Ed25519PrivateKey.generate()
        name_and_type = origin.encode() + b"\n\x01"
        self.key_id = hashlib.sha256(name_and_type + self.key.public_key().public_bytes_raw()).digest()
        self._log = MerkleLog()

    def add(self, request: Object) -> Object:
        """Return the entry."""
        asked = request["hashedRekordRequestV002"]
        hashed = {"data": {"algorithm": "SHA2_256", "digest": asked["digest"]}, "signature": asked["signature"]}
        kind, version = "hashedrekord", "0.0.2"
        body = rfc8785.dumps({"apiVersion": version, "kind": kind, "spec": {"hashedRekordV002": hashed}})
        index, head, path = self._log.append(body)
        checkpoint = _note(self.origin, index + 1, head, self.key_id, self.key.sign)
        proof = {
            "logIndex": str(index),
            "rootHash": encoded(head),
            "treeSize": str(index + 1),
            "hashes": [encoded(digest) for digest in path],
            "checkpoint": {"envelope": checkpoint},
        }
        return {
            "logIndex": str(index),
            "logId": {"keyId": encoded(self.key_id)},
            "kindVersion": {"kind": kind, "version": version},
            "inclusionProof": proof,
            "canonicalizedBody": encoded(body),
        }

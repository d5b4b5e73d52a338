"""Statement, DSSE envelope and bundle. Spec: statement §2 to §4."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from decimal_text import coefficient_bits
from keys import RELEASE, Key
from merkle import sha256

PREFIX = "https://model-attest.github.io/"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = PREFIX + "pipeline/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MANIFEST_PATH = "attestation/manifest.json"

Object = dict[str, object]


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that DSSE signs. Spec: statement §4.3."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def encoded(data: bytes) -> str:
    """Return base64 with the standard alphabet and padding."""
    return base64.b64encode(data).decode()


def compact(value: object) -> bytes:
    """Return JSON without white space; members stay in the order given."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


class Stamping(Protocol):
    """Who dates signatures."""

    def stamp(self, message: bytes, seconds: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Signing:
    """How a bundle is made: by which key, over which type, and what the envelope then says."""

    key: Key = RELEASE
    signed_type: str = PAYLOAD_TYPE
    payload_type: str = PAYLOAD_TYPE
    hint: str | None = None
    stamps: Sequence[tuple[Stamping, int]] = ()
    """Who dates the signature, at which second."""

    def bundle(self, payload: bytes) -> Object:
        """Return the bundle over `payload` as an object that a caller may alter."""
        signature = self.key.sign(pae(self.signed_type, payload))
        named: Object = {"publicKey": {"hint": self.hint or self.key.hint()}, "tlogEntries": []}
        if self.stamps:
            listed = [{"signedTimestamp": encoded(by.stamp(signature, seconds))} for by, seconds in self.stamps]
            named["timestampVerificationData"] = {"rfc3161Timestamps": listed}
        return {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": named,
            "dsseEnvelope": {
                "payload": encoded(payload),
                "payloadType": self.payload_type,
                "signatures": [{"sig": encoded(signature)}],
            },
        }


def statement(manifest: bytes, predicate: Mapping[str, object], *, further: Sequence[Object] = ()) -> Object:
    """Return the statement over a manifest. Spec: statement §2."""
    subject = {"name": MANIFEST_PATH, "digest": {"sha256": sha256(manifest).hex()}}
    return {
        "_type": STATEMENT_TYPE,
        "subject": [subject, *further],
        "predicateType": PREDICATE_TYPE,
        "predicate": dict(predicate),
    }


def material(name: str, root: bytes, uri: str | None = None) -> Object:
    """Return a material. Spec: pipeline §1."""
    made: Object = {"name": name}
    if uri is not None:
        made["uri"] = uri
    return {**made, "digest": {"model-attest-checkpoint-v1": root.hex()}}


def coefficients(*texts: str) -> list[Object]:
    """Return coefficients with their bits. Spec: merge §1.3."""
    return [{"decimal": text, "float32": coefficient_bits(text)} for text in texts]


@dataclass(frozen=True, slots=True)
class Linear:
    """A `linear` operation. Spec: pipeline §3.4."""

    texts: tuple[str, ...]
    dtype: str = "BF16"
    tensors: str | tuple[str, ...] = "rest"
    normalize: bool = False
    inputs: tuple[str, ...] = ()
    """Who takes part, where not all do."""

    def operation(self) -> Object:
        """Return the operation as it stands in a step."""
        return {
            **({"inputs": list(self.inputs)} if self.inputs else {}),
            "op": "linear",
            "tensors": self.tensors if isinstance(self.tensors, str) else list(self.tensors),
            "dtype": self.dtype,
            "normalize": self.normalize,
            "coefficients": coefficients(*self.texts),
        }


@dataclass(frozen=True, slots=True)
class Copy:
    """A `copy` operation. Spec: pipeline §3.6."""

    source: str
    tensors: str | tuple[str, ...] = "rest"

    def operation(self) -> Object:
        """Return the operation as it stands in a step."""
        tensors = self.tensors if isinstance(self.tensors, str) else list(self.tensors)
        return {"op": "copy", "tensors": tensors, "from": self.source}


@dataclass(frozen=True, slots=True)
class Step:
    """A step; `body` holds what its type adds."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    root: bytes
    body: Mapping[str, object] = field(default_factory=dict)

    def written(self) -> Object:
        """Return the step as it stands in a statement. Spec: pipeline §2."""
        output = {"checkpointRoot": "sha256:" + self.root.hex()}
        return {"id": self.name, "type": self.kind, "inputs": list(self.inputs), "output": output, **self.body}


def merge_body(*operations: Linear | Copy) -> Object:
    """Return what a merge step adds. Spec: pipeline §3."""
    return {"profile": "linear/f64-v1", "operations": [one.operation() for one in operations]}

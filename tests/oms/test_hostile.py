"""Payloads that a lying signer signed: each gets findings, none a traceback, and none is taken for what it is not."""

from __future__ import annotations

import base64
import copy
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from model_verify.envelope import pre_authentication_encoding
from model_verify.models import PAYLOAD_TYPE
from model_verify.oms import subject_digest
from tests.oms.conftest import KeyPair, codes, new_pair, verified
from tests.oms.reference import Serialization, sign_with_key

SEED = 20260613
MUTATIONS = 300
VALUES = [
    None, True, 0, -1, 2**63, 1.5, "", "x", "../x", "/", "\0", "\ud800", "é" * 300, "a:0:1", ":0:1", "a:1:0", [], {},
    {"a": 1}, "sha256", "blake3", "md5", "00" * 32, "0" * 63, "sha256-sharded-0", "sha256-sharded-99999999999999999999",
]  # fmt: skip


@pytest.fixture
def pair(tmp_path: Path) -> KeyPair:
    return new_pair(tmp_path / "keys")


def signed_again(path: Path, pair: KeyPair, payload: bytes) -> None:
    """Put another payload into a bundle, under a good signature."""
    key = load_pem_private_key(pair.private.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signature = key.sign(pre_authentication_encoding(PAYLOAD_TYPE, payload), ec.ECDSA(hashes.SHA256()))
    bundle = json.loads(path.read_bytes())
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    path.write_text(json.dumps(bundle))


def payload_of(path: Path) -> bytes:
    return base64.b64decode(json.loads(path.read_bytes())["dsseEnvelope"]["payload"])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every value of a document."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        found += places(item, (*path, name))
    return found


def altered(document: Any, dice: random.Random) -> Any:
    document = copy.deepcopy(document)
    *way, last = dice.choice(places(document))
    holder = document
    for name in way:
        holder = holder[name]
    match dice.randrange(4):
        case 0:
            del holder[last]
        case 1 if isinstance(holder, list):
            holder.append(copy.deepcopy(holder[last]))
        case 2 if isinstance(holder[last], str) and holder[last]:
            place = dice.randrange(len(holder[last]))
            holder[last] = holder[last][:place] + dice.choice("0:/.\n") + holder[last][place + 1 :]
        case _:
            holder[last] = copy.deepcopy(dice.choice(VALUES))
    return document


@pytest.mark.parametrize("how", [Serialization(), Serialization("blake2", shard_bytes=100)], ids=str)
def test_no_alteration_that_its_signer_signed_is_taken_for_the_folder(
    model: Path, pair: KeyPair, how: Serialization
) -> None:
    path = sign_with_key(model, pair.private, how)
    document = json.loads(payload_of(path))
    dice = random.Random(SEED)
    harmless = 0
    for number in range(MUTATIONS):
        changed = altered(document, dice)
        signed_again(path, pair, json.dumps(changed).encode("utf-8", "surrogatepass"))
        report = verified(model, pair.key)
        assert report.verdict != "VERIFIED", number
        if report.model_sig is None or not report.model_sig.binds:
            continue
        harmless += 1
        # What may be altered: names that nobody compares, links, and members that are not known.
        for one in (changed, document):
            one["subject"][0].pop("name", None)
            for name in ("allow_symlinks", "ignore_paths", "shard_size"):
                one["predicate"]["serialization"].pop(name, None)
        assert changed == document, number
    assert 0 < harmless < MUTATIONS / 2


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"a":1,"a":2}',
        b"[" * 100_000,
        b'{"_type":"https://in-toto.io/Statement/v1"}',
    ],
)
def test_payloads_of_other_forms_are_malformed(model: Path, pair: KeyPair, payload: bytes) -> None:
    path = sign_with_key(model, pair.private)
    signed_again(path, pair, payload)
    assert codes(verified(model, pair.key)).keys() == {"ATTESTATION_MISSING", "OMS_MALFORMED"}


def largest(edit: Callable[[int], dict[str, str]], count: int) -> bytes:
    digest = "00" * 32
    resources = [{"digest": digest, **edit(number)} for number in range(count)]
    return json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "m", "digest": {"sha256": digest}}],
            "predicateType": "https://model_signing/signature/v1.0",
            "predicate": {
                "serialization": {"method": "files", "hash_type": "sha256", "ignore_paths": ["a/b"] * 1000},
                "resources": resources,
            },
        }
    ).encode()


def test_a_hundred_thousand_files_that_are_not_there_take_seconds(model: Path, pair: KeyPair) -> None:
    path = sign_with_key(model, pair.private)
    payload = json.loads(largest(lambda number: {"name": f"f/{number}", "algorithm": "sha256"}, 70_000))
    digests = [bytes.fromhex(one["digest"]) for one in payload["predicate"]["resources"]]
    payload["subject"][0]["digest"]["sha256"] = subject_digest(digests)
    signed_again(path, pair, json.dumps(payload).encode())
    started = time.monotonic()
    report = verified(model, pair.key)
    assert time.monotonic() - started < 60
    missing = [finding for finding in report.findings if finding.code == "OMS_FILE_MISSING"]
    assert (len(missing), missing[-1].where) == (21, "69980 more")


def test_a_file_in_shards_of_one_byte_is_read_in_seconds(model: Path, pair: KeyPair) -> None:
    (model / "long.txt").write_bytes(bytes(20_000))
    sign_with_key(model, pair.private, Serialization(shard_bytes=1))
    started = time.monotonic()
    assert verified(model, pair.key).model_sig.binds  # type: ignore[union-attr]
    assert time.monotonic() - started < 60

"""Area `statement`: bundles that are taken to V4, and bundles that are not."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import ecdsa
import ed25519
from data import Data, concat, repeated, stored
from envelope import (
    PAYLOAD_TYPE,
    Copy,
    Linear,
    Object,
    Signing,
    Step,
    compact,
    encoded,
    material,
    merge_body,
    pae,
    statement,
)
from keys import (
    CURVES,
    RELEASE,
    RELEASE_ED25519,
    RELEASE_ML_DSA,
    RELEASE_P384,
    STRANGER,
    Key,
    der,
    der_integer,
    der_signature,
)
from merkle import sha256
from vector import JsonObject, Vector

BUNDLE_LIMIT = 16 * 1_048_576
REPOSITORY = "pkg:huggingface/town/town-7b"
ROOT_A, ROOT_B, ROOT_OUT = sha256(b"a"), sha256(b"b"), sha256(b"out")
Edit = Callable[[Any], object]


def plain() -> Object:
    """Return a statement that obeys every rule."""
    merge = merge_body(Linear(("0.6", "0.4")), Copy("a", ("position_ids",)))
    commit = "0123456789abcdef0123456789abcdef01234567"
    predicate = {
        "model": {"name": "town-7b", "version": "1.0", "uri": REPOSITORY, "checkpointRoot": "sha256:" + ROOT_OUT.hex()},
        "resolvedDependencies": [
            material("a", ROOT_A, f"pkg:huggingface/lab/a-7b@{commit}"),
            material("b", ROOT_B),
        ],
        "steps": [Step("merge", "merge", ("a", "b"), ROOT_OUT, merge).written()],
    }
    return statement(b"a manifest", predicate)


def vector(
    name: str, clause: str, words: str, bundle: bytes | Data, payload: bytes | None, *codes: str,
    key: Key | None = RELEASE, repository: str | None = None,
) -> Vector:  # fmt: skip
    """Return a vector; `payload` is what was signed where verification goes on, else None."""
    files: dict[str, bytes] = {}
    if isinstance(bundle, bytes):
        files["bundle.json"] = bundle
        bundle = stored("bundle.json", bundle)
    if key is not None:
        files["key.pub"] = key.pem()
    given = {"bundle": bundle.described, "key": None if key is None else "key.pub", "repository": repository}
    expected: JsonObject = {"accepted": payload is not None, "codes": sorted(codes)}
    if payload is not None:
        expected = {**expected, "payload_sha256": sha256(payload).hex()}
    return Vector("statement", name, clause, words, given, expected, files)


def edited(edit: Edit, base: object) -> Any:
    """Return a copy of `base`, altered by `edit` in place."""
    made = deepcopy(base)
    edit(made)
    return made


def of_bundle(name: str, clause: str, words: str, edit: Edit, *codes: str, key: Key = RELEASE) -> Vector:
    """Return a vector of a good bundle that was altered."""
    bundle = edited(edit, Signing(key).bundle(compact(plain())))
    payload = None if codes else compact(plain())
    return vector(name, f"statement §4.{clause}", words, compact(bundle), payload, *codes, key=key)


def of_payload(name: str, clause: str, words: str, payload: bytes, *codes: str) -> Vector:
    """Return a vector of a payload that was signed as it is."""
    goes_on = not set(codes) - {"CARD_NOT_CHECKED", "ATTESTED_FOR_OTHER_REPO"}
    bundle = compact(Signing().bundle(payload))
    return vector(name, f"statement {clause}", words, bundle, payload if goes_on else None, *codes)


def of_statement(name: str, clause: str, words: str, edit: Edit, *codes: str) -> Vector:
    """Return a vector of a statement that was altered, and then signed."""
    return of_payload(name, clause, words, compact(edited(edit, plain())), *codes)


def keys_and_signatures() -> Iterator[Vector]:
    """Yield good signatures, and signatures that do not hold."""
    payload = compact(plain())
    for key in (RELEASE, RELEASE_P384, RELEASE_ED25519, RELEASE_ML_DSA):
        bundle = compact(Signing(key).bundle(payload))
        yield vector(f"good-{key.kind}", "statement §5", f"Signed with {key.kind}.", bundle, payload, key=key)
        other = compact(Signing(Key(key.kind, "stranger")).bundle(payload))
        words = f"Signed with another key of type {key.kind}."
        yield vector(f"other-key-{key.kind}", "verification V3", words, other, None, "SIGNATURE_INVALID", key=key)
    good = compact(Signing().bundle(payload))
    words = "No expected key: the statement is read, and the signer is nobody that was expected."
    yield vector("no-key", "verification V3", words, good, payload, "SIGNER_NOT_EXPECTED", key=None)
    words = "A P-256 signature under a P-384 key."
    yield vector("p256-under-p384", "statement §5", words, good, None, "SIGNATURE_INVALID", key=RELEASE_P384)
    words = "A P-256 signature under an Ed25519 key."
    yield vector("p256-under-ed25519", "statement §5", words, good, None, "SIGNATURE_INVALID", key=RELEASE_ED25519)
    words = "A P-256 signature under an ML-DSA-65 key."
    yield vector("p256-under-ml-dsa-65", "statement §5", words, good, None, "SIGNATURE_INVALID", key=RELEASE_ML_DSA)
    quantum = compact(Signing(RELEASE_ML_DSA).bundle(payload))
    words = "An ML-DSA-65 signature under an Ed25519 key."
    yield vector(
        "ml-dsa-65-under-ed25519", "statement §5", words, quantum, None, "SIGNATURE_INVALID", key=RELEASE_ED25519
    )
    lying = compact(Signing(hint=STRANGER.hint()).bundle(payload))
    words = "The hint names another key: it does not choose."
    yield vector("hint-lies", "statement §4.4", words, lying, payload)
    lying = compact(Signing(STRANGER, hint=RELEASE.hint()).bundle(payload))
    words = "Signed by a stranger, with the hint of the expected key."
    yield vector("hint-borrowed", "statement §4.4", words, lying, None, "SIGNATURE_INVALID")
    wrong_hash = der_signature(*ecdsa.sign(CURVES["p384"], RELEASE_P384.secret, pae(PAYLOAD_TYPE, payload), "sha256"))
    words = "P-384 with SHA-256."
    yield of_bundle("p384-sha256", "3", words, sig_set(wrong_hash), "SIGNATURE_INVALID", key=RELEASE_P384)


def sig_set(signature: bytes) -> Edit:
    """Return an edit that puts another signature in place."""
    return lambda b: b["dsseEnvelope"]["signatures"][0].update(sig=encoded(signature))


def signature_bytes() -> Iterator[Vector]:
    """Yield other bytes in place of the signature."""
    message = pae(PAYLOAD_TYPE, compact(plain()))
    r, s = ecdsa.sign(CURVES["p256"], RELEASE.secret, message)
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    yield of_bundle("sig-raw", "3", "r and s side by side, not DER.", sig_set(raw), "SIGNATURE_INVALID")
    tail = der_signature(r, s) + b"\x00"
    yield of_bundle("sig-trailing-byte", "3", "A byte after the DER.", sig_set(tail), "SIGNATURE_INVALID")
    padded = der(0x30, der(0x02, b"\x00" + der_integer(r)[2:]), der_integer(s))
    yield of_bundle("sig-not-der", "3", "An integer with a zero byte too many.", sig_set(padded), "SIGNATURE_INVALID")
    zero = der_signature(0, 0)
    yield of_bundle("sig-zeros", "3", "r and s are zero.", sig_set(zero), "SIGNATURE_INVALID")
    yield of_bundle("sig-empty", "3", "A signature of no bytes.", sig_set(b""), "SIGNATURE_INVALID")
    mirrored = der_signature(r, CURVES["p256"].order - s)
    words = "n - s in place of s: valid under ECDSA, for the same payload."
    yield of_bundle("sig-mirrored", "3", words, sig_set(mirrored))
    plain_ed = RELEASE_ED25519.sign(message)
    shifted = plain_ed[:32] + (int.from_bytes(plain_ed[32:], "little") + ed25519.ORDER).to_bytes(32, "little")
    words = "Ed25519 with S + L in place of S."
    yield of_bundle("sig-ed25519-shifted", "3", words, sig_set(shifted), "SIGNATURE_INVALID", key=RELEASE_ED25519)


def payload_types() -> Iterator[Vector]:
    """Yield what the signature covers."""
    payload = compact(plain())
    other = "application/vnd.example+json"
    words = "Signed over another payload type than the envelope states."
    bundle = compact(Signing(signed_type=other).bundle(payload))
    yield vector("signed-other-type", "statement §4.3", words, bundle, None, "SIGNATURE_INVALID")
    words = "The payload type was swapped after signing."
    bundle = compact(Signing(payload_type=other).bundle(payload))
    yield vector("type-swapped", "statement §4.3", words, bundle, None, "SIGNATURE_INVALID")
    words = "Another payload type, signed so."
    bundle = compact(Signing(signed_type=other, payload_type=other).bundle(payload))
    yield vector("type-other", "statement §4.3", words, bundle, None, "PAYLOAD_TYPE_WRONG")
    words = "The payload type in upper case, signed so."
    upper = PAYLOAD_TYPE.upper()
    bundle = compact(Signing(signed_type=upper, payload_type=upper).bundle(payload))
    yield vector("type-upper-case", "statement §4.3", words, bundle, None, "PAYLOAD_TYPE_WRONG")
    words = "Signed over the payload alone, without the encoding of DSSE."
    yield of_bundle("signed-without-pae", "3", words, sig_set(RELEASE.sign(payload)), "SIGNATURE_INVALID")
    words = "One byte of the payload was altered after signing."
    changed = payload.replace(b"town-7b", b"town-8b", 1)
    yield of_bundle(
        "payload-altered", "3", words, lambda b: b["dsseEnvelope"].update(payload=encoded(changed)), "SIGNATURE_INVALID"
    )


def base64_texts() -> Iterator[Vector]:
    """Yield base64 that is not the one text of its bytes."""
    signature = encoded(RELEASE_ED25519.sign(pae(PAYLOAD_TYPE, compact(plain()))))
    assert signature.endswith("==")
    assert "+" in signature or "/" in signature
    assert signature[-3] in "AQgw"
    loose = signature[:-3] + chr(ord(signature[-3]) + 1) + "=="
    assert base64.b64decode(loose) == base64.b64decode(signature)
    texts = {
        "url-safe": ("The URL-safe alphabet.", signature.replace("+", "-").replace("/", "_")),
        "unpadded": ("No padding.", signature[:-2]),
        "padding-short": ("One `=` too few.", signature[:-1]),
        "padding-long": ("Four `=` too many.", signature + "===="),
        "trailing-bits": ("Bits that the last character should not have.", loose),
        "newline": ("A newline at the end.", signature + "\n"),
        "line-break": ("A line break in the middle.", signature[:40] + "\r\n" + signature[40:]),
        "space": ("A space in the middle.", signature[:40] + " " + signature[40:]),
        "garbage": ("A character that is not in the alphabet.", signature[:40] + "!" + signature[40:]),
    }
    for name, (words, text) in texts.items():
        yield of_bundle(f"base64-{name}", "2", words, at_sig(text), "BUNDLE_MALFORMED", key=RELEASE_ED25519)
    words = "A newline at the end of the payload's base64."
    yield of_bundle(
        "base64-payload-newline",
        "2",
        words,
        lambda b: b["dsseEnvelope"].update(payload=b["dsseEnvelope"]["payload"] + "\n"),
        "BUNDLE_MALFORMED",
    )


def at_sig(text: object) -> Edit:
    """Return an edit that puts `text` in place of the signature's base64."""
    return lambda b: b["dsseEnvelope"]["signatures"][0].update(sig=text)


def bundles() -> Iterator[Vector]:
    """Yield the form of the bundle and of the envelope."""
    bad = "BUNDLE_MALFORMED"
    yield of_bundle(
        "media-type-other",
        "1",
        "Bundle v0.2.",
        lambda b: b.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.2"),
        bad,
    )
    yield of_bundle("media-type-missing", "1", "No media type.", lambda b: b.pop("mediaType"), bad)
    yield of_bundle("envelope-missing", "1", "No envelope.", lambda b: b.pop("dsseEnvelope"), bad)
    yield of_bundle("material-missing", "1", "No verification material.", lambda b: b.pop("verificationMaterial"), bad)
    yield of_bundle(
        "member-renamed",
        "1",
        "A member under another spelling of its name.",
        lambda b: b.update(media_type=b.pop("mediaType")),
        bad,
    )
    yield of_bundle("unknown-member", "1", "An unknown member.", lambda b: b.update(note="x"), bad)
    yield of_bundle(
        "unknown-member-envelope",
        "1",
        "An unknown member in the envelope.",
        lambda b: b["dsseEnvelope"].update(note="x"),
        bad,
    )
    yield of_bundle(
        "unknown-member-signature",
        "1",
        "An unknown member in the signature.",
        lambda b: b["dsseEnvelope"]["signatures"][0].update(cert="x"),
        bad,
    )
    yield of_bundle(
        "unknown-member-key",
        "1",
        "An unknown member beside the hint.",
        lambda b: b["verificationMaterial"]["publicKey"].update(rawBytes="AAAA"),
        bad,
    )
    yield of_bundle("signatures-none", "2", "No signature.", lambda b: b["dsseEnvelope"].update(signatures=[]), bad)
    yield of_bundle(
        "signatures-two",
        "2",
        "The same signature twice.",
        lambda b: b["dsseEnvelope"].update(signatures=b["dsseEnvelope"]["signatures"] * 2),
        bad,
    )
    yield of_bundle(
        "signatures-object",
        "2",
        "The signature without its array.",
        lambda b: b["dsseEnvelope"].update(signatures=b["dsseEnvelope"]["signatures"][0]),
        bad,
    )
    yield of_bundle("sig-number", "2", "The signature is a number.", at_sig(7), bad)
    yield of_bundle("payload-missing", "2", "No payload.", lambda b: b["dsseEnvelope"].pop("payload"), bad)
    yield of_bundle("type-missing", "2", "No payload type.", lambda b: b["dsseEnvelope"].pop("payloadType"), bad)
    yield of_bundle(
        "keyid",
        "2",
        "A key id that names another key is ignored.",
        lambda b: b["dsseEnvelope"]["signatures"][0].update(keyid=STRANGER.hint()),
    )
    yield of_bundle("tlog-absent", "4", "No `tlogEntries`.", lambda b: b["verificationMaterial"].pop("tlogEntries"))
    yield of_bundle(
        "timestamps-empty",
        "4",
        "Empty `timestampVerificationData`.",
        lambda b: b["verificationMaterial"].update(timestampVerificationData={}),
    )
    chain = {"x509CertificateChain": {"certificates": [{"rawBytes": "MAA="}]}}
    words = "A chain of a certificate that is none."
    yield of_bundle("certificate-chain", "4", words, material_set(chain), "BUNDLE_MALFORMED")
    words = "A certificate alone, without a log entry, in place of a key."
    yield of_bundle("certificate", "4", words, material_set({"certificate": {"rawBytes": "MAA="}}), "BUNDLE_MALFORMED")


def material_set(member: JsonObject) -> Edit:
    """Return an edit that puts other verification material in place."""
    return lambda b: b.update(verificationMaterial={**member, "tlogEntries": []})


def bundle_texts() -> Iterator[Vector]:
    """Yield the bundle as JSON text."""
    bad = "BUNDLE_MALFORMED"
    good = compact(Signing().bundle(compact(plain())))
    payload = compact(plain())
    twice = good[:-1] + b',"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}'
    inner = good.replace(b'"payloadType"', b'"payload":"e30=","payloadType"', 1)
    for name, words, text in (
        ("bundle-member-twice", "A member of the bundle twice.", twice),
        ("bundle-payload-twice", "Two payloads, of which the first was signed.", inner),
        ("bundle-not-json", "Not JSON.", b"bundle"),
        ("bundle-array", "An array.", b"[" + good + b"]"),
        ("bundle-empty", "No bytes.", b""),
        ("bundle-bom", "A byte order mark.", b"\xef\xbb\xbf" + good),
        ("bundle-deep", "65 levels.", b'{"a":' * 64 + b"[]" + b"}" * 64),
        ("bundle-two", "A second bundle after the first.", good + good),
    ):
        yield vector(name, "statement §1.1", words, text, None, bad)
    words = "The bundle is not canonical JSON, and need not be."
    spaced = json.dumps(json.loads(good), indent=2).encode() + b"\n"
    yield vector("bundle-spaced", "statement §4.1", words, spaced, payload)
    at_limit = concat(stored("bundle.json", good), repeated(b" ", BUNDLE_LIMIT - len(good)))
    made = vector("bundle-limit", "statement §1.2", "Exactly 16 MiB.", at_limit, payload)
    yield with_file(made, good)
    over = concat(stored("bundle.json", good), repeated(b" ", BUNDLE_LIMIT - len(good) + 1))
    yield with_file(vector("bundle-over-limit", "statement §1.2", "One byte over 16 MiB.", over, None, bad), good)


def with_file(made: Vector, bundle: bytes) -> Vector:
    """Return the vector with `bundle.json` beside it."""
    files = {**made.files, "bundle.json": bundle}
    return Vector(made.area, made.name, made.clause, made.description, made.input, made.expected, files)


def subjects() -> Iterator[Vector]:
    """Yield the statement's own members."""
    bad = "STATEMENT_MALFORMED"

    def first(edit: Edit) -> Edit:
        return lambda s: edit(s["subject"][0])

    cases: dict[str, tuple[str, str, Edit]] = {
        "type-wrong": ("§2.1", "Statement v0.1.", lambda s: s.update(_type="https://in-toto.io/Statement/v0.1")),
        "statement-type-missing": ("§2.1", "No `_type`.", lambda s: s.pop("_type")),
        "subject-none": ("§2.2", "No subject.", lambda s: s.update(subject=[])),
        "subject-missing": ("§2.2", "No `subject`.", lambda s: s.pop("subject")),
        "subject-other": ("§2.2", "The first subject is not the manifest.",
                          first(lambda s: s.update(name="model.safetensors"))),
        "subject-path": ("§2.2", "Another spelling of its path.",
                         first(lambda s: s.update(name="./attestation/manifest.json"))),
        "digest-extra": ("§2.2", "A second digest algorithm.", first(lambda s: s["digest"].update(sha512="00" * 64))),
        "digest-other": ("§2.2", "Only another algorithm.", first(lambda s: s.update(digest={"sha512": "00" * 64}))),
        "digest-empty": ("§2.2", "No digest.", first(lambda s: s.update(digest={}))),
        "digest-upper-case": ("§1.4", "Upper-case digits.", first(lambda s: s["digest"].update(sha256="AB" * 32))),
        "digest-prefixed": ("§1.4", "`sha256:` where the digits stand alone.",
                            first(lambda s: s["digest"].update(sha256="sha256:" + "ab" * 32))),
        "digest-short": ("§1.4", "63 digits.", first(lambda s: s["digest"].update(sha256="a" * 63))),
        "further-digest-extra": ("§2.2", "A second algorithm in a further subject.", lambda s: s["subject"].append(
            {"name": "model.safetensors", "digest": {"sha256": "ab" * 32, "gitBlob": "ab" * 20}})),
        "predicate-missing": ("§3", "No predicate.", lambda s: s.pop("predicate")),
        "predicate-array": ("§3", "The predicate is an array.", lambda s: s.update(predicate=[])),
    }  # fmt: skip
    for name, (clause, words, edit) in cases.items():
        yield of_statement(name, clause, words, edit, bad)
    yield of_statement(
        "subjects-further",
        "§2.2",
        "A further subject.",
        lambda s: s["subject"].append({"name": "model.safetensors", "digest": {"sha256": "ab" * 32}}),
    )
    words = "Another predicate type."
    yield of_statement(
        "predicate-type-other",
        "§2.3",
        words,
        lambda s: s.update(predicateType="https://slsa.dev/provenance/v1"),
        "PREDICATE_TYPE_UNKNOWN",
    )
    words = "The next version of the predicate."
    yield of_statement(
        "predicate-type-v2",
        "§2.3",
        words,
        lambda s: s.update(predicateType=s["predicateType"].replace("v1", "v2")),
        "PREDICATE_TYPE_UNKNOWN",
    )


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this area that concern bundle, signature and subject."""
    for part in (
        keys_and_signatures, signature_bytes, payload_types, base64_texts, bundles, bundle_texts, subjects,
    ):  # fmt: skip
        yield from part()

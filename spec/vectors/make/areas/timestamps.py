"""Area `statement`: timestamps of signatures by keys. Spec: statement §9."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import certificates
from certificates import CODE_SIGNING, TIME_STAMPING, Authority
from data import stored
from der import der
from envelope import PAYLOAD_TYPE, Signing, compact, encoded, pae
from instance import SIGNED_AT, STRANGE, TOWN
from keys import RELEASE, Key, pem
from merkle import sha256
from vector import JsonObject, Vector

from areas.statement import plain

PAYLOAD = compact(plain())
SIGNATURE = RELEASE.sign(pae(PAYLOAD_TYPE, PAYLOAD))
AT = SIGNED_AT + 1
NOW = SIGNED_AT + 86_400
UNTRUSTED = "TIMESTAMP_UNTRUSTED"
_YEARS = (SIGNED_AT - 31_557_600, SIGNED_AT + 31_557_600)


def issued(common: str, *usages: bytes, key: Key | None = None, validity: tuple[int, int] = _YEARS) -> Authority:
    """Return a certificate below the root of the instance, whose extended key usages are given."""
    key = key or Key("p256", common)
    extensions = [certificates.key_usage(signs_certificates=False), *usages]
    made = certificates.certificate(common, key, (TOWN.root.common, TOWN.root.key), validity, extensions)
    return Authority(common, key, made)


STAMPING = certificates.extended_key_usage(TIME_STAMPING, critical=True)
SECOND = issued("town second", STAMPING)
SIGNER_AND_ROOT = (TOWN.stamping.certificate, TOWN.root.certificate)
ROOT = (TOWN.root.certificate,)


def rfc3339(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def vector(
    name: str, clause: str, words: str, stamps: Sequence[bytes], *codes: str, signed_before: int | None = None,
    tsa: Sequence[bytes] = SIGNER_AND_ROOT, now: int = NOW, accepted: bool = True,
) -> Vector:  # fmt: skip
    """Return a vector of a bundle with timestamps; `tsa` are the certificates of the authority that is trusted."""
    bundle: Any = Signing().bundle(PAYLOAD)
    listed = [{"signedTimestamp": encoded(stamp)} for stamp in stamps]
    bundle["verificationMaterial"]["timestampVerificationData"] = {"rfc3161Timestamps": listed}
    data = compact(bundle)
    files = {"bundle.json": data, "key.pub": RELEASE.pem()}
    if tsa:
        files["tsa.pem"] = b"".join(pem("CERTIFICATE", one) for one in tsa)
    given = {
        "bundle": stored("bundle.json", data).described,
        "key": "key.pub",
        "repository": None,
        "tsa": ["tsa.pem"] if tsa else [],
        "now": rfc3339(now),
    }
    outcome: JsonObject = {"accepted": accepted, "codes": sorted(codes)}
    if accepted:
        before = None if signed_before is None else rfc3339(signed_before)
        outcome = {**outcome, "payload_sha256": sha256(PAYLOAD).hex(), "signed_before": before}
    return Vector("statement", f"timestamp-{name}", f"statement §9.{clause}", words, given, outcome, files)


def counted() -> Iterator[Vector]:
    """Yield timestamps that count."""
    good = TOWN.stamp(SIGNATURE, AT)
    yield vector("good", "3", "By the signer of the authority.", [good], signed_before=AT)
    brought = TOWN.stamp(SIGNATURE, AT, brought=[TOWN.stamping.certificate])
    yield vector("brought", "3", "With its certificate.", [brought], signed_before=AT)
    words = "The authority's root alone is trusted, and the timestamp brings its certificate."
    yield vector("root", "3", words, [brought], signed_before=AT, tsa=ROOT)
    words = "Two, the later one first."
    yield vector("two", "5", words, [TOWN.stamp(SIGNATURE, AT + 60), good], signed_before=AT)
    words = "The authority's certificates have expired since."
    yield vector("expired-since", "3", words, [good], signed_before=AT, now=SIGNED_AT + 30 * 31_557_600)
    words = "Four minutes ahead of the clock of the verifier."
    yield vector("skew", "3", words, [TOWN.stamp(SIGNATURE, NOW + 240)], signed_before=NOW + 240)
    words = "One that counts, and one by a stranger."
    yield vector("and-stranger", "4", words, [STRANGE.stamp(SIGNATURE, AT - 60), good], UNTRUSTED, signed_before=AT)
    yield vector("nobody-trusted", "4", "The caller trusts no authority.", [good], tsa=())


def uncounted() -> Iterator[Vector]:
    """Yield timestamps that are no evidence."""
    brought = [TOWN.stamping.certificate]
    code = issued("town code", certificates.extended_key_usage(CODE_SIGNING, critical=True))
    mild = issued("town mild", certificates.extended_key_usage(TIME_STAMPING))
    wide = issued("town wide", certificates.extension(
        "2.5.29.37", certificates.purposes(TIME_STAMPING, CODE_SIGNING), critical=True))  # fmt: skip
    expired = issued("town expired", STAMPING, validity=(_YEARS[0], AT - 1))
    # A certificate that nobody issued, under the number of one that the root did issue for something else.
    false = issued("town code", STAMPING, key=code.key)
    for name, words, stamp, tsa in (
        ("stranger", "By an authority that is not trusted.",
         STRANGE.stamp(SIGNATURE, AT, brought=[STRANGE.stamping.certificate]), SIGNER_AND_ROOT),
        ("other-signature", "Of another signature.", TOWN.stamp(b"another", AT), SIGNER_AND_ROOT),
        ("signer-other", "By another signer below the same root than the one that is trusted.",
         TOWN.stamp(SIGNATURE, AT, by=SECOND, brought=[SECOND.certificate]), SIGNER_AND_ROOT),
        ("root-nothing-brought", "The root alone is trusted, and no certificate comes along.",
         TOWN.stamp(SIGNATURE, AT), ROOT),
        ("root-code", "Signed by a certificate for code.",
         TOWN.stamp(SIGNATURE, AT, by=code, brought=[code.certificate]), ROOT),
        ("root-mild", "Signed by a certificate whose usage is not critical.",
         TOWN.stamp(SIGNATURE, AT, by=mild, brought=[mild.certificate]), ROOT),
        ("root-wide", "Signed by a certificate for timestamps and for code.",
         TOWN.stamp(SIGNATURE, AT, by=wide, brought=[wide.certificate]), ROOT),
        ("root-two", "Signed by a certificate for code, with one for timestamps of the same issuer and number.",
         TOWN.stamp(SIGNATURE, AT, by=code, brought=[code.certificate, false.certificate]), ROOT),
        ("expired", "Signed after the authority's certificate had expired.",
         TOWN.stamp(SIGNATURE, AT, by=expired, brought=[expired.certificate]), ROOT),
        ("ahead", "Six minutes ahead of the clock of the verifier.", TOWN.stamp(SIGNATURE, NOW + 360),
         SIGNER_AND_ROOT),
        ("rejected", "Not granted.", TOWN.stamp(SIGNATURE, AT, status=2), SIGNER_AND_ROOT),
        ("status", "A status that does not exist.", TOWN.stamp(SIGNATURE, AT, status=9), SIGNER_AND_ROOT),
        ("year-0", "In the year 0.",
         TOWN.stamp(SIGNATURE, AT, brought=brought, time=der(0x18, b"00000101000000Z")), SIGNER_AND_ROOT),
        ("no-der", "Bytes that are nothing.", b"\0" * 64, SIGNER_AND_ROOT),
        ("empty", "No bytes.", b"", SIGNER_AND_ROOT),
        ("large", "Of 65,537 bytes.", b"\x30\x83\x01\x00\x00" + bytes(65_532), SIGNER_AND_ROOT),
        ("altered", "One bit of it was turned.",
         (made := TOWN.stamp(SIGNATURE, AT))[:-1] + bytes([made[-1] ^ 1]), SIGNER_AND_ROOT),
    ):  # fmt: skip
        clause = "4" if name in ("no-der", "empty") else "3"
        yield vector(name, clause, words, [stamp], UNTRUSTED, tsa=tsa)
    many = [TOWN.stamp(SIGNATURE, AT)] * 33
    yield vector("33", "1", "33 timestamps.", many, "BUNDLE_MALFORMED", accepted=False)


def vectors() -> Iterator[Vector]:
    """Yield the vectors of statement §9."""
    yield from counted()
    yield from uncounted()

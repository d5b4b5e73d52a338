"""Private authorities of fixed keys, chains below them, revocation lists, and bundles. Spec: statement §10."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import certificates
from certificates import CODE_SIGNING, ECDSA_SHA256, Authority
from data import stored
from der import bits, der, der_integer, sequence, tagged, utc_time
from envelope import MEDIA_TYPE, PAYLOAD_TYPE, Object, compact, encoded, pae
from instance import SIGNED_AT, TOWN, Instance
from keys import Key, pem
from merkle import sha256
from vector import JsonObject, Vector

DAY = 86_400
NOW = SIGNED_AT + DAY
YEARS = (SIGNED_AT - 5 * 365 * DAY, SIGNED_AT + 15 * 365 * DAY)
LIFETIME = (SIGNED_AT - DAY, SIGNED_AT + 30 * DAY)
NAME = "release@town.example"
LEAF = Key("p256", "certified")
DIGITAL_SIGNATURE = certificates.key_usage(signs_certificates=False)
CODE = certificates.extended_key_usage(CODE_SIGNING)

ROOT = certificates.authority("town office root", None, YEARS, path=3)
BETWEEN = certificates.authority("town office", ROOT, YEARS, path=2)


def names(*general: bytes) -> bytes:
    """Return the extension of alternative names."""
    return certificates.extension("2.5.29.17", sequence(*general))


MAIL = names(certificates.mail(NAME))
USUAL = (DIGITAL_SIGNATURE, CODE, MAIL)


def leaf(
    key: Key = LEAF, by: Authority = BETWEEN, extensions: Sequence[bytes] = USUAL,
    validity: tuple[int, int] = LIFETIME, common: str | None = "release",
) -> bytes:  # fmt: skip
    """Return the certificate of a signer."""
    return certificates.certificate(common, key, (by.common, by.key), validity, extensions)


@dataclass(frozen=True, slots=True)
class Signed:
    """How a bundle is made under a chain: by whose key, over what, with which certificates, and dated by whom."""

    chain: Sequence[bytes] = ()
    key: Key = LEAF
    sign: Callable[[bytes], bytes] | None = None
    stamps: Sequence[tuple[Instance, int]] = ()
    edit: Callable[[Any], object] = lambda bundle: None

    def bundle(self, payload: bytes) -> Object:
        """Return the bundle over `payload`."""
        signature = (self.sign or self.key.sign)(pae(PAYLOAD_TYPE, payload))
        chain = self.chain or (leaf(self.key), BETWEEN.certificate)
        material: Object = {
            "x509CertificateChain": {"certificates": [{"rawBytes": encoded(one)} for one in chain]},
            "tlogEntries": [],
        }
        if self.stamps:
            listed = [{"signedTimestamp": encoded(by.stamp(signature, seconds))} for by, seconds in self.stamps]
            material["timestampVerificationData"] = {"rfc3161Timestamps": listed}
        envelope = {
            "payload": encoded(payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": encoded(signature)}],
        }
        made: Object = {"mediaType": MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope}
        self.edit(made)
        return made


@dataclass(frozen=True, slots=True)
class Revoked:
    """An entry of a revocation list."""

    key: Key
    at: int
    reason: int | None = None

    def entry(self) -> bytes:
        parts = [der_integer(certificates.serial(self.key)), utc_time(self.at)]
        if self.reason is not None:
            value = der(0x0A, bytes([self.reason]))
            parts.append(sequence(certificates.extension("2.5.29.21", value)))
        return sequence(*parts)


def revocation_list(
    by: Authority, *revoked: Revoked, signer: Key | None = None, issued: int = NOW - 3600,
    until: int | None = NOW + 7 * DAY, extensions: Sequence[bytes] = (),
) -> bytes:  # fmt: skip
    """Return a certificate revocation list, DER."""
    key = signer or by.key
    number = certificates.extension("2.5.29.20", der_integer(1))
    body = sequence(
        der_integer(1),
        ECDSA_SHA256,
        certificates.name(by.common),
        utc_time(issued),
        *([] if until is None else [utc_time(until)]),
        *([sequence(*(one.entry() for one in revoked))] if revoked else []),
        tagged(0, sequence(number, *extensions)),
    )
    return sequence(body, ECDSA_SHA256, bits(key.sign(body)))


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a caller expects, by whose word, and when it is verified."""

    name: str = NAME
    roots: Sequence[bytes] = (ROOT.certificate,)
    crls: Sequence[bytes] = ()
    now: int = NOW
    tsa: bool = False
    files: dict[str, bytes] = field(default_factory=dict)

    def given(self, bundle: bytes) -> tuple[JsonObject, dict[str, bytes]]:
        """Return `input` and the files that it names."""
        files = {"bundle.json": bundle, "roots.pem": b"".join(pem("CERTIFICATE", one) for one in self.roots)}
        files |= {f"crl-{number}.pem": pem("X509 CRL", one) for number, one in enumerate(self.crls)}
        if self.tsa:
            files["tsa.pem"] = TOWN.authority_pem()
        return {
            "bundle": stored("bundle.json", bundle).described,
            "key": None,
            "repository": None,
            "certificate": {
                "name": self.name,
                "roots": "roots.pem",
                "crls": [f"crl-{number}.pem" for number in range(len(self.crls))],
            },
            "tsa": ["tsa.pem"] if self.tsa else [],
            "now": datetime.fromtimestamp(self.now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }, files


def vector(
    name: str, clause: str, words: str, signed: Signed, payload: bytes, *codes: str, caller: Caller | None = None,
    accepted: bool = False,
) -> Vector:  # fmt: skip
    """Return a vector of a bundle under a chain."""
    given, files = (caller or Caller()).given(compact(signed.bundle(payload)))
    outcome: JsonObject = {"accepted": accepted, "codes": sorted(codes)}
    if accepted:
        outcome = {**outcome, "payload_sha256": sha256(payload).hex()}
    return Vector("statement", f"chain-{name}", f"statement §10.{clause}", words, given, outcome, files)

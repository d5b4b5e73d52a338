"""X.509 certificates of a Sigstore instance: authorities, and those that name a signer. Spec: statement §6.2."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from der import bits, der, der_integer, octets, oid, sequence, set_of, tagged, utc_time, utf8
from keys import Key
from merkle import sha256

ECDSA_SHA256 = sequence(oid("1.2.840.10045.4.3.2"))
_ED25519 = sequence(oid("1.3.101.112"))
CLAIMS = "1.3.6.1.4.1.57264.1"
CODE_SIGNING, TIME_STAMPING = "1.3.6.1.5.5.7.3.3", "1.3.6.1.5.5.7.3.8"
_SCT_LIST = "1.3.6.1.4.1.11129.2.4.2"
_TRUE = der(0x01, b"\xff")


def name(common: str) -> bytes:
    """Return a distinguished name of one attribute."""
    return sequence(set_of(sequence(oid("2.5.4.3"), utf8(common))))


def extension(kind: str, value: bytes, *, critical: bool = False) -> bytes:
    return sequence(oid(kind), *([_TRUE] if critical else []), octets(value))


def key_usage(*, signs_certificates: bool) -> bytes:
    """Return the extension that says digitalSignature, or keyCertSign and cRLSign."""
    unused, value = (1, 0b00000110) if signs_certificates else (7, 0b10000000)
    return extension("2.5.29.15", der(0x03, bytes([unused, value])), critical=True)


def extended_key_usage(purpose: str, *, critical: bool = False) -> bytes:
    return extension("2.5.29.37", purposes(purpose), critical=critical)


def purposes(*listed: str) -> bytes:
    """Return the value of an extended key usage."""
    return sequence(*(oid(purpose) for purpose in listed))


@dataclass(frozen=True, slots=True)
class Authority:
    """Who issues certificates, or signs timestamps: a name, a key, and the certificate of both."""

    common: str
    key: Key
    certificate: bytes


def certificate(
    common: str | None, key: Key, issuer: tuple[str, Key], validity: tuple[int, int], extensions: Sequence[bytes]
) -> bytes:
    """Return a certificate, signed."""
    body = to_be_signed(common, key, issuer, validity, extensions)
    return sequence(body, _algorithm(issuer[1]), bits(issuer[1].sign(body)))


def _algorithm(key: Key) -> bytes:
    return _ED25519 if key.kind == "ed25519" else ECDSA_SHA256


def to_be_signed(
    common: str | None, key: Key, issuer: tuple[str, Key], validity: tuple[int, int], extensions: Sequence[bytes]
) -> bytes:
    """Return what the issuer of a certificate signs."""
    issuer_name, issuer_key = issuer
    identifiers = [
        extension("2.5.29.14", octets(sha256(key.raw_public())[:20])),
        extension("2.5.29.35", sequence(der(0x80, sha256(issuer_key.raw_public())[:20]))),
    ]
    return sequence(
        tagged(0, der_integer(2)),
        der_integer(serial(key)),
        _algorithm(issuer_key),
        name(issuer_name),
        sequence(utc_time(validity[0]), utc_time(validity[1])),
        sequence() if common is None else name(common),
        key.public_der(),
        tagged(3, sequence(*identifiers, *extensions)),
    )


def serial(key: Key) -> int:
    """Return the number of a key's certificate."""
    return int.from_bytes(sha256(key.raw_public())[:8], "big")


def authority(
    common: str, issuer: Authority | None, validity: tuple[int, int], *own: bytes, path: int, key: Key | None = None
) -> Authority:
    """Return one that issues certificates, itself issued by another or by itself."""
    key = key or Key("p256", common)
    constraints = extension("2.5.29.19", sequence(_TRUE, der_integer(path)), critical=True)
    by = (issuer.common, issuer.key) if issuer else (common, key)
    extensions = [constraints, key_usage(signs_certificates=True), *own]
    return Authority(common, key, certificate(common, key, by, validity, extensions))


@dataclass(frozen=True, slots=True)
class Signer:
    """What a certificate says of a signer. `names` are general names in DER; issuers None are left out."""

    names: Sequence[bytes]
    issuer: str | None
    issuer_of_old: str | None
    purpose: str = CODE_SIGNING
    in_ct_log: bool = True
    claims: Mapping[int, bytes] = field(default_factory=dict)
    """What else is said of a job: values of extensions, by their number in Sigstore's arc."""

    def extensions(self) -> list[bytes]:
        found = [
            key_usage(signs_certificates=False),
            extended_key_usage(self.purpose),
            extension("2.5.29.17", sequence(*self.names), critical=True),
        ]
        if self.issuer_of_old is not None:
            found.append(extension(f"{CLAIMS}.1", self.issuer_of_old.encode()))
        if self.issuer is not None:
            found.append(extension(f"{CLAIMS}.8", utf8(self.issuer)))
        found += [extension(f"{CLAIMS}.{number}", value) for number, value in self.claims.items()]
        return found


def uri(text: str) -> bytes:
    return der(0x86, text.encode())


def mail(text: str) -> bytes:
    return der(0x81, text.encode())


def host(text: str) -> bytes:
    return der(0x82, text.encode())


def other(text: str) -> bytes:
    return tagged(0, oid(f"{CLAIMS}.7"), tagged(0, utf8(text)))


def of_signer(signer: Signer, key: Key, by: Authority, ct_key: Key, validity: tuple[int, int]) -> bytes:
    """Return the certificate of a signer's key, with its entry in a CT log in it. RFC 6962 §3.2, §3.3."""
    extensions, issuer = signer.extensions(), (by.common, by.key)
    if signer.in_ct_log:
        logged = to_be_signed(None, key, issuer, validity, extensions)
        milliseconds = validity[0] * 1000
        head = struct.pack("!BBQH", 0, 0, milliseconds, 1) + sha256(by.key.public_der())
        signature = ct_key.sign(head + len(logged).to_bytes(3, "big") + logged + b"\0\0")
        proof = b"\0" + sha256(ct_key.public_der()) + struct.pack("!QH", milliseconds, 0)
        proof += b"\x04\x03" + struct.pack("!H", len(signature)) + signature
        listed = struct.pack("!HH", len(proof) + 2, len(proof)) + proof
        extensions.append(extension(_SCT_LIST, octets(listed)))
    return certificate(None, key, issuer, validity, extensions)

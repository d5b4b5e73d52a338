"""Chains and revocation lists that an attacker wrote: each gets an answer, and none holds that should not."""

from __future__ import annotations

import base64
import datetime as dt
import json
import random

import pytest

from model_verify.envelope import ExpectedCertificate, TimeTrust, check_signature, open_bundle
from model_verify.envelope.pem import read_certificates, read_crls
from model_verify.errors import CertificateUnreadable, MalformedDocument
from tests.vectors.vector import Vector, load

MUTATIONS = 400
CHAINS = ["chain-good-p256", "chain-long", "chain-name-uri"]
REFUSED = {"CERTIFICATE_INVALID", "CERTIFICATE_EXPIRED", "SIGNATURE_INVALID", "IDENTITY_MISMATCH"}


@pytest.fixture(scope="module")
def vectors() -> dict[str, Vector]:
    return {vector.name: vector for vector in load("statement") if vector.name.startswith("chain-")}


def mutated(data: bytes, generator: random.Random) -> bytes:
    """Return DER with one to four of its bytes changed or left out."""
    made = bytearray(data)
    for _ in range(generator.choice([1, 1, 2, 4])):
        place = generator.randrange(len(made))
        match generator.randrange(3):
            case 0:
                made[place] ^= 1 << generator.randrange(8)
            case 1:
                made[place] = generator.choice([0x00, 0xFF, 0x7F, 0x80, 0x02, 0x03, 0x30, 0x31, 0x18, 0x17, 0x06])
            case _:
                del made[place]
    return bytes(made)


def expected_of(vector: Vector) -> ExpectedCertificate:
    named = vector.input["certificate"]
    crls = tuple((vector.folder / name).read_bytes() for name in named["crls"])
    return ExpectedCertificate(named["name"], (vector.folder / named["roots"]).read_bytes(), crls)


def trust_of(vector: Vector) -> TimeTrust:
    return TimeTrust(now=dt.datetime.fromisoformat(vector.input["now"]))


@pytest.mark.parametrize("name", CHAINS)
def test_a_certificate_that_was_altered_is_refused(vectors: dict[str, Vector], name: str) -> None:
    vector, generator = vectors[name], random.Random(name)
    good = json.loads(vector.data(vector.input["bundle"]))
    for _ in range(MUTATIONS):
        bundle = json.loads(json.dumps(good))
        certificates = bundle["verificationMaterial"]["x509CertificateChain"]["certificates"]
        one = generator.choice(certificates)
        der = base64.b64decode(one["rawBytes"])
        made = mutated(der, generator)
        if without_padding_bits(made) == without_padding_bits(der):
            continue
        one["rawBytes"] = base64.b64encode(made).decode()
        try:
            signed = open_bundle(json.dumps(bundle).encode())
        except MalformedDocument:
            continue
        check = check_signature(signed, expected_of(vector), trust_of(vector))
        assert not check.holds, made.hex()
        assert {finding.code for finding in check.findings} <= REFUSED


def without_padding_bits(der: bytes) -> bytes:
    """Return a certificate without the count of unused bits of its signature, which says nothing and is not signed."""
    head, mark, signature = der.rpartition(b"\x30\x46\x02\x21")
    for start in (b"\x30\x45\x02", b"\x30\x44\x02"):
        if not mark:
            head, mark, signature = der.rpartition(start)
    return head[:-1] + mark + signature if mark else der


def test_a_list_that_was_altered_is_none(vectors: dict[str, Vector]) -> None:
    vector, generator = vectors["chain-crl-revoked"], random.Random("lists")
    signed = open_bundle(vector.data(vector.input["bundle"]))
    expected = expected_of(vector)
    (own, of_root) = expected.crls
    der = base64.b64decode(b"".join(own.splitlines()[1:-1]))
    for _ in range(MUTATIONS):
        made = mutated(der, generator)
        altered = ExpectedCertificate(expected.name, expected.roots, (made, of_root))
        try:
            check = check_signature(signed, altered, trust_of(vector))
        except CertificateUnreadable:
            continue  # as the command line says before it begins
        codes = {finding.code for finding in check.findings}
        assert codes == {"REVOCATION_UNKNOWN"} or (codes == {"CERTIFICATE_REVOKED"} and made[:-80] == der[:-80])


def test_a_name_of_bits_is_no_name(vectors: dict[str, Vector]) -> None:
    """The library raises a `TypeError` for it, and only when it is asked for the name."""
    vector = vectors["chain-good-p256"]
    bundle = json.loads(vector.data(vector.input["bundle"]))
    leaf = bundle["verificationMaterial"]["x509CertificateChain"]["certificates"][0]
    der = base64.b64decode(leaf["rawBytes"])
    assert der.count(b"\x0c\x07release") == 1
    made = der.replace(b"\x0c\x07release", b"\x03\x07\x00elease")
    leaf["rawBytes"] = base64.b64encode(made).decode()
    with pytest.raises(MalformedDocument) as caught:
        open_bundle(json.dumps(bundle).encode())
    assert caught.value.code == "BUNDLE_MALFORMED"
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(made) + b"-----END CERTIFICATE-----\n"
    with pytest.raises(CertificateUnreadable):
        read_certificates(pem)


def test_a_list_of_another_version_is_none(vectors: dict[str, Vector]) -> None:
    own = expected_of(vectors["chain-crl-revoked"]).crls[0]
    der = base64.b64decode(b"".join(own.splitlines()[1:-1]))
    assert der.count(b"\x02\x01\x01\x30") >= 1
    with pytest.raises(CertificateUnreadable):
        read_crls(der.replace(b"\x02\x01\x01\x30", b"\x02\x01\x1f\x30", 1))

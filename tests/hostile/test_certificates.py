"""Certificates that nobody has verified yet, made to be unreadable: each is a malformed bundle, none a traceback."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from model_verify.envelope import open_bundle
from model_verify.errors import MalformedDocument
from model_verify.oms.roots import without_roots
from tests.sigstore.certificates import now
from tests.vectors.vector import Vector, load

MUTATIONS = 600
NAME = b"\x0c\x07someone"


@pytest.fixture(scope="module")
def certificate() -> bytes:
    """A certificate whose alternative name is that of a directory, in which the library reads every value."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "someone")])
    key = ec.generate_private_key(ec.SECP256R1())
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an issuer")]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now())
        .not_valid_after(now())
        .add_extension(x509.SubjectAlternativeName([x509.DirectoryName(name)]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


def of_bits(der: bytes) -> bytes:
    """The library raises a `TypeError` for a name of bits."""
    return der.replace(NAME, b"\x03\x07\x00omeone")


def of_another_version(der: bytes) -> bytes:
    """The library's `InvalidVersion` is no `ValueError`."""
    assert b"\xa0\x03\x02\x01\x02" in der
    return der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x1f", 1)


@pytest.fixture(scope="module")
def vectors() -> dict[str, Vector]:
    return {vector.name: vector for vector in load("statement")}


def with_certificate(vector: Vector, der: bytes) -> bytes:
    """Return a good bundle under an identity, with another certificate in it."""
    bundle = json.loads(vector.data(vector.input["bundle"]))
    bundle["verificationMaterial"]["certificate"]["rawBytes"] = base64.b64encode(der).decode()
    return json.dumps(bundle).encode()


def with_chain(vector: Vector, *chain: bytes) -> bytes:
    bundle = json.loads(vector.data(vector.input["bundle"]))
    certificates = [{"rawBytes": base64.b64encode(der).decode()} for der in chain]
    bundle["verificationMaterial"]["x509CertificateChain"]["certificates"] = certificates
    return json.dumps(bundle).encode()


@pytest.mark.parametrize("change", [of_bits, of_another_version])
def test_a_certificate_that_cannot_be_read_is_a_malformed_bundle(
    vectors: dict[str, Vector], certificate: bytes, change: Callable[[bytes], bytes]
) -> None:
    made = change(certificate)
    assert made != certificate
    for bundle in (
        with_certificate(vectors["identity-v1"], made),
        with_chain(vectors["chain-good-p256"], made),
        without_roots(with_chain(vectors["chain-good-p256"], made, made), max_bytes=1 << 20),
    ):
        with pytest.raises(MalformedDocument) as caught:
            open_bundle(bundle)
        assert caught.value.code == "BUNDLE_MALFORMED"


def test_an_altered_certificate_is_read_or_refused(vectors: dict[str, Vector], certificate: bytes) -> None:
    dice = random.Random("certificates")
    refused: set[str] = set()
    for _ in range(MUTATIONS):
        made = bytearray(certificate)
        for _ in range(dice.choice([1, 1, 2, 3])):
            made[dice.randrange(len(made))] = dice.choice([0x00, 0x03, 0x0C, 0x13, 0x1F, 0x30, 0x80, 0xFF])
        chain = with_chain(vectors["chain-good-p256"], bytes(made), bytes(made))
        for bundle in (
            with_certificate(vectors["identity-v1"], bytes(made)),
            chain,
            without_roots(chain, max_bytes=1 << 20),
        ):
            try:
                open_bundle(bundle)
            except MalformedDocument as error:
                refused.add(error.code)
    assert refused <= {"BUNDLE_MALFORMED", "SIGNATURE_KIND_UNSUPPORTED"}

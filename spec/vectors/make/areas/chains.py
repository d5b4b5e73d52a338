"""Area `statement`: bundles under certificates of private authorities. Spec: statement §10.1 to §10.5, §10.7."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import certificates
import ecdsa
import rsa
from certificates import TIME_STAMPING, Authority
from der import bits, der, oid, sequence, tagged
from envelope import compact, encoded
from instance import SIGNED_AT, STRANGE, TOWN
from keys import CURVES, RELEASE, Key, der_signature
from pki import (
    BETWEEN,
    CODE,
    DAY,
    DIGITAL_SIGNATURE,
    LEAF,
    LIFETIME,
    MAIL,
    NAME,
    NOW,
    ROOT,
    USUAL,
    YEARS,
    Caller,
    Signed,
    leaf,
    names,
    vector,
)
from vector import Vector

from areas.statement import plain

PAYLOAD = compact(plain())
GOOD = Signed()
STAMPED = replace(GOOD, stamps=((TOWN, SIGNED_AT + 1),))
RSA = Key("rsa3072", "certified")
MALFORMED, INVALID, SIGNATURE = "BUNDLE_MALFORMED", "CERTIFICATE_INVALID", "SIGNATURE_INVALID"
EXPIRED, MISMATCH = "CERTIFICATE_EXPIRED", "IDENTITY_MISMATCH"
UNKNOWN = "1.3.6.1.4.1.57264.9.1"
SECOND = certificates.authority("town office second", BETWEEN, YEARS, path=0)


def good() -> Iterator[Vector]:
    """Yield signatures that hold."""
    for key in (LEAF, Key("p384", "certified"), Key("ed25519", "certified"), RSA, Key("ml-dsa-65", "certified")):
        yield vector(f"good-{key.kind}", "2", f"A key of type {key.kind}.", Signed(key=key), PAYLOAD, accepted=True)
    direct = Signed([leaf(by=ROOT)])
    yield vector("direct", "3", "Certified by the root itself.", direct, PAYLOAD, accepted=True)
    long = Signed([leaf(by=SECOND), SECOND.certificate, BETWEEN.certificate])
    yield vector("long", "3", "Two authorities between.", long, PAYLOAD, accepted=True)
    roots = Caller(roots=(STRANGE.root.certificate, ROOT.certificate))
    yield vector("roots", "3", "Two roots, of which the second is its.", GOOD, PAYLOAD, caller=roots, accepted=True)
    unknown = certificates.extension(UNKNOWN, der(0x05))
    noted = Signed([leaf(extensions=(*USUAL, unknown)), BETWEEN.certificate])
    yield vector("extension", "3", "An unknown extension that is not critical.", noted, PAYLOAD, accepted=True)


def named() -> Iterator[Vector]:
    """Yield whom certificates name."""
    listed = names(certificates.mail(NAME), certificates.uri("https://town.example/release"),
                   certificates.host("release.town.example"))  # fmt: skip
    many = Signed([leaf(extensions=(DIGITAL_SIGNATURE, CODE, listed)), BETWEEN.certificate])
    none = Signed([leaf(extensions=(DIGITAL_SIGNATURE, CODE)), BETWEEN.certificate])
    for title, words, name, signed, is_good in (
        ("mail", "The mail address, of three names.", NAME, many, True),
        ("uri", "The URI, of three names.", "https://town.example/release", many, True),
        ("host", "The host, of three names.", "release.town.example", many, True),
        ("subject", "The subject, of a certificate with other names too.", "CN=release", many, True),
        ("subject-alone", "The subject, of a certificate without other names.", "CN=release", none, True),
        ("other", "Another name.", "release@lab.example", GOOD, False),
        ("case", "The name in other case.", "Release@town.example", GOOD, False),
        ("part", "A part of the name.", "town.example", GOOD, False),
        ("subject-common", "The common name without its type.", "release", GOOD, False),
    ):
        codes = () if is_good else (MISMATCH,)
        caller = Caller(name=name)
        yield vector(f"name-{title}", "7", words, signed, PAYLOAD, *codes, caller=caller, accepted=is_good)


def times() -> Iterator[Vector]:
    """Yield when certificates are judged."""
    later = SIGNED_AT + 3 * 365 * DAY
    start, end = LIFETIME
    for title, words, signed, caller, codes in (
        ("stamped", "A timestamp.", STAMPED, Caller(tsa=True), ()),
        ("expired-since", "Expired since it was stamped.", STAMPED, Caller(tsa=True, now=later), ()),
        ("first-second", "Verified in the first second of its validity.", GOOD, Caller(now=start), ()),
        ("last-second", "Verified in the last second of its validity.", GOOD, Caller(now=end), ()),
        ("not-yet", "Verified a second before.", GOOD, Caller(now=start - 1), (EXPIRED,)),
        ("expired", "Verified a second after.", GOOD, Caller(now=end + 1), (EXPIRED,)),
        ("expired-nobody-trusted", "Expired since it was stamped, and no authority is trusted.", STAMPED,
         Caller(now=later), (EXPIRED,)),
        ("expired-at-signing", "Stamped a second after.", replace(GOOD, stamps=((TOWN, end + 1),)),
         Caller(tsa=True, now=end + DAY), (EXPIRED,)),
        ("stamped-before", "Stamped a second before.", replace(GOOD, stamps=((TOWN, start - 1),)), Caller(tsa=True),
         (EXPIRED,)),
        ("stamped-twice", "Stamped again after it had expired.",
         replace(GOOD, stamps=((TOWN, end + 1), (TOWN, SIGNED_AT))), Caller(tsa=True, now=later), ()),
        ("stranger", "Stamped by a stranger.", replace(GOOD, stamps=((STRANGE, SIGNED_AT),)), Caller(tsa=True),
         ("TIMESTAMP_UNTRUSTED",)),
        ("stranger-expired", "Expired since a stranger stamped it.", replace(GOOD, stamps=((STRANGE, SIGNED_AT),)),
         Caller(tsa=True, now=later), (EXPIRED, "TIMESTAMP_UNTRUSTED")),
        ("skew", "Stamped an hour ahead of the clock: it is judged now.", replace(GOOD, stamps=((TOWN, NOW + 3600),)),
         Caller(tsa=True), ("TIMESTAMP_UNTRUSTED",)),
    ):  # fmt: skip
        yield vector(title, "5", words, signed, PAYLOAD, *codes, caller=caller, accepted=EXPIRED not in codes)
    old = certificates.authority("town office", ROOT, (YEARS[0], NOW - 1), path=2)
    words = "An authority between has expired."
    yield vector("between-expired", "5", words, Signed([leaf(by=old), old.certificate]), PAYLOAD, EXPIRED)
    old = certificates.authority("town office root", None, (YEARS[0], NOW - 1), path=3)
    caller = Caller(roots=[old.certificate])
    yield vector("root-expired", "3", "The root has expired.", GOOD, PAYLOAD, INVALID, caller=caller)


def issued(common: str, *extensions: bytes, by: Authority = ROOT) -> Authority:
    """Return an authority with these extensions and no others."""
    key = Key("p256", common)
    made = certificates.certificate(common, key, (by.common, by.key), YEARS, extensions)
    return Authority(common, key, made)


def constraints(*parts: bytes) -> bytes:
    return certificates.extension("2.5.29.19", sequence(*parts), critical=True)


def constrained(*usual: bytes) -> Iterator[Vector]:
    """Yield authorities whose name constraints have names of directories, which nothing here evaluates."""
    release, lab = (sequence(tagged(4, certificates.name(common))) for common in ("release", "lab"))
    for title, words, critical, subtrees in (
        ("excluded", "An authority that may not certify this subject, not critical.", False, tagged(1, release)),
        ("excluded-critical", "An authority that may not certify this subject.", True, tagged(1, release)),
        ("permitted-other", "An authority that may certify another subject only, not critical.", False, tagged(0, lab)),
        ("permitted", "An authority that may certify this subject only, not critical.", False, tagged(0, release)),
    ):
        extension = certificates.extension("2.5.29.30", sequence(subtrees), critical=critical)
        between = issued("town office", *usual, extension)
        signed = Signed([leaf(by=between), between.certificate])
        caller = Caller(name="CN=release")
        yield vector(f"between-subjects-{title}", "3", words, signed, PAYLOAD, INVALID, caller=caller)


def untrusted() -> Iterator[Vector]:
    """Yield chains that do not lead to a root, and certificates for something else."""
    is_authority, certifies = constraints(der(0x01, b"\xff")), certificates.key_usage(signs_certificates=True)
    critical = certificates.extension(UNKNOWN, der(0x05), critical=True)
    stamping = certificates.extended_key_usage(TIME_STAMPING)
    anything = certificates.extended_key_usage("2.5.29.37.0")
    excluded = certificates.extension(
        "2.5.29.30", sequence(tagged(1, sequence(certificates.mail("town.example")))), critical=True
    )
    no_usage = der(0x03, b"\x06\x40")  # contentCommitment alone
    other_usage = certificates.extension("2.5.29.15", no_usage, critical=True)
    for title, words, extensions in (
        ("leaf-no-key-usage", "A signer without key usage.", (CODE, MAIL)),
        ("leaf-key-usage", "A signer whose key usage has no digital signatures.", (other_usage, CODE, MAIL)),
        ("leaf-no-extended", "A signer without extended key usage.", (DIGITAL_SIGNATURE, MAIL)),
        ("leaf-extended", "A signer whose extended key usage is timestamps.", (DIGITAL_SIGNATURE, stamping, MAIL)),
        ("leaf-anything", "A signer whose extended key usage is anything.", (DIGITAL_SIGNATURE, anything, MAIL)),
        ("leaf-authority", "A signer that is an authority.", (is_authority, *USUAL)),
        ("leaf-critical", "An unknown critical extension of the signer.", (*USUAL, critical)),
    ):
        signed = Signed([leaf(extensions=extensions), BETWEEN.certificate])
        yield vector(title, "3", words, signed, PAYLOAD, INVALID)
    for title, words, extensions in (
        ("between-no-constraints", "An authority without basic constraints.", (certifies,)),
        ("between-no-authority", "A certificate that is no authority.", (constraints(), certifies)),
        ("between-key-usage", "An authority whose key usage has no certificates.", (is_authority, DIGITAL_SIGNATURE)),
        ("between-extended", "An authority for timestamps.", (is_authority, certifies, stamping)),
        ("between-critical", "An unknown critical extension of an authority.", (is_authority, certifies, critical)),
        ("between-names", "An authority that may not certify this name.", (is_authority, certifies, excluded)),
    ):
        between = issued("town office", *extensions)
        signed = Signed([leaf(by=between), between.certificate])
        yield vector(title, "3", words, signed, PAYLOAD, INVALID)
    yield from constrained(is_authority, certifies)
    short = certificates.authority("town office", ROOT, YEARS, path=0)
    below = certificates.authority("town office second", short, YEARS, path=0)
    chain = [leaf(by=below), below.certificate, short.certificate]
    yield vector("path-length", "3", "An authority below one of path length 0.", Signed(chain), PAYLOAD, INVALID)
    mine, above = leaf(by=SECOND), [SECOND.certificate, BETWEEN.certificate]
    impostor = certificates.authority("town office root", None, YEARS, path=3, key=Key("p256", "impostor"))
    edward = certificates.authority("town edward", ROOT, YEARS, path=0, key=Key("ed25519", "town edward"))
    for title, words, chain, roots in (
        ("missing", "The authority between is missing.", [leaf()], [ROOT]),
        ("order", "The authorities in another order.", [mine, *reversed(above)], [ROOT]),
        ("more", "An authority too many.", [leaf(), BETWEEN.certificate, SECOND.certificate], [ROOT]),
        ("two-leaves", "Two signers.", [leaf(), leaf(Key("p256", "another")), BETWEEN.certificate], [ROOT]),
        ("root-other", "Another root is trusted.", [leaf(), BETWEEN.certificate], [STRANGE.root]),
        ("root-impostor", "A root of the same name and another key is trusted.", [leaf(), BETWEEN.certificate],
         [impostor]),
        ("edward", "An authority whose key is Ed25519.", [leaf(by=edward), edward.certificate], [ROOT]),
    ):  # fmt: skip
        caller = Caller(roots=[one.certificate for one in roots])
        yield vector(title, "3", words, Signed(chain), PAYLOAD, INVALID, caller=caller)
    forged = bytearray(leaf())
    forged[-1] ^= 1
    signed = Signed([bytes(forged), BETWEEN.certificate])
    yield vector("forged", "3", "One bit of the certificate's signature was turned.", signed, PAYLOAD, INVALID)


def signatures() -> Iterator[Vector]:
    """Yield signatures that do not hold, and keys that may not make any."""
    weak = Key("rsa2048", "certified")
    yield vector("rsa-2048", "2", "An RSA key of 2048 bits.", Signed(key=weak), PAYLOAD, INVALID)
    p384 = Key("p384", "certified")
    for title, words, key, sign in (
        ("rsa-pkcs1", "RSA with PKCS #1 v1.5.", RSA, lambda data: rsa.sign_pkcs1(RSA.text, 3072, data)),
        ("rsa-salt", "RSA with a salt of 20 bytes.", RSA,
         lambda data: rsa.sign_pss(RSA.text, 3072, data, salt_bytes=20)),
        ("rsa-sha384", "RSA with SHA-384.", RSA, lambda data: rsa.sign_pss(RSA.text, 3072, data, hash_name="sha384")),
        ("p384-sha256", "P-384 with SHA-256.", p384,
         lambda data: der_signature(*ecdsa.sign(CURVES["p384"], p384.secret, data, "sha256"))),
        ("ed25519-under-p256", "An Ed25519 signature under a certificate of a P-256 key.", LEAF,
         Key("ed25519", "certified").sign),
        ("p256-under-ed25519", "A P-256 signature under a certificate of an Ed25519 key.", Key("ed25519", "certified"),
         LEAF.sign),
        ("other-key", "Signed with another key than the certificate's.", LEAF, RELEASE.sign),
    ):  # fmt: skip
        yield vector(title, "2", words, Signed(key=key, sign=sign), PAYLOAD, SIGNATURE)
    altered = replace(GOOD, edit=lambda b: b["dsseEnvelope"].update(payload=encoded(PAYLOAD + b" ")))
    yield vector("payload", "4", "The payload was altered.", altered, PAYLOAD, SIGNATURE)
    yield vector(
        "expired-payload", "4", "Altered, and expired.", altered, PAYLOAD, SIGNATURE, caller=Caller(now=YEARS[1])
    )
    other = sequence(sequence(oid("1.3.101.113")), bits(bytes(57)))
    unsupported = Signed([_for_key(other), BETWEEN.certificate])
    yield vector("ed448", "2", "A key of a kind that is not known.", unsupported, PAYLOAD, "SIGNATURE_KIND_UNSUPPORTED")


def _for_key(key: bytes) -> bytes:
    """Return a certificate for a SubjectPublicKeyInfo."""
    made = leaf()
    assert made.count(LEAF.public_der()) == 1
    before, _, after = made.partition(LEAF.public_der())
    head = 4 + 4  # the certificate's own tag and size, and those of what is signed
    body_size = int.from_bytes(before[6:8], "big") + len(key) - len(LEAF.public_der())
    old_size = int.from_bytes(before[6:8], "big")
    body = (before[head:] + key + after)[:body_size]
    rest = made[head + old_size :]
    return der(0x30, der(0x30, body), rest)


def expectations() -> Iterator[Vector]:
    """Yield bundles under a chain where something else is expected, and the other way round."""
    made = vector("key-expected", "8", "A key is expected: that of the certificate.", GOOD, PAYLOAD, SIGNATURE)
    given = {**made.input, "key": "key.pub"}
    del given["certificate"]
    yield replace(made, input=given, files={**made.files, "key.pub": LEAF.pem()})
    made = vector("none-expected", "8", "Nobody is expected.", GOOD, PAYLOAD, "SIGNER_NOT_EXPECTED", accepted=True)
    given = {key: value for key, value in made.input.items() if key != "certificate"}
    yield replace(made, input=given)
    made = vector("identity-expected", "8", "An identity of Sigstore's is expected.", GOOD, PAYLOAD, SIGNATURE)
    given = {key: value for key, value in made.input.items() if key != "certificate"}
    given["identity"] = {"name": NAME, "issuer": "https://issuer.example", "trust_config": "trust.json"}
    yield replace(made, input=given, files={**made.files, "trust.json": TOWN.trust_config()})


def forms() -> Iterator[Vector]:
    """Yield bundles of other forms."""

    def material(bundle: Any) -> Any:
        return bundle["verificationMaterial"]

    lonely = certificates.certificate("alone", LEAF, ("alone", LEAF), LIFETIME, USUAL)
    nine = [leaf(), *[BETWEEN.certificate] * 8]
    for title, words, signed in (
        ("root-included", "The root comes along.", Signed([leaf(), BETWEEN.certificate, ROOT.certificate])),
        ("self-signed", "A certificate that certifies itself.", Signed([lonely])),
        ("nine", "Nine certificates.", Signed(nine)),
        ("none", "No certificate.", replace(GOOD, edit=lambda b: material(b).update(
            x509CertificateChain={"certificates": []}))),
        ("no-der", "Bytes that are no certificate.", Signed([b"\x30\x00"])),
        ("trailing", "A byte after the certificate.", Signed([leaf() + b"\0", BETWEEN.certificate])),
        ("between-no-der", "Bytes that are no certificate above the signer's.", Signed([leaf(), b"\x30\x00"])),
        ("extension-twice", "An extension twice.", Signed([leaf(extensions=(*USUAL, MAIL)), BETWEEN.certificate])),
        ("key-too", "A key beside the chain.", replace(GOOD, edit=lambda b: material(b).update(
            publicKey={"hint": "0" * 64}))),
        ("certificate-too", "A single certificate beside the chain.", replace(GOOD, edit=lambda b: material(b).update(
            certificate={"rawBytes": encoded(leaf())}))),
        ("entry", "A log entry.", replace(GOOD, edit=lambda b: material(b).update(tlogEntries=[{}]))),
        ("member", "An unknown member.", replace(GOOD, edit=lambda b: material(b)["x509CertificateChain"].update(x=1))),
        ("base64", "A certificate in base64 with a line end.", replace(GOOD, edit=lambda b: material(b)[
            "x509CertificateChain"]["certificates"][0].update(rawBytes=encoded(leaf()) + "\n"))),
    ):  # fmt: skip
        yield vector(title, "1", words, signed, PAYLOAD, MALFORMED)


def vectors() -> Iterator[Vector]:
    """Yield the vectors of certificates."""
    for part in (good, named, times, untrusted, signatures, expectations, forms):
        yield from part()

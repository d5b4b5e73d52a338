"""A Sigstore instance of fixed keys at a fixed time, and bundles under its certificates. Spec: statement §6."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import certificates
from certificates import CODE_SIGNING, ECDSA_SHA256, TIME_STAMPING, Authority, Signer, extended_key_usage
from der import NULL, der_integer, generalized_time, octets, oid, sequence, set_of, tagged
from envelope import MEDIA_TYPE, PAYLOAD_TYPE, Object, compact, encoded, pae
from jcs import canonical
from keys import Key, pem
from merkle import sha256

SIGNED_AT = 1_767_225_600
"""2026-01-01T00:00:00Z."""
LIFETIME_S = 600
_ALWAYS = {"start": "2020-01-01T00:00:00Z"}
_YEARS = (SIGNED_AT - 5 * 31_557_600, SIGNED_AT + 15 * 31_557_600)
_SHA256 = sequence(oid("2.16.840.1.101.3.4.2.1"), NULL)

WORKFLOW = "https://github.com/town/model/.github/workflows/release.yml@refs/tags/v1.0"
ISSUER = "https://token.actions.githubusercontent.com"
JOB = Signer([certificates.uri(WORKFLOW)], ISSUER, ISSUER)


@dataclass(frozen=True, slots=True)
class Instance:
    """Authority, CT log, two transparency logs and timestamps of one instance; all keys follow from its name."""

    name: str

    def _key(self, part: str, kind: str = "p256") -> Key:
        return Key(kind, f"{self.name} {part}")

    @property
    def origin(self) -> str:
        return f"log.{self.name}.example"

    @property
    def root(self) -> Authority:
        return _authorities(self.name)[0]

    @property
    def issuing(self) -> Authority:
        return _authorities(self.name)[1]

    @property
    def stamping(self) -> Authority:
        return _authorities(self.name)[2]

    def trust_config(self) -> bytes:
        """Return what a client trusts, as JSON."""
        v1, v2 = self._key("log"), self._key("log", "ed25519")
        root = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [self._log(v1, sha256(v1.public_der())), self._log(v2, self._v2_id())],
            "ctlogs": [self._log(self._key("ct"), sha256(self._key("ct").public_der()))],
            "certificateAuthorities": [self._chain("authority", self.issuing)],
            "timestampAuthorities": [self._chain("timestamps", self.stamping)],
        }
        service = {"url": f"https://{self.origin}", "majorApiVersion": 1, "validFor": _ALWAYS, "operator": self.name}
        signing = {
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": [service],
            "oidcUrls": [service],
            "rekorTlogUrls": [service],
            "rekorTlogConfig": {"selector": "ANY"},
            "tsaUrls": [service],
            "tsaConfig": {"selector": "ANY"},
        }
        kind = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
        return compact({"mediaType": kind, "trustedRoot": root, "signingConfig": signing})

    def authority_pem(self) -> bytes:
        """Return the certificates of the timestamping authority, PEM."""
        return pem("CERTIFICATE", self.stamping.certificate) + pem("CERTIFICATE", self.root.certificate)

    def _log(self, key: Key, key_id: bytes) -> Object:
        kind = "PKIX_ED25519" if key.kind == "ed25519" else "PKIX_ECDSA_P256_SHA_256"
        return {
            "baseUrl": f"https://{self.origin}",
            "hashAlgorithm": "SHA2_256",
            "publicKey": {"rawBytes": encoded(key.public_der()), "keyDetails": kind, "validFor": _ALWAYS},
            "logId": {"keyId": encoded(key_id)},
        }

    def _chain(self, name: str, first: Authority) -> Object:
        return {
            "subject": {"organization": self.name, "commonName": name},
            "uri": f"https://{self.origin}",
            "certChain": {
                "certificates": [{"rawBytes": encoded(c)} for c in (first.certificate, self.root.certificate)]
            },
            "validFor": _ALWAYS,
        }

    def certify(self, signer: Signer, key: Key) -> bytes:
        """Return the certificate of a signer's key, from the second that it signs in."""
        return certificates.of_signer(signer, key, self.issuing, self._key("ct"), (SIGNED_AT, SIGNED_AT + LIFETIME_S))

    def stamp(
        self, message: bytes, seconds: int, *, by: Authority | None = None, brought: Sequence[bytes] = (),
        named: Key | None = None, status: int = 0, time: bytes | None = None,
    ) -> bytes:  # fmt: skip
        """Return the response that says that `message` existed then. RFC 3161 §2.4.2.

        `by` is another authority below the root, `brought` are certificates that come along, `named` is whose number
        stands for the signer's, `time` is DER in place of `seconds`.
        """
        by = by or self.stamping
        info = sequence(
            der_integer(1),
            oid("1.3.6.1.4.1.57264.2"),
            sequence(_SHA256, octets(sha256(message))),
            der_integer(1),
            time or generalized_time(seconds),
        )
        essence = sequence(sequence(sequence(octets(sha256(by.certificate)))))
        attributes = [
            sequence(oid("1.2.840.113549.1.9.3"), set_of(oid("1.2.840.113549.1.9.16.1.4"))),
            sequence(oid("1.2.840.113549.1.9.4"), set_of(octets(sha256(info)))),
            sequence(oid("1.2.840.113549.1.9.16.2.47"), set_of(essence)),
        ]
        serial = der_integer(int.from_bytes(sha256((named or by.key).raw_public())[:8], "big"))
        signer = sequence(
            der_integer(1),
            sequence(certificates.name(self.root.common), serial),
            _SHA256,
            tagged(0, *sorted(attributes)),
            ECDSA_SHA256,
            octets(by.key.sign(set_of(*attributes))),
        )
        content = sequence(oid("1.2.840.113549.1.9.16.1.4"), tagged(0, octets(info)))
        along = [tagged(0, *sorted(brought))] if brought else []
        signed = sequence(der_integer(3), set_of(_SHA256), content, *along, set_of(signer))
        token = sequence(oid("1.2.840.113549.1.7.2"), tagged(0, signed))
        return sequence(sequence(der_integer(status)), token)

    def entry_v1(self, envelope: Object, certificate: bytes, seconds: int) -> Object:
        """Return an entry that the log promised, with the time; the log has one entry before it."""
        pem = "\n".join(["-----BEGIN CERTIFICATE-----", *_lines(encoded(certificate)), "-----END CERTIFICATE-----", ""])
        signatures: Any = envelope["signatures"]
        body = {
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": _digest(compact(envelope)),
                "payloadHash": _digest(base64.b64decode(str(envelope["payload"]))),
                "signatures": [{"signature": one["sig"], "verifier": encoded(pem.encode())} for one in signatures],
            },
        }
        key = self._key("log")
        key_id = sha256(key.public_der())
        text = canonical(body)
        dated = {"body": encoded(text), "integratedTime": seconds, "logID": key_id.hex(), "logIndex": 1}
        return {
            **self._entry(text, key_id, key, ("dsse", "0.0.1")),
            "integratedTime": str(seconds),
            "inclusionPromise": {"signedEntryTimestamp": encoded(key.sign(canonical(dated)))},
        }

    def entry_v2(self, signed: bytes, signature: bytes, certificate: bytes) -> Object:
        """Return an entry that the log has, and that it dates nowhere."""
        verifier = {"keyDetails": "PKIX_ECDSA_P256_SHA_256", "x509Certificate": {"rawBytes": encoded(certificate)}}
        hashed = {
            "data": {"algorithm": "SHA2_256", "digest": encoded(sha256(signed))},
            "signature": {"content": encoded(signature), "verifier": verifier},
        }
        body = {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": hashed}}
        key = self._key("log", "ed25519")
        return self._entry(canonical(body), self._v2_id(), key, ("hashedrekord", "0.0.2"))

    def _v2_id(self) -> bytes:
        return sha256(self.origin.encode() + b"\n\x01" + self._key("log", "ed25519").raw_public())

    def _entry(self, body: bytes, key_id: bytes, key: Key, kind: tuple[str, str]) -> Object:
        before = sha256(b"\0an entry before")
        head = sha256(b"\1" + before + sha256(b"\0" + body))
        note = f"{self.origin}\n2\n{encoded(head)}\n"
        checkpoint = f"{note}\n\u2014 {self.origin} {encoded(key_id[:4] + key.sign(note.encode()))}\n"
        return {
            "logIndex": "1",
            "logId": {"keyId": encoded(key_id)},
            "kindVersion": {"kind": kind[0], "version": kind[1]},
            "inclusionProof": {
                "logIndex": "1",
                "rootHash": encoded(head),
                "treeSize": "2",
                "hashes": [encoded(before)],
                "checkpoint": {"envelope": checkpoint},
            },
            "canonicalizedBody": encoded(body),
        }


def _digest(data: bytes) -> Object:
    return {"algorithm": "sha256", "value": sha256(data).hex()}


def _lines(text: str) -> list[str]:
    return [text[at : at + 64] for at in range(0, len(text), 64)]


@cache
def _authorities(name: str) -> tuple[Authority, Authority, Authority]:
    """Return the root, and below it who certifies signers and who signs timestamps."""
    root = certificates.authority(f"{name} root", None, _YEARS, path=1)
    usage = extended_key_usage(CODE_SIGNING)
    issuing = certificates.authority(f"{name} intermediate", root, _YEARS, usage, path=0)
    key = Key("p256", f"{name} timestamps")
    extensions = [
        certificates.key_usage(signs_certificates=False),
        extended_key_usage(TIME_STAMPING, critical=True),
    ]
    made = certificates.certificate(key.name, key, (root.common, root.key), _YEARS, extensions)
    return root, issuing, Authority(key.name, key, made)


TOWN = Instance("town")
STRANGE = Instance("strange")


@dataclass(frozen=True, slots=True)
class Certified:
    """How a bundle is made under a certificate: by whom, in which log, and dated by whom at which second."""

    signer: Signer = JOB
    instance: Instance = TOWN
    rekor: int = 1
    key: Key = field(default_factory=lambda: Key("p256", "for one signature"))
    promised_at: int = SIGNED_AT + 2
    stamps: tuple[tuple[Instance, int], ...] = ((TOWN, SIGNED_AT + 1),)
    edit: Callable[[Any], object] = lambda bundle: None

    def bundle(self, payload: bytes) -> Object:
        """Return the bundle over `payload`."""
        signed = pae(PAYLOAD_TYPE, payload)
        signature = self.key.sign(signed)
        certificate = self.instance.certify(self.signer, self.key)
        envelope: Object = {
            "payload": encoded(payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": encoded(signature)}],
        }
        if self.rekor == 1:
            entry = self.instance.entry_v1(envelope, certificate, self.promised_at)
        else:
            entry = self.instance.entry_v2(signed, signature, certificate)
        stamps = [{"signedTimestamp": encoded(by.stamp(signature, seconds))} for by, seconds in self.stamps]
        material = {
            "certificate": {"rawBytes": encoded(certificate)},
            "tlogEntries": [entry],
            "timestampVerificationData": {"rfc3161Timestamps": stamps},
        }
        made: Object = {"mediaType": MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope}
        self.edit(made)
        return made

"""A timestamping authority. RFC 3161."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets

from asn1crypto import algos, cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.sigstore import certificates
from tests.sigstore.certificates import now

_POLICY = "1.3.6.1.4.1.57264.2"
_SHA256 = algos.DigestAlgorithm({"algorithm": "sha256"})


class Timestamper:
    """Says that it has seen something, and when."""

    def __init__(self) -> None:
        self.root = certificates.root("timestamp root")
        self.signer = certificates.timestamper("timestamper", self.root)
        self.ahead = dt.timedelta()
        """By how much its clock is wrong."""

    def answer(self, request: bytes) -> bytes:
        """Return the response to a request."""
        asked = tsp.TimeStampReq.load(request)
        nonce = {} if asked["nonce"].native is None else {"nonce": asked["nonce"]}
        stamp = tsp.TSTInfo(
            {
                "version": "v1",
                "policy": _POLICY,
                "message_imprint": asked["message_imprint"],
                "serial_number": secrets.randbits(63),
                "gen_time": now() + self.ahead,
                "accuracy": {"seconds": 1},
                **nonce,
            }
        )
        token = self._signed(stamp.dump(), with_certificate=bool(asked["cert_req"].native))
        return tsp.TimeStampResp({"status": {"status": "granted"}, "time_stamp_token": token}).dump()

    def _signed(self, stamp: bytes, *, with_certificate: bool) -> cms.ContentInfo:
        """Return a stamp as a CMS signed by this authority. RFC 3161 §2.4.2, RFC 5816."""
        certificate = asn1_x509.Certificate.load(self.signer.der)
        essence = tsp.ESSCertIDv2({"hash_algorithm": _SHA256, "cert_hash": hashlib.sha256(self.signer.der).digest()})
        attributes = cms.CMSAttributes(
            [
                cms.CMSAttribute({"type": kind, "values": [value]})
                for kind, value in (
                    ("content_type", "tst_info"),
                    ("message_digest", hashlib.sha256(stamp).digest()),
                    ("signing_time", cms.Time({"utc_time": now() + self.ahead})),
                    ("signing_certificate_v2", tsp.SigningCertificateV2({"certs": [essence]})),
                )
            ]
        )
        serial = cms.IssuerAndSerialNumber({"issuer": certificate.issuer, "serial_number": certificate.serial_number})
        signer = cms.SignerInfo(
            {
                "version": "v1",
                "sid": cms.SignerIdentifier({"issuer_and_serial_number": serial}),
                "digest_algorithm": _SHA256,
                "signed_attrs": attributes,
                "signature_algorithm": {"algorithm": "sha256_ecdsa"},
                "signature": self.signer.key.sign(attributes.dump(), ec.ECDSA(hashes.SHA256())),
            }
        )
        signed = cms.SignedData(
            {
                "version": "v3",
                "digest_algorithms": [_SHA256],
                "encap_content_info": {"content_type": "tst_info", "content": core.ParsableOctetString(stamp)},
                "signer_infos": [signer],
                **({"certificates": [certificate]} if with_certificate else {}),
            }
        )
        return cms.ContentInfo({"content_type": "signed_data", "content": signed})

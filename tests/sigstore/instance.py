"""A whole Sigstore on loopback, which the unmodified client signs with and trusts by a trust configuration."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.sigstore.certificates import ORGANIZATION, Issued, public_der
from tests.sigstore.fulcio import Fulcio, decoded_request
from tests.sigstore.issuer import Issuer
from tests.sigstore.rekor import RekorV1, RekorV2, encoded
from tests.sigstore.timestamping import Timestamper

Object = dict[str, Any]
Response = tuple[int, str, bytes]

_JSON = "application/json"
_ALWAYS = {"start": "2020-01-01T00:00:00Z"}


class Sigstore:
    """One instance: authority, two logs, timestamps, identities. `running` gives one that answers."""

    def __init__(self, host: str) -> None:
        self.url = f"http://{host}"
        self.fulcio = Fulcio()
        self.rekor_v1 = RekorV1(host)
        self.rekor_v2 = RekorV2(host)
        self.timestamper = Timestamper()
        self.issuer = Issuer(f"{self.url}/auth")

    def trust_config(self, *, rekor: int = 1, timestamps: bool = True) -> Object:
        """Return the client's configuration: whom to trust, and with which log to sign, timestamped or not."""
        return {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": self.trusted_root(),
            "signingConfig": {
                "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
                "caUrls": [_service(self.url)],
                "oidcUrls": [_service(self.issuer.url)],
                "rekorTlogUrls": [_service(self.url, version=rekor)],
                "rekorTlogConfig": {"selector": "ANY"},
                "tsaUrls": [_service(f"{self.url}/api/v1/timestamp")] if timestamps else [],
                "tsaConfig": {"selector": "ANY"},
            },
        }

    def trusted_root(self) -> Object:
        """Return keys and certificates of this instance; chains run from the leaf to the root."""
        fulcio, stamper = self.fulcio, self.timestamper
        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [self._log(self.rekor_v1), self._log(self.rekor_v2)],
            "ctlogs": [self._ct_log()],
            "certificateAuthorities": [self._authority("fulcio", [fulcio.intermediate, fulcio.root])],
            "timestampAuthorities": [self._authority("timestamps", [stamper.signer, stamper.root])],
        }

    def _log(self, log: RekorV1 | RekorV2) -> Object:
        kind = "PKIX_ECDSA_P256_SHA_256" if isinstance(log, RekorV1) else "PKIX_ED25519"
        return self._listed(log.key, kind, log.key_id)

    def _ct_log(self) -> Object:
        key = self.fulcio.ct_key
        return self._listed(key, "PKIX_ECDSA_P256_SHA_256", hashlib.sha256(public_der(key)).digest())

    def _listed(self, key: Any, kind: str, key_id: bytes) -> Object:
        der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return {
            "baseUrl": self.url,
            "hashAlgorithm": "SHA2_256",
            "publicKey": {"rawBytes": encoded(der), "keyDetails": kind, "validFor": _ALWAYS},
            "logId": {"keyId": encoded(key_id)},
        }

    def _authority(self, name: str, chain: list[Issued]) -> Object:
        return {
            "subject": {"organization": ORGANIZATION, "commonName": name},
            "uri": self.url,
            "certChain": {"certificates": [{"rawBytes": encoded(issued.der)} for issued in chain]},
            "validFor": _ALWAYS,
        }

    def answer(self, path: str, body: bytes, authorization: str) -> Response:
        """Return status, type and body of the answer to a call; a redirection's body is where to go."""
        match path.partition("?")[0]:
            case "/auth/.well-known/openid-configuration":
                return _as_json(200, self.issuer.discovery())
            case "/auth/authorize":
                return 302, _JSON, self.issuer.authorize(path).encode()
            case "/auth/token":
                return _as_json(200, self.issuer.redeem(body))
            case "/ci-token":  # as GitHub gives it to a job
                return _as_json(200, {"value": self.issuer.ci_token()})
            case "/api/v2/signingCert":
                claims = self.issuer.claims(authorization.removeprefix("Bearer "))
                chain = self.fulcio.certify(decoded_request(json.loads(body)), claims)
                return _as_json(201, {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}})
            case "/api/v1/log/entries":
                return _as_json(201, self.rekor_v1.add(json.loads(body)))
            case "/api/v2/log/entries":
                return _as_json(201, self.rekor_v2.add(json.loads(body)))
            case "/api/v1/timestamp":
                return 201, "application/timestamp-reply", self.timestamper.answer(body)
            case _:
                return _as_json(404, {"code": 5, "message": f"nothing at {path}"})


def _service(url: str, *, version: int = 1) -> Object:
    return {"url": url, "majorApiVersion": version, "validFor": _ALWAYS, "operator": ORGANIZATION}


def _as_json(status: int, document: object) -> Response:
    return status, _JSON, json.dumps(document).encode()


class _Handler(BaseHTTPRequestHandler):
    instance: Sigstore

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            status, kind, answer = self.instance.answer(self.path, body, self.headers.get("Authorization") or "")
        except Exception as error:
            status, kind, answer = _as_json(400, {"code": 3, "message": repr(error)})
        self.send_response(status)
        if status == 302:
            self.send_header("Location", answer.decode())
            answer = b""
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr."""


@contextlib.contextmanager
def running() -> Iterator[Sigstore]:
    """Yield a new instance that answers on a free port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    instance = Sigstore(f"127.0.0.1:{server.server_port}")
    server.RequestHandlerClass = type("Handler", (_Handler,), {"instance": instance})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield instance
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

"""Timestamps of RFC 3161 for a signature, over HTTP. Spec: statement §9."""

from __future__ import annotations

import base64
import hashlib
import http.client
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from model_attest.signers.signer import Signer
from model_verify.canonical import loads
from model_verify.envelope import MAX_BUNDLE_BYTES, ExpectedSigner, SignedPayload, open_bundle
from model_verify.envelope.timestamps import MAX_TIMESTAMP_BYTES  # first: it says so where there is no client
from model_verify.errors import CallerError, SigningFailed
from model_verify.models import Bundle, SignedTimestamp, Timestamped, Timestamps

TIMEOUT_S = 30.0
_SHA256 = "2.16.840.1.101.3.4.2.1"


class TimestampSource:
    """A timestamping authority that answers at a URL."""

    def __init__(self, url: str) -> None:
        """Raises `CallerError` for a URL of another kind than HTTP."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CallerError(
                f"`{url}` is no URL of a timestamping authority", hint="it begins with https:// or http://"
            )
        self._url = url

    def stamp(self, message: bytes) -> bytes:
        """Return the authority's response, DER, which says that `message` existed.

        That it is about this message and answers this request is checked; whose signature is on it is not.

        Raises `SigningFailed` where there is no such answer.
        """
        from rfc3161_client import TimestampRequestBuilder, decode_timestamp_response
        from rfc3161_client.base import HashAlgorithm

        request = TimestampRequestBuilder(message, HashAlgorithm.SHA256, nonce=True, cert_req=True).build()
        response = self._post(request.as_bytes())
        try:
            stamped = decode_timestamp_response(response)
            granted = stamped.status == 0
            imprint = stamped.tst_info.message_imprint if granted else None
            nonce = stamped.tst_info.nonce if granted else None
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:  # a panic of its Rust is no `Exception`
            raise SigningFailed(f"{self._url}: the answer is no timestamp") from error
        if imprint is None:
            raise SigningFailed(f"{self._url}: the authority gives no timestamp")
        asked = (_SHA256, hashlib.sha256(message).digest(), request.nonce)
        if (imprint.hash_algorithm.dotted_string, imprint.message, nonce) != asked:
            raise SigningFailed(f"{self._url}: the timestamp is of something else")
        return response

    def _post(self, request: bytes) -> bytes:
        headers = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}
        try:
            asked = urllib.request.Request(self._url, request, headers, method="POST")
            with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as answer:
                response: bytes = answer.read(MAX_TIMESTAMP_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                raise SigningFailed(f"{self._url}: HTTP {error.code}") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise SigningFailed(f"{self._url}: no timestamp could be had: {reason}") from error
        if len(response) > MAX_TIMESTAMP_BYTES:
            raise SigningFailed(f"{self._url}: the answer is larger than a timestamp can be")
        return response


class TimestampedSigner:
    """Signs as another signer does, and has each signature dated."""

    def __init__(self, signer: Signer, source: TimestampSource) -> None:
        self._signer = signer
        self._source = source

    def sign(self, statement: bytes) -> bytes:
        """Return the other signer's bundle with a timestamp of its signature; raises `SigningFailed`."""
        data = self._signer.sign(statement)
        bundle = Bundle.read(loads(data, max_bytes=MAX_BUNDLE_BYTES))
        der = self._source.stamp(open_bundle(data).signature)
        stamp = SignedTimestamp(signed_timestamp=base64.b64encode(der).decode("ascii"))
        material = bundle.verification_material
        assert isinstance(material, Timestamped)
        stamps = Timestamps(rfc3161=[*(material.timestamps or Timestamps()).rfc3161, stamp])
        dated = material.model_copy(update={"timestamps": stamps})
        return bundle.model_copy(update={"verification_material": dated}).canonical()

    def expected(self, signed: SignedPayload) -> ExpectedSigner:
        """Return whom the other signer expects."""
        return self._signer.expected(signed)

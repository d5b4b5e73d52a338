"""Bundles with a certificate: who signed, and when; and everything that is wrong with one."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_attest.signers.key import KeySigner, generate_key
from model_verify.envelope import ExpectedIdentity, Identity, open_bundle
from model_verify.errors import TrustConfigUnreadable
from model_verify.models import BUNDLE_PATH
from tests.sigstore.instance import Sigstore
from tests.sigstore.issuer import CI_IDENTITY, GITHUB
from tests.sigstore.signing import CI, SignedModel, sign_model, trust

STAMPER = "CN=timestamper,O=loopback.example"


def material(bundle: dict[str, Any]) -> dict[str, Any]:
    return bundle["verificationMaterial"]


def entry(bundle: dict[str, Any]) -> dict[str, Any]:
    return material(bundle)["tlogEntries"][0]


# Who signed, and when.


def test_the_report_says_who_signed_and_when_by_whose_word(models: dict[int, SignedModel], sigstore: Sigstore) -> None:
    report = models[1].verify()
    assert (report.verdict, report.level) == ("VERIFIED", 1)
    assert report.signer is not None
    assert (report.signer.kind, report.signer.identity, report.signer.issuer) == ("sigstore", CI_IDENTITY, GITHUB)
    assert report.time is not None
    log = sigstore.url.removeprefix("http://")
    assert [(word.source, word.by) for word in report.time.evidence] == [("timestamp", STAMPER), ("log", log)]
    assert report.time.signed_before == min(word.time for word in report.time.evidence)
    assert (report.time.log.origin, report.time.log.index) == (log, int(entry(models[1].bundle)["logIndex"]))
    assert "time of signing" not in {item.what for item in report.not_checked}


def test_a_log_that_dates_nothing_leaves_the_word_of_the_timestamp(models: dict[int, SignedModel]) -> None:
    report = models[2].verify()
    assert (report.verdict, report.level) == ("VERIFIED", 1)
    assert report.time is not None
    assert [(word.source, word.by) for word in report.time.evidence] == [("timestamp", STAMPER)]


def test_without_a_timestamp_the_log_says_when(tmp_path: Path, sigstore: Sigstore) -> None:
    report = sign_model(tmp_path / "model", sigstore, timestamps=False).verify()
    assert report.verdict == "VERIFIED"
    assert report.time is not None
    assert [word.source for word in report.time.evidence] == ["log"]


def test_the_time_is_the_earliest_that_anybody_vouches_for(tmp_path: Path, sigstore: Sigstore) -> None:
    sigstore.rekor_v1.ahead_s = 300
    try:
        report = sign_model(tmp_path / "model", sigstore).verify()
    finally:
        sigstore.rekor_v1.ahead_s = 0
    assert report.time is not None
    stamp, log = (dt.datetime.fromisoformat(word.time) for word in report.time.evidence)
    assert dt.timedelta(seconds=299) <= log - stamp <= dt.timedelta(seconds=330)
    assert (report.time.by, report.time.signed_before) == (STAMPER, report.time.evidence[0].time)


def test_without_an_expected_signer_the_claimed_one_is_named_and_not_the_time(signed: SignedModel) -> None:
    report = signed.verify(expected_signer=None)
    assert report.verdict == "INCOMPLETE"
    (finding,) = [finding for finding in report.findings if finding.severity == "incomplete"]
    assert (finding.code, finding.actual) == ("SIGNER_NOT_EXPECTED", f"{CI_IDENTITY} by {GITHUB}")
    assert report.signer is not None
    assert not report.signer.expected
    assert report.time is None
    assert ("time of signing", "its signature was not verified") in {
        (item.what, item.why) for item in report.not_checked
    }


@pytest.mark.parametrize(
    ("name", "issuer"),
    [
        (CI_IDENTITY, "https://accounts.google.com"),
        (CI_IDENTITY, GITHUB + "/"),
        (CI_IDENTITY.removesuffix("v1.0") + "v1.1", GITHUB),
        (CI_IDENTITY.upper(), GITHUB),
        (CI_IDENTITY[:-1], GITHUB),
        (".*", GITHUB),
    ],
)
def test_a_name_or_issuer_that_differs_by_a_byte_is_another_identity(
    signed: SignedModel, name: str, issuer: str
) -> None:
    other = ExpectedIdentity(Identity(name, issuer), signed.expected.trust_config)
    finding = signed.finding(expected_signer=other)
    assert finding.code == "IDENTITY_MISMATCH"
    assert finding.actual == f"signed by {CI_IDENTITY} by {GITHUB}"


def test_known_signers_are_expected_of_bundles_that_name_them(signed: SignedModel) -> None:
    other = ExpectedIdentity(Identity("somebody", GITHUB), signed.expected.trust_config)
    assert signed.verify(expected_signer=None, known_signers=[other, signed.expected]).verdict == "VERIFIED"
    assert signed.verify(expected_signer=None, known_signers=[other]).verdict == "INCOMPLETE"


def test_a_person_signs_by_mail_address(tmp_path: Path, sigstore: Sigstore) -> None:
    signed = sign_model(tmp_path / "model", sigstore)
    from model_attest.sign import sign_folder
    from model_attest.signers.sigstore import SigstoreSigner

    def token() -> str:
        return sigstore.issuer.token("1234", email="release@town.example", email_verified=True)

    sign_folder(signed.folder, SigstoreSigner(token, trust(sigstore)), fresh=True)
    person = ExpectedIdentity(Identity("release@town.example", sigstore.issuer.url), trust(sigstore))
    assert signed.verify(expected_signer=person).verdict == "VERIFIED"
    assert signed.finding().code == "IDENTITY_MISMATCH"


# Instances.


def test_another_instance_certifies_any_name_and_is_not_believed(signed: SignedModel, stranger: Sigstore) -> None:
    expected = ExpectedIdentity(CI, trust(stranger))
    assert signed.finding(expected_signer=expected).code == "SIGNATURE_INVALID"


def test_the_public_instance_does_not_know_a_private_one(signed: SignedModel) -> None:
    assert signed.finding(expected_signer=ExpectedIdentity(CI)).code == "SIGNATURE_INVALID"


@pytest.mark.parametrize(
    "config",
    [b"", b"{}", b"\xff", b"[]", b'{"mediaType":"application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"}'],
)
def test_what_is_no_trust_configuration_is_an_error_of_the_caller(signed: SignedModel, config: bytes) -> None:
    with pytest.raises(TrustConfigUnreadable):
        signed.verify(expected_signer=ExpectedIdentity(CI, config))


def test_a_trust_configuration_without_logs_is_an_error_of_the_caller(signed: SignedModel, sigstore: Sigstore) -> None:
    config = sigstore.trust_config()
    config["trustedRoot"]["tlogs"] = []
    with pytest.raises(TrustConfigUnreadable):
        signed.verify(expected_signer=ExpectedIdentity(CI, json.dumps(config).encode()))


# Keys and identities in each other's place.


def test_a_key_is_not_found_in_a_certificate(signed: SignedModel) -> None:
    key = KeySigner(generate_key("p256")).public_key
    finding = signed.finding(expected_signer=key)
    assert finding.code == "SIGNATURE_INVALID"
    assert finding.actual == f"a certificate for {CI_IDENTITY} by {GITHUB}"


def test_an_identity_is_not_found_in_a_bundle_that_names_a_key(signed: SignedModel) -> None:
    payload = open_bundle((signed.folder / BUNDLE_PATH).read_bytes()).payload
    (signed.folder / BUNDLE_PATH).write_bytes(KeySigner(generate_key("p256")).sign(payload))
    finding = signed.finding()
    assert finding.code == "SIGNATURE_INVALID"
    assert finding.expected == f"signed by {CI_IDENTITY} by {GITHUB}"


# What was signed, and where it is logged.


def flip(text: str) -> str:
    """Return base64 of the same length whose data differ in one bit."""
    data = bytearray(base64.b64decode(text))
    data[len(data) // 2] ^= 1
    return base64.b64encode(data).decode()


def change(place: dict[str, Any], name: str) -> None:
    place[name] = flip(place[name])


TAMPERED: dict[str, Callable[[dict[str, Any]], None]] = {
    "payload": lambda b: change(b["dsseEnvelope"], "payload"),
    "signature": lambda b: change(b["dsseEnvelope"]["signatures"][0], "sig"),
    "payload type": lambda b: b["dsseEnvelope"].update(payloadType="application/json"),
    "log body": lambda b: change(entry(b), "canonicalizedBody"),
    "log root": lambda b: change(entry(b)["inclusionProof"], "rootHash"),
    "log path cut": lambda b: entry(b)["inclusionProof"].update(treeSize="99"),
    "log path": lambda b: entry(b)["inclusionProof"]["hashes"].append(base64.b64encode(bytes(32)).decode()),
    "log entry of another kind": lambda b: entry(b)["kindVersion"].update(kind="intoto", version="0.0.2"),
    "checkpoint of another size": lambda b: entry(b)["inclusionProof"]["checkpoint"].update(
        envelope=entry(b)["inclusionProof"]["checkpoint"]["envelope"].replace("\n", "\n9", 1)
    ),
    "checkpoint unsigned": lambda b: entry(b)["inclusionProof"]["checkpoint"].update(
        envelope=entry(b)["inclusionProof"]["checkpoint"]["envelope"].split("\n\n")[0] + "\n\n"
    ),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_bundle_that_was_tampered_with_is_rejected_and_not_read_further(signed: SignedModel, what: str) -> None:
    bundle = signed.bundle
    TAMPERED[what](bundle)
    signed.put(bundle)
    assert signed.finding().code == "SIGNATURE_INVALID"


@pytest.mark.parametrize("member", ["integratedTime", "logIndex"])
def test_a_promise_of_another_time_or_place_is_rejected(
    models: dict[int, SignedModel], tmp_path: Path, member: str
) -> None:
    signed = models[1].copy(tmp_path / "model")
    bundle = signed.bundle
    entry(bundle)[member] = str(int(entry(bundle)[member]) + 1)
    signed.put(bundle)
    assert signed.finding().code == "SIGNATURE_INVALID"


@pytest.mark.parametrize(("member", "code"), [("logIndex", "BUNDLE_MALFORMED"), ("both", "SIGNATURE_INVALID")])
def test_without_a_promise_the_proof_says_where_the_entry_is(
    models: dict[int, SignedModel], tmp_path: Path, member: str, code: str
) -> None:
    signed = models[2].copy(tmp_path / "model")
    bundle = signed.bundle
    entry(bundle)["logIndex"] = "7"
    if member == "both":
        entry(bundle)["inclusionProof"]["logIndex"] = "7"
    signed.put(bundle)
    assert signed.finding().code == code


@pytest.mark.parametrize("rekor", [1, 2])
def test_a_log_entry_for_another_envelope_is_rejected(
    models: dict[int, SignedModel], tmp_path: Path, sigstore: Sigstore, rekor: int
) -> None:
    signed = models[rekor].copy(tmp_path / "model")
    other = sign_model(tmp_path / "other", sigstore, rekor=rekor, seed=1)
    bundle = signed.bundle
    material(bundle)["tlogEntries"] = material(other.bundle)["tlogEntries"]
    signed.put(bundle)
    finding = signed.finding()
    assert (finding.code, "log entry" in finding.actual) == ("SIGNATURE_INVALID", True)


def test_a_certificate_of_another_signature_is_rejected(
    signed: SignedModel, tmp_path: Path, sigstore: Sigstore
) -> None:
    bundle = signed.bundle
    material(bundle)["certificate"] = material(sign_model(tmp_path / "other", sigstore).bundle)["certificate"]
    signed.put(bundle)
    assert signed.finding().code == "SIGNATURE_INVALID"


def test_the_envelope_of_another_model_under_its_own_signature_is_another_manifest(
    signed: SignedModel, tmp_path: Path, sigstore: Sigstore
) -> None:
    signed.put(sign_model(tmp_path / "other", sigstore, seed=1).bundle)
    report = signed.verify()
    assert [finding.code for finding in report.findings] == ["MANIFEST_MISMATCH"]


# Times.


@pytest.mark.parametrize("ahead", [dt.timedelta(minutes=11), dt.timedelta(minutes=-1), dt.timedelta(days=-500)])
def test_a_signature_outside_of_its_certificates_time_is_rejected(
    tmp_path: Path, sigstore: Sigstore, stranger: Sigstore, ahead: dt.timedelta
) -> None:
    """Expired at signing, and backdated; signed by hand, as the publisher's own check refuses to."""
    from model_verify.errors import OutputError

    sigstore.timestamper.ahead = ahead
    try:
        with pytest.raises(OutputError, match="signature is not valid"):
            sign_model(tmp_path / "model", sigstore, rekor=2)
    finally:
        sigstore.timestamper.ahead = dt.timedelta()
    assert not (tmp_path / "model" / "attestation").exists()


def test_a_log_whose_clock_is_wrong_is_no_evidence(tmp_path: Path, sigstore: Sigstore) -> None:
    from model_verify.errors import OutputError

    sigstore.rekor_v1.ahead_s = 700
    try:
        with pytest.raises(OutputError, match="signature is not valid"):
            sign_model(tmp_path / "model", sigstore, timestamps=False)
    finally:
        sigstore.rekor_v1.ahead_s = 0


def _stamped_by_stranger(signed: SignedModel, stranger: Sigstore) -> dict[str, Any]:
    """Return the bundle with a timestamp by another instance's authority in place of its own."""
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

    bundle = signed.bundle
    signature = base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"])
    asked = TimestampRequestBuilder().hash_algorithm(HashAlgorithm.SHA256).data(signature).build()
    stamp = base64.b64encode(stranger.timestamper.answer(asked.as_bytes())).decode()
    material(bundle)["timestampVerificationData"] = {"rfc3161Timestamps": [{"signedTimestamp": stamp}]}
    return bundle


def test_a_timestamp_by_an_authority_outside_the_trusted_root_is_no_evidence(
    models: dict[int, SignedModel], tmp_path: Path, stranger: Sigstore
) -> None:
    without = models[2].copy(tmp_path / "v2")
    without.put(_stamped_by_stranger(without, stranger))
    assert without.finding().code == "SIGNATURE_INVALID"

    dated = models[1].copy(tmp_path / "v1")
    dated.put(_stamped_by_stranger(dated, stranger))
    report = dated.verify()
    assert report.verdict == "VERIFIED"
    assert [finding.code for finding in report.findings if finding.severity == "warn"] == ["TIMESTAMP_UNTRUSTED"]
    assert report.time is not None
    assert [word.source for word in report.time.evidence] == ["log"]


def test_a_timestamp_of_another_signature_is_no_evidence(
    models: dict[int, SignedModel], tmp_path: Path, sigstore: Sigstore
) -> None:
    signed = models[2].copy(tmp_path / "model")
    bundle = signed.bundle
    other = sign_model(tmp_path / "other", sigstore, seed=1).bundle
    material(bundle)["timestampVerificationData"] = material(other)["timestampVerificationData"]
    signed.put(bundle)
    assert signed.finding().code == "SIGNATURE_INVALID"


# Forms.


def _twice(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["signatures"] *= 2


MALFORMED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "two signatures": _twice,
    "no signature": lambda b: b["dsseEnvelope"].update(signatures=[]),
    "no log entry": lambda b: material(b).update(tlogEntries=[]),
    "no log entries": lambda b: material(b).pop("tlogEntries"),
    "two log entries": lambda b: material(b).update(tlogEntries=material(b)["tlogEntries"] * 2),
    "no inclusion proof": lambda b: entry(b).pop("inclusionProof"),
    "no checkpoint": lambda b: entry(b)["inclusionProof"].pop("checkpoint"),
    "an unknown member": lambda b: entry(b).update(note="x"),
    "a number that is none": lambda b: entry(b).update(logIndex=0),
    "a number too long": lambda b: entry(b).update(logIndex="1" * 40),
    "a certificate that is none": lambda b: material(b)["certificate"].update(rawBytes="MAA="),
    "a certificate with white space": lambda b: material(b)["certificate"].update(
        rawBytes=material(b)["certificate"]["rawBytes"] + "\n"
    ),
    "a body in the other alphabet": lambda b: entry(b).update(canonicalizedBody="__-_"),
    "a signature without padding": lambda b: b["dsseEnvelope"]["signatures"][0].update(sig="YQ"),
    "a signature with loose bits": lambda b: b["dsseEnvelope"]["signatures"][0].update(sig="YR=="),
    "a key beside the certificate": lambda b: material(b).update(publicKey={"hint": "0" * 64}),
    "a chain beside the certificate": lambda b: material(b).update(x509CertificateChain={"certificates": []}),
    "an artifact in place of a statement": lambda b: b.update(messageSignature=b.pop("dsseEnvelope")),
    "an older form": lambda b: b.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.2"),
    "too many timestamps": lambda b: material(b)["timestampVerificationData"].update(
        rfc3161Timestamps=material(b)["timestampVerificationData"]["rfc3161Timestamps"] * 33
    ),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_bundle_of_another_form_is_malformed(models: dict[int, SignedModel], tmp_path: Path, what: str) -> None:
    signed = models[1].copy(tmp_path / "model")
    bundle = signed.bundle
    MALFORMED[what](bundle)
    signed.put(bundle)
    code = signed.finding().code
    assert code == "BUNDLE_MALFORMED"
    assert signed.verify(expected_signer=None).findings[0].code == code


def test_without_promise_and_timestamp_a_bundle_is_malformed(models: dict[int, SignedModel], tmp_path: Path) -> None:
    signed = models[2].copy(tmp_path / "model")
    bundle = signed.bundle
    material(bundle)["timestampVerificationData"] = {"rfc3161Timestamps": []}
    signed.put(bundle)
    finding = signed.finding()
    assert (finding.code, "neither" in finding.actual) == ("BUNDLE_MALFORMED", True)


def test_a_bundle_of_more_than_its_bounds_is_not_read(models: dict[int, SignedModel], tmp_path: Path) -> None:
    signed = models[1].copy(tmp_path / "model")
    bundle = signed.bundle
    bundle["dsseEnvelope"]["payload"] = "A" * (16 << 20)
    signed.put(bundle)
    assert signed.finding().code == "BUNDLE_MALFORMED"


def test_a_large_bundle_within_its_bounds_is_rejected_in_good_time(
    models: dict[int, SignedModel], tmp_path: Path
) -> None:
    signed = models[1].copy(tmp_path / "model")
    bundle = signed.bundle
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(bytes(11 << 20)).decode()
    signed.put(bundle)
    assert signed.finding().code == "SIGNATURE_INVALID"

"""What others, who know nothing of this project, make of a summary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import rfc8785
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf import json_format
from in_toto_attestation.predicates.vsa.v1 import vsa_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from model_attest.signers.key import KeySigner, generate_key, public_pem
from model_verify.report import Report
from tests.summary.conftest import statement_in, written


def test_in_toto_takes_the_statement_and_slsas_model_the_predicate(
    report: Report, agency: KeySigner, tmp_path: Path
) -> None:
    written(report, agency, tmp_path / "s.json", expires_days=30)
    statement = statement_in(tmp_path / "s.json")
    message = json_format.ParseDict(statement, statement_pb2.Statement())
    Statement.copy_from_pb(message).validate()
    predicate = json_format.MessageToDict(message.predicate)
    # Its model has one level where SLSA has a list, and so refuses SLSA's own example: that member is left out here.
    levels = predicate.pop("verifiedLevels")
    assert levels[0] == "MODEL_ATTEST_LEVEL_3_UNTIL_20260731T120000Z"
    # Consumers ignore what they do not know: our member, and the one that is younger than this model of SLSA's.
    summary = json_format.ParseDict(predicate, vsa_pb2.VerificationSummary(), ignore_unknown_fields=True)
    assert summary.verifier.id == "https://agency.example/models"
    assert summary.time_verified.ToJsonString() == "2026-07-01T12:00:00Z"
    assert summary.resource_uri == "pkg:huggingface/town/town-7b"
    assert summary.verification_result == "PASSED"
    assert summary.slsa_version == "1.1"
    known = json_format.MessageToDict(summary)
    del predicate["https://model-attest.github.io/summary/v1"], predicate["verifier"]["version"]
    del predicate["inputAttestations"][0]["name"]
    assert known == predicate


def test_securesystemslib_verifies_the_signature(report: Report, tmp_path: Path) -> None:
    key = generate_key("p256")
    written(report, KeySigner(key), tmp_path / "s.json")
    bundle = json.loads((tmp_path / "s.json").read_bytes())
    assert (tmp_path / "s.json").read_bytes() == rfc8785.dumps(bundle)
    hint = bundle["verificationMaterial"]["publicKey"]["hint"]
    public = SSlibKey.from_crypto(load_pem_public_key(public_pem(key)), keyid=hint)
    envelope = Envelope.from_dict(bundle["dsseEnvelope"])
    assert list(envelope.verify([public], 1)) == [hint]
    envelope.payload = envelope.payload.replace(b"PASSED", b"FAILED")
    with pytest.raises(VerificationError):
        envelope.verify([public], 1)

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from model_verify.envelope import TimestampAuthority
from model_verify.findings import REASONS, Severity
from model_verify.models import BUNDLE_PATH
from model_verify.procedure import Request, verify
from model_verify.sources.local import LocalFolder
from tests.vectors.signers import expected_signer
from tests.vectors.vector import Vector

AREA = "statement"
BELOW_V4 = {"MANIFEST_MISMATCH"}
"""There is no manifest beside these bundles: an accepted statement stops there."""


def test_a_bundle_is_taken_or_refused_as_the_vector_says(vector: Vector, tmp_path: Path) -> None:
    bundle = tmp_path / BUNDLE_PATH
    bundle.parent.mkdir()
    bundle.write_bytes(vector.data(vector.input["bundle"]))
    now = vector.input.get("now")
    request = Request(
        LocalFolder(tmp_path),
        expected_signer=expected_signer(vector),
        repository=vector.input["repository"],
        timestamp_authorities=[
            TimestampAuthority.from_pem((vector.folder / name).read_bytes()) for name in vector.input.get("tsa", ())
        ],
        now=None if now is None else datetime.fromisoformat(now),
    )
    report = verify(request)
    codes = {finding.code for finding in report.findings if REASONS[finding.code][0] is not Severity.NOTE}
    assert codes - BELOW_V4 == set(vector.expected["codes"])
    assert (codes >= BELOW_V4) is vector.expected["accepted"]
    assert report.verdict != "VERIFIED"
    if "signed_before" in vector.expected:
        assert (report.time and report.time.signed_before) == vector.expected["signed_before"]

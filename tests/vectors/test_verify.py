from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

from model_verify.findings import REASONS, Severity
from model_verify.procedure import Request, verify
from model_verify.sources.detached import DetachedAttestation
from model_verify.sources.local import LocalFolder
from tests.vectors.signers import expected_signer
from tests.vectors.vector import Vector

AREA = "verify"


def test_a_folder_gets_the_verdict_of_the_vector(vector: Vector, tmp_path: Path) -> None:
    copy = tmp_path / "vector"
    shutil.copytree(vector.folder, copy)
    given = vector.input
    for placed in given.get("place", ()):
        target = copy / placed["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(vector.data(placed["data"]))
    now = given.get("now")
    report = verify(
        Request(
            LocalFolder(copy / given["folder"]),
            expected_signer=expected_signer(vector),
            parents={name: LocalFolder(copy / folder) for name, folder in given["parents"].items()},
            candidates=[LocalFolder(copy / folder) for folder in given["candidates"]],
            repository=given["repository"],
            attestation=DetachedAttestation(copy / given["attestation"]) if "attestation" in given else None,
            recursive=given.get("recursive", False),
            now=None if now is None else datetime.fromisoformat(now),
        )
    )
    codes = {finding.code for finding in report.findings if REASONS[finding.code][0] is not Severity.NOTE}
    found = {
        "codes": sorted(codes),
        "exit_code": report.exit_code,
        "level": report.level,
        "verdict": report.verdict,
    }
    assert found == {**vector.expected, "codes": sorted(vector.expected["codes"])}

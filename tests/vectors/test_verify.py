from __future__ import annotations

import shutil
from pathlib import Path

from model_verify.envelope import PublicKey
from model_verify.findings import REASONS, Severity
from model_verify.procedure import Request, verify
from model_verify.sources.detached import DetachedAttestation
from model_verify.sources.local import LocalFolder
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
    key = given["key"]
    report = verify(
        Request(
            LocalFolder(copy / given["folder"]),
            expected_signer=None if key is None else PublicKey.from_pem((copy / key).read_bytes()),
            parents={name: LocalFolder(copy / folder) for name, folder in given["parents"].items()},
            candidates=[LocalFolder(copy / folder) for folder in given["candidates"]],
            repository=given["repository"],
            attestation=DetachedAttestation(copy / given["attestation"]) if "attestation" in given else None,
            recursive=given.get("recursive", False),
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

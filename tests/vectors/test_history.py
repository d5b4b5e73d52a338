from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

from model_verify.envelope import ExpectedIdentity, ExpectedJob, ExpectedSigner, Identity, PublicKey
from model_verify.findings import REASONS, Severity
from model_verify.history.folder import load_revocations
from model_verify.procedure import Request, verify
from model_verify.sources.local import LocalFolder
from tests.vectors.vector import Vector

AREA = "history"


def test_a_folder_with_a_history_gets_the_verdict_of_the_vector(vector: Vector, tmp_path: Path) -> None:
    copy = tmp_path / "vector"
    shutil.copytree(vector.folder, copy)
    given = vector.input
    signer: ExpectedSigner | None = None
    if given["key"] is not None:
        signer = PublicKey.from_pem((copy / given["key"]).read_bytes())
    elif "job" in given:
        job = given["job"]
        trust = (copy / job["trust_config"]).read_bytes()
        signer = ExpectedJob(job["issuer"], job["repository"], job.get("workflow"), job.get("ref"), trust)
    elif "identity" in given:
        named = given["identity"]
        trust = (copy / named["trust_config"]).read_bytes()
        signer = ExpectedIdentity(Identity(named["name"], named["issuer"]), trust)
    report = verify(
        Request(
            LocalFolder(copy / given["folder"]),
            expected_signer=signer,
            parents={name: LocalFolder(copy / folder) for name, folder in given["parents"].items()},
            recursive=given.get("recursive", False),
            revocations=[found for name in given["revocations"] for found in load_revocations(copy / name)],
            published=datetime.fromisoformat(given["published"]) if "published" in given else None,
            revokers=[PublicKey.from_pem((copy / name).read_bytes()) for name in given["revokers"]],
        )
    )
    codes = {finding.code for finding in report.findings}
    notes = {code for code in codes if REASONS[code] == (Severity.NOTE, "V4")}
    found = {
        "codes": sorted(code for code in codes if REASONS[code][0] is not Severity.NOTE),
        "notes": sorted(notes),
        "exit_code": report.exit_code,
        "level": report.level,
        "verdict": report.verdict,
    }
    assert found == {**vector.expected, "codes": sorted(vector.expected["codes"])}

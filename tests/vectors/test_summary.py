from __future__ import annotations

import hashlib
from datetime import datetime

from model_verify.digest import CheckpointRoot, FileDigest
from model_verify.envelope import PublicKey
from model_verify.findings import REASONS, Severity
from model_verify.history.folder import BundleFile
from model_verify.sources.local import LocalFolder
from model_verify.summary import SummaryRequest, judge_summary
from tests.vectors.vector import Vector

AREA = "summary"


def test_a_reader_gets_the_answer_of_the_vector(vector: Vector) -> None:
    given, folder = vector.input, vector.folder
    policy = given.get("policy")
    report = judge_summary(
        SummaryRequest(
            bundle=(folder / given["summary"]).read_bytes(),
            label=given["summary"],
            expected_signers=[PublicKey.from_pem((folder / given["key"]).read_bytes())] if given["key"] else [],
            now=datetime.fromisoformat(given["now"]),
            source=LocalFolder(folder / given["folder"]) if given["folder"] else None,
            read_folder=given.get("read_files", False),
            manifest=FileDigest.parse(given["manifest"]) if "manifest" in given else None,
            root=CheckpointRoot.parse(given["root"]) if "root" in given else None,
            verifier=given.get("verifier"),
            resource=given.get("resource"),
            policy=FileDigest(hashlib.sha256((folder / policy).read_bytes()).digest()) if policy else None,
            minimum_level=given.get("minimum_level", 1),
            revocations=[BundleFile(name, (folder / name).read_bytes()) for name in given.get("revocations", ())],
            maximum_age_days=given.get("maximum_age_days"),
        )
    )
    codes = {finding.code for finding in report.findings if REASONS[finding.code][0] is not Severity.NOTE}
    found = {"codes": sorted(codes), "exit_code": report.exit_code, "verdict": report.verdict}
    assert found == vector.expected
    assert "VERIFIED" not in report.headline

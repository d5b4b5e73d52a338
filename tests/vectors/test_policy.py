from __future__ import annotations

import re
import shutil
from datetime import datetime
from pathlib import Path

import pytest

from model_verify.envelope import PublicKey
from model_verify.errors import CallerError
from model_verify.findings import REASONS, Severity
from model_verify.policy import load_policy
from model_verify.procedure import Request, verify
from model_verify.sources.local import LocalFolder
from tests.vectors.vector import Vector

AREA = "policy"


def test_a_folder_under_a_policy_gets_the_verdict_of_the_vector(vector: Vector, tmp_path: Path) -> None:
    copy = tmp_path / "vector"
    shutil.copytree(vector.folder, copy)
    given = vector.input
    if not vector.expected.get("accepted", True):
        with pytest.raises(CallerError, match=rf"policy\.toml.*{re.escape(vector.expected['key'])}"):
            load_policy(copy / given["policy"]["file"])
        return
    key = given["key"]
    report = verify(
        Request(
            LocalFolder(copy / given["folder"]),
            expected_signer=None if key is None else PublicKey.from_pem((copy / key).read_bytes()),
            policy=load_policy(copy / given["policy"]["file"]),
            now=datetime.fromisoformat(given["policy"]["now"]),
            parents={name: LocalFolder(copy / folder) for name, folder in given["parents"].items()},
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

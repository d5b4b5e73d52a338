from __future__ import annotations

import shutil
from pathlib import Path

from model_verify.envelope import PublicKey
from model_verify.findings import REASONS, Severity
from model_verify.observation import load_observation
from model_verify.procedure import Request, verify
from model_verify.sources.local import LocalFolder
from tests.vectors.vector import Vector

AREA = "observation"


def test_materials_have_the_origins_of_the_vector(vector: Vector, tmp_path: Path) -> None:
    copy = tmp_path / "vector"
    shutil.copytree(vector.folder, copy)
    given = vector.input
    report = verify(
        Request(
            LocalFolder(copy / given["folder"]),
            expected_signer=PublicKey.from_pem((copy / given["key"]).read_bytes()),
            parents={name: LocalFolder(copy / folder) for name, folder in given["parents"].items()},
            observations=[load_observation(copy / name) for name in given["observations"]],
            observers=[PublicKey.from_pem((copy / name).read_bytes()) for name in given["observers"]],
        )
    )
    codes = {finding.code for finding in report.findings}
    notes = {code for code in codes if REASONS[code][0] is Severity.NOTE}
    found = {
        "codes": sorted(codes - notes),
        "notes": sorted(notes & {"OBSERVATION_OF_OTHER"}),
        "origins": {material.id: material.origin for material in report.materials},
        "exit_code": report.exit_code,
        "level": report.level,
        "verdict": report.verdict,
    }
    assert found == {**vector.expected, "codes": sorted(vector.expected["codes"])}

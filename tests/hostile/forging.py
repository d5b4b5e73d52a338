"""A signer who is trusted and lies: signs manifests and statements that the publisher's side would refuse to write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from model_attest.sign import sign_folder
from model_attest.signers.key import KeySigner
from model_verify.canonical import dumps
from model_verify.envelope import open_bundle
from model_verify.merge.coefficient import parse_weight
from model_verify.models import BUNDLE_PATH, MANIFEST_PATH
from model_verify.procedure import Request, verify
from model_verify.report import Report
from model_verify.sources.local import LocalFolder
from tests.cli.making import weight_file

Members = dict[str, Any]
ONE_TENSOR = weight_file({"a": ("U8", [4], b"abcd")})
OTHER_TENSOR = weight_file({"b": ("U8", [4], b"efgh")})


def index(**weight_map: str) -> bytes:
    return json.dumps({"metadata": {"total_size": 8}, "weight_map": weight_map}).encode()


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


@dataclass(frozen=True)
class Forger:
    """Works on the folder `subject`; `inputs` of steps lie beside it."""

    root: Path
    signer: KeySigner

    @property
    def subject(self) -> Path:
        return self.root / "subject"

    def write(self, name: str, files: Mapping[str, bytes]) -> Path:
        folder = self.root / name
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        return folder

    def sign(self) -> None:
        # A liar's tool does not refuse what every verifier rejects.
        with mock.patch("model_attest.sign._check_redirections"):
            sign_folder(self.subject, self.signer, name="subject")

    def restate(self, change: Callable[[Members], None]) -> None:
        """Sign the statement again after `change` has had it."""
        path = self.subject / BUNDLE_PATH
        statement = json.loads(open_bundle(path.read_bytes()).payload)
        change(statement)
        path.write_bytes(self.signer.sign(dumps(statement)))

    def relist(self, change: Callable[[Members], None]) -> None:
        """Sign a manifest that `change` has had."""
        path = self.subject / MANIFEST_PATH
        manifest = json.loads(path.read_bytes())
        change(manifest)
        path.write_bytes(dumps(manifest))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.restate(lambda statement: statement["subject"][0]["digest"].update(sha256=digest))

    def declare(self, materials: Mapping[str, str], steps: Sequence[Members]) -> None:
        """State `steps`, with materials by name and root. A step without an output gives the subject."""

        def change(statement: Members) -> None:
            predicate = statement["predicate"]
            root = predicate["model"]["checkpointRoot"]
            predicate["resolvedDependencies"] = [
                {"name": name, "digest": {"model-attest-checkpoint-v1": root.removeprefix("sha256:")}}
                for name, root in materials.items()
            ]
            predicate["steps"] = [{"output": {"checkpointRoot": root}, **step} for step in steps]

        self.restate(change)

    def verify(self, *parents: str, candidates: Sequence[str] = (), **outputs: str) -> Report:
        """Verify with the folders of materials, which have their names, and folders for outputs of steps."""
        return verify(
            Request(
                LocalFolder(self.subject),
                expected_signer=self.signer.public_key,
                parents={
                    name: LocalFolder(self.root / folder)
                    for name, folder in {**dict(zip(parents, parents, strict=True)), **outputs}.items()
                },
                candidates=[LocalFolder(self.root / name) for name in candidates],
                device="cpu",
            )
        )


def root_of(folder: Path) -> str:
    """Return the checkpoint root of the only safetensors file of a folder."""
    from model_attest.diff import open_weights, read_weights

    (checkpoint,), _ = read_weights([open_weights(str(folder))])
    return checkpoint.root.text


def linear(*decimals: str, tensors: object = "rest", dtype: str = "F32", normalize: bool = False) -> Members:
    coefficients = [{"decimal": text, "float32": parse_weight(text).float32} for text in decimals]
    return {
        "op": "linear",
        "tensors": tensors,
        "dtype": dtype,
        "normalize": normalize,
        "coefficients": coefficients,
    }


def merge(identifier: str, inputs: Sequence[str], *operations: Members, **members: object) -> Members:
    return {
        "id": identifier,
        "type": "merge",
        "profile": "linear/f64-v1",
        "inputs": list(inputs),
        "operations": list(operations),
        **members,
    }


def train(identifier: str, source: str, trainable: object = "all", **members: object) -> Members:
    return {"id": identifier, "type": "train", "inputs": [source], "trainable": trainable, **members}

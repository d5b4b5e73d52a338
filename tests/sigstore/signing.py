"""A small model, signed as an identity with the loopback instance, for tests that then do something to its bundle."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from model_attest.sign import sign_folder
from model_attest.signers.sigstore import SigstoreSigner
from model_verify.envelope import ExpectedIdentity, Identity
from model_verify.models import BUNDLE_PATH
from model_verify.procedure import Request, verify
from model_verify.report import Report, ReportFinding
from model_verify.sources.local import LocalFolder
from tests.models import small_tensors, write_model
from tests.sigstore.instance import Sigstore
from tests.sigstore.issuer import CI_IDENTITY, GITHUB

CI = Identity(CI_IDENTITY, GITHUB)


@dataclass(frozen=True)
class SignedModel:
    """A signed folder, and whom a verifier is to expect."""

    folder: Path
    expected: ExpectedIdentity

    def copy(self, target: Path) -> SignedModel:
        return replace(self, folder=Path(shutil.copytree(self.folder, target)))

    @property
    def bundle(self) -> dict[str, Any]:
        return json.loads((self.folder / BUNDLE_PATH).read_bytes())

    def put(self, bundle: object) -> None:
        """Put another bundle in the place of the one that was signed."""
        (self.folder / BUNDLE_PATH).write_text(json.dumps(bundle))

    def verify(self, **changes: object) -> Report:
        """Verify with the right signer, except for the `changes` to the request."""
        request = {"expected_signer": self.expected, **changes}
        return verify(Request(LocalFolder(self.folder), device="cpu", **request))  # type: ignore[arg-type]

    def finding(self, **changes: object) -> ReportFinding:
        """Verify, and return the only finding beside the notes; below it nothing was looked at."""
        report = self.verify(**changes)
        assert report.verdict == "REJECTED"
        (finding,) = [finding for finding in report.findings if finding.severity != "note"]
        assert (report.statement, report.roots, report.coverage, report.time) == (None, None, None, None)
        return finding


def trust(instance: Sigstore, *, rekor: int = 1, timestamps: bool = True) -> bytes:
    return json.dumps(instance.trust_config(rekor=rekor, timestamps=timestamps)).encode()


def sign_model(
    folder: Path, instance: Sigstore, *, rekor: int = 1, timestamps: bool = True, seed: int = 0
) -> SignedModel:
    """Write a model, and sign it as the release job of a CI."""
    config = trust(instance, rekor=rekor, timestamps=timestamps)
    write_model(folder, small_tensors(seed))
    sign_folder(folder, SigstoreSigner(instance.issuer.ci_token, config), name="town-7b")
    return SignedModel(folder, ExpectedIdentity(CI, config))

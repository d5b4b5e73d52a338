"""Whatever lies where the history is looked for, there is a report that says so, and never a traceback."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from model_attest.commit import commit_folder
from model_attest.revoke import build_revocation, revoked_root
from model_attest.sign import sign_folder
from model_attest.signed_statement import sign_statement
from model_attest.signers.key import KeySigner, generate_key
from model_verify.digest import CheckpointRoot
from model_verify.procedure import Request, verify
from model_verify.report import Report
from model_verify.sources.local import LocalFolder
from tests.models import small_tensors, write_model

OTHER = "sha256:" + "0" * 64
COMMITMENT = "attestation/commit.sigstore.json"
REVOCATION = "attestation/revocations/other.sigstore.json"


@pytest.fixture(scope="module")
def signer() -> KeySigner:
    return KeySigner(generate_key("ed25519"))


@pytest.fixture
def model(tmp_path: Path, signer: KeySigner) -> Path:
    """A model with a commitment, an attestation that was superseded, and a revocation of something else."""
    folder = write_model(tmp_path / "model", small_tensors(0))
    root = CheckpointRoot.parse(str(sign_folder(folder, signer).checkpoint_root))
    commit_folder(folder, root, signer)
    sign_folder(folder, signer, reason="again")
    (folder / REVOCATION).parent.mkdir()
    revocation = sign_statement(build_revocation(revoked_root(OTHER), "x"), signer).data
    (folder / REVOCATION).write_bytes(revocation)
    return folder


def checked(model: Path, signer: KeySigner) -> Report:
    return verify(Request(LocalFolder(model), expected_signer=signer.public_key))


def test_as_it_was_signed_it_is_verified(model: Path, signer: KeySigner) -> None:
    report = checked(model, signer)
    assert (report.verdict, {finding.code for finding in report.findings}) == ("VERIFIED", {"NO_STEPS"})


def flipped(data: bytes, generator: random.Random) -> bytes:
    changed = bytearray(data)
    changed[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    return bytes(changed)


def cut(data: bytes, generator: random.Random) -> bytes:
    return data[: generator.randrange(len(data))]


def doubled(data: bytes, generator: random.Random) -> bytes:
    place = generator.randrange(len(data))
    return data[:place] + data[place // 2 : place] + data[place:]


@pytest.mark.parametrize("mutate", [flipped, cut, doubled])
@pytest.mark.parametrize("which", ["commitment", "superseded", "revocation"])
def test_a_mutated_file_gives_a_report_and_says_so(
    model: Path, signer: KeySigner, which: str, mutate: Callable[[bytes, random.Random], bytes]
) -> None:
    (superseded,) = (model / "attestation" / "history").iterdir()
    path = {"commitment": model / COMMITMENT, "superseded": superseded, "revocation": model / REVOCATION}[which]
    good = path.read_bytes()
    generator = random.Random(f"{which} {mutate.__name__}")
    for _ in range(25):
        bad = mutate(good, generator)
        path.write_bytes(bad)
        report = checked(model, signer)
        found = {finding.code for finding in report.findings} - {"NO_STEPS"}
        # `keyid` is ignored, so a bundle can change there and still be one; its digest is another even so.
        if which == "superseded" and bad != good:
            assert found == {"HISTORY_MISMATCH"}
        else:
            assert found <= {
                "COMMITMENT_MALFORMED", "COMMITMENT_SIGNER", "REVOCATION_MALFORMED", "REVOCATION_NOT_HONOURED"
            }  # fmt: skip
    path.write_bytes(good)
    assert checked(model, signer).verdict == "VERIFIED"


def test_links_in_place_of_the_files_are_found(model: Path, signer: KeySigner, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes((model / COMMITMENT).read_bytes())
    (model / COMMITMENT).unlink()
    (model / COMMITMENT).symlink_to(outside)
    report = checked(model, signer)
    assert (report.verdict, {finding.code for finding in report.findings}) == (
        "REJECTED",
        {"NO_STEPS", "FILE_NOT_REGULAR"},
    )

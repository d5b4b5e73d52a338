"""`attest sign --detached` and `attest verify --attestation`."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Attest, Workplace


def test_a_third_party_attests_and_a_reader_sees_who(attest: Attest, made: Workplace, tmp_path: Path) -> None:
    outside = tmp_path / "by us"
    signed = attest("sign", made / "a", "--key", made / "other", "--detached", outside, "--name", "a")
    assert signed.code == 0
    assert f"--attestation '{outside}'" in signed.out
    assert not (made / "a" / "attestation").exists()
    assert attest("verify", made / "a", "--key", made / "other.pub").code == 3
    found = attest("verify", made / "a", "--key", made / "other.pub", "--attestation", outside)
    assert found.code == 0
    assert "the attestation is detached, by key sha256:" in found.out.splitlines()[0]
    assert f"of {outside}: whoever signed need not be who published the model" in found.out
    document = attest("verify", made / "a", "--attestation", outside, "--json").document
    assert (document["verdict"], document["bundle"]["detached"]) == ("INCOMPLETE", str(outside))


def test_errors_say_what_to_do(attest: Attest, made: Workplace, tmp_path: Path) -> None:
    run = attest("verify", made / "a", "--key", made / "other.pub", "--attestation", tmp_path)
    assert (run.code, "name a bundle, or the folder that holds one" in run.err) == (2, True)
    run = attest("sign", made / "a", "--key", made / "other", "--detached", made / "a" / "x")
    assert (run.code, "name a folder outside of it" in run.err) == (2, True)

"""Commitments and revocations by keys, dated by a timestamping authority on loopback."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Attest
from tests.sigstore.instance import Sigstore


def test_a_commitment_by_a_key_is_dated_by_an_authority(
    attest: Attest, model: Path, key: Path, authority: Sigstore, tsa: Path
) -> None:
    dated = ["--timestamp-url", f"{authority.url}/api/v1/timestamp", "--tsa", tsa]
    assert attest("commit", model, "--key", key, *dated).code == 0
    assert attest("sign", model, "--key", key).code == 0
    verify = ["verify", model, "--key", f"{key}.pub", "--json", "--published", "2999-01-01T00:00:00Z"]
    report = attest(*verify, "--tsa", tsa).document
    assert report["verdict"] == "VERIFIED"
    assert (report["time"], report["history"]["freshness"]) == (None, "dated")
    publication = report["history"]["publication"]
    assert (publication["signed"], publication["committed"]) == ("unknown", "before")
    untrusted = attest(*verify).document["history"]
    assert (untrusted["freshness"], untrusted["publication"]["committed"]) == ("unknown", "unknown")


def test_what_a_key_signed_before_it_was_lost_stands_where_that_is_dated(
    attest: Attest, model: Path, key: Path, authority: Sigstore, tsa: Path, tmp_path: Path
) -> None:
    dated = ["--timestamp-url", f"{authority.url}/api/v1/timestamp", "--tsa", tsa]
    assert attest("sign", model, "--key", key, *dated).code == 0
    hint = attest("verify", model, "--key", f"{key}.pub", "--json").document["signer"]["key_hint"]
    out = tmp_path / "lost.sigstore.json"
    lost = ["revoke", "--signer", hint, "--reason", "lost", "--since", "2999-01-01T00:00:00Z"]
    assert attest(*lost, "--key", key, "--out", out).code == 0
    verify = ["verify", model, "--key", f"{key}.pub", "--revocations", out, "--json"]
    stands, revoked = attest(*verify, "--tsa", tsa).document, attest(*verify).document
    assert {finding["code"] for finding in stands["findings"]} == {"NO_STEPS", "SIGNER_REVOKED_LATER"}
    assert (stands["verdict"], revoked["verdict"]) == ("VERIFIED", "REJECTED")

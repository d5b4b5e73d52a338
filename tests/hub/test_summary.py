"""A repository of the Hub, verified once, and relied on by whoever streams it later."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from tests.cli.conftest import Attest
from tests.hub.releases import Release
from tests.hub.test_verify import impatient as impatient  # fixtures
from tests.hub.test_verify import made as made
from tests.hub.test_verify import released as released


def test_a_summary_is_for_the_commit_that_was_verified(attest: Attest, released: Release, tmp_path: Path) -> None:
    assert attest("keygen", "--out", tmp_path / "agency").code == 0
    out = tmp_path / "s.json"
    options = ["--summary", out, "--summary-key", tmp_path / "agency", "--summary-verifier", "https://agency.example"]
    run = attest("verify", "town/merged", "--key", released.key, "--device", "cpu", *options)
    assert run.code == 0, run.err
    payload = json.loads(out.read_bytes())["dsseEnvelope"]["payload"]
    resource = json.loads(base64.b64decode(payload))["predicate"]["resourceUri"]
    assert resource.startswith("pkg:huggingface/town/merged@")
    commit = resource.partition("@")[2]
    who = ["--key", tmp_path / "agency.pub"]
    for reference in ("town/merged", f"town/merged@{commit}"):
        run = attest("verify-summary", out, reference, *who, "--json")
        assert (run.code, run.document["verdict"]) == (0, "ACCEPTED"), run.out
    run = attest("verify-summary", out, "town/merged", *who, "--resource", "pkg:huggingface/town/other", "--json")
    assert (run.code, run.document["findings"][0]["code"]) == (1, "SUMMARY_RESOURCE_MISMATCH")


def test_what_was_looked_at_without_weights_never_passes(attest: Attest, released: Release, tmp_path: Path) -> None:
    assert attest("keygen", "--out", tmp_path / "agency").code == 0
    out = tmp_path / "s.json"
    options = ["--summary", out, "--summary-key", tmp_path / "agency", "--summary-verifier", "https://agency.example"]
    run = attest("verify", "town/merged", "--key", released.key, "--depth", "hub", *options)
    assert (run.code, "says FAILED: FAILED, MODEL_ATTEST_INCOMPLETE" in run.err) == (3, True), run.err

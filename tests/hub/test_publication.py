"""When a model on the Hub was published: by the caller's word, else by that of the Hub, which dates nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from model_verify.sources.detached import DetachedAttestation, DetachedSource
from model_verify.sources.hub import Connection, HubReference, HubSource
from model_verify.sources.local import LocalFolder
from tests.cli.conftest import Attest
from tests.cli.making import tensors, write_model
from tests.hub.clocks import FakeClock
from tests.hub.faults import Status
from tests.hub.server import Hub
from tests.hub.test_verify import codes
from tests.hub.test_verify import impatient as impatient  # fixture
from tests.sigstore.instance import Sigstore
from tests.trust.conftest import authority as authority  # fixtures
from tests.trust.conftest import key as key
from tests.trust.conftest import tsa as tsa


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", tensors(1))


@pytest.fixture
def signed(attest: Attest, hub: Hub, folder: Path, key: Path) -> Path:
    """A model on the Hub, signed at a time that nobody vouches for; the public key."""
    assert attest("sign", folder, "--key", key, "--uri", "pkg:huggingface/lab/a").code == 0
    hub.storage.add_folder("lab/a", folder)
    hub.asked.clear()
    return Path(f"{key}.pub")


@pytest.fixture
def dated(attest: Attest, hub: Hub, folder: Path, key: Path, authority: Sigstore, tsa: Path) -> list[str | Path]:
    """How to verify a model on the Hub whose signature an authority has dated."""
    stamp = ["--timestamp-url", f"{authority.url}/api/v1/timestamp", "--tsa", tsa]
    assert attest("sign", folder, "--key", key, "--uri", "pkg:huggingface/lab/a", *stamp).code == 0
    hub.storage.add_folder("lab/a", folder)
    return ["verify", "lab/a", "--key", f"{key}.pub", "--tsa", tsa]


def listings(hub: Hub) -> int:
    return len([asked for asked in hub.asked if "/commits/" in asked.path])


def test_the_date_of_the_commit_is_the_hubs_word_and_dates_nothing(attest: Attest, hub: Hub, signed: Path) -> None:
    report = attest("verify", "lab/a", "--key", signed, "--json").document
    assert report["history"]["publication"] == {
        "time": "2026-01-02T03:04:05Z",
        "by": "hub",
        "signed": "unknown",
        "committed": "unknown",
    }
    assert (report["time"], report["history"]["freshness"], codes(report)) == (None, "unknown", {"NO_STEPS"})
    assert {"time of signing", "freshness"} <= {item["what"] for item in report["not_checked"]}
    text = attest("verify", "lab/a", "--key", signed).out
    assert "published 2026-01-02T03:04:05Z by the Hub's word: signed at no time that is shown" in text


@pytest.mark.parametrize(
    ("date", "side", "found"),
    [
        ("2999-01-01T00:00:00.000Z", "before", {"NO_STEPS"}),
        ("2020-01-01T00:00:00.000Z", "after", {"NO_STEPS", "SHOWN_AFTER_PUBLICATION"}),
    ],
)
def test_what_is_dated_lies_before_or_after_it(
    attest: Attest, hub: Hub, dated: list[str | Path], date: str, side: str, found: set[str]
) -> None:
    hub.storage.repositories["lab/a"].date = date
    report = attest(*dated, "--json").document
    assert (report["verdict"], codes(report)) == ("VERIFIED", found)
    assert (report["history"]["publication"]["by"], report["history"]["publication"]["signed"]) == ("hub", side)
    assert report["history"]["freshness"] == "dated"
    expected = [one["expected"] for one in report["findings"] if one["code"] == "SHOWN_AFTER_PUBLICATION"]
    shown = "shown to be there by 2020-01-01T00:00:00Z, when it was published, by the Hub's word"
    assert expected == ([shown] if side == "after" else [])


def test_the_callers_word_comes_first_and_the_hub_is_not_asked(
    attest: Attest, hub: Hub, dated: list[str | Path]
) -> None:
    hub.storage.repositories["lab/a"].date = "2020-01-01T00:00:00.000Z"
    hub.asked.clear()
    report = attest(*dated, "--published", "2998-01-01T00:00:00Z", "--json").document
    assert report["history"]["publication"] == {
        "time": "2998-01-01T00:00:00Z",
        "by": "caller",
        "signed": "before",
        "committed": "unknown",
    }
    assert (codes(report), listings(hub)) == ({"NO_STEPS"}, 0)


@pytest.mark.parametrize("status", [401, 403, 404, 501])
def test_a_hub_that_lists_no_commits_states_none(attest: Attest, hub: Hub, signed: Path, status: int) -> None:
    hub.faults.add(Status(status), "/commits/", times=100)
    run = attest("verify", "lab/a", "--key", signed, "--json")
    assert (run.code, run.document["history"]["publication"], listings(hub)) == (0, None, 1)


def test_a_hub_that_fails_gives_no_verdict(attest: Attest, hub: Hub, signed: Path) -> None:
    hub.faults.add(Status(503), "/commits/", times=100)
    run = attest("verify", "lab/a", "--key", signed, "--json")
    assert (run.code, run.error["code"]) == (2, "SOURCE_UNREACHABLE")


def test_a_folder_has_none(attest: Attest, folder: Path, key: Path) -> None:
    assert attest("sign", folder, "--key", key).code == 0
    report = attest("verify", folder, "--key", f"{key}.pub", "--json").document
    assert report["history"]["publication"] is None


def commit_date(hub: Hub, folder: Path, date: object, revision: str | None = None) -> datetime | None:
    hub.storage.add_folder("lab/a", folder)
    hub.storage.repositories["lab/a"].date = date
    return HubSource(Connection(clock=FakeClock()), HubReference("lab/a", revision)).commit_date()


@pytest.mark.parametrize(
    "date",
    [
        *(None, 7, "", "yesterday", ["2026-01-02T03:04:05Z"], "2026-01-02", "2026-01-02T03:04:05"),
        *("2026-W01-2T00:00:00Z", "2026-13-02T03:04:05Z", "2026-02-30T03:04:05Z", "2026-01-02T24:04:05Z"),
        *("0001-01-01T00:00:00Z", "2026-01-02T03:04:05+01:00", "2026-01-02T03:04:05Z\n", "2026-01-02T03:04:0\u0665Z"),
        "2026-01-02T03:04:05." * 900,
    ],
)  # fmt: skip
def test_what_is_no_date_is_none(hub: Hub, folder: Path, date: object) -> None:
    assert commit_date(hub, folder, date) is None


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.999Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("1000-01-01T00:00:00Z", datetime(1000, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_date_is_in_whole_seconds(hub: Hub, folder: Path, date: str, expected: datetime) -> None:
    assert commit_date(hub, folder, date) == expected


def test_a_detached_attestation_leaves_it(hub: Hub, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "beside.json").write_bytes(b"")
    hub.storage.add_folder("lab/a", folder)
    source = HubSource(Connection(clock=FakeClock()), HubReference("lab/a"))
    detached = DetachedSource(source, DetachedAttestation(tmp_path / "beside.json"))
    assert detached.commit_date() == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert LocalFolder(folder).commit_date() is None


def test_only_the_date_of_that_very_commit_counts(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.storage.add_folder("lab/a", folder)
    source = HubSource(Connection(clock=FakeClock()), HubReference("lab/a"))
    other = {"id": "0" * 40, "date": "2026-01-02T03:04:05Z"}
    monkeypatch.setattr("tests.hub.api.history", lambda repository, sha: [other])
    assert source.commit_date() is None

"""A repository of the Hub as a source: what it is, its list of files, and their bytes, whatever the server does."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest
from huggingface_hub import constants

from model_verify.errors import SourceChanged, SourceError, SourceMissing, SourceUnreachable, SourceUnreadable
from model_verify.sources.hub import Connection, HubReference, HubSource
from model_verify.sources.hub import connection as hub_connection
from model_verify.sources.hub import file as hub_file
from model_verify.sources.hub import stream as hub_stream
from model_verify.sources.hub.kept import Kept
from model_verify.sources.source import EntryKind, Reach
from tests.hub.clocks import FakeClock
from tests.hub.faults import Compressed, Content, Cut, Drip, Fault, Length, Range, Redirect, Status
from tests.hub.server import TOKEN, Hub

WEIGHTS = random.Random(1).randbytes(300_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "README.md").write_bytes(b"# A model\n")
    (folder / "sub/config.json").write_bytes(b"{}")
    (folder / "empty.txt").write_bytes(b"")
    return folder


@pytest.fixture
def commit(hub: Hub, folder: Path) -> str:
    return hub.storage.add_folder("lab/model", folder)


@pytest.fixture(autouse=True)
def small_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small file takes as many requests as a large one."""
    monkeypatch.setattr(hub_stream, "FIRST_SPAN_BYTES", 20_000)
    monkeypatch.setattr(hub_stream, "PROGRESS_BYTES", 1000)
    monkeypatch.setattr(hub_file, "SKIPPED_BYTES", 64_000)
    monkeypatch.setattr(hub_connection, "KEPT_BYTES", 96_000)
    monkeypatch.setattr(hub_file, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(hub_file, "PROBE_BYTES", 1000)


def opened(revision: str | None = None, *, clock: FakeClock | None = None, name: str = "lab/model") -> HubSource:
    return HubSource(Connection(clock=clock or FakeClock()), HubReference(name, revision))


def read_all(source: HubSource, path: str = "model.safetensors", step: int = 7000) -> bytes:
    with source.open(path) as file:
        data = bytearray(file.size_bytes)
        for start in range(0, len(data), step):
            file.read_into(memoryview(data)[start : start + step], start)
        file.check_unchanged()
        return bytes(data)


def test_a_branch_is_resolved_once(hub: Hub, folder: Path, commit: str) -> None:
    source = opened()
    hub.storage.add_folder("lab/model", folder)
    assert (source.label, source.repository, source.commit) == ("lab/model", "pkg:huggingface/lab/model", commit)
    assert read_all(source) == WEIGHTS
    assert all(f"/resolve/{commit}/" in asked.path for asked in hub.asked if "/resolve/" in asked.path)


@pytest.mark.parametrize("page_entries", [1, 3, 1000])
def test_every_file_is_listed(hub: Hub, commit: str, page_entries: int) -> None:
    hub.page_entries = page_entries
    assert [(entry.path, entry.kind, entry.size_bytes) for entry in opened().entries()] == [
        (".gitattributes", EntryKind.FILE, 259),
        ("README.md", EntryKind.FILE, 10),
        ("empty.txt", EntryKind.FILE, 0),
        ("model.safetensors", EntryKind.FILE, 300_000),
        ("sub/config.json", EntryKind.FILE, 2),
    ]


def test_files_are_read(hub: Hub, commit: str) -> None:
    source = opened()
    assert read_all(source) == WEIGHTS
    assert read_all(source, "README.md") == b"# A model\n"
    assert read_all(source, "empty.txt") == b""
    with source.open("model.safetensors") as file:
        assert file.read(100, 50) == WEIGHTS[100:150]
        assert file.read(299_990, 10) == WEIGHTS[-10:]
        with pytest.raises(SourceChanged, match="ended at byte 300000"):
            file.read(299_990, 11)
        with pytest.raises(SourceChanged, match="ended at byte 300000"):
            file.read_into(memoryview(bytearray(1)), 300_000)
    with pytest.raises(SourceMissing), source.open("none.txt"):
        pass


def test_a_file_is_a_handful_of_requests_and_no_byte_comes_twice(hub: Hub, commit: str) -> None:
    assert read_all(opened(), step=1000) == WEIGHTS
    assert [asked.range for asked in hub.downloads("/objects/")] == [
        "bytes=0-19999",
        "bytes=20000-99999",
        "bytes=100000-299999",
    ]


def test_nothing_is_asked_for_in_compressed_form(hub: Hub, commit: str) -> None:
    read_all(opened())
    assert {asked.accept_encoding for asked in hub.asked} == {"identity"}


def test_the_token_goes_to_the_hub_alone(hub: Hub, folder: Path) -> None:
    hub.storage.add_folder("lab/secret", folder, is_private=True)
    assert read_all(opened(name="lab/secret")) == WEIGHTS
    assert {asked.authorization for asked in hub.asked if asked.host == "hub"} == {f"Bearer {TOKEN}"}
    assert {asked.authorization for asked in hub.asked if asked.host == "cdn"} == {None}


def test_a_private_repository_without_a_token_is_missing(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.storage.add_folder("lab/secret", folder, is_private=True)
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    with pytest.raises(SourceMissing, match="that you may see") as caught:
        opened(name="lab/secret")
    assert "hf auth login" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["lab/none", "nobody/model"])
def test_what_the_hub_does_not_have_is_missing(hub: Hub, commit: str, name: str) -> None:
    with pytest.raises(SourceMissing):
        opened(name=name)


def test_a_revision_that_is_not_there_is_missing(hub: Hub, commit: str) -> None:
    with pytest.raises(SourceMissing, match="`v9`"):
        opened("v9")


def test_offline_is_offline(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SourceUnreadable, match="offline"):
        opened()
    assert hub.asked == []


def test_a_commit_that_only_a_pull_request_names_is_told_apart(hub: Hub, folder: Path, commit: str) -> None:
    proposed = hub.storage.add_folder("lab/model", folder, ref="refs/pr/1")
    newer = hub.storage.add_folder("lab/model", folder)
    older = hub.storage.repositories["lab/model"].commits[commit].parent
    hub.storage.repositories["lab/model"].tags["v1"] = older or ""
    reaches = {name: opened(name).reach() for name in (commit, newer, older, proposed, "refs/pr/1", "main", "v1")}
    assert reaches == {
        commit: Reach.BRANCH,
        newer: Reach.BRANCH,
        older: Reach.BRANCH,
        proposed: Reach.PROPOSAL,
        "refs/pr/1": Reach.PROPOSAL,
        "main": Reach.BRANCH,
        "v1": Reach.BRANCH,
    }


def test_a_hub_with_another_name_for_the_repository_is_not_followed(hub: Hub, commit: str) -> None:
    hub.storage.repositories["lab/old"] = hub.storage.repositories["lab/model"]
    with pytest.raises(SourceUnreadable, match="has `lab/old` as `lab/model`"):
        opened(name="lab/old")


# Faults that pass.


@pytest.mark.parametrize(
    "fault",
    [Cut(0), Cut(1), Cut(12_345), Status(503), Status(429, "7"), Range("ignored"), Range("shifted"), Compressed()],
    ids=repr,
)
@pytest.mark.parametrize("skip", [0, 1, 2])
def test_a_fault_that_passes_changes_nothing(hub: Hub, commit: str, fault: Fault, skip: int) -> None:
    hub.faults.add(fault, "/objects/", skip=skip)
    clock = FakeClock()
    assert read_all(opened(clock=clock)) == WEIGHTS
    expected = 7.0 if fault == Status(429, "7") else 1.0
    assert clock.slept == [expected]


def test_after_a_cut_only_the_rest_is_asked_for(hub: Hub, commit: str) -> None:
    hub.faults.add(Cut(12_345), "/objects/", skip=1)
    assert read_all(opened()) == WEIGHTS
    asked = [one.range or "" for one in hub.downloads("/objects/")]
    assert asked[:2] == ["bytes=0-19999", "bytes=20000-99999"]
    start, stop = (int(number) for number in asked[2].removeprefix("bytes=").split("-"))
    assert 20_000 < start <= 32_345
    assert stop == 99_999


def test_an_expired_address_is_asked_for_again(hub: Hub, commit: str) -> None:
    hub.faults.add(Status(403), "/objects/", host="cdn")
    source = opened()
    assert read_all(source) == WEIGHTS
    hub.expire_urls()
    assert read_all(source) == WEIGHTS


def test_progress_lets_many_cuts_pass(hub: Hub, commit: str) -> None:
    hub.faults.add(Cut(15_000), "/objects/", times=15)
    clock = FakeClock()
    assert read_all(opened(clock=clock)) == WEIGHTS
    assert set(clock.slept) == {1.0}


# Faults that stay.


@pytest.mark.parametrize(
    "fault",
    [Cut(0), Status(503), Status(429), Range("ignored"), Range("shifted"), Compressed(), Status(403)],
    ids=repr,
)
def test_a_fault_that_stays_is_an_error(hub: Hub, commit: str, fault: Fault) -> None:
    hub.faults.add(fault, "/objects/", times=1000)
    clock = FakeClock()
    with pytest.raises(SourceUnreachable, match="6 times in a row"):
        read_all(opened(clock=clock))
    assert clock.slept == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_one_byte_at_a_time_is_no_progress(hub: Hub, commit: str) -> None:
    hub.faults.add(Cut(1), "/objects/", times=100_000)
    with pytest.raises(SourceUnreachable):
        read_all(opened())


def test_a_server_that_asks_for_an_hour_is_not_waited_for(hub: Hub, commit: str) -> None:
    hub.faults.add(Status(429, "3600"), "/objects/")
    clock = FakeClock()
    with pytest.raises(SourceUnreachable, match="asks to wait 3600 s"):
        read_all(opened(clock=clock))
    assert clock.slept == []


def test_a_wait_until_a_time_is_by_the_clock_of_the_server(hub: Hub, commit: str) -> None:
    hub.faults.add(Status(503, "Fri, 01 Jan 2100 00:00:00 GMT"), "/objects/")
    with pytest.raises(SourceUnreachable, match="asks to wait"):
        read_all(opened())


def test_a_drip_is_given_up(hub: Hub, commit: str) -> None:
    hub.faults.add(Drip(10, 0.0), "/objects/", times=1000)
    with pytest.raises(SourceUnreachable, match="drip"):
        read_all(opened(clock=FakeClock(step_s=50.0)))


def test_silence_is_given_up(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model_verify.sources.hub.connection.STALL_TIMEOUT_S", 0.1)
    hub.faults.add(Drip(1000, 0.5), "/objects/", times=6)
    with pytest.raises(SourceUnreachable, match="Timeout"):
        read_all(opened())


@pytest.mark.parametrize("more_bytes", [-1, 1])
def test_a_lie_about_the_length_of_a_range_is_an_error(hub: Hub, commit: str, more_bytes: int) -> None:
    hub.faults.add(Length(more_bytes), "/objects/", times=1000)
    with pytest.raises(SourceUnreachable):
        read_all(opened())


@pytest.mark.parametrize("more_bytes", [-1, 1])
def test_a_lie_about_the_length_of_a_file_is_an_error(hub: Hub, commit: str, more_bytes: int) -> None:
    hub.faults.add(Length(more_bytes), "README.md", times=1000)
    with pytest.raises(SourceChanged, match=r"README\.md"):
        read_all(opened(), "README.md")


def test_another_file_under_the_same_name_is_seen(hub: Hub, folder: Path, commit: str) -> None:
    """A Hub that answers from another commit names another content."""
    source = opened()
    source.entries()
    files = hub.storage.repositories["lab/model"].commits[commit].files
    (folder / "model.safetensors").write_bytes(WEIGHTS[::-1])
    files["model.safetensors"] = hub.storage.file(folder / "model.safetensors")  # type: ignore[index]
    with pytest.raises(SourceChanged, match=r"model\.safetensors"):
        read_all(source)


def test_bytes_that_are_no_longer_the_same_are_handed_on_for_the_hashes_to_see(hub: Hub, commit: str) -> None:
    source = opened()
    assert read_all(source) == WEIGHTS
    hub.faults.add(Content(150_000), "/objects/", times=3)
    assert [place for place, pair in enumerate(zip(read_all(source), WEIGHTS, strict=True)) if pair[0] != pair[1]] == [
        150_000
    ]


# Redirects.


def test_the_interface_is_not_followed_to_another_host(hub: Hub, commit: str) -> None:
    hub.faults.add(Redirect(f"{hub.cdn_url}/api/models/lab/model/revision/main"), "/api/models/")
    with pytest.raises(SourceUnreadable, match="away from"):
        opened()
    assert all(asked.host == "hub" for asked in hub.asked)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "//", "http://[", ""])
def test_a_redirect_to_nowhere_is_an_error(hub: Hub, commit: str, location: str) -> None:
    hub.faults.add(Redirect(location), "/resolve/", times=1000)
    with pytest.raises(SourceError):
        read_all(opened())


def test_redirects_in_a_circle_are_an_error(hub: Hub, commit: str) -> None:
    hub.faults.add(Redirect(f"{hub.cdn_url}/objects/x"), "/objects/", times=1000)
    with pytest.raises(SourceUnreadable, match="more than 5 redirects"):
        read_all(opened())
    assert {asked.authorization for asked in hub.asked if asked.host == "cdn"} == {None}


# Several threads.


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_that_read_near_each_other_share_a_stream(hub: Hub, commit: str, threads: int) -> None:
    units = iter([(start, min(start + 3000, len(WEIGHTS))) for start in range(0, len(WEIGHTS), 3000)])
    data = bytearray(len(WEIGHTS))
    lock = threading.Lock()
    with opened().open("model.safetensors") as file:

        def work() -> None:
            while True:
                with lock:
                    unit = next(units, None)
                if unit is None:
                    return
                file.read_into(memoryview(data)[unit[0] : unit[1]], unit[0])

        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert data == WEIGHTS
    assert len(hub.downloads("/objects/")) == 3


def test_reads_in_any_order_give_the_same_bytes(hub: Hub, commit: str) -> None:
    generator = random.Random(5)
    connection = Connection(clock=FakeClock())
    with HubSource(connection, HubReference("lab/model")).open("model.safetensors") as file:
        for _ in range(60):
            offset = generator.randrange(len(WEIGHTS))
            size = generator.randrange(min(30_000, len(WEIGHTS) - offset) + 1)
            buffer = bytearray(size)
            file.read_into(memoryview(buffer), offset)
            assert buffer == WEIGHTS[offset : offset + size]
            assert connection.kept.size_bytes <= 96_000
    assert connection.kept.size_bytes == 0


def test_the_bandwidth_is_kept_to(hub: Hub, commit: str) -> None:
    clock = FakeClock()
    source = HubSource(Connection(clock=clock, max_bytes_per_s=100_000), HubReference("lab/model"))
    assert read_all(source) == WEIGHTS
    assert 2.9 < clock.time_s < 3.1


def test_a_small_file_is_asked_for_whole_and_without_a_range(hub: Hub, folder: Path) -> None:
    """The Hub need not know ranges of files that are not in LFS."""
    (folder / "tokenizer.json").write_bytes(b"x" * 15_000)
    hub.storage.add_folder("lab/model", folder)
    hub.faults.add(Range("ignored"), "tokenizer.json", times=100)
    with opened().open("tokenizer.json") as file:
        assert file.read(5000, 10) == b"x" * 10
        assert file.read(0, 15_000) == b"x" * 15_000
    assert [asked.range for asked in hub.downloads("tokenizer.json")] == [None]


def test_what_is_kept_of_all_files_is_within_one_bound() -> None:
    kept = Kept(100)
    for start in range(0, 300, 30):
        kept.put("a", start, bytes([start % 251]) * 30)
        kept.put("b", start, b"b" * 30)
        assert kept.size_bytes <= 100
    buffer = bytearray(40)
    assert kept.take("a", memoryview(buffer), 275) == 25
    assert buffer[:25] == bytes([270 % 251]) * 25
    assert kept.take("a", memoryview(buffer), 275) == 0
    assert kept.take("a", memoryview(buffer)[:5], 270) == 5
    kept.drop("b")
    assert kept.size_bytes == 0

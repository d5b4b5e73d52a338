"""Random faults on every request for content, under an injected clock: the verdict is always the right one.

Twenty verifications of a model and two parents, each through ten faults or more; the seed is the test's number.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from huggingface_hub.utils import close_session

from model_verify.envelope import PublicKey
from model_verify.procedure import Request, verify
from model_verify.sources.hub import Connection, HubReference, HubSource, parse_reference
from model_verify.sources.hub import stream as hub_stream
from model_verify.sources.hub.file import PROBE_BYTES
from model_verify.sources.source import Source
from tests.hub.clocks import FakeClock
from tests.hub.conftest import start
from tests.hub.faults import Compressed, Cut, Fault, Length, Range, Status
from tests.hub.releases import Release, again, release
from tests.hub.server import Hub

RUNS = 20
LEAST_FAULTS = 10
MOST_IN_A_ROW = 3
SMALL_TENSORS_BYTES = 1032
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


@dataclass
class Chaos:
    """Hands out faults for content: most requests, and never more than three in a row."""

    generator: random.Random
    given: list[Fault] = field(default_factory=list)
    in_a_row: int = 0
    arrived: Counter[str] = field(default_factory=Counter)
    """By object: how many bytes were sent that count, those before a cut among them."""

    def __call__(self, method: str, path: str, byte_range: str | None) -> Fault | None:
        match = _RANGE.fullmatch(byte_range or "")
        if not path.startswith("/objects/") or method != "GET" or match is None:
            return None
        length = int(match[2]) + 1 - int(match[1])
        fault = self.choose(length) if self.in_a_row < MOST_IN_A_ROW and self.generator.random() < 0.7 else None
        self.in_a_row = self.in_a_row + 1 if fault else 0
        if fault is not None:
            self.given.append(fault)
        if fault is None or isinstance(fault, Cut):
            self.arrived[path] += length if fault is None else min(fault.after_bytes, length)
        return fault

    def choose(self, length: int) -> Fault:
        faults: list[Fault] = [
            Cut(self.generator.randrange(length)),
            Cut(self.generator.randrange(length)),
            Status(self.generator.choice((429, 500, 502, 503, 504)), self.generator.choice((None, "1", "30"))),
            Status(403),
            Range("ignored"),
            Range("shifted"),
            Length(self.generator.choice((-1, 1))),
            Compressed(),
        ]
        return self.generator.choice(faults)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        running = start(root, patch)
        yield release(running.hub, root / "release")
        close_session()
        running.stop()


@pytest.mark.parametrize("seed", range(RUNS))
def test_through_random_faults_the_verdict_is_right_and_no_byte_comes_twice(
    made: Release, hub: Hub, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = again(made, hub, tmp_path / "release")
    monkeypatch.setattr(hub_stream, "FIRST_SPAN_BYTES", 100_000)
    monkeypatch.setattr(hub_stream, "PROGRESS_BYTES", 1000)
    chaos = Chaos(random.Random(seed))
    hub.faults.otherwise = chaos
    connection = Connection(clock=FakeClock())

    def fetch(uri: str) -> Source:
        reference = parse_reference(uri)
        assert reference is not None
        return HubSource(connection, reference)

    report = verify(
        Request(
            HubSource(connection, HubReference("town/merged")),
            expected_signer=PublicKey.from_pem(released.key.read_bytes()),
            fetch=fetch,
            device="cpu",
            threads=1,
        )
    )
    assert (report.verdict, report.level) == ("VERIFIED", 3)
    assert len(chaos.given) >= LEAST_FAULTS
    # The header is read twice, with what comes along behind it; the data once, whatever was cut; the two small tensors
    # behind the large one are asked for again where a parent has them in another order.
    for name in ("merged", "a", "b"):
        file = hub.storage.file(released.folder.parent / name / "model.safetensors")
        sent = chaos.arrived[f"/objects/{file.sha256}"]
        assert file.size_bytes <= sent <= file.size_bytes + 2 * PROBE_BYTES + SMALL_TENSORS_BYTES

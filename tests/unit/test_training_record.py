"""Records of trainings: the chain of checkpoints, and what is bounded."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from pydantic import ValidationError

from model_verify.canonical import loads
from model_verify.digest import CheckpointRoot
from model_verify.errors import MalformedJson
from model_verify.models import TrainingRecord
from model_verify.training_record import chain_link, chain_start, chained

BASE, FIRST, LAST = (CheckpointRoot(bytes([number]) * 32) for number in (1, 2, 3))


def test_the_chain_has_the_bytes_of_the_text() -> None:
    """The three literals were computed with `printf … | sha256sum`."""
    start = chain_start(BASE)
    assert start.hex == "cfbb050779a3b0919341790e1f75f7b648645d3d50f9a214eca105bb045fc4db"
    assert chain_link(start, 100, FIRST).hex == "81d6b8f0cebde3052e51b9f7087d1d3b73bf250211e3e12c27795d8b92142b34"
    assert (
        chain_link(chain_link(start, 100, FIRST), 2**53 - 1, LAST).hex
        == "8a49ff247c490a93b87ead3ffa951ed4535874fc6c452551b9819ff0d2110fa3"
    )


def test_the_chain_of_checkpoints_is_that_of_the_text_by_another_way() -> None:
    link = hashlib.sha256(b"model-attest/v1/training-start\n" + BASE.raw).digest()
    expected = []
    for step, root in ((0, BASE), (7, FIRST), (7, LAST)):
        parts = [b"model-attest/v1/training-checkpoint\n", link, step.to_bytes(8, "big"), root.raw]
        link = hashlib.sha256(b"".join(parts)).digest()
        expected.append((step, root, link.hex()))
    found = [
        (one.step, one.checkpoint_root, one.chain.hex) for one in chained(BASE, [(0, BASE), (7, FIRST), (7, LAST)])
    ]
    assert found == expected


def read(**members: Any) -> TrainingRecord:
    return TrainingRecord.read({"method": {"name": "full"}, **members})


@pytest.mark.parametrize(
    "members",
    [
        {"hyperparameters": {"x": 1.5}},
        {"hyperparameters": {"x": None}},
        {"hyperparameters": {"x": ["1"]}},
        {"hyperparameters": {"": "1"}},
        {"hyperparameters": {"x": 2**53}},
        {"hyperparameters": {"x": -(2**53)}},
        {"hyperparameters": {"x" * 129: "1"}},
        {"hyperparameters": dict.fromkeys(map(str, range(1025)), "1")},
        {"software": {"python": ""}},
        {"software": {"python": 3}},
        {"seeds": {"a": "01"}},
        {"seeds": {"a": "1" * 21}},
        {"seeds": {"a": "٣"}},
        {"data": [{"name": "x"}] * 1025},
        {"data": [{"name": "x", "rows": -1}]},
        {"data": {"name": "x"}},
        {"loss": {"logged": 1, "stride": 0, "points": []}},
        {"loss": {"logged": 1, "stride": 1, "points": [{"step": 1, "loss": "NaN"}]}},
        {"loss": {"logged": 1, "stride": 1, "points": [{"step": 1, "loss": "1e9999"}]}},
        {"loss": {"logged": 1, "stride": 1, "points": [{"step": True, "loss": "1"}]}},
        {"loss": {"logged": 1, "stride": 1, "points": [{"step": 1, "loss": "1" * 129}]}},
        {"checkpoints": [{"step": 1, "checkpointRoot": "sha256:" + "0" * 64}]},
        {"started": "2026-05-01T24:00:00Z"},
        {"started": "2026-13-01T00:00:00Z"},
        {"started": "2026-05-01 08:00:00Z"},
        {"started": "2026-05-01T08:00:00.5Z"},
        {"started": "２026-05-01T08:00:00Z"},
        {"method": {"name": "lora", "rank": 0, "alpha": "1", "targets": ["q"]}},
        {"method": {"name": "lora", "rank": 8, "alpha": 16, "targets": ["q"]}},
        {"method": {"name": "lora", "rank": 8, "alpha": "16", "targets": []}},
        {"hardware": {"devices": [{"name": "x", "count": 0}]}},
        {"code": {"commit": "main"}},
        {"code": {"script": {"path": "x"}}},
    ],
)
def test_what_is_of_another_form_or_size_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        read(**members)


def test_every_bound_can_be_reached() -> None:
    most = read(
        hyperparameters={f"{number:0128}": "x" * 4096 for number in range(2)} | {"least": -(2**53) + 1},
        software=dict.fromkeys(map(str, range(1024)), "1"),
        seeds={"a": "-1", "b": "18446744073709551615"},
        loss={"logged": 2**53 - 1, "stride": 1, "points": [{"step": 2**53 - 1, "loss": "-1e+300"}] * 1024},
        data=[{"name": "x" * 4096, "uri": "x" * 2048}] * 1024,
        code={"diff": "none", "commit": "a" * 64},
    )
    assert len(most.data or ()) == 1024


def test_a_lone_surrogate_does_not_get_as_far_as_a_record() -> None:
    with pytest.raises(MalformedJson, match="lone surrogate"):
        loads(b'{"hyperparameters": {"x": "\\ud800"}}', max_bytes=1 << 20)

"""Whether what a train step records of the training agrees with itself. Spec: pipeline §4.8 to §4.10.

Nothing here looks at weights: the roots on the way are the signer's word. The chain makes them one word: whoever
published a link of it while the training ran can show later that these were the checkpoints then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise

from model_verify.digest import ChainDigest, CheckpointRoot
from model_verify.models import RecordedCheckpoint, TrainingRecord, TrainStep

_START = b"model-attest/v1/training-start\n"
_CHECKPOINT = b"model-attest/v1/training-checkpoint\n"


def chain_start(trained: CheckpointRoot) -> ChainDigest:
    """Return the digest before the first link, given the root of what is trained. Spec: pipeline §4.9."""
    return ChainDigest(hashlib.sha256(_START + trained.raw).digest())


def chain_link(previous: ChainDigest, step: int, root: CheckpointRoot) -> ChainDigest:
    """Return the digest of the link for the weights `root` after `step` steps. Spec: pipeline §4.9."""
    return ChainDigest(hashlib.sha256(_CHECKPOINT + previous.raw + step.to_bytes(8, "big") + root.raw).digest())


def chained(trained: CheckpointRoot, checkpoints: Sequence[tuple[int, CheckpointRoot]]) -> list[RecordedCheckpoint]:
    """Return checkpoints, given by step and root, as a record lists them."""
    listed: list[RecordedCheckpoint] = []
    chain = chain_start(trained)
    for step, root in checkpoints:
        chain = chain_link(chain, step, root)
        listed.append(RecordedCheckpoint(step=step, checkpoint_root=root, chain=chain))
    return listed


def record_problems(step: TrainStep, trained: CheckpointRoot | None) -> Iterator[str]:
    """Yield how a step's record contradicts itself; `trained` is the root of what is trained, None if unknown."""
    record = step.record
    if record is None:
        return
    if record.objective == "distillation" and not step.teachers:
        yield "a distillation without a teacher"
    yield from _chain_problems(record, trained, step.output.checkpoint_root)
    yield from _order_problems(record)


def _chain_problems(record: TrainingRecord, trained: CheckpointRoot | None, output: CheckpointRoot) -> Iterator[str]:
    if not record.checkpoints:
        return
    if trained is not None:
        expected = chained(trained, [(one.step, one.checkpoint_root) for one in record.checkpoints])
        for position, (one, computed) in enumerate(zip(record.checkpoints, expected, strict=True), start=1):
            if one.chain != computed.chain:
                yield f"the chain does not compute at checkpoint {position}: {computed.chain}, not {one.chain}"
                break  # what follows rests on it
    last = record.checkpoints[-1]
    if last.checkpoint_root != output:
        yield f"the last checkpoint has the root {last.checkpoint_root}, the output {output}"


def _order_problems(record: TrainingRecord) -> Iterator[str]:
    steps = [one.step for one in record.checkpoints or ()]
    if any(one > other for one, other in pairwise(steps)):
        yield "the checkpoints are not in the order of their steps"
    if record.loss is not None:
        points = record.loss.points
        if any(one.step > other.step for one, other in pairwise(points)):
            yield "the loss curve is not in the order of its steps"
        if len(points) > record.loss.logged:
            yield f"the loss curve has {len(points)} of {record.loss.logged} points"
    moments = [record.started, *(one.at for one in record.resumed or ()), record.finished]
    known = [moment for moment in moments if moment is not None]
    if any(one > other for one, other in pairwise(known)):
        yield "the times are not in order"

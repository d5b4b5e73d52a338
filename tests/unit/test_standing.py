"""What the engine makes of kernels that are not fixed to the bit, and of those that need whole tensors."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from model_verify import merkle
from model_verify.binding import BoundStep
from model_verify.checkpoints import JobBoard, OpenCheckpoint
from model_verify.errors import OperationRefused
from model_verify.merge.backend import Backend, Blended
from model_verify.merge.kernel import Block, Buffer, Call, Opinion, Standing
from model_verify.merge.reference import NumpyBackend
from model_verify.models import MergekitStep
from model_verify.operations import Operand, Operation
from model_verify.outputs import Output, PlannedStep, compare_output, without_result
from model_verify.replay import Computed, Stored, TensorJob, run
from model_verify.tensors import CHUNK_BYTES, TensorInfo
from tests.unit.test_replay import CountingFile, floats

ONE = TensorInfo("t", "F32", (4,))


@dataclass
class Fake:
    """Copies its first operand with `add` in the lowest bits of every element; says what it is told to say."""

    add: int = 0
    whole: bool = False
    best: Standing = Standing.EXACT
    bounded: bool = False
    says: Standing = Standing.DIFFERENT
    refuses: bool = False

    def run(
        self, backend: Backend, operands: Sequence[Block], out: Block, *, expected: Buffer | None = None
    ) -> Blended:
        if self.refuses:
            raise OperationRefused("OPERAND_INVALID", "no result")
        self.seen = [block.shape for block in operands]
        bits = struct.unpack(f"<{len(out.data) // 4}I", operands[0].data)
        assert isinstance(out.data, memoryview)
        out.data[:] = struct.pack(f"<{len(bits)}I", *(value + self.add for value in bits))
        return Blended(True, expected is not None and bytes(out.data) == bytes(expected))

    def has_effect(self, backend: Backend, operands: Sequence[Block], position: int, out: Block) -> bool:
        return position == 0

    def judge(self, operands: Sequence[Block], out: Block, there: Block) -> Opinion:
        return Opinion(self.says, f"looked at {len(there.data)} bytes")


def compared(kernel: Fake, child: bytes, *, signed: bytes | None = None) -> tuple[str, list[str], list[str]]:
    """Return verdict, codes of differences and of notes for a step of one tensor whose output holds `child`."""
    parent = struct.pack("<4f", 1.0, 2.0, 3.0, 4.0)
    board = JobBoard()
    board.kernel = lambda call: kernel  # type: ignore[method-assign]
    opened = {
        node: OpenCheckpoint(node, {"t": Stored(node, ONE, CountingFile(data), 0)})
        for node, data in {"a": parent, "subject": child}.items()
    }
    for checkpoint in opened.values():
        board.add_checkpoint(checkpoint)
    bound = BoundStep({"t": Operation(ONE, (Operand(0, ONE),), Call("p", "m", "F32"))}, ())
    board.add_step("step:s", bound, [("a", {"t": ONE})], compare_with=opened["subject"])
    result = run(board.jobs(), backend=NumpyBackend())
    root = merkle.tensor_root(merkle.chunk_leaves(child if signed is None else signed))
    output = Output(opened["subject"], {"t": ONE}, {"t": root}, None)
    step = MergekitStep.model_construct(id="s", type="merge", inputs=["a"])
    planned = PlannedStep(step, bound, output, board)
    assert not without_result(planned, result)
    found = compare_output(planned, output, result)
    return found.verdict, [f.code for f in found.differences], [f.code for f in found.notes]


PARENT = struct.pack("<4f", 1.0, 2.0, 3.0, 4.0)
OTHER = struct.pack("<4f", 1.0, 2.0, 3.0, 5.0)


def test_equal_bits_are_reproduced_whatever_the_method() -> None:
    assert compared(Fake(bounded=True, says=Standing.WITHIN), PARENT) == ("reproduced", [], [])


def test_other_bits_are_within_where_the_kernel_says_so() -> None:
    assert compared(Fake(1, bounded=True, says=Standing.WITHIN), PARENT) == ("reproduced-within", [], ["REPLAY_WITHIN"])


def test_other_bits_beyond_the_bound_are_a_mismatch() -> None:
    kernel = Fake(1, bounded=True, says=Standing.DIFFERENT)
    assert compared(kernel, PARENT)[1] == ["REPLAY_MISMATCH"]


def test_a_kernel_that_is_fixed_to_the_bit_has_no_say() -> None:
    assert compared(Fake(1), PARENT)[1] == ["REPLAY_MISMATCH"]


def test_what_was_altered_after_signing_is_no_ground_for_an_opinion() -> None:
    for says in (Standing.WITHIN, Standing.DIFFERENT):
        assert compared(Fake(1, bounded=True, says=says), OTHER, signed=PARENT) == ("unchecked", [], [])


def test_examined_output_is_attested_and_never_reproduced() -> None:
    kernel = Fake(best=Standing.EXAMINED, says=Standing.EXAMINED)
    assert compared(kernel, PARENT) == ("attested", [], ["OUTPUT_EXAMINED"])
    assert compared(kernel, OTHER, signed=PARENT) == ("unchecked", [], [])


def test_examined_output_that_cannot_be_is_a_mismatch() -> None:
    kernel = Fake(best=Standing.EXAMINED, says=Standing.DIFFERENT)
    assert compared(kernel, PARENT)[1] == ["REPLAY_MISMATCH"]


def test_whole_tensors_are_handed_over_whole_and_in_their_shapes() -> None:
    elements = CHUNK_BYTES
    info = TensorInfo("t", "F32", (4, elements // 4))
    data = floats(elements, 1, "F32")
    kernel = Fake(whole=True)
    stored = Stored("a", info, CountingFile(data), 0)
    job = TensorJob((stored,), (Computed("s", info, (stored.key,), kernel),), whole=True)
    result = run([job], backend=NumpyBackend())
    assert kernel.seen == [(4, elements // 4)]
    for node in ("a", "s"):
        assert merkle.split_leaves(result.tensors[node, "t"].leaves) == merkle.chunk_leaves(data)
    assert result.bytes_read == len(data)


def test_stretches_are_handed_over_as_a_row_of_elements() -> None:
    info = TensorInfo("t", "F32", (2, 2))
    kernel = Fake()
    stored = Stored("a", info, CountingFile(PARENT), 0)
    run([TensorJob((stored,), (Computed("s", info, (stored.key,), kernel),))], backend=NumpyBackend())
    assert kernel.seen == [(4,)]


def test_a_method_without_a_result_is_noted_and_nothing_is_computed_from_it() -> None:
    stored = Stored("a", ONE, CountingFile(PARENT), 0)
    refused = Computed("s", ONE, (stored.key,), Fake(refuses=True))
    later = Fake()
    job = TensorJob((stored,), (refused, Computed("l", ONE, (refused.key,), later)))
    result = run([job], backend=NumpyBackend())
    assert result.tensors["s", "t"].refused == "no result"
    assert not hasattr(later, "seen")
    sink = Computed("s", ONE, (stored.key,), Fake(refuses=True), sink=lambda *_: None)
    with pytest.raises(OperationRefused, match="no result"):
        run([TensorJob((stored,), (sink,))], backend=NumpyBackend())


def test_an_operand_may_have_another_name_and_serve_twice() -> None:
    board = JobBoard()
    stored = {name: Stored("a", TensorInfo(name, "F32", (4,)), CountingFile(PARENT), 0) for name in ("x", "y")}
    board.add_checkpoint(OpenCheckpoint("a", stored))
    for name in ("layers.1", "layers.2"):
        board.add_computed(Computed("s", TensorInfo(name, "F32", (4,)), (("a", "x"),)))
    jobs = board.jobs()
    assert sorted(len(job.stored) + len(job.computed) for job in jobs) == [1, 3]
    result = run(jobs, backend=None)
    leaves = [bytes(result.tensors["s", name].leaves) for name in ("layers.1", "layers.2")]
    assert leaves == [bytes(result.tensors["a", "x"].leaves)] * 2
    assert result.bytes_read == 32

"""The outputs of steps: where they are at hand, and how a replayed one stands to what is there.

Spec: pipeline §2.2, §5; verification V11.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from model_verify import merkle
from model_verify.binding import BoundStep
from model_verify.checkpoints import JobBoard, OpenCheckpoint
from model_verify.digest import TensorRoot
from model_verify.findings import Finding
from model_verify.merge.kernel import Standing
from model_verify.models import ManifestWeightSet, ReplayedStep
from model_verify.operations import Operation
from model_verify.replay import ReplayResult, TensorResult
from model_verify.report import StepVerdict
from model_verify.tensors import TensorInfo, described

STANDING_VERDICTS: tuple[StepVerdict, ...] = ("reproduced", "reproduced-within", "attested", "unsupported")
"""On a step whose output later steps may build on, where the output itself is at hand."""
_ORDER = (*STANDING_VERDICTS, "unchecked")
"""From the strongest verdict on a replayed step to the weakest; *contradicted* stands apart."""


@dataclass(frozen=True, slots=True)
class Output:
    """The output of a step as it is at hand: in a weight set of the folder, or in a folder that the caller gave.

    `infos` and `signed_roots` are those of the manifest; `signed_roots` is None for what the caller gave, whose tensors
    are as declared where its checkpoint root is. `weight_set` is then None too.
    """

    checkpoint: OpenCheckpoint
    infos: Mapping[str, TensorInfo]
    signed_roots: Mapping[str, TensorRoot] | None
    weight_set: ManifestWeightSet | None

    @property
    def node(self) -> str:
        return self.checkpoint.node


@dataclass(slots=True)
class PlannedStep:
    """A step that is computed again."""

    step: ReplayedStep
    bound: BoundStep
    output: Output | None
    board: JobBoard

    @property
    def node(self) -> str:
        return f"step:{self.step.id}"

    @property
    def is_examined(self) -> bool:
        """Whether it has operations that cannot be computed, because random numbers went in."""
        return any(self._best(operation) is Standing.EXAMINED for operation in self.bound.operations.values())

    @property
    def is_bounded(self) -> bool:
        """Whether it has operations whose method is not fixed to the bit."""
        return any(not self.is_fixed(operation) for operation in self.bound.operations.values())

    def is_fixed(self, operation: Operation) -> bool:
        """Return whether the bits of an operation are fixed: they are reproduced, or the declaration is false."""
        if operation.call is None:
            return True
        kernel = self.board.kernel(operation.call)
        return kernel.best is Standing.EXACT and not kernel.bounded

    def _best(self, operation: Operation) -> Standing:
        return Standing.EXACT if operation.call is None else self.board.kernel(operation.call).best


@dataclass(slots=True)
class Comparison:
    """How a step's output stands to the one at hand; the verdict is that of its weakest tensor."""

    differences: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    verdict: StepVerdict = "reproduced"

    def lower(self, verdict: StepVerdict) -> None:
        self.verdict = max(self.verdict, verdict, key=_ORDER.index)


def compare_output(planned: PlannedStep, output: Output, result: ReplayResult) -> Comparison:
    """Return how the replayed tensors differ from the declared ones: names, dtypes, shapes, data.

    The data are compared by their roots with what was signed, so that an alteration after signing is none here.
    """
    out = Comparison()
    replayed, not_computed = planned.bound.outputs, planned.bound.not_computed
    for name, dtype in not_computed.items():
        declared, where = output.infos.get(name), f"{planned.step.id}: {name}"
        if declared is None or declared.dtype != dtype:
            out.differences.append(Finding("REPLAY_MISMATCH", where, described(declared), dtype))
        else:
            out.lower("unchecked")
            out.notes.append(Finding("TYPE_NOT_REPLAYED", where, actual=dtype))
    for name in sorted(
        (output.infos.keys() | replayed.keys()) - not_computed.keys(), key=lambda name: name.encode("utf-8")
    ):
        declared, given = output.infos.get(name), replayed.get(name)
        where = f"{planned.step.id}: {name}"
        if declared is None or given is None or declared != given:
            out.differences.append(Finding("REPLAY_MISMATCH", where, described(declared), described(given)))
            continue
        tensor = result.tensors[planned.node, name]
        there = result.tensors.get((output.node, name))
        root = declared_root(output, name, there)
        if tensor.standing is not Standing.EXAMINED and root_of(tensor) == root:
            continue
        as_declared = there is not None and there.info == declared and root_of(there) == root
        if not as_declared and not planned.is_fixed(planned.bound.operations[name]):
            out.lower("unchecked")  # the kernel's opinion is one on other bytes than those declared
            continue
        match tensor.standing:
            case Standing.WITHIN:
                out.lower("reproduced-within")
                out.notes.append(Finding("REPLAY_WITHIN", where, actual=_opinion(tensor)))
            case Standing.EXAMINED:
                out.lower("attested")
                out.notes.append(Finding("OUTPUT_EXAMINED", where, actual=_opinion(tensor)))
                if tensor.warning:
                    out.notes.append(Finding("MASK_UNLIKELY", where, actual=tensor.warning))
            case _:
                details = _opinion(tensor) or root_of(tensor).text
                out.differences.append(Finding("REPLAY_MISMATCH", where, root.text, details))
    return out


def declared_root(output: Output, name: str, there: TensorResult | None) -> TensorRoot:
    """Return the root that a tensor of an output was declared with."""
    if output.signed_roots is not None:
        return output.signed_roots[name]
    assert there is not None  # what the caller gave was read whole
    return root_of(there)


def without_result(planned: PlannedStep, result: ReplayResult) -> list[Finding]:
    """Return the tensors for which the arithmetic has no result, and why."""
    found: list[Finding] = []
    for name in () if planned.bound.findings else planned.bound.operations:
        tensor = result.tensors[planned.node, name]
        where = f"{planned.step.id}: {name}"
        if tensor.refused:
            found.append(Finding("OPERAND_INVALID", where, actual=tensor.refused))
        elif not tensor.finite:
            code = "NONFINITE_INPUT" if tensor.nonfinite_inputs else "NONFINITE_OUTPUT"
            parents = ", ".join(sorted({node.split(":", 1)[1] for node, _ in tensor.nonfinite_inputs}))
            found.append(Finding(code, where, "finite values", parents))
    return found


def root_of(tensor: TensorResult) -> TensorRoot:
    """Return the root of a tensor that was read or computed."""
    return merkle.tensor_root(merkle.split_leaves(tensor.leaves))


def _opinion(tensor: TensorResult) -> str:
    difference = "" if tensor.difference is None else str(tensor.difference)
    return "; ".join(part for part in (difference, tensor.opinion) if part)

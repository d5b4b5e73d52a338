"""Materials, data of tensors, and steps: one streamed read of everything, and what follows from it.

Spec: verification V8 (roots), V10, V11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Literal

from model_verify import merkle
from model_verify.binding import BoundStep, bind_step
from model_verify.checkpoints import JobBoard, OpenCheckpoint, open_checkpoint
from model_verify.digest import CheckpointRoot, TensorRoot
from model_verify.errors import BackendUnavailable, CallerError, MalformedInput
from model_verify.findings import Finding, Severity, limited
from model_verify.manifest import infos, leaf_tensors, primary
from model_verify.merge.backend import CheckedBackend
from model_verify.merge.kernel import Call, Standing
from model_verify.merge.selection import select_backend
from model_verify.models import Manifest, ManifestWeightSet, Material, ReplayedStep, TrainStep
from model_verify.pipeline import Pipeline, Step, UnsupportedStep, main_step, output_root
from model_verify.replay import ReplayResult, TensorResult, run
from model_verify.report import ReportCandidate, ReportCoverage, ReportMaterial, ReportStep, StepVerdict
from model_verify.sources.source import Source
from model_verify.tensors import CHUNK_BYTES, TensorInfo, described
from model_verify.training import TrainingTrial, judge_training, plan_training
from model_verify.weight_sets import read_weight_sets
from model_verify.weights import StoredTensor, WeightFile

SUBJECT = "subject"

MaterialStatus = Literal["matched", "mismatched", "malformed", "missing", "unchecked"]


@dataclass(frozen=True, slots=True)
class Case:
    """What is to be judged, and with what."""

    source: Source
    manifest: Manifest
    pipeline: Pipeline
    tensors: Mapping[str, Mapping[str, StoredTensor]]
    """By set prefix: tensors that are there as signed, data not yet read."""
    weight_files: Mapping[str, WeightFile]
    structure_is_as_signed: bool
    """Whether V8 found nothing about the weight files before their data were read."""
    signed_leaves: memoryview | None
    parents: Mapping[str, Source]
    candidates: Sequence[Source]
    device: str
    threads: int | None
    progress: Callable[[int], None] | None


@dataclass(slots=True)
class Judgement:
    findings: list[Finding] = field(default_factory=list)
    materials: list[ReportMaterial] = field(default_factory=list)
    candidates: list[ReportCandidate] = field(default_factory=list)
    steps: list[ReportStep] = field(default_factory=list)
    coverage: ReportCoverage | None = None
    every_tensor_hashed: bool = False
    """Of all safetensors sets: the data of each signed tensor were read, under the dtype and shape that were signed."""
    device: str | None = None
    bytes_read: int = 0


def judge(case: Case) -> Judgement:
    """Return what the weights say of themselves, of the materials and of every step. Raises `SourceError`."""
    with ExitStack() as stack:
        return _Judge(case, stack).judge()


@dataclass(slots=True)
class _Planned:
    """A step that is computed again, and the weight set that holds its output; None where that is not published."""

    step: ReplayedStep
    bound: BoundStep
    weight_set: ManifestWeightSet | None

    @property
    def node(self) -> str:
        return f"step:{self.step.id}"


class _Judge:
    def __init__(self, case: Case, stack: ExitStack) -> None:
        self.case = case
        self.stack = stack
        self.out = Judgement()
        self.board = JobBoard()
        self.main_step = main_step(case.pipeline.steps)
        self.runs_steps = not any(f.severity is Severity.FAIL for f in case.pipeline.findings)
        self.signed = infos(primary(case.manifest))
        self.subject_root = primary(case.manifest).checkpoint_root
        self.sets: dict[str, OpenCheckpoint] = {}
        self.materials: dict[str, OpenCheckpoint] = {}
        self.material_status: dict[str, MaterialStatus] = {}
        self.nodes: dict[str, tuple[str, dict[str, TensorInfo]]] = {}
        """Material or step -> the engine's node and its tensors, where they are at hand."""
        self.planned: dict[str, _Planned] = {}
        self.trials: dict[str, TrainingTrial] = {}
        self.verdicts: dict[str, StepVerdict] = {}
        self.backend: CheckedBackend | None = None
        self.published_sets: dict[str, str] = {}
        """Step -> the prefix of the weight set that holds its output."""
        self.set_holds: dict[str, bool] = {}
        """By prefix: whether every tensor of a set is as signed, data included."""

    def judge(self) -> Judgement:
        self.open_subject()
        self.open_materials()
        candidates = self.open_candidates()
        for step in self.case.pipeline.steps if self.runs_steps else ():
            self.plan(step, candidates)
        result = run(self.board.jobs(), backend=self.backend, threads=self.case.threads, progress=self.case.progress)
        self.out.bytes_read = result.bytes_read
        self.out.device = self.backend.name if self.backend else None
        self.compare_subject(result)
        self.compare_materials(result)
        for label, candidate in candidates.items():
            root = result.checkpoint_root(candidate.node)
            self.out.candidates.append(ReportCandidate(label=label, root=root))
        for step in self.case.pipeline.steps:
            self.judge_step(step, result)
        self.out.coverage = self.cover(result)
        return self.out

    # V8, V10: what is read.

    def set_node(self, prefix: str) -> str:
        return SUBJECT if prefix == primary(self.case.manifest).prefix else f"set:{prefix}"

    def open_subject(self) -> None:
        for prefix, tensors in self.case.tensors.items():
            node = self.set_node(prefix)
            self.sets[prefix] = open_checkpoint(node, self.case.source, tensors, self.case.weight_files, self.stack)
            self.board.add_checkpoint(self.sets[prefix])

    def open_materials(self) -> None:
        for material in self.case.pipeline.materials:
            name = material.name
            if not self.runs_steps:
                self.material_status[name] = "unchecked"
            elif name not in self.case.parents:
                self.material_status[name] = "missing"
                self.out.findings.append(Finding("MATERIAL_MISSING", name, material.digest.checkpoint_root.text))
            else:
                self.open_material(name, self.case.parents[name])

    def open_material(self, name: str, source: Source) -> None:
        try:
            weights = read_weight_sets(source)
            tensors = _by_name(weights.require().tensors)
        except MalformedInput as error:
            self.material_status[name] = "malformed"
            self.out.findings.append(Finding("MATERIAL_MALFORMED", name, error.rule, str(error)))
            return
        checkpoint = open_checkpoint(f"material:{name}", source, tensors, weights.files, self.stack)
        self.materials[name] = checkpoint
        self.board.add_checkpoint(checkpoint)
        self.nodes[name] = (checkpoint.node, checkpoint.infos)

    def open_candidates(self) -> dict[str, OpenCheckpoint]:
        """Return the candidates by label, where a train step will be held against them. Raises `CallerError`."""
        opened: dict[str, OpenCheckpoint] = {}
        if self.runs_steps and any(isinstance(step, TrainStep) for step in self.case.pipeline.steps):
            for position, source in enumerate(self.case.candidates, start=1):
                weights = read_weight_sets(source)
                try:
                    tensors = _by_name(weights.require().tensors)
                except MalformedInput as error:
                    raise CallerError(f"candidate {source.label}: {error}") from error
                checkpoint = open_checkpoint(f"candidate:{position}", source, tensors, weights.files, self.stack)
                opened[f"candidate {position}"] = checkpoint
                self.board.add_checkpoint(checkpoint)
        return opened

    # V11: what is computed.

    def plan(self, step: Step, candidates: Mapping[str, OpenCheckpoint]) -> None:
        published = self.published_set(step)
        if all(name in self.nodes for name in step.inputs) and self.find_backend(step):
            self.plan_known(step, candidates)
        names_set = published is not None and (step.output.weight_set is not None or step is self.main_step)
        if (
            published is not None
            and (names_set or step.id not in self.nodes)
            and self.case.structure_is_as_signed
            and published.prefix in self.sets
        ):
            # Later steps work on what was published, which the manifest fixes, whatever this step's verdict will be.
            checkpoint = self.sets[published.prefix]
            self.nodes[step.id] = (checkpoint.node, checkpoint.infos)
            self.published_sets[step.id] = published.prefix

    def plan_known(self, step: Step, candidates: Mapping[str, OpenCheckpoint]) -> None:
        match step:
            case UnsupportedStep():
                pass
            case TrainStep() if output_root(step) != self.subject_root or not self.case.structure_is_as_signed:
                pass
            case TrainStep():
                others = {name: c for name, c in self.materials.items() if name not in step.inputs} | dict(candidates)
                assert self.backend is not None
                subject = self.sets[primary(self.case.manifest).prefix]
                before = self.materials.get(step.inputs[0])
                node, tensors = self.nodes[step.inputs[0]]
                self.trials[step.id] = plan_training(
                    step, node, tensors, before, subject, others, self.board, self.backend
                )
            case _:
                self.plan_replay(step)

    def find_backend(self, step: Step) -> bool:
        if isinstance(step, UnsupportedStep):
            return False
        if self.backend is None:
            try:
                self.backend = select_backend(self.case.device)
            except BackendUnavailable as error:
                self.out.findings.append(Finding("NO_MERGE_BACKEND", step.id, "its software", error.message))
                return False
        return True

    def plan_replay(self, step: ReplayedStep) -> None:
        """Put every operation of a step on the board; its output is at hand for later steps where it is computed."""
        inputs = [self.nodes[name] for name in step.inputs]
        bound = bind_step(step, [tensors for _, tensors in inputs])
        planned = _Planned(step, bound, self.published_set(step))
        if not bound.findings:
            there = None if planned.weight_set is None else self.sets[planned.weight_set.prefix]
            try:
                self.board.add_step(planned.node, bound, inputs, compare_with=there)
            except BackendUnavailable as error:
                self.out.findings.append(Finding("NO_MERGE_BACKEND", step.id, "its software", error.message))
                return
            if not self.examined(bound):
                self.nodes[step.id] = (planned.node, bound.outputs)
        self.planned[step.id] = planned

    def examined(self, bound: BoundStep) -> bool:
        """Return whether a step has operations that cannot be computed, because random numbers went in."""
        calls = {id(o.call): o.call for o in bound.operations.values() if o.call is not None}
        return any(self.board.kernel(call).best is Standing.EXAMINED for call in calls.values())

    def published_set(self, step: Step) -> ManifestWeightSet | None:
        """Return the weight set of the manifest that holds the output of a step."""
        main = primary(self.case.manifest)
        prefix = step.output.weight_set
        if prefix is None:
            return main if output_root(step) == self.subject_root else None
        return next(weight_set for weight_set in self.case.manifest.weight_sets if weight_set.prefix == prefix)

    # V8, V10: roots.

    def compare_subject(self, result: ReplayResult) -> None:
        place = 0
        found: list[Finding] = []
        self.out.every_tensor_hashed = True
        self.set_holds = dict.fromkeys(self.sets, True)
        for prefix, info, signed_root in leaf_tensors(self.case.manifest):
            size = merkle.LEAF_BYTES * info.chunk_count
            signed = None if self.case.signed_leaves is None else self.case.signed_leaves[place : place + size]
            place += size
            there = result.tensors.get((self.set_node(prefix), info.name))
            if there is None or there.info != info:
                self.out.every_tensor_hashed = self.set_holds[prefix] = False
                continue
            if _root(there.leaves) == signed_root:
                continue
            self.set_holds[prefix] = False
            path = self.case.tensors[prefix][info.name].path
            details = self.replayed_difference(prefix, info.name, signed_root, result)
            details = details or _chunks(there.leaves, signed)
            found.append(Finding("TENSOR_MISMATCH", f"{path}: {info.name}", signed_root.text, details))
        self.out.findings += limited(found)

    def replayed_difference(self, prefix: str, name: str, signed_root: TensorRoot, result: ReplayResult) -> str | None:
        """Return how the tensor differs from the signed one, where a replay gives the signed one."""
        for planned in self.planned.values():
            replayed = result.tensors.get((planned.node, name))
            if planned.weight_set is None or planned.weight_set.prefix != prefix:
                continue
            if replayed is None or replayed.difference is None:
                continue
            if _root(replayed.leaves) == signed_root:
                return str(replayed.difference)
        return None

    def compare_materials(self, result: ReplayResult) -> None:
        for material in self.case.pipeline.materials:
            actual: CheckpointRoot | None = None
            if material.name in self.materials:
                actual = result.checkpoint_root(f"material:{material.name}")
                matches = actual == material.digest.checkpoint_root
                self.material_status[material.name] = "matched" if matches else "mismatched"
                if not matches:
                    roots = (material.digest.checkpoint_root.text, actual.text)
                    self.out.findings.append(Finding("MATERIAL_MISMATCH", material.name, *roots))
            self.out.materials.append(_report_material(material, self.material_status[material.name], actual))

    # V11: verdicts.

    def judge_step(self, step: Step, result: ReplayResult) -> None:
        verdict: StepVerdict = "unchecked"
        tensors = moved = elements = None
        trials = []
        ready = self.runs_steps and all(self.input_holds(name) for name in step.inputs)
        if self.runs_steps and isinstance(step, UnsupportedStep):
            verdict = "unsupported"
        elif ready and step.id in self.planned:
            verdict = self.judge_replay(self.planned[step.id], result)
            tensors = len(self.planned[step.id].bound.operations)
        elif ready and step.id in self.trials and self.set_holds[primary(self.case.manifest).prefix]:
            judged = judge_training(self.trials[step.id], result, self.out.candidates, output_root(step))
            verdict, moved, elements, trials = judged.verdict, judged.moved, judged.elements, judged.trials
            self.out.findings += judged.findings
        elif ready and isinstance(step, TrainStep) and output_root(step) != self.subject_root:
            verdict = "attested"  # an output that nobody published: there is nothing to look at
        elif ready:
            missing = [name for name in step.inputs if name in self.verdicts and name not in self.nodes]
            self.out.findings += [Finding("INPUT_NOT_AVAILABLE", step.id, f"the output of {m}") for m in missing]
        self.verdicts[step.id] = verdict
        self.out.steps.append(
            ReportStep(
                id=step.id,
                type=step.type,
                profile=getattr(step, "profile", None),
                inputs=list(step.inputs),
                output_root=output_root(step),
                verdict=verdict,
                tensors=tensors,
                moved_elements=moved,
                elements=elements,
                trials=trials,
            )
        )

    def input_holds(self, name: str) -> bool:
        """Return whether an input is what the statement says it is."""
        if name in self.material_status:
            return self.material_status[name] == "matched"
        published = self.published_sets.get(name)
        if published is not None:
            return self.set_holds[published] and self.verdicts.get(name) in _STANDING
        return self.verdicts.get(name) in ("reproduced", "attested")

    def judge_replay(self, planned: _Planned, result: ReplayResult) -> StepVerdict:
        """Return the verdict on a step that was computed again. Spec: verification V11."""
        step = planned.step
        found = [*planned.bound.findings, *_without_result(planned, result)]
        notes: list[Finding] = []
        verdict: StepVerdict = "reproduced"
        if not found and planned.weight_set is not None:
            compared = self.compare_output(planned, planned.weight_set, result)
            found, notes, verdict = compared.differences, compared.notes, compared.verdict
        elif not found:
            verdict = self.judge_intermediate(planned, result)
        if found:
            self.out.findings += limited(found)
            return "contradicted"
        self.out.findings += limited(notes)
        if verdict == "unchecked":
            return verdict
        self.out.findings += [
            Finding("PARENT_NO_EFFECT", name)
            for name in step.inputs
            if (planned.node, self.nodes[name][0]) not in result.effective
        ]
        return verdict

    def judge_intermediate(self, planned: _Planned, result: ReplayResult) -> StepVerdict:
        """Return the verdict on a step whose output nobody published: only its root can be compared."""
        step = planned.step
        if self.examined(planned.bound):
            return "attested"  # nothing to look at
        actual = result.checkpoint_root(planned.node)
        if actual == output_root(step):
            return "reproduced"
        bounded = any(_is_bounded(self.board, operation.call) for operation in planned.bound.operations.values())
        code = "OUTPUT_NOT_AVAILABLE" if bounded else "REPLAY_MISMATCH"
        self.out.findings.append(Finding(code, step.id, output_root(step).text, actual.text))
        return "unchecked" if bounded else "contradicted"

    def compare_output(self, planned: _Planned, weight_set: ManifestWeightSet, result: ReplayResult) -> _Comparison:
        """Return how the replayed tensors differ from the signed ones: names, dtypes, shapes, data."""
        out = _Comparison()
        signed_infos, replayed = infos(weight_set), planned.bound.outputs
        roots = {tensor.name: tensor.root for tensor in weight_set.tensors or ()}
        for name in sorted(signed_infos.keys() | replayed.keys(), key=lambda name: name.encode("utf-8")):
            signed, given = signed_infos.get(name), replayed.get(name)
            where = f"{planned.step.id}: {name}"
            if signed is None or given is None or signed != given:
                out.differences.append(Finding("REPLAY_MISMATCH", where, described(signed), described(given)))
                continue
            tensor = result.tensors[planned.node, name]
            if tensor.standing is not Standing.EXAMINED and _root(tensor.leaves) == roots[name]:
                continue
            there = result.tensors.get((self.set_node(weight_set.prefix), name))
            as_signed = there is not None and there.info == signed and _root(there.leaves) == roots[name]
            match tensor.standing:
                case Standing.WITHIN | Standing.EXAMINED if not as_signed:
                    out.lower("unchecked")  # V8 says what is wrong there; the opinion is one on other bytes
                case Standing.WITHIN:
                    out.lower("reproduced-within")
                    out.notes.append(Finding("REPLAY_WITHIN", where, actual=_opinion(tensor)))
                case Standing.EXAMINED:
                    out.lower("attested")
                    out.notes.append(Finding("MASK_EXAMINED", where, actual=_opinion(tensor)))
                case _:
                    details = _opinion(tensor) or _root(tensor.leaves).text
                    out.differences.append(Finding("REPLAY_MISMATCH", where, roots[name].text, details))
        return out

    def cover(self, result: ReplayResult) -> ReportCoverage:
        main = primary(self.case.manifest)
        node = next((p.node for p in self.planned.values() if p.weight_set is main and not p.bound.findings), None)
        roots = {tensor.name: tensor.root for tensor in main.tensors or ()}
        hashed = [info for name, info in self.signed.items() if (SUBJECT, name) in result.tensors]
        again = [
            info
            for name, info in self.signed.items()
            if node is not None
            and (node, name) in result.tensors
            and result.tensors[node, name].standing is not Standing.EXAMINED
            and _root(result.tensors[node, name].leaves) == roots[name]
        ]
        return ReportCoverage(
            tensors=len(self.signed),
            tensors_hashed=len(hashed),
            tensors_reproduced=len(again),
            bytes=sum(info.size_bytes for info in self.signed.values()),
            bytes_hashed=sum(info.size_bytes for info in hashed),
            bytes_reproduced=sum(info.size_bytes for info in again),
        )


def _by_name(tensors: Sequence[StoredTensor]) -> dict[str, StoredTensor]:
    return {tensor.info.name: tensor for tensor in tensors}


def _root(leaves: bytearray) -> TensorRoot:
    return merkle.tensor_root(merkle.split_leaves(leaves))


def _chunks(there: bytearray, signed: memoryview | None) -> str:
    """Return which chunks of a tensor differ from the signed leaves, as text."""
    if signed is None or len(signed) != len(there):
        return _root(there).text
    differing = [
        i
        for i, (a, b) in enumerate(zip(merkle.split_leaves(there), merkle.split_leaves(signed), strict=True))
        if a != b
    ]
    if not differing:
        return _root(there).text
    first = differing[0] * CHUNK_BYTES
    count = f"{len(differing)} of {len(there) // merkle.LEAF_BYTES} chunks differ"
    return f"{count}, the first at bytes {first} to {first + CHUNK_BYTES - 1}"


_STANDING: tuple[StepVerdict, ...] = ("reproduced", "reproduced-within", "attested")
_ORDER = (*_STANDING, "unchecked")
"""From the strongest verdict on a replayed step to the weakest; *contradicted* stands apart."""


@dataclass(slots=True)
class _Comparison:
    """How a step's output stands to the signed one; the verdict is that of its weakest tensor."""

    differences: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    verdict: StepVerdict = "reproduced"

    def lower(self, verdict: StepVerdict) -> None:
        self.verdict = max(self.verdict, verdict, key=_ORDER.index)


def _without_result(planned: _Planned, result: ReplayResult) -> list[Finding]:
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


def _is_bounded(board: JobBoard, call: Call | None) -> bool:
    return call is not None and board.kernel(call).bounded


def _opinion(tensor: TensorResult) -> str:
    difference = "" if tensor.difference is None else str(tensor.difference)
    return "; ".join(part for part in (difference, tensor.opinion) if part)


def _report_material(material: Material, status: MaterialStatus, actual: CheckpointRoot | None) -> ReportMaterial:
    return ReportMaterial(
        id=material.name,
        uri=material.uri,
        root=material.digest.checkpoint_root,
        status=status,
        actual_root=actual if status == "mismatched" else None,
    )

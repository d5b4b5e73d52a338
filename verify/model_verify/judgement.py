"""Materials, data of tensors, and steps: one streamed read of everything, and what follows from it.

Spec: verification V8 (roots), V10, V11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Literal

from model_verify import merkle
from model_verify.checkpoints import JobBoard, OpenCheckpoint, open_checkpoint
from model_verify.digest import CheckpointRoot, TensorRoot
from model_verify.errors import BackendUnavailable, CallerError, MalformedInput
from model_verify.findings import Finding, Severity, limited
from model_verify.manifest import infos, leaf_tensors, primary
from model_verify.merge.backend import CheckedBackend
from model_verify.merge.selection import select_backend
from model_verify.models import Manifest, Material, MergeStep, TrainStep
from model_verify.pipeline import BoundMerge, Pipeline, Step, bind_merge, output_root
from model_verify.replay import ReplayResult, run
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
class _PlannedMerge:
    step: MergeStep
    bound: BoundMerge
    is_subject: bool


class _Judge:
    def __init__(self, case: Case, stack: ExitStack) -> None:
        self.case = case
        self.stack = stack
        self.out = Judgement()
        self.board = JobBoard()
        self.runs_steps = not any(f.severity is Severity.FAIL for f in case.pipeline.findings)
        self.signed = infos(primary(case.manifest))
        self.subject_root = primary(case.manifest).checkpoint_root
        self.sets: dict[str, OpenCheckpoint] = {}
        self.materials: dict[str, OpenCheckpoint] = {}
        self.material_status: dict[str, MaterialStatus] = {}
        self.nodes: dict[str, tuple[str, dict[str, TensorInfo]]] = {}
        """Material or step -> the engine's node and its tensors, where they are at hand."""
        self.merges: dict[str, _PlannedMerge] = {}
        self.trials: dict[str, TrainingTrial] = {}
        self.verdicts: dict[str, StepVerdict] = {}
        self.backend: CheckedBackend | None = None
        self.subject_holds = False
        """Whether every tensor of the primary set is as signed, data included."""

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

    def open_subject(self) -> None:
        main = primary(self.case.manifest).prefix
        for prefix, tensors in self.case.tensors.items():
            node = SUBJECT if prefix == main else f"set:{prefix}"
            self.sets[prefix] = open_checkpoint(node, self.case.source, tensors, self.case.weight_files, self.stack)
            if prefix == main:
                self.board.add_checkpoint(self.sets[prefix])
            else:
                self.board.add_apart(self.sets[prefix])

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
        if not all(name in self.nodes for name in step.inputs) or not isinstance(step, MergeStep | TrainStep):
            return
        if not self.find_backend(step.id):
            return
        is_subject = output_root(step) == self.subject_root
        match step:
            case MergeStep():
                self.plan_merge(step, is_subject)
            case TrainStep() if is_subject and self.case.structure_is_as_signed:
                others = {name: c for name, c in self.materials.items() if name not in step.inputs} | dict(candidates)
                assert self.backend is not None
                subject = self.sets[primary(self.case.manifest).prefix]
                before = self.materials.get(step.inputs[0])
                node, tensors = self.nodes[step.inputs[0]]
                self.trials[step.id] = plan_training(
                    step, node, tensors, before, subject, others, self.board, self.backend
                )

    def find_backend(self, step_id: str) -> bool:
        if self.backend is None:
            try:
                self.backend = select_backend(self.case.device)
            except BackendUnavailable as error:
                self.out.findings.append(Finding("NO_MERGE_BACKEND", step_id, "its software", error.message))
                return False
        return True

    def plan_merge(self, step: MergeStep, is_subject: bool) -> None:
        inputs = [self.nodes[name] for name in step.inputs]
        bound = bind_merge(step, [tensors for _, tensors in inputs])
        self.merges[step.id] = _PlannedMerge(step, bound, is_subject)
        if bound.findings:
            return
        node = f"step:{step.id}"
        subject = self.sets[primary(self.case.manifest).prefix] if is_subject else None
        self.board.add_merge(node, bound, inputs, compare_with=subject)
        self.nodes[step.id] = (node, bound.outputs)

    # V8, V10: roots.

    def compare_subject(self, result: ReplayResult) -> None:
        main = primary(self.case.manifest).prefix
        place = 0
        found: list[Finding] = []
        self.out.every_tensor_hashed = self.subject_holds = True
        for prefix, info, signed_root in leaf_tensors(self.case.manifest):
            size = merkle.LEAF_BYTES * info.chunk_count
            signed = None if self.case.signed_leaves is None else self.case.signed_leaves[place : place + size]
            place += size
            node = SUBJECT if prefix == main else f"set:{prefix}"
            there = result.tensors.get((node, info.name))
            if there is None or there.info != info:
                self.out.every_tensor_hashed = False
                self.subject_holds = self.subject_holds and prefix != main
                continue
            if _root(there.leaves) == signed_root:
                continue
            self.subject_holds = self.subject_holds and prefix != main
            path = self.case.tensors[prefix][info.name].path
            details = self.replayed_difference(info.name, signed_root, result) or _chunks(there.leaves, signed)
            found.append(Finding("TENSOR_MISMATCH", f"{path}: {info.name}", signed_root.text, details))
        self.out.findings += limited(found)

    def replayed_difference(self, name: str, signed_root: TensorRoot, result: ReplayResult) -> str | None:
        """Return how the tensor differs from the signed one, where a replay gives the signed one."""
        for step_id, merge in self.merges.items():
            replayed = result.tensors.get((f"step:{step_id}", name))
            if not merge.is_subject or replayed is None or replayed.difference is None:
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
        if self.runs_steps and not isinstance(step, MergeStep | TrainStep):
            verdict = "unsupported"
        elif ready and step.id in self.merges:
            verdict = self.judge_merge(self.merges[step.id], result)
            tensors = len(self.merges[step.id].bound.operations)
        elif ready and step.id in self.trials and self.subject_holds:
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
                profile=step.profile if isinstance(step, MergeStep) else None,
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
        return self.material_status.get(name) == "matched" or self.verdicts.get(name) in ("reproduced", "attested")

    def judge_merge(self, merge: _PlannedMerge, result: ReplayResult) -> StepVerdict:
        if merge.bound.findings:
            self.out.findings += limited(merge.bound.findings)
            return "contradicted"
        node = f"step:{merge.step.id}"
        found = _nonfinite(merge, result)
        if not found:
            found = self.subject_differences(merge, result) if merge.is_subject else []
            actual = result.checkpoint_root(node)
            if not merge.is_subject and actual != output_root(merge.step):
                found.append(Finding("REPLAY_MISMATCH", merge.step.id, output_root(merge.step).text, actual.text))
        if found:
            self.out.findings += limited(found)
            return "contradicted"
        sources = {node: name for name, (node, _) in self.nodes.items()}
        effective = {sources[source] for step_node, source in result.effective if step_node == node}
        self.out.findings += [Finding("PARENT_NO_EFFECT", name) for name in merge.step.inputs if name not in effective]
        return "reproduced"

    def subject_differences(self, merge: _PlannedMerge, result: ReplayResult) -> list[Finding]:
        """Return how the replayed tensors differ from the signed ones: names, dtypes, shapes, data."""
        found: list[Finding] = []
        replayed = merge.bound.outputs
        roots = {tensor.name: tensor.root for tensor in primary(self.case.manifest).tensors or ()}
        for name in sorted(self.signed.keys() | replayed.keys(), key=lambda name: name.encode("utf-8")):
            signed, given = self.signed.get(name), replayed.get(name)
            where = f"{merge.step.id}: {name}"
            if signed is None or given is None or signed != given:
                found.append(Finding("REPLAY_MISMATCH", where, described(signed), described(given)))
                continue
            tensor = result.tensors[f"step:{merge.step.id}", name]
            root = _root(tensor.leaves)
            if root != roots[name]:
                details = str(tensor.difference) if tensor.difference else root.text
                found.append(Finding("REPLAY_MISMATCH", where, roots[name].text, details))
        return found

    def cover(self, result: ReplayResult) -> ReportCoverage:
        node = next((f"step:{i}" for i, m in self.merges.items() if m.is_subject and not m.bound.findings), None)
        roots = {tensor.name: tensor.root for tensor in primary(self.case.manifest).tensors or ()}
        hashed = [info for name, info in self.signed.items() if (SUBJECT, name) in result.tensors]
        again = [
            info
            for name, info in self.signed.items()
            if node is not None
            and (node, name) in result.tensors
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


def _nonfinite(merge: _PlannedMerge, result: ReplayResult) -> list[Finding]:
    found: list[Finding] = []
    for name in merge.bound.operations:
        tensor = result.tensors[f"step:{merge.step.id}", name]
        if not tensor.finite:
            code = "NONFINITE_INPUT" if tensor.nonfinite_inputs else "NONFINITE_OUTPUT"
            parents = ", ".join(sorted(node.split(":", 1)[1] for node in tensor.nonfinite_inputs))
            found.append(Finding(code, f"{merge.step.id}: {name}", "finite values", parents))
    return found


def _report_material(material: Material, status: MaterialStatus, actual: CheckpointRoot | None) -> ReportMaterial:
    return ReportMaterial(
        id=material.name,
        uri=material.uri,
        root=material.digest.checkpoint_root,
        status=status,
        actual_root=actual if status == "mismatched" else None,
    )

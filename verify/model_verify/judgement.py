"""Materials, data of tensors, and steps: one streamed read of everything, and what follows from it.

Spec: verification V8 (roots), V10, V11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Literal

from model_verify import merkle
from model_verify.binding import bind_step
from model_verify.checkpoints import JobBoard, OpenCheckpoint, open_checkpoint
from model_verify.digest import CheckpointRoot, TensorRoot
from model_verify.errors import BackendUnavailable, CallerError, MalformedInput
from model_verify.findings import Finding, Severity, limited
from model_verify.manifest import infos, leaf_tensors, primary
from model_verify.merge.backend import CheckedBackend
from model_verify.merge.kernel import Standing
from model_verify.merge.selection import select_backend
from model_verify.models import Manifest, ManifestWeightSet, Material, ReplayedStep, RunStep, TrainStep
from model_verify.outputs import STANDING_VERDICTS, Output, PlannedStep, compare_output, root_of, without_result
from model_verify.pipeline import Pipeline, Step, UnsupportedStep, main_step, output_root, steps_before
from model_verify.replay import ReplayResult, physical_bytes, run
from model_verify.report import ReportCandidate, ReportCoverage, ReportMaterial, ReportStep, StepVerdict
from model_verify.sources.source import Source
from model_verify.tensors import CHUNK_BYTES, TensorInfo
from model_verify.training import AtHand, TrainingJudgement, TrainingTrial, judge_training, plan_training
from model_verify.weight_sets import read_weight_sets
from model_verify.weights import StoredTensor, WeightFile

SUBJECT = "subject"
MOST_TENSORS = 512
"""Connected with each other: each needs a buffer in every thread. Materials and steps of one tensor are far fewer."""

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
        self.planned: dict[str, PlannedStep] = {}
        self.trials: dict[str, TrainingTrial] = {}
        self.verdicts: dict[str, StepVerdict] = {}
        self.backend: CheckedBackend | None = None
        self.taken_from: dict[str, str] = {}
        """Step -> the node that later steps take its output from, where that is not computed."""
        self.outputs: dict[str, Output] = {}
        """Step -> its output, where it is at hand."""
        self.holds: dict[str, bool] = {}
        """Node -> whether every tensor of it is as signed or declared, data included."""

    def judge(self) -> Judgement:
        self.open_subject()
        self.open_materials()
        self.open_outputs()
        candidates = self.open_candidates()
        for step in self.case.pipeline.steps if self.runs_steps else ():
            self.plan(step, candidates)
        self.leave_out_too_large()
        result = run(self.board.jobs(), backend=self.backend, threads=self.case.threads, progress=self.case.progress)
        self.out.bytes_read = result.bytes_read
        self.out.device = self.backend.name if self.backend else None
        self.compare_subject(result)
        self.compare_materials(result)
        self.compare_given(result)
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
        checkpoint = self.open_given(f"material:{name}", name, source)
        if checkpoint is None:
            self.material_status[name] = "malformed"
            return
        self.materials[name] = checkpoint
        self.nodes[name] = (checkpoint.node, checkpoint.infos)

    def open_given(self, node: str, name: str, source: Source) -> OpenCheckpoint | None:
        """Return the checkpoint that the caller gave for a material or a step, to be read whole."""
        try:
            weights = read_weight_sets(source)
            tensors = _by_name(weights.require().tensors)
        except MalformedInput as error:
            self.out.findings.append(Finding("MATERIAL_MALFORMED", name, error.rule, str(error)))
            return None
        checkpoint = open_checkpoint(node, source, tensors, weights.files, self.stack)
        self.board.add_checkpoint(checkpoint)
        return checkpoint

    def open_outputs(self) -> None:
        """Find the output of every step that was published, or that the caller gave. Spec: pipeline §2.2, §5."""
        for step in self.case.pipeline.steps if self.runs_steps else ():
            weight_set = self.published_set(step)
            if weight_set is not None:
                checkpoint = self.sets.get(weight_set.prefix)
                if checkpoint is not None and self.case.structure_is_as_signed:
                    roots = {tensor.name: tensor.root for tensor in weight_set.tensors or ()}
                    self.outputs[step.id] = Output(checkpoint, infos(weight_set), roots, weight_set)
            elif step.id in self.case.parents:
                given = self.open_given(f"output:{step.id}", step.id, self.case.parents[step.id])
                if given is not None:
                    self.outputs[step.id] = Output(given, given.infos, None, None)

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
        if all(name in self.nodes for name in _looked_at(step)) and self.find_backend(step):
            self.plan_known(step, candidates)
        output = self.outputs.get(step.id)
        # An output equal to the subject in the middle of a pipeline is computed rather than taken from there.
        in_the_middle = step.output.weight_set is None and step is not self.main_step
        if output is not None and not (output.weight_set and in_the_middle and step.id in self.nodes):
            # Later steps work on what is there, whose root is declared, whatever this step's verdict will be.
            self.nodes[step.id] = (output.node, output.checkpoint.infos)
            self.taken_from[step.id] = output.node

    def plan_known(self, step: Step, candidates: Mapping[str, OpenCheckpoint]) -> None:
        match step:
            case UnsupportedStep() | RunStep():
                pass
            case TrainStep() if step.id not in self.outputs:
                pass
            case TrainStep():
                assert self.backend is not None
                names = dict.fromkeys([*self.materials, *step.inputs[1:]])  # teachers may be steps
                others = {name: self.source_at(name) for name in names if name in self.nodes}
                others.pop(step.inputs[0], None)
                others |= {label: AtHand(c.node, c.infos, c, declared=False) for label, c in candidates.items()}
                before, after = self.source_at(step.inputs[0]), self.outputs[step.id].checkpoint
                self.trials[step.id] = plan_training(step, before, after, others, self.board, self.backend)
            case _:
                self.plan_replay(step)

    def find_backend(self, step: Step) -> bool:
        if isinstance(step, UnsupportedStep | RunStep):
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
        planned = PlannedStep(step, bound, self.outputs.get(step.id), self.board)
        if not bound.findings:
            there = None if planned.output is None else planned.output.checkpoint
            try:
                self.board.add_step(planned.node, bound, inputs, compare_with=there)
            except BackendUnavailable as error:
                self.out.findings.append(Finding("NO_MERGE_BACKEND", step.id, "its software", error.message))
                return
            if not planned.is_examined and not bound.not_computed:
                self.nodes[step.id] = (planned.node, bound.outputs)
        self.planned[step.id] = planned

    def leave_out_too_large(self) -> None:
        """Take back the steps that would need more at once than this machine can hold; they stay unchecked."""
        dropped = self.board.drop_too_large(most_tensors=MOST_TENSORS, most_bytes=physical_bytes() // 2)
        for step_id in [planned.step.id for planned in self.planned.values() if planned.node in dropped]:
            del self.planned[step_id]
            self.out.findings.append(
                Finding("STEP_TOO_LARGE", step_id, f"{MOST_TENSORS} tensors, and half of the memory, at once")
            )
            if self.nodes.get(step_id, ("",))[0] in dropped:
                del self.nodes[step_id]
        for step_id in [s for s, trial in self.trials.items() if trial.step.inputs[0] not in self.nodes]:
            del self.trials[step_id]

    def source_at(self, name: str) -> AtHand:
        """Return the material or the output of a step that is at hand under an identifier."""
        node, tensors = self.nodes[name]
        opened = [*self.materials.values(), *(output.checkpoint for output in self.outputs.values())]
        return AtHand(node, tensors, next((one for one in opened if one.node == node), None))

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
        self.holds = {checkpoint.node: True for checkpoint in self.sets.values()}
        for prefix, info, signed_root in leaf_tensors(self.case.manifest):
            size = merkle.LEAF_BYTES * info.chunk_count
            signed = None if self.case.signed_leaves is None else self.case.signed_leaves[place : place + size]
            place += size
            there = result.tensors.get((self.set_node(prefix), info.name))
            if there is None or there.info != info:
                self.out.every_tensor_hashed = self.holds[self.set_node(prefix)] = False
                continue
            if root_of(there) == signed_root:
                continue
            self.holds[self.set_node(prefix)] = False
            path = self.case.tensors[prefix][info.name].path
            details = self.replayed_difference(prefix, info.name, signed_root, result)
            details = details or _chunks(there.leaves, signed)
            found.append(Finding("TENSOR_MISMATCH", f"{path}: {info.name}", signed_root.text, details))
        self.out.findings += limited(found)

    def replayed_difference(self, prefix: str, name: str, signed_root: TensorRoot, result: ReplayResult) -> str | None:
        """Return how the tensor differs from the signed one, where a replay gives the signed one."""
        for planned in self.planned.values():
            replayed = result.tensors.get((planned.node, name))
            if planned.output is None or planned.output.node != self.set_node(prefix):
                continue
            if replayed is None or replayed.difference is None:
                continue
            if root_of(replayed) == signed_root:
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

    def compare_given(self, result: ReplayResult) -> None:
        """Hold the folders that the caller gave for outputs against the roots that the steps declare."""
        for step in self.case.pipeline.steps:
            output = self.outputs.get(step.id)
            if output is None or output.weight_set is not None:
                continue
            actual = result.checkpoint_root(output.node)
            self.holds[output.node] = actual == output_root(step)
            if not self.holds[output.node]:
                self.out.findings.append(Finding("MATERIAL_MISMATCH", step.id, output_root(step).text, actual.text))

    # V11: verdicts.

    def judge_step(self, step: Step, result: ReplayResult) -> None:
        verdict: StepVerdict = "unchecked"
        tensors = None
        judged = TrainingJudgement(verdict)
        ready = self.runs_steps and all(self.input_holds(name) for name in step.inputs)
        if self.runs_steps and isinstance(step, UnsupportedStep):
            verdict = "unsupported"
        elif ready and step.id in self.planned:
            verdict = self.judge_replay(self.planned[step.id], result)
            tensors = len(self.planned[step.id].bound.operations)
        elif ready and step.id in self.trials and self.holds[self.outputs[step.id].node]:
            judged = judge_training(self.trials[step.id], self.out.candidates, output_root(step))
            verdict = judged.verdict
            self.out.findings += judged.findings
        elif ready and isinstance(step, RunStep):
            verdict = "attested"
        elif ready and isinstance(step, TrainStep) and self.published_set(step) is None:
            verdict = self.judge_unseen(step)
        elif ready:
            missing = [name for name in _looked_at(step) if name in self.verdicts and name not in self.nodes]
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
                moved_elements=judged.moved,
                elements=judged.elements,
                movement=judged.movement,
                rank=judged.rank,
                trials=judged.trials,
            )
        )

    def input_holds(self, name: str) -> bool:
        """Return whether an input is what the statement says it is."""
        if name in self.material_status:
            return self.material_status[name] == "matched"
        if name in self.taken_from:
            return self.holds[self.taken_from[name]] and self.verdicts.get(name) in STANDING_VERDICTS
        return self.verdicts.get(name) in ("reproduced", "attested")

    def judge_unseen(self, step: TrainStep) -> StepVerdict:
        """Return the verdict on a training whose output is not at hand: only the declared roots can be looked at."""
        declared = {material.name: material.digest.checkpoint_root for material in self.case.pipeline.materials}
        declared |= {other.id: output_root(other) for other in self.case.pipeline.steps}
        if declared[step.inputs[0]] != output_root(step):
            return "attested"
        self.out.findings.append(Finding("TRAINING_NO_EFFECT", step.id, "another root", "the root of its input"))
        return "contradicted"

    def judge_replay(self, planned: PlannedStep, result: ReplayResult) -> StepVerdict:
        """Return the verdict on a step that was computed again. Spec: verification V11."""
        found = [*planned.bound.findings, *without_result(planned, result)]
        if found:
            self.out.findings += limited(found)
            return "contradicted"
        output = planned.output
        if output is None or (output.weight_set is None and not self.holds[output.node]):
            return self.judge_intermediate(planned, result)
        compared = compare_output(planned, output, result)
        self.out.findings += limited([*compared.differences, *compared.notes])
        if compared.differences:
            return "contradicted"
        if compared.verdict != "unchecked":
            self.look_for_idle_parents(planned, result)
        return compared.verdict

    def look_for_idle_parents(self, planned: PlannedStep, result: ReplayResult) -> None:
        """Report inputs without which the output would be the same. Spec: merge §3."""
        self.out.findings += [
            Finding("PARENT_NO_EFFECT", name)
            for name in planned.step.inputs
            if (planned.node, self.nodes[name][0]) not in result.effective
        ]

    def judge_intermediate(self, planned: PlannedStep, result: ReplayResult) -> StepVerdict:
        """Return the verdict on a step whose output is not at hand: only its root can be compared."""
        step = planned.step
        if planned.bound.not_computed:
            names = planned.bound.not_computed.items()
            self.out.findings += limited(
                Finding("TYPE_NOT_REPLAYED", f"{step.id}: {name}", actual=dtype) for name, dtype in names
            )
            return "unchecked"
        if planned.is_examined:
            # Where nobody published it there is nothing to look at; V8 says why what was published is not looked at.
            return "attested" if self.published_set(step) is None else "unchecked"
        actual = result.checkpoint_root(planned.node)
        if actual == output_root(step):
            self.look_for_idle_parents(planned, result)
            return "reproduced"
        code = "OUTPUT_NOT_AVAILABLE" if planned.is_bounded else "REPLAY_MISMATCH"
        self.out.findings.append(Finding(code, step.id, output_root(step).text, actual.text))
        return "unchecked" if planned.is_bounded else "contradicted"

    def cover(self, result: ReplayResult) -> ReportCoverage:
        main = primary(self.case.manifest)
        node = next(
            (
                planned.node
                for planned in self.planned.values()
                if planned.output is not None
                and planned.output.weight_set is main
                and not planned.bound.findings
                and all(
                    self.verdicts[s.id] == "reproduced" for s in steps_before(planned.step, self.case.pipeline.steps)
                )
            ),
            None,
        )
        roots = {tensor.name: tensor.root for tensor in main.tensors or ()}
        hashed = [info for name, info in self.signed.items() if (SUBJECT, name) in result.tensors]
        again = [
            info
            for name, info in self.signed.items()
            if node is not None
            and (node, name) in result.tensors
            and result.tensors[node, name].standing is not Standing.EXAMINED
            and root_of(result.tensors[node, name]) == roots[name]
        ]
        return ReportCoverage(
            tensors=len(self.signed),
            tensors_hashed=len(hashed),
            tensors_reproduced=len(again),
            bytes=sum(info.size_bytes for info in self.signed.values()),
            bytes_hashed=sum(info.size_bytes for info in hashed),
            bytes_reproduced=sum(info.size_bytes for info in again),
        )


def _looked_at(step: Step) -> Sequence[str]:
    """Return the inputs whose tensors have to be at hand to judge a step: not the teachers of a training."""
    match step:
        case TrainStep():
            return step.inputs[:1]
        case RunStep():
            return ()
        case _:
            return step.inputs


def _by_name(tensors: Sequence[StoredTensor]) -> dict[str, StoredTensor]:
    return {tensor.info.name: tensor for tensor in tensors}


def _text(leaves: bytearray) -> str:
    return merkle.tensor_root(merkle.split_leaves(leaves)).text


def _chunks(there: bytearray, signed: memoryview | None) -> str:
    """Return which chunks of a tensor differ from the signed leaves, as text."""
    if signed is None or len(signed) != len(there):
        return _text(there)
    differing = [
        i
        for i, (a, b) in enumerate(zip(merkle.split_leaves(there), merkle.split_leaves(signed), strict=True))
        if a != b
    ]
    if not differing:
        return _text(there)
    first = differing[0] * CHUNK_BYTES
    count = f"{len(differing)} of {len(there) // merkle.LEAF_BYTES} chunks differ"
    return f"{count}, the first at bytes {first} to {first + CHUNK_BYTES - 1}"


def _report_material(material: Material, status: MaterialStatus, actual: CheckpointRoot | None) -> ReportMaterial:
    return ReportMaterial(
        id=material.name,
        uri=material.uri,
        root=material.digest.checkpoint_root,
        status=status,
        actual_root=actual if status == "mismatched" else None,
        license=material.license,
    )

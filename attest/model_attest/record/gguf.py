"""A GGUF file beside the weights that it was made of, as a step: the source of each tensor is found by its content.

What a converter called a tensor does not matter. The first blocks of every tensor in the file are compared with the
first values of the candidates, quantized; then all of it is replayed. Spec: forms §4.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from model_attest.hashing import Progress
from model_attest.recipes.recipe import identifiers
from model_attest.record.replaying import UNKNOWN_ROOT, ModelFolder, Replayed, read_folders, record_chain, standing
from model_attest.record.steps import main_records, read_records
from model_verify.canonical import loads
from model_verify.errors import (
    CallerError,
    MalformedJson,
    NotReproduced,
    OperationRefused,
    RecipeInvalid,
    SourceMissing,
)
from model_verify.files import GGUF
from model_verify.forms import QUANTIZED_DTYPES
from model_verify.merge.backend import Backend
from model_verify.merge.kernel import Block, Call, Number, Standing
from model_verify.models import QuantizeStep, QuantizeTarget, ReplayedStep, ReshardStep, StepOutput
from model_verify.operations import BLENDABLE_DTYPES
from model_verify.sources.local import LocalFolder
from model_verify.sources.source import File, Source, read_whole
from model_verify.tensors import TensorInfo, packing
from model_verify.weight_sets import WeightSet, read_weight_sets
from model_verify.weights import StoredTensor

MAX_CONFIG_BYTES = 16 << 20
_HEAD_ELEMENTS = 512
"""So many elements tell tensors apart: two blocks of the largest kind."""
_MOST_TRIALS = 64
_FUSED_DTYPES = frozenset({"GGML_Q4_0", "GGML_Q4_1", "GGML_Q5_0", "GGML_Q5_1"})
_ADDED = "1"
"""What is added to the norms of Gemma."""
_NUMBERS = re.compile(r"[0-9]+")


def record_gguf(
    source: LocalFolder,
    file: Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> Replayed:
    """Find what each tensor of the GGUF file was made of, replay it, and record the step in the file's model folder.

    The folder is that of `source` where the file lies in it, else the file's own; its primary weights are those of
    `source`. Raises `NotReproduced` for a tensor that nothing in `source` gives, and `CallerError`.
    """
    folder = source if file.resolve().is_relative_to(source.root.resolve()) else LocalFolder(file.parent)
    prefix = file.resolve().relative_to(folder.root.resolve()).as_posix()
    start, leading = _start(source, folder, prefix)
    out = _output(folder, prefix)
    with ExitStack() as stack:
        targets = list(_Matching(start, out, device, stack).targets())
    steps = [_step(profile, start, leading, prefix, targets) for profile in ("ggml/nofma", "ggml/fma")]
    chosen = steps[_fused(steps, start, out, targets, device=device)]
    return record_chain([*leading, chosen], [start], out, device=device, threads=threads, progress=progress)


def _start(source: LocalFolder, folder: LocalFolder, prefix: str) -> tuple[ModelFolder, list[ReplayedStep]]:
    """Return the input, and the step that makes it the folder's primary weights where no record says so."""
    records = tuple(read_records(folder.root))
    if any(record.step.output.weight_set == prefix for record in records):
        raise CallerError(f"{prefix} has a step record already", hint="remove it from `.attest/steps`")
    model, _ = read_folders(source, source)
    if main := main_records(records):
        return replace(model, id=main[-1].step.id, records=records), []
    copy = ReshardStep(
        id=identifiers([model.id, "primary"])[-1],
        type="reshard",
        inputs=[model.id],
        output=StepOutput(checkpoint_root=UNKNOWN_ROOT),
    )
    return model, [copy]


def _output(folder: LocalFolder, prefix: str) -> ModelFolder:
    weights = read_weight_sets(folder)
    weights.require()
    weight_set = next((one for one in weights.sets if one.prefix == prefix and one.format == GGUF), None)
    if weight_set is None:
        raise CallerError(f"{prefix} is no GGUF file", hint="name a file that ends in .gguf")
    return ModelFolder("out", folder, weights, weight_set)


def _step(
    profile: str, start: ModelFolder, leading: Sequence[ReplayedStep], prefix: str, targets: list[QuantizeTarget]
) -> QuantizeStep:
    names = [record.step.id for record in start.records] + [step.id for step in leading] + [start.id]
    return QuantizeStep(
        id=identifiers([*names, "quantize"])[-1],
        type="quantize",
        profile="ggml/fma" if profile == "ggml/fma" else "ggml/nofma",
        inputs=[leading[-1].id if leading else start.id],
        output=StepOutput(checkpoint_root=UNKNOWN_ROOT, weight_set=prefix),
        targets=targets,
    )


def _fused(
    steps: Sequence[QuantizeStep],
    start: ModelFolder,
    out: ModelFolder,
    targets: Sequence[QuantizeTarget],
    *,
    device: str,
) -> int:
    """Return which of the two profiles gives the tensors that tell them apart; the first where none does."""
    names = [target.tensor for target in targets if target.dtype in _FUSED_DTYPES]
    for number, step in enumerate(steps if names else ()):
        alone = step.model_copy(update={"inputs": [start.id]})
        if standing(alone, [start], out, names, device=device) is Standing.EXACT:
            return number
    return 0


@dataclass(frozen=True, slots=True)
class _Form:
    """A way in which converters transform a tensor. `second_row` says which row of the source comes second."""

    parameters: Mapping[str, Number]
    heads: int | None = None
    add: str | None = None

    def second_row(self, rows: int) -> int:
        return 1 if self.heads is None else rows // self.heads // 2


class _Matching:
    """Pairs the tensors of a file with their sources by their first values."""

    def __init__(self, start: ModelFolder, out: ModelFolder, device: str, stack: ExitStack) -> None:
        from model_verify.merge.selection import select_backend

        self._start, self._out = start, out
        self._backend: Backend = select_backend(device)
        self._files: dict[tuple[str, str], File] = {}
        self._stack = stack
        self._by_shape: dict[tuple[int, ...], list[StoredTensor]] = {}
        for stored in start.weight_set.tensors:
            self._by_shape.setdefault(stored.info.shape, []).append(stored)
        heads = dict.fromkeys(_head_counts(start.source))
        self._forms = [_Form({}), *(_Form({}, heads=h) for h in heads), _Form({"add": 1.0}, add=_ADDED)]
        self._used: set[str] = set()

    def targets(self) -> Iterator[QuantizeTarget]:
        """Yield the target of every tensor of the file. Raises `NotReproduced` for one without a source."""
        for stored in self._out.weight_set.tensors:
            info = stored.info
            if info.dtype.startswith("GGML_") and info.dtype not in QUANTIZED_DTYPES:
                yield QuantizeTarget(tensor=info.name, dtype=info.dtype)
                continue
            target = self._single(stored) or self._stacked(stored)
            if target is None:
                raise NotReproduced(
                    f"{info.name}: no tensor of {self._start.source.label} gives its first values",
                    hint="it may come from elsewhere, or be of a kind that converters compute",
                )
            self._used |= set(target.sources or ())
            yield target

    def _single(self, stored: StoredTensor) -> QuantizeTarget | None:
        """Return the target whose one source gives the whole tensor; the likeliest of several."""
        info = stored.info
        found = [
            QuantizeTarget(
                tensor=info.name, dtype=info.dtype, sources=[source.info.name], permute_heads=form.heads, add=form.add
            )
            for source in self._by_shape.get(info.shape, ())
            for form in self._forms
            if self._fits(stored, source, form, row_offset=0)
        ]
        found.sort(key=lambda target: self._unlikeliness(info.name, (target.sources or [""])[0]))
        if len(found) < 2:
            return found[0] if found else None
        # First values that many tensors share, such as ones or zeros: all values decide.
        return next((target for target in found[:_MOST_TRIALS] if self._gives(target)), found[0])

    def _gives(self, target: QuantizeTarget) -> bool:
        step = QuantizeStep(
            id="trial",
            type="quantize",
            profile="ggml/nofma",
            inputs=[self._start.id],
            output=StepOutput(checkpoint_root=UNKNOWN_ROOT),
            targets=[target],
        )
        out = replace(self._out, weight_set=_only(self._out, target.tensor))
        return standing(step, [self._start], out, [target.tensor], device=self._backend.device) is Standing.EXACT

    def _stacked(self, stored: StoredTensor) -> QuantizeTarget | None:
        """Return the target whose sources are the tensor's parts along the first axis."""
        info = stored.info
        if len(info.shape) < 2 or info.shape[0] < 2:
            return None
        names: list[str] = []
        for part in range(info.shape[0]):
            found = [
                source.info.name
                for source in self._by_shape.get(info.shape[1:], ())
                if source.info.name not in names and self._fits(stored, source, self._forms[0], row_offset=part)
            ]
            if not found:
                return None
            names.append(min(found, key=lambda name: self._unlikeliness(f"{info.name} {part}", name)))
        return QuantizeTarget(tensor=info.name, dtype=info.dtype, sources=names)

    def _unlikeliness(self, name: str, source: str) -> tuple[bool, bool]:
        """Return what orders candidates: first those with the same numbers in their names, and not used yet."""
        return _NUMBERS.findall(name) != _NUMBERS.findall(source), source in self._used

    def _fits(self, stored: StoredTensor, source: StoredTensor, form: _Form, *, row_offset: int) -> bool:
        """Return whether the first values, and those of the second row, are what the source gives in this form."""
        target, given = stored.info, source.info
        if given.dtype not in BLENDABLE_DTYPES:
            return form is self._forms[0] and given.dtype == target.dtype and not row_offset
        if target.dtype not in BLENDABLE_DTYPES | QUANTIZED_DTYPES:
            return False
        rows = given.shape[0] if len(given.shape) > 1 else 1
        width = given.elements // rows if rows else 0
        if form.heads is not None and (len(given.shape) < 2 or rows % (2 * form.heads)):
            return False
        begin = row_offset * given.elements
        if not self._same(stored, source, form, begin, 0, min(width, given.elements)):
            return False
        return rows < 2 or self._same(stored, source, form, begin + width, form.second_row(rows) * width, width)

    def _same(
        self, stored: StoredTensor, source: StoredTensor, form: _Form, at: int, from_: int, available: int
    ) -> bool:
        block, size_bytes = packing(stored.info.dtype)
        count = min(_HEAD_ELEMENTS, available) // block * block
        if not count:
            return available == 0 or available < block
        there = self._read(self._out, stored, at // block * size_bytes, count // block * size_bytes)
        width = packing(source.info.dtype).size_bytes
        values = self._read(self._start, source, from_ * width, count * width)
        return self._quantized(source.info, values, count, stored.info.dtype, form) == there

    def _quantized(self, source: TensorInfo, values: bytes, count: int, dtype: str, form: _Form) -> bytes | None:
        from model_verify.merge.methods import load

        block, size_bytes = packing(dtype)
        out = Block(dtype, (count,), memoryview(bytearray(count // block * size_bytes)))
        kernel = load(Call("ggml/nofma", "quantize", dtype, shared=form.parameters))
        try:
            finite = kernel.run(self._backend, [Block(source.dtype, (count,), values)], out).finite
        except OperationRefused:
            return None
        return bytes(out.data) if finite else None

    def _read(self, folder: ModelFolder, stored: StoredTensor, offset: int, size_bytes: int) -> bytes:
        key = (folder.id, stored.path)
        if key not in self._files:
            self._files[key] = self._stack.enter_context(folder.source.open(stored.path))
        return self._files[key].read(stored.offset + offset, size_bytes)


def _only(out: ModelFolder, name: str) -> WeightSet:
    tensors = tuple(stored for stored in out.weight_set.tensors if stored.info.name == name)
    return replace(out.weight_set, tensors=tensors)


def _head_counts(source: Source) -> Iterator[int]:
    """Yield the numbers of heads that config.json states."""
    try:
        text = read_whole(source, "config.json", max_bytes=MAX_CONFIG_BYTES)
        members = loads(text, max_bytes=MAX_CONFIG_BYTES, any_numbers=True)
    except SourceMissing:
        return
    except MalformedJson as error:
        raise RecipeInvalid(f"{source.label}: config.json: {error.reason}") from error
    for name in ("num_attention_heads", "num_key_value_heads"):
        heads = members.get(name) if isinstance(members, dict) else None
        if type(heads) is int and heads > 0:
            yield heads

"""`attest inspect`: what a bundle claims."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model_attest.commands.arguments import JsonFlag, place
from model_attest.console import Answer
from model_verify.errors import MalformedDocument, SourceMissing

if TYPE_CHECKING:
    from model_verify.envelope import SignedPayload
    from model_verify.models import CopyOperation, LinearOperation, MergekitOperation
    from model_verify.pipeline import Pipeline, Step
    from model_verify.statement import Statement

_MOST_NAMES = 4
_SELECTIONS = {"all": "all tensors", "adapter": "an adapter to it", "floating": "all floating-point tensors"}


def inspect(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE|DIR", help="A bundle, or a model folder that holds one.")],
    json: JsonFlag = False,
) -> Answer:
    """Show what an attestation claims. Nothing is verified: no signature, no file, no weight.

    \b
    exit codes
      0  the claims are shown, true or not
      2  could not read them

    \b
    example
      attest inspect ./merged
    """
    from model_attest.commands.documents import InspectAnswer, members
    from model_verify.canonical import loads
    from model_verify.envelope import MAX_BUNDLE_BYTES, open_bundle
    from model_verify.pipeline import check_pipeline
    from model_verify.statement import read_statement

    path = _bundle_path(place(bundle))
    try:
        signed = open_bundle(_read(path, MAX_BUNDLE_BYTES))
        statement = read_statement(signed.payload)
    except MalformedDocument as error:
        raise MalformedDocument(error.code, error.reason, where=str(path), rule=error.rule) from error
    pipeline = check_pipeline(statement.materials, statement.steps, statement.model.checkpoint_root, None)
    parsed = loads(signed.payload, max_bytes=MAX_BUNDLE_BYTES)
    assert isinstance(parsed, dict)
    answer = InspectAnswer(
        verified=False,
        reference=bundle,
        signer_hint=signed.hint,
        signer_identity=signed.certified_name,
        signer_issuer=signed.identity.issuer if signed.identity else None,
        payload_type=signed.payload_type,
        statement=dict(parsed),
        contradictions=list(_contradictions(pipeline)),
    )
    return Answer(list(_lines(bundle, signed, statement, pipeline)), members(answer))


def _bundle_path(path: Path) -> Path:
    from model_verify.models import BUNDLE_PATH

    if not path.is_dir():
        return path
    if not (path / BUNDLE_PATH).exists():
        raise SourceMissing(f"{path} has no {BUNDLE_PATH}", hint="nothing is claimed about this folder")
    return path / BUNDLE_PATH


def _read(path: Path, max_bytes: int) -> bytes:
    from model_verify.sources.local import LocalFolder
    from model_verify.sources.source import read_whole

    if not path.exists():
        raise SourceMissing(f"{path} does not exist")
    target = path.resolve()  # named by the caller, so a link may lead anywhere
    return read_whole(LocalFolder(target.parent), target.name, max_bytes=max_bytes)


def _lines(bundle: str, signed: SignedPayload, statement: Statement, pipeline: Pipeline) -> Iterator[str]:
    model = statement.model
    yield f"CLAIMED ONLY  {bundle}: nothing was verified, neither the signature nor any file"
    yield f"  signer    {_signer(signed)}"
    yield f"  model     {' '.join(text for text in (model.name, model.version, model.uri) if text)}"
    yield f"  weights   {model.checkpoint_root}"
    yield f"  manifest  {statement.manifest_digest}"
    for material in statement.materials:
        uri = f"  {material.uri}" if material.uri else ""
        yield f"  material  {material.name}  {material.digest.checkpoint_root}{uri}"
    for step in pipeline.steps:
        yield from _step_lines(step)
    if not statement.steps:
        yield "  steps     none: nothing is claimed of where the weights come from"
    if statement.supersedes is not None:
        why = f": {statement.supersedes.reason}" if statement.supersedes.reason else ""
        yield f"  instead   of an attestation of {statement.supersedes.checkpoint_root}{why}"
    for name in statement.not_evaluated:
        yield f"  {name}  is present; `--json` shows it"
    for contradiction in _contradictions(pipeline):
        yield f"  warn  contradicts itself: {contradiction}"
    expected = _expected(signed)
    yield f"CLAIMED ONLY  nothing was verified: run `attest verify {shlex.quote(_folder(bundle))} {expected}`"


def _signer(signed: SignedPayload) -> str:
    if signed.leaf is not None:
        return f"has a certificate for {signed.leaf}"
    if signed.identity is None or signed.material is None:
        return f"names its key as {signed.hint}"
    return f"has a certificate for {signed.identity}, entry {signed.material.log_entry.log_index} of a log"


def _expected(signed: SignedPayload) -> str:
    """Return the options that name whom the bundle says to be signed by."""
    if signed.leaf is not None:
        return f"--identity {shlex.quote(signed.certified_name or '')} --certificate-root FILE"
    if signed.identity is None:
        return "--key PUB"
    return f"--identity {shlex.quote(signed.identity.name)} --issuer {shlex.quote(signed.identity.issuer)}"


def _folder(bundle: str) -> str:
    path = Path(bundle)
    return bundle if path.is_dir() else str(path.resolve().parent.parent)


def _step_lines(step: Step) -> Iterator[str]:
    from model_attest.commands.record_text import run_lines, training_lines
    from model_verify.models import (
        CastStep,
        DropStep,
        MergekitStep,
        MergeStep,
        RenameStep,
        ReshardStep,
        RunStep,
        TrainStep,
    )
    from model_verify.pipeline import output_root

    inputs = ", ".join(step.inputs)
    match step:
        case MergeStep() | MergekitStep():
            yield f"  step      {step.id}: merge of {inputs}, {step.profile}"
            for operation in step.operations:
                yield f"              {_selection(operation.tensors)}: {_operation(operation, step.inputs)}"
        case CastStep():
            yield f"  step      {step.id}: cast of {inputs} to {step.dtype}: {_selection(step.tensors)}"
        case ReshardStep():
            yield f"  step      {step.id}: reshard of {inputs}"
        case RenameStep():
            renamed = [f"{old} to {new}" for old, new in step.names.items()]
            yield f"  step      {step.id}: rename in {inputs}: {_selection(renamed)}"
        case DropStep():
            yield f"  step      {step.id}: drop from {inputs}: {_selection(step.tensors)}"
        case TrainStep():
            yield f"  step      {step.id}: train on {step.inputs[0]}, free to change: {_selection(step.trainable)}"
            yield from training_lines(step)
        case RunStep():
            yield f"  step      {step.id}: a command that had {inputs}"
            yield from run_lines(step)
        case _:
            yield f"  step      {step.id}: {step.type} of {inputs}, which this version does not know"
    yield f"              gives {output_root(step)}"


def _operation(operation: CopyOperation | LinearOperation | MergekitOperation, step_inputs: Sequence[str]) -> str:
    """Return what an operation makes of its inputs, as a formula where there is one."""
    from model_verify.models import CopyOperation, LinearOperation

    if isinstance(operation, CopyOperation):
        return f"copied from {operation.source}"
    inputs = operation.inputs or step_inputs
    if isinstance(operation, LinearOperation):
        terms = zip(operation.coefficients, inputs, strict=False)
        blend = " + ".join(f"{coefficient.decimal}·{name}" for coefficient, name in terms)
        return f"{blend}{', normalized' if operation.normalize else ''}, as {operation.dtype}"
    own = zip(inputs, operation.input_parameters, strict=False)
    base = "" if operation.base is None else f", base {operation.base}"
    given = ", ".join(f"{name}{_parameters(parameters)}" for name, parameters in own if name != operation.base)
    return f"{operation.op} of {given}{base}{_parameters(operation.parameters)}, as {operation.dtype}"


def _parameters(values: Mapping[str, str | bool]) -> str:
    listed = ", ".join(f"{name} {str(value).lower()}" for name, value in values.items())
    return f" ({listed})" if listed else ""


def _selection(tensors: str | list[str]) -> str:
    if isinstance(tensors, str):
        return _SELECTIONS.get(tensors, "all other tensors")
    more = f" and {len(tensors) - _MOST_NAMES} more" if len(tensors) > _MOST_NAMES else ""
    return ", ".join(tensors[:_MOST_NAMES]) + more


def _contradictions(pipeline: Pipeline) -> Iterator[str]:
    """Yield what is wrong with the claims by themselves, without looking at any weight."""
    for finding in pipeline.findings:
        if finding.severity.value == "fail":
            yield f"{finding.code} {finding.where} {finding.actual}".rstrip()

"""What the procedure comes to: verdict, level, and the report. Spec: verification §5, §6."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Literal

from model_verify.depth import Depth
from model_verify.model_sig import describe_model_sig, model_sig_not_checked, what_it_binds
from model_verify.models import RunStep, TrainStep
from model_verify.replay import processors
from model_verify.report import (
    Report,
    ReportFiles,
    ReportModel,
    ReportNotChecked,
    ReportPolicy,
    ReportRoots,
    ReportRun,
    Verdict,
    report_finding,
)
from model_verify.signature_report import (
    describe_bundle,
    describe_detached,
    describe_signer,
    describe_time,
    undated_reason,
)
from model_verify.sources.source import Reach
from model_verify.state import State
from model_verify.unattested import describe_unattested
from model_verify.verdict import decide

_MOST_NAMED = 5
"""Parents that the headline names."""


def decide_verdict(state: State) -> tuple[Verdict, Literal[1, 2, 3] | None, str]:
    """Return verdict, level and weakest link by the findings so far. Module: verdict."""
    return decide(
        state.findings,
        state.judgement.steps,
        state.judgement.materials,
        expected_signer=state.signature.holds,
        everything_ran=state.everything_ran and state.judgement.every_tensor_hashed,
    )


def conclude(state: State) -> Report:
    """Return the report on what the procedure found. Spec: verification §5, §6."""
    judged = state.judgement
    verdict, level, link = decide_verdict(state)
    more = _describe_ancestors(state, verdict)
    more += describe_detached(state.request.attestation, state.signature) if level else ""
    more += what_it_binds(state.model_sig, attested=state.manifest is not None)
    return Report(
        reference=state.source.label,
        commit=state.source.commit,
        depth=state.request.depth.value,
        hub=state.place,
        unattested=describe_unattested(state.source) if state.is_unattested else None,
        verdict=verdict,
        level=level,
        headline=f"{verdict}{f' level {level}' if level else ''}: {link}{more}",
        bundle=describe_bundle(state.signed, state.request.attestation),
        signer=describe_signer(state.signed, state.signature),
        time=describe_time(state.signature.time),
        roots=_describe_roots(state),
        statement=_describe_model(state),
        history=state.history.report,
        files=_describe_files(state),
        model_sig=describe_model_sig(state.model_sig),
        materials=judged.materials,
        candidates=judged.candidates,
        steps=judged.steps,
        findings=[report_finding(finding) for finding in state.findings],
        coverage=judged.coverage,
        policy=_describe_policy(state),
        not_checked=list(_not_checked(state)),
        run=ReportRun(
            device=judged.device,
            threads=state.request.threads or processors(),
            bytes_read=judged.bytes_read + state.folder.bytes_hashed,
            seconds=f"{time.monotonic() - state.started:.3f}",
        ),
    )


def _describe_ancestors(state: State, verdict: Verdict) -> str:
    """Return what the headline says of the parents, where the caller asked for their attestations."""
    if not state.request.recursive or verdict != "VERIFIED" or not state.judgement.materials:
        return ""
    said = [
        f"{material.id} level {material.attestation.level}"
        if material.attestation
        else f"{material.id} has no attestation"
        for material in state.judgement.materials
    ]
    return f"; parents: {', '.join(said[:_MOST_NAMED])}{', …' if len(said) > _MOST_NAMED else ''}"


def _describe_policy(state: State) -> ReportPolicy | None:
    policy = state.request.policy
    return None if policy is None else ReportPolicy(digest=policy.digest, evaluated=state.everything_ran)


def _describe_roots(state: State) -> ReportRoots | None:
    if state.statement is None or state.manifest is None:
        return None
    root = state.statement.model.checkpoint_root
    return ReportRoots(checkpoint=root, manifest=state.statement.manifest_digest)


def _describe_model(state: State) -> ReportModel | None:
    if state.statement is None:
        return None
    model = state.statement.model
    return ReportModel(name=model.name, version=model.version, uri=model.uri)


def _describe_files(state: State) -> ReportFiles | None:
    if state.manifest is None:
        return None
    return ReportFiles(
        listed=len(state.manifest.files), hashed=state.folder.files_hashed, stated=state.folder.files_stated
    )


def _not_checked(state: State) -> Iterator[ReportNotChecked]:
    """Yield what this report does not speak of, and why. Spec: verification §5."""
    if state.signed is not None and state.signature.time is None:
        yield ReportNotChecked(what="time of signing", why=undated_reason(state.signed, state.trust))
    yield from model_sig_not_checked(state.source, state.model_sig)
    if not state.everything_ran:
        yield ReportNotChecked(what="everything below the finding that stopped the procedure", why="not evaluated")
        return
    assert state.statement is not None
    if state.repository is None:
        uri = state.statement.model.uri
        why = f"the signer says {uri}" if uri else "the signer names none"
        yield ReportNotChecked(what="the repository", why=f"a local folder does not show it; {why}")
    if state.request.attestation is not None:
        why = f"the attestation is detached, from {state.request.attestation.label}"
        yield ReportNotChecked(what="what the repository itself attests", why=why)
    for what, why in state.history.not_checked:
        yield ReportNotChecked(what=what, why=why)
    for name in state.statement.not_evaluated:
        yield ReportNotChecked(what=f"`{name}` of the statement", why="not evaluated by this version")
    for step in state.pipeline.steps:
        if isinstance(step, TrainStep) and step.record is not None:
            what = f"what is recorded of step {step.id}: data, code, settings, checkpoints, loss"
            yield ReportNotChecked(what=what, why="the signer's word, which no weight shows")
        elif isinstance(step, RunStep):
            yield ReportNotChecked(what=f"the command of step {step.id}", why="the signer's word, it was not run")
    if state.place is not None and state.place.reach == Reach.UNKNOWN.value:
        yield ReportNotChecked(what="whether a branch leads to the commit", why="there are too many to look through")
    for material in state.judgement.materials:
        if material.origin == "unknown":
            yield ReportNotChecked(what=f"origin of material {material.id}", why="only its root is known")
    if state.request.policy is not None and state.request.policy.rules.licenses is not None:
        for judged in state.judgement.materials:
            if judged.attestation is None:
                what = f"licences of what material {judged.id} was made from"
                yield ReportNotChecked(what=what, why="no attestation of it was followed")
    if state.request.depth is Depth.FULL:
        what = "file digests of safetensors and GGUF files"
        yield ReportNotChecked(what=what, why="their header digests and tensor roots fix the same bytes")
    else:
        what = "the content of files that the Hub states a digest of"
        yield ReportNotChecked(what=what, why="at this depth the Hub is believed")

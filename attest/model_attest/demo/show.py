"""What the demo shows as it goes: what was done, what `verify` said, and whether that was to be expected."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model_verify import procedure
from model_verify.envelope import PublicKey
from model_verify.report import Report, ReportStep
from model_verify.sources.local import LocalFolder

_MOST_FINDINGS = 2


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to be true of a report, in words and in fact."""

    what: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """One verification: the command that repeats it, the report, and what it was held against."""

    name: str
    command: str
    report: Report
    checks: tuple[Check, ...]

    @property
    def as_expected(self) -> bool:
        return all(check.holds for check in self.checks)


@dataclass(frozen=True, slots=True)
class Question:
    """Whom and what to verify. Folders are names below the demo's own folder."""

    folder: str
    key_name: str
    key: PublicKey
    parents: Sequence[str] = ()
    candidates: Sequence[str] = ()

    @property
    def command(self) -> str:
        """The same question on the command line, asked in the demo's folder."""
        words = ["attest", "verify", self.folder, "--key", f"{self.key_name}.pub"]
        for parent in self.parents:
            words += ["--parent", f"{parent}={parent}"]
        for candidate in self.candidates:
            words += ["--candidate", candidate]
        return shlex.join(words)


@dataclass(slots=True)
class Show:
    """Writes lines, asks the verifier, and keeps what came of it. `stage` is the folder that all folders lie in."""

    stage: Path
    write: Callable[[str], None]
    outcomes: list[Outcome] = field(default_factory=list)

    def heading(self, text: str) -> None:
        self.write("")
        self.write(text)

    def did(self, text: str) -> None:
        self.write(f"  did   {text}")

    def ran(self, *words: str) -> None:
        """Say which command does what was just done."""
        self.write(f"  run   {shlex.join(words)}")

    def more(self, text: str) -> None:
        self.write(f"        {text}")

    def ask(self, name: str, question: Question, expect: Callable[[Report], Sequence[Check]], *, good: str) -> Report:
        """Verify for real, show what came out, and hold it against `expect`; `good` says what it means if it holds."""
        report = procedure.verify(
            procedure.Request(
                source=LocalFolder(self.stage / question.folder),
                expected_signer=question.key,
                parents={name: LocalFolder(self.stage / name) for name in question.parents},
                candidates=[LocalFolder(self.stage / name) for name in question.candidates],
                device="cpu",
            )
        )
        self.write(f"  run   {question.command}")
        self.write(f"  says  {report.headline}")
        for line in _details(report, question.candidates):
            self.more(line)
        outcome = Outcome(name, question.command, report, tuple(expect(report)))
        self.outcomes.append(outcome)
        if outcome.as_expected:
            self.write(f"  ok    {good}")
        for check in outcome.checks:
            if not check.holds:
                self.write(f"  FAIL  not as expected: {check.what}")
        return report


def verdict_is(report: Report, verdict: str, level: int | None = None) -> Check:
    name = f"{verdict} level {level}" if level else verdict
    return Check(f"the verdict is {name}", (report.verdict, report.level) == (verdict, level))


def codes_are(report: Report, severity: str, codes: set[str]) -> Check:
    """Return whether the findings of a severity have exactly these codes."""
    found = {finding.code for finding in report.findings if finding.severity == severity}
    return Check(f"what {severity}s is {', '.join(sorted(codes)) or 'nothing'}", found == codes)


def step_is(report: Report, position: int, kind: str, verdict: str) -> Check:
    there = report.steps[position : position + 1]
    return Check(f"the {kind} step is {verdict}", [(step.type, step.verdict) for step in there] == [(kind, verdict)])


def _details(report: Report, candidates: Sequence[str]) -> Iterator[str]:
    failures = [finding for finding in report.findings if finding.severity == "fail"]
    for finding in failures[:_MOST_FINDINGS]:
        yield f"{finding.code}  {finding.where}"
        yield f"  {finding.actual}"
    if len(failures) > _MOST_FINDINGS:
        yield f"and {len(failures) - _MOST_FINDINGS} more findings"
    names = {f"candidate {position}": name for position, name in enumerate(candidates, start=1)}
    for step in report.steps:
        yield from _step_details(step, names)


def _step_details(step: ReportStep, names: Mapping[str, str]) -> Iterator[str]:
    text = f"step {step.id}: {step.verdict}"
    if step.tensors is not None:
        text += f", {step.tensors} tensors"
    if step.moved_elements is not None and step.elements is not None:
        text += f", {step.moved_elements:,} of {step.elements:,} elements differ from {step.inputs[0]}"
    yield text
    for trial in step.trials if names else ():
        parents = [names.get(parent, parent) for parent in trial.parents]
        fitted = " + ".join(f"{value}·{parent}" for value, parent in zip(trial.estimated, parents, strict=True))
        yield f"the weights are nearest to {fitted}"
        if trial.coefficients is None:
            yield "no round coefficients near these give the weights to the bit"
        else:
            snapped = " + ".join(f"{value}·{parent}" for value, parent in zip(trial.coefficients, parents, strict=True))
            yield f"replayed as {snapped}: {'equal to the bit' if trial.equal else 'not equal'}"

"""A report as lines for people. What a line says comes from what the report shows to have been done.

`ok` is never the absence of findings: where the procedure stopped early, everything below is `skip`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from model_attest.commands.area import Area, Status
from model_attest.commands.history_text import (
    COMMITMENT_CODES,
    HISTORY_CODES,
    REVOCATION_CODES,
    commitment,
    revocations,
    superseded,
)
from model_attest.commands.training_text import training_lines
from model_attest.console import size_text
from model_verify.files import OMS_SIGNATURE_PATH
from model_verify.report import (
    Report,
    ReportFinding,
    ReportHub,
    ReportMaterial,
    ReportModelSig,
    ReportPolicy,
    ReportSigner,
    ReportStep,
    ReportTime,
)

_OF_HISTORY = ("commitment", "supersedes", "revocations")
_NOT_REACHED = "not reached"
_MOST_STATED_FILES = 20
_MOST_NAME_CHARACTERS = 24

_AREA_OF_CLAUSE = {
    "V1": "signature", "V2": "signature", "V3": "signature",
    "V4": "statement", "V5": "manifest", "V6": "manifest", "V7": "files", "V8": "weights",
    "V9": "pipeline", "V10": "pipeline", "V11": "pipeline", "V12": "policy",
}  # fmt: skip
_AREA_OF_CODE = {
    "CARD_NOT_CHECKED": "card", "UNVERIFIED_WEIGHTS": "weights", "PICKLE_WEIGHTS": "weights",
    "COMMIT_NOT_ON_BRANCH": "repository",
    **dict.fromkeys(REVOCATION_CODES, "revocations"),
    **dict.fromkeys(HISTORY_CODES, "supersedes"),
    **dict.fromkeys(COMMITMENT_CODES, "commitment"),
}  # fmt: skip


def report_lines(report: Report, *, required_level: int | None = None) -> list[str]:
    """Return the verdict, one line for each area with what was found, what was not checked, and what to do next.

    `required_level` is given where a VERIFIED report lies below what the caller asked for.
    """
    level = f" level {report.level}" if report.level is not None else ""
    link = report.headline.partition(": ")[2]
    lines = [f"{report.verdict}{level}  {report.reference}: {link}"]
    listed = areas(report)
    if required_level is not None:
        listed.append(Area("level", "FAIL", f"{report.level}, but {required_level} is required"))
    width = min(max(len(area.name) for area in listed), _MOST_NAME_CHARACTERS)
    for area in listed:
        lines.append(f"  {area.status:<4}  {area.name:<{width}}  {area.text}".rstrip())
        lines += [f"        {detail}" for detail in area.details]
        lines += [line for finding in area.findings for line in _finding_lines(finding)]
    if any(material.attestation for material in report.materials):
        lines += ["lineage", *_tree(report.materials, "  ")]
    lines += [f"held against: {candidate.label}, {candidate.root}" for candidate in report.candidates]
    lines += _unattested_lines(report)
    lines += [f"not checked: {item.what} ({item.why})" for item in report.not_checked]
    return lines + [f"hint: {hint}" for hint in _hints(report)]


def _unattested_lines(report: Report) -> Iterator[str]:
    """Yield what is known of a model that nobody attests, as what it is: somebody's word."""
    known = report.unattested
    if known is None:
        return
    for file in known.files[:_MOST_STATED_FILES]:
        yield f"by the Hub's word: {file.path}, {size_text(file.size_bytes)}, {file.stated_digest}"
    if len(known.files) > _MOST_STATED_FILES:
        yield f"by the Hub's word: {len(known.files) - _MOST_STATED_FILES} more files, which `--json` lists"
    if known.claimed_base_models:
        relation = f" ({known.claimed_relation})" if known.claimed_relation else ""
        yield f"the card claims: made from {', '.join(known.claimed_base_models)}{relation}; nobody has checked it"


def _tree(materials: Sequence[ReportMaterial], indent: str) -> Iterator[str]:
    """Yield a line for each ancestor, its parents below it."""
    for place, material in enumerate(materials):
        last = place == len(materials) - 1
        yield f"{indent}{'└─' if last else '├─'} {material.id}  {_ancestor(material)}"
        if material.attestation is not None:
            yield from _tree(material.attestation.materials, indent + ("   " if last else "│  "))


def _ancestor(material: ReportMaterial) -> str:
    attestation = material.attestation
    if attestation is None:
        return "no attestation" if material.status == "matched" else material.status
    steps = ", ".join(f"{step.id} {step.verdict}" for step in attestation.steps)
    signer = f", {_short_signer(attestation.signer)}" if attestation.signer else ""
    return f"{attestation.headline}{f' [{steps}]' if steps else ''}{signer}"


def _short_signer(signer: ReportSigner) -> str:
    return f"key sha256:{signer.key_hint[:12]}…" if signer.key_hint is not None else signer.described


def areas(report: Report) -> list[Area]:
    """Return the table of a report; every finding is in exactly one area."""
    listed = [
        *([_repository(report.hub)] if report.hub else []),
        _signature(report),
        *([_time(report.time)] if report.time else []),
        _statement(report),
        commitment(report.history),
        superseded(report.history),
        revocations(report.history),
        _manifest(report),
        _files(report),
        _weights(report),
        *(_material(material) for material in report.materials),
        _pipeline(report),
        *(_step(step) for step in report.steps),
        _card(report),
        _model_sig(report.model_sig),
        _policy(report.policy),
    ]
    by_name = {area.name: area for area in listed}
    last_of_code: dict[str, Area] = {}
    for finding in report.findings:
        area = by_name.get(_area_name(finding, by_name))
        if area is None:
            area = last_of_code.get(finding.code) or by_name[_clause_area(finding)]
        last_of_code[finding.code] = area
        area.add(finding)
    for area in listed:
        if area.findings and area.text == _NOT_REACHED:
            area.text = "stopped here"
        elif area.status == "FAIL" and area.name in ("files", "weights"):
            area.text = f"not as signed: {area.text}"
    # Where steps have lines of their own, one for all of them has nothing to add but findings.
    silent = {"pipeline"} if report.steps else set()
    silent |= {"policy"} if report.policy is None else set()
    silent |= {OMS_SIGNATURE_PATH} if report.model_sig is None else set()
    silent |= {area.name for area in listed if area.name in _OF_HISTORY and not area.text}
    return [area for area in listed if area.name not in silent or area.findings]


def _area_name(finding: ReportFinding, by_name: dict[str, Area]) -> str:
    """Return the area that a finding names: a step or a material by its identifier, else the one of its clause."""
    if finding.code in _AREA_OF_CODE:
        return _AREA_OF_CODE[finding.code]
    clause = finding.clause.removeprefix("verification ")
    if finding.code.startswith("OMS_") or finding.where == OMS_SIGNATURE_PATH:
        return OMS_SIGNATURE_PATH
    if clause not in ("V9", "V10", "V11"):
        return _clause_area(finding)
    named = finding.where.split(": ", 1)[0]
    for kind in ("step", "material"):
        if f"{kind} {named}" in by_name:
            return f"{kind} {named}"
    return ""


def _clause_area(finding: ReportFinding) -> str:
    return _AREA_OF_CLAUSE[finding.clause.removeprefix("verification ")]


def _repository(hub: ReportHub) -> Area:
    led = {
        "branch": "a branch or tag leads there",
        "proposal": "no branch or tag leads there",
        "unknown": "whether a branch leads there is unknown",
    }
    text = f"{hub.repository}@{hub.commit}, `{hub.revision}`, by the word of {hub.endpoint}; {led[hub.reach]}"
    return Area("repository", "ok", text)


def _signature(report: Report) -> Area:
    signer = report.signer
    if signer is None:
        return Area("signature", "skip", "no signature was read")
    place = report.bundle.detached if report.bundle else None
    details = () if place is None else (f"of {place}: whoever signed need not be who published the model",)
    if signer.expected:
        algorithm = f"{signer.algorithm} " if signer.algorithm else ""
        return Area("signature", "ok", f"{algorithm}{signer.described}, the one you named", details=details)
    return Area("signature", "skip", f"the bundle names {signer.described}", details=details)


def _time(time: ReportTime) -> Area:
    logged = "" if time.log is None else f"; entry {time.log.index} of the log {time.log.origin}"
    return Area("time", "ok", f"signed before {time.signed_before} by the word of {time.by}{logged}")


def _statement(report: Report) -> Area:
    model = report.statement
    if model is None:
        return Area("statement", "skip", _NOT_REACHED)
    text = " ".join(text for text in (model.name, model.version) if text)
    if model.uri:
        text += f", {model.uri} by the signer's word"
    if report.signer is None or not report.signer.expected:
        return Area("statement", "skip", f"{text}, by the word of a signer that you did not name")
    return Area("statement", "ok", text)


def _manifest(report: Report) -> Area:
    if report.roots is None or report.coverage is None:
        return Area("manifest", "skip", _NOT_REACHED)
    return Area("manifest", "ok", report.roots.manifest.text)


def _files(report: Report) -> Area:
    if report.files is None or report.coverage is None:
        return Area("files", "skip", _NOT_REACHED)
    stated = f", {report.files.stated} by the Hub's digest alone" if report.files.stated else ""
    return Area("files", "ok", f"{_count(report.files.listed, 'file')}, {report.files.hashed} hashed whole{stated}")


def _weights(report: Report) -> Area:
    coverage, roots = report.coverage, report.roots
    if coverage is None or roots is None:
        return Area("weights", "skip", _NOT_REACHED)
    text = f"{_count(coverage.tensors, 'tensor')}, {size_text(coverage.bytes)}, {roots.checkpoint}"
    if (coverage.tensors_hashed, coverage.bytes_hashed) == (coverage.tensors, coverage.bytes):
        return Area("weights", "ok", text)
    return Area("weights", "skip", f"{coverage.tensors_hashed} of {text}")


def _material(material: ReportMaterial) -> Area:
    status, text = _material_outcome(material)
    anchor = f", your `{material.anchor}`" if material.anchor else ""
    said = ", ".join(word for word in (material.uri, material.license) if word)
    word = f", {said} by the signer's word" if said else ""
    if material.read_from:
        word += f", read from {material.read_from}"
    if material.origin == "hub":
        word += ", which is its origin by the Hub's word"
    seen = tuple(f"{one.by} saw this root at {one.uri} by {one.observed}" for one in material.observations)
    return Area(f"material {material.id}", status, f"{text}{anchor}{word}", details=seen)


def _material_outcome(material: ReportMaterial) -> tuple[Status, str]:
    match material.status:
        case "matched":
            return "ok", material.root.text
        case "mismatched":
            return "FAIL", "not the declared one"
        case "malformed":
            return "FAIL", "no weights that a loader would take"
        case "missing":
            return "skip", "no folder was given"
        case "unchecked":
            return "skip", _NOT_REACHED


def _pipeline(report: Report) -> Area:
    if report.coverage is None:
        return Area("pipeline", "skip", _NOT_REACHED)
    return Area("pipeline", "ok", "") if report.steps else Area("pipeline", "skip", "no step is declared")


def _step(step: ReportStep) -> Area:
    status, text = _step_outcome(step)
    return Area(f"step {step.id}", status, text, details=tuple(training_lines(step)))


_KINDS = {"train": "this is training of", "run": "a command made this from", "merge": "random masks made this of"}


def _step_outcome(step: ReportStep) -> tuple[Status, str]:
    inputs = ", ".join(step.inputs)
    match step.verdict:
        case "reproduced":
            profile = f", {step.profile}" if step.profile else ""
            tensors = f", {_count(step.tensors, 'tensor')} to the bit" if step.tensors is not None else ""
            return "ok", f"reproduced from {inputs}{profile}{tensors}"
        case "reproduced-within":
            profile = f", {step.profile}" if step.profile else ""
            return "ok", f"reproduced from {inputs}{profile}, within the bound of its method"
        case "attested":
            moved = ""
            if step.moved_elements is not None and step.elements is not None:
                moved = f", {step.moved_elements:,} of {step.elements:,} trainable elements differ"
            said = _KINDS.get(step.type, f"this is {step.type} of")
            return "warn", f"attested: the signer's word that {said} {inputs}{moved}"
        case "contradicted":
            return "FAIL", "contradicted by the weights"
        case "unsupported":
            why = ", for what the weights say" if step.moved_elements is not None else ""
            return "skip", f"unsupported: {step.type} of {inputs}{why}"
        case "unchecked":
            return "skip", f"unchecked: {step.type} of {inputs}"


def _card(report: Report) -> Area:
    if report.statement is None:
        return Area("card", "skip", _NOT_REACHED)
    has_card = any(finding.code == "CARD_NOT_CHECKED" for finding in report.findings)
    return Area("card", "skip", "declared, and not checked by this version" if has_card else "none declared")


def _model_sig(check: ReportModelSig | None) -> Area:
    if check is None:
        return Area(OMS_SIGNATURE_PATH, "skip", "not by anybody whom you named")
    if check.serialization is None:
        return Area(OMS_SIGNATURE_PATH, "skip", f"signed by {check.signer.described}, not understood")
    left_out = f", {_count(check.left_out, 'file')} left out" if check.left_out else ""
    matched = f"{check.files_matched} of {_count(check.files_listed, 'file')} as signed{left_out}"
    return Area(OMS_SIGNATURE_PATH, "ok", f"{matched}, {check.hash_type}, by {check.signer.described}")


def _policy(policy: ReportPolicy | None) -> Area:
    if policy is None or not policy.evaluated:
        return Area("policy", "skip", _NOT_REACHED)
    return Area("policy", "ok", policy.digest.text)


def _finding_lines(finding: ReportFinding) -> Iterator[str]:
    yield f"        {finding.code}  {finding.where}".rstrip()
    if finding.expected:
        yield f"          expected  {finding.expected}"
    if finding.actual:
        yield f"          actual    {finding.actual}"


def _hints(report: Report) -> Iterator[str]:
    """Yield what the caller can do about what was not checked."""
    codes = {finding.code for finding in report.findings}
    signed_otherwise = report.model_sig or any(item.what == OMS_SIGNATURE_PATH for item in report.not_checked)
    if "ATTESTATION_MISSING" in codes and not signed_otherwise:
        root = "`attest hash` gives the root of what is there"
        if report.hub is not None:
            repository = report.hub.repository.removeprefix("pkg:huggingface/")
            root = (
                f"`hf download {repository} --revision {report.hub.commit}`, and `attest hash` of that, give its root"
            )
        yield f"nothing is signed here: ask whoever published it; {root}"
    if "WEIGHTS_NOT_READ" in codes:
        yield "`--depth full` reads every byte of it, and of its parents"
    yield from _signer_hints(report.signer, codes)
    missing = [material for material in report.materials if material.status == "missing"]
    if missing:
        yield f"pass {' '.join(f'`--parent {material.id}=PATH`' for material in missing)}"
    if "NO_MERGE_BACKEND" in codes:
        yield "merges are replayed by numpy and numba: `pip install 'model-attest[replay]'`"
    if codes & {"CRITICAL_UNKNOWN", "STEP_TYPE_UNKNOWN", "PROFILE_UNKNOWN", "SIGNATURE_KIND_UNSUPPORTED"}:
        yield "a newer version of attest may know what this one does not"
    if "UNDECLARED_PARENTS_NOT_TESTED" in codes and report.verdict == "VERIFIED":
        yield "pass `--candidate DIR` for a model that this one may be a blend with"


def _signer_hints(signer: ReportSigner | None, codes: set[str]) -> Iterator[str]:
    if signer is None:
        return
    accepts = f"`--identity {shlex.quote(signer.identity or '')} --issuer {shlex.quote(signer.issuer or '')}`"
    match signer.kind:
        case "key":
            if "SIGNER_NOT_EXPECTED" in codes:
                yield "pass `--key PUB` with the public key of whom you expect to have signed"
        case "certificate":
            if codes & {"SIGNER_NOT_EXPECTED", "IDENTITY_MISMATCH"}:
                name = shlex.quote(signer.identity or "")
                yield f"pass `--identity {name} --certificate-root FILE` if that is whom you expect to have signed"
            if "REVOCATION_UNKNOWN" in codes:
                yield "pass `--crl FILE` with a list by every authority of the chain, or none"
        case "sigstore":
            if "SIGNER_NOT_EXPECTED" in codes:
                yield f"pass {accepts} if that is whom you expect to have signed"
            if "IDENTITY_MISMATCH" in codes:
                yield f"{accepts} would take it: only if that is whom you expect"
            if "SIGNATURE_INVALID" in codes:
                yield "signed with a private Sigstore, it needs that one's `--trust-config FILE`"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"

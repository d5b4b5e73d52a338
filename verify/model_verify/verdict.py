"""From findings and verdicts on steps to the verdict on a model, its level, and the headline. Spec: verification §5."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from model_verify.findings import Finding, Severity
from model_verify.report import ReportMaterial, ReportStep, StepVerdict, Verdict

_MOST_NAMED = 5
"""Changed files of documentation that the headline names; it counts the others."""


def decide(
    findings: Sequence[Finding],
    steps: Sequence[ReportStep],
    materials: Sequence[ReportMaterial],
    *,
    expected_signer: bool,
    everything_ran: bool,
) -> tuple[Verdict, Literal[1, 2, 3] | None, str]:
    """Return verdict, level and the weakest link. Spec: verification §5.

    VERIFIED is given only where `expected_signer` and `everything_ran` hold, whatever the findings say: a verifier that
    says so without having checked is the worst there is.
    """
    failed = [finding for finding in findings if finding.severity is Severity.FAIL]
    if failed or any(step.verdict == "contradicted" for step in steps):
        return "REJECTED", None, _sentence(failed[0]) if failed else "a step is contradicted"
    open_ends = [finding for finding in findings if finding.severity is Severity.INCOMPLETE]
    if open_ends:
        return "INCOMPLETE", None, _sentence(open_ends[0])
    if not (expected_signer and everything_ran) or any(s.verdict in ("unchecked", "unsupported") for s in steps):
        return "INCOMPLETE", None, "something declared was not checked"
    level, link = _level(findings, steps, materials)
    changed = [finding.where for finding in findings if finding.code == "DOCUMENTATION_CHANGED"]
    if changed:
        named = ", ".join(f"`{name}`" for name in changed[:_MOST_NAMED])
        more = f" and {len(changed) - _MOST_NAMED} more" if len(changed) > _MOST_NAMED else ""
        link += f"; {named}{more} {'differs' if len(changed) == 1 else 'differ'} from what was signed"
    if any(finding.code == "COMMIT_NOT_ON_BRANCH" for finding in findings):
        link += "; no branch or tag leads to this commit, which anybody may have proposed"
    if any(finding.code == "CODE_ELSEWHERE" for finding in findings):
        link += "; it loads code from elsewhere"
    return "VERIFIED", level, link


def _level(
    findings: Sequence[Finding], steps: Sequence[ReportStep], materials: Sequence[ReportMaterial]
) -> tuple[Literal[1, 2, 3], str]:
    if not steps:
        return 1, "no step is declared, so nothing is said of where the weights come from"
    idle = [finding.where for finding in findings if finding.code == "PARENT_NO_EFFECT"]
    if idle:
        return 1, f"{idle[0]} changes nothing in the output"
    if any(material.status != "matched" for material in materials):
        return 1, "not every material was matched"
    weaker = [_weaker(steps, verdict, saying) for verdict, saying in _SAYINGS.items()]
    if any(weaker):
        return 2, "; ".join(part for part in weaker if part)
    unverified = [finding.where for finding in findings if finding.code == "UNVERIFIED_WEIGHTS"]
    if unverified:
        return 2, f"no step gives the weights in {unverified[0]}"
    if "ADAPTER_BASE_ELSEWHERE" in {finding.code for finding in findings}:
        return 2, "this is an adapter, and the model that it changes is elsewhere"
    return 3, "every step was reproduced bit for bit"


_KINDS = {"train": ("training", "training steps"), "run": ("the run of a command", "runs of commands")}
_SAYINGS: dict[StepVerdict, tuple[str, str]] = {
    "attested": ("is the signer's word", "are the signer's word"),
    "reproduced-within": ("was reproduced within its method's bound", "were reproduced within their methods' bounds"),
}


def _weaker(steps: Sequence[ReportStep], verdict: StepVerdict, saying: tuple[str, str]) -> str:
    """Return which steps have a verdict that keeps from level 3, counted where there are several of one kind."""
    counts = Counter(
        _KINDS.get(step.type, (step.type, f"{step.type} steps")) for step in steps if step.verdict == verdict
    )
    if not counts:
        return ""
    named = [one if count == 1 else f"{count} {several}" for (one, several), count in sorted(counts.items())]
    return f"{' and '.join(named)} {saying[counts.total() > 1]}"


def _sentence(finding: Finding) -> str:
    """Return a finding as one line for the headline."""
    said = SENTENCES[finding.code]
    where = f" ({finding.where})" if finding.where else ""
    return f"{said}{where}"


SENTENCES = {
    "ATTESTATION_MISSING": "there is no attestation",
    "BUNDLE_MALFORMED": "the bundle is malformed",
    "SIGNATURE_INVALID": "there is no valid signature by the expected signer",
    "IDENTITY_MISMATCH": "another than the expected identity signed this",
    "CERTIFICATE_INVALID": "the signer's certificate does not lead to your roots, or is not for this",
    "CERTIFICATE_EXPIRED": "a certificate was not valid when this was signed",
    "CERTIFICATE_REVOKED": "a certificate was revoked",
    "REVOCATION_UNKNOWN": "no revocation list says whether a certificate holds",
    "SIGNER_NOT_EXPECTED": "nobody said whose signature to expect",
    "SIGNATURE_KIND_UNSUPPORTED": "the signature is of a kind that cannot be checked here",
    "HISTORY_MISSING": "an attestation that this one takes the place of is not there",
    "HISTORY_TOO_LONG": "more attestations were superseded than are followed",
    "HISTORY_MISMATCH": "an attestation that was superseded is not what it is said to be",
    "COMMITMENT_MALFORMED": "the commitment cannot be read",
    "COMMITMENT_MISMATCH": "the signer committed to something else",
    "ROOT_REVOKED": "these weights are revoked",
    "SIGNER_REVOKED": "the signer is revoked",
    "REVOCATION_MALFORMED": "a revocation cannot be read",
    "ATTESTED_FOR_OTHER_REPO": "the attestation is not for this repository",
    "MANIFEST_MISMATCH": "the manifest is not the one that was signed",
    "LEAVES_MISMATCH": "the leaf file is not the one that was signed",
    "FILE_MISSING": "a file is missing",
    "FILE_EXTRA": "a file is there that was not signed",
    "FILE_MISMATCH": "a file is not as signed",
    "FILE_NOT_REGULAR": "something is no regular file",
    "OMS_SIGNATURE_INVALID": "`model.sig` names your signer, whose signature is not valid",
    "OMS_MALFORMED": "`model.sig` is malformed",
    "OMS_SUBJECT_MISMATCH": "`model.sig` does not hold together",
    "OMS_PATH_UNSAFE": "`model.sig` lists an unsafe path",
    "OMS_FILE_MISSING": "a file that `model.sig` lists is missing",
    "OMS_FILE_NOT_REGULAR": "what `model.sig` lists is no regular file",
    "OMS_FILE_MISMATCH": "a file is not as signed in `model.sig`",
    "OMS_FILE_NOT_COVERED": "a file is there that `model.sig` does not list",
    "OMS_UNSUPPORTED": "`model.sig` cannot be checked in full here",
    "OMS_FILE_LEFT_OUT": "`model.sig` leaves out a file",
    "HEADER_MISMATCH": "a weight file's header is not as signed",
    "TENSOR_MISSING": "a tensor is missing",
    "TENSOR_EXTRA": "a tensor is there that was not signed",
    "TENSOR_MISMATCH": "a tensor is not as signed",
    "WEIGHTS_AMBIGUOUS": "it is open which weights load",
    "WEIGHTS_NOT_READ": "at depth hub no weights are read, and the Hub is trusted for content",
    "MATERIAL_MISSING": "a parent has no weights here",
    "MATERIAL_MISMATCH": "a parent is not the declared one",
    "REPLAY_MISMATCH": "a declared step gives other weights",
    "TYPE_NOT_REPLAYED": "a tensor has a type that is not computed here",
    "OUTPUT_NOT_AVAILABLE": "the output of a method that is not fixed to the bit was not published",
    "PARENT_REJECTED": "a parent's own attestation is rejected",
    "PARENT_INCOMPLETE": "a parent's own attestation could not be checked in full",
    "TRAINING_NO_EFFECT": "the declared training changed nothing",
    "TRAINING_EQUALS_BLEND": "declared as training, the weights are a blend to the bit",
    "PAYLOAD_TYPE_WRONG": "what was signed is no statement",
    "STATEMENT_MALFORMED": "the statement is malformed",
    "PREDICATE_TYPE_UNKNOWN": "the statement is of an unknown type",
    "CRITICAL_UNKNOWN": "the statement has a critical part that is not known here",
    "CARD_NOT_CHECKED": "the statement has a card, which is not checked here",
    "MANIFEST_MALFORMED": "the manifest is malformed",
    "MANIFEST_NOT_CANONICAL": "the manifest is not in its canonical form",
    "CHECKPOINT_ROOT_MISMATCH": "a checkpoint root is not that of its tensors",
    "SUBJECT_MISMATCH": "a subject is not as the manifest has it",
    "FILE_PATH_UNSAFE": "a path is unsafe",
    "WEIGHTS_REDIRECTED": "a loader would take other weights",
    "WEIGHTS_MALFORMED": "a weight file is malformed",
    "TENSOR_DTYPE_MISMATCH": "a tensor has another dtype",
    "TENSOR_SHAPE_MISMATCH": "a tensor has another shape",
    "PIPELINE_MALFORMED": "the steps are malformed",
    "STEP_OFF_PATH": "a step does not lead to the model",
    "MATERIAL_OFF_PATH": "a parent is in no step",
    "OUTPUT_NOT_SUBJECT": "the last step gives another model",
    "COEFFICIENT_BITS_WRONG": "a coefficient's bits are not those of its text",
    "TRAINING_RECORD_INCONSISTENT": "the record of a training contradicts itself",
    "STEP_TYPE_UNKNOWN": "a step is of an unknown type",
    "PROFILE_UNKNOWN": "a merge is by an unknown profile",
    "MATERIAL_MALFORMED": "a parent has no weights that a loader would take",
    "OPERAND_INVALID": "a declared merge cannot be run",
    "NONFINITE_INPUT": "a parent holds values that are not finite",
    "NONFINITE_OUTPUT": "the declared merge gives values that are not finite",
    "TRAINING_CHANGED_OTHER": "the declared training changed what it was not to change",
    "INPUT_NOT_AVAILABLE": "a step needs weights that nobody published",
    "STEP_TOO_LARGE": "a step needs more tensors at once than this machine can hold",
    "TRAINING_RANK_EXCEEDED": "a weight moved by more than the declared LoRA can have moved it",
    "NO_TRAINING_EVIDENCE": "declared as training, the weights are a blend as far as rounding tells",
    "POLICY_SIGNER": "whoever signed is not a signer that the policy accepts",
    "POLICY_LEVEL": "the level is below what the policy asks for",
    "POLICY_STEP": "the policy does not accept a step",
    "POLICY_MATERIAL": "the policy does not accept a parent",
    "POLICY_LICENSE": "the policy does not accept the licence of a parent",
    "POLICY_FILE": "the policy forbids a file",
    "POLICY_FINDING": "the policy refuses what was found",
    "POLICY_COVERAGE": "less was reproduced than the policy asks for",
    "POLICY_TIME": "the policy asks when it was signed",
    "NO_MERGE_BACKEND": "the software that replays merges is missing or unfit",
}

"""Findings, and the closed list of their codes. Spec: verification §2, §4."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    FAIL = "fail"
    INCOMPLETE = "incomplete"
    WARN = "warn"
    NOTE = "note"


_CODES: dict[Severity, dict[str, str]] = {
    Severity.FAIL: {
        "V2": "BUNDLE_MALFORMED",
        "V3": "SIGNATURE_INVALID CERTIFICATE_INVALID CERTIFICATE_EXPIRED CERTIFICATE_REVOKED IDENTITY_MISMATCH "
        "POLICY_SIGNER",
        "V4": "PAYLOAD_TYPE_WRONG STATEMENT_MALFORMED PREDICATE_TYPE_UNKNOWN ATTESTED_FOR_OTHER_REPO "
        "ROOT_REVOKED SIGNER_REVOKED REVOCATION_MALFORMED HISTORY_MISMATCH "
        "COMMITMENT_MALFORMED COMMITMENT_MISMATCH",
        "V5": "MANIFEST_MISMATCH MANIFEST_MALFORMED MANIFEST_NOT_CANONICAL CHECKPOINT_ROOT_MISMATCH SUBJECT_MISMATCH",
        "V6": "LEAVES_MISMATCH",
        "V7": "FILE_MISSING FILE_EXTRA FILE_PATH_UNSAFE FILE_NOT_REGULAR FILE_MISMATCH WEIGHTS_REDIRECTED "
        "OMS_SIGNATURE_INVALID OMS_MALFORMED OMS_SUBJECT_MISMATCH OMS_PATH_UNSAFE OMS_FILE_MISSING "
        "OMS_FILE_NOT_REGULAR OMS_FILE_MISMATCH OMS_FILE_NOT_COVERED",
        "V8": "WEIGHTS_AMBIGUOUS WEIGHTS_MALFORMED HEADER_MISMATCH TENSOR_MISSING TENSOR_EXTRA TENSOR_DTYPE_MISMATCH "
        "TENSOR_SHAPE_MISMATCH TENSOR_MISMATCH",
        "V9": "PIPELINE_MALFORMED STEP_OFF_PATH MATERIAL_OFF_PATH OUTPUT_NOT_SUBJECT COEFFICIENT_BITS_WRONG "
        "TRAINING_RECORD_INCONSISTENT",
        "V10": "MATERIAL_MALFORMED MATERIAL_MISMATCH PARENT_REJECTED",
        "V11": "OPERAND_INVALID NONFINITE_INPUT NONFINITE_OUTPUT REPLAY_MISMATCH TRAINING_NO_EFFECT "
        "TRAINING_EQUALS_BLEND TRAINING_CHANGED_OTHER",
        "V12": "POLICY_LEVEL POLICY_STEP POLICY_MATERIAL POLICY_LICENSE POLICY_FILE POLICY_FINDING POLICY_COVERAGE "
        "POLICY_TIME",
        "S2": "SUMMARY_MALFORMED",
        "S3": "SUMMARY_SUBJECT_MISMATCH SUMMARY_ATTESTATION_MISMATCH",
        "S4": "SUMMARY_VERIFIER_MISMATCH SUMMARY_RESOURCE_MISMATCH SUMMARY_POLICY_MISMATCH",
        "S5": "SUMMARY_INCONSISTENT SUMMARY_FAILED",
        "S6": "SUMMARY_EXPIRED SUMMARY_FROM_FUTURE",
    },
    Severity.INCOMPLETE: {
        "V1": "ATTESTATION_MISSING",
        "V2": "SIGNATURE_KIND_UNSUPPORTED",
        "V3": "SIGNER_NOT_EXPECTED REVOCATION_UNKNOWN",
        "V4": "CRITICAL_UNKNOWN CARD_NOT_CHECKED HISTORY_MISSING HISTORY_TOO_LONG",
        "V7": "OMS_UNSUPPORTED OMS_FILE_LEFT_OUT",
        "V8": "WEIGHTS_NOT_READ",
        "V9": "STEP_TYPE_UNKNOWN PROFILE_UNKNOWN",
        "V10": "MATERIAL_MISSING PARENT_INCOMPLETE",
        "V11": "INPUT_NOT_AVAILABLE OUTPUT_NOT_AVAILABLE TYPE_NOT_REPLAYED NO_MERGE_BACKEND STEP_TOO_LARGE "
        "NO_TRAINING_EVIDENCE TRAINING_RANK_EXCEEDED",
        "S3": "SUMMARY_SUBJECT_NOT_GIVEN",
        "S4": "SUMMARY_RESOURCE_NOT_GIVEN",
        "S7": "SUMMARY_LEVEL_BELOW",
    },
    Severity.WARN: {
        "V1": "COMMIT_NOT_ON_BRANCH",
        "V3": "TIMESTAMP_UNTRUSTED",
        "V4": "SIGNER_REVOKED_LATER HISTORY_SIGNER COMMITMENT_SIGNER COMMITMENT_LATE SHOWN_AFTER_PUBLICATION",
        "V7": "DOCUMENTATION_CHANGED ADAPTER_BASE_ELSEWHERE CODE_ELSEWHERE PICKLE_WEIGHTS OMS_BUNDLE_MALFORMED "
        "OMS_SIGNER_OTHER OMS_ATTESTATION_NOT_COVERED",
        "V9": "UNVERIFIED_WEIGHTS",
        "V10": "MATERIAL_NOT_ON_BRANCH OBSERVATION_REFUSED OBSERVED_ELSEWHERE",
        "V11": "PARENT_NO_EFFECT CANDIDATE_NOT_TRIED TRAINING_PARTIAL MASK_UNLIKELY",
    },
    Severity.NOTE: {
        "V4": "REVOCATION_NOT_HONOURED",
        "V9": "NO_STEPS",
        "V10": "PARENT_NOT_ATTESTED OBSERVATION_OF_OTHER",
        "V11": "REPLAY_WITHIN OUTPUT_EXAMINED TRAINING_MOVED UNDECLARED_PARENTS_NOT_TESTED",
    },
}

REASONS: dict[str, tuple[Severity, str]] = {
    code: (severity, clause)
    for severity, clauses in _CODES.items()
    for clause, codes in clauses.items()
    for code in codes.split()
}
"""Code -> its fixed severity and the step of the procedure that reports it."""

_CHAPTERS = {"V": "verification", "S": "summary"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a verifier found. `where` names a file, a tensor, a step or a material."""

    code: str
    where: str = ""
    expected: str = ""
    actual: str = ""

    def __post_init__(self) -> None:
        assert self.code in REASONS, self.code

    @property
    def severity(self) -> Severity:
        return REASONS[self.code][0]

    @property
    def clause(self) -> str:
        step = REASONS[self.code][1]
        return f"{_CHAPTERS[step[0]]} {step}"


def limited(findings: Iterable[Finding], most: int = 20) -> list[Finding]:
    """Return the first findings of each code, and one more that counts the rest. Spec: verification §2."""
    kept: list[Finding] = []
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding.code] = counts.get(finding.code, 0) + 1
        if counts[finding.code] <= most:
            kept.append(finding)
    return kept + [Finding(code, f"{count - most} more") for code, count in counts.items() if count > most]

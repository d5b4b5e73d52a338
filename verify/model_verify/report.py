"""The report: findings, verdict, level, headline, and what was not checked. Spec: verification §5, §6."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from pydantic import ConfigDict, Field

from model_verify import __version__
from model_verify.findings import Finding, Severity
from model_verify.history.report import ReportHistory
from model_verify.models import Wire, WireCheckpointRoot, WireFileDigest

StepVerdict = Literal["reproduced", "reproduced-within", "attested", "unsupported", "contradicted", "unchecked"]
Verdict = Literal["VERIFIED", "REJECTED", "INCOMPLETE"]
_MOST_NAMED = 5
"""Changed files of documentation that the headline names; it counts the others."""
EXIT_CODES: dict[Verdict, int] = {"VERIFIED": 0, "REJECTED": 1, "INCOMPLETE": 3}


class ReportTool(Wire):
    name: str = "model-attest"
    version: str = __version__


class ReportSigner(Wire):
    """Who signed: a key, an identity by the word of an issuer, or a name in a certificate that a root vouches for.

    `expected` says whether the signature is valid under the key, identity or name that the caller named; where it is
    false, this is only what the bundle says.
    """

    kind: Literal["key", "sigstore", "certificate"]
    key_hint: str | None = None
    algorithm: str | None = None
    identity: str | None = None
    issuer: str | None = None
    expected: bool

    @property
    def described(self) -> str:
        """Who that is, in words."""
        if self.kind == "key":
            return f"key sha256:{self.key_hint}"
        name = self.identity or "a certificate without a name"
        return f"{name} by {self.issuer}" if self.issuer is not None else name


class ReportTimeEvidence(Wire):
    """Somebody's word that the signature existed at `time`: a timestamping authority's, or the log's."""

    source: Literal["timestamp", "log"]
    by: str
    time: str


class ReportLog(Wire):
    """Where the signature is entered in a transparency log, for everybody to see."""

    origin: str
    index: int


class ReportTime(Wire):
    """When it was signed. `signed_before` is the earliest of the times vouched for, `log` where it is logged."""

    signed_before: str
    by: str
    evidence: list[ReportTimeEvidence]
    log: ReportLog | None


class ReportBundle(Wire):
    """The bundle that was read. `detached` names the place, where that is outside of the repository."""

    digest: WireFileDigest
    detached: str | None


class ReportRoots(Wire):
    checkpoint: WireCheckpointRoot
    manifest: WireFileDigest


class ReportModel(Wire):
    """What the signer calls the model. A claim, shown as such."""

    name: str
    version: str | None
    uri: str | None


class ReportObservation(Wire):
    """Where an observer of the caller's saw a root, and when; that is the observer's word."""

    where: str
    by: str
    uri: str
    observed: str
    manifest_digest: WireFileDigest
    signed_before: str | None


class ReportMaterial(Wire):
    """A material; `attestation` is what its own attestation came to, where the caller asked to follow it."""

    id: str
    uri: str | None
    root: WireCheckpointRoot
    status: Literal["matched", "mismatched", "malformed", "missing", "unchecked"]
    actual_root: WireCheckpointRoot | None = None
    origin: Literal["unknown", "anchored", "observed", "hub"] = "unknown"
    """`hub` where the Hub's word is that these weights are those of the declared repository, at the declared commit."""
    read_from: str | None = None
    """The package URL, with commit, of the repository that was read, where it was read from the Hub."""
    anchor: str | None = None
    """The name that the caller's policy has for its root, where the origin is anchored."""
    observations: list[ReportObservation] = Field(default_factory=list)
    """Who saw its root where, of the observers that the caller named."""
    license: str | None = None
    """By the signer's word."""
    attestation: ReportAttestation | None = None


class ReportAttestation(Wire):
    """A parent's own report, as far as it belongs into the child's."""

    reference: str
    verdict: Verdict
    level: Literal[1, 2, 3] | None
    headline: str
    bundle: ReportBundle | None
    signer: ReportSigner | None
    statement: ReportModel | None
    steps: list[ReportStep]
    materials: list[ReportMaterial]
    findings: list[ReportFinding]


class ReportCandidate(Wire):
    """A model that the caller gave to hold declared training against, by its label in `trials`."""

    label: str
    root: WireCheckpointRoot


class ReportMovement(Wire):
    """How far a train step moved the trainable tensors of one component and dtype. Spec: pipeline §4.12.

    Distances are of the elements that moved, in ULP of that dtype; median and 99th percentile to four leading bits.
    """

    component: Literal["embedding", "attention", "mlp", "experts", "router", "norm", "head", "other"]
    dtype: str
    tensors: int
    tensors_moved: int
    elements: int
    moved: int
    ulp_median: int | None
    ulp_99: int | None
    ulp_largest: int | None


class ReportCell(Wire):
    """How many elements lie in the rounding cell of a blend. Spec: pipeline §4.13.

    `moved` are those that are not what the input has. `moved_inside_mirrored` is the control: how many of these would
    lie there if they had moved as far the other way. `coefficients` is null where tensors have their own.
    """

    coefficients: list[str] | None
    elements: int
    inside: int
    moved: int
    moved_inside: int
    moved_inside_mirrored: int


class ReportRank(Wire):
    """How the movement of weights stands to the rank of a declared LoRA. Spec: pipeline §4.15.

    Of the `tensors` that were looked at, `conclusive` are those whose movement would exceed the rank if its elements
    were in another order: of the others nothing can be said.
    """

    declared: int
    tensors: int
    conclusive: int
    exceeded: int


class ReportTrial(Wire):
    """A blend that a train step's output was held against; `equal` says whether it is that to the bit.

    `compute_dtype` is mergekit's `dtype`, null for a profile that has none.
    """

    parents: list[str]
    estimated: list[str]
    coefficients: list[str] | None
    profile: str | None
    compute_dtype: str | None
    normalize: bool | None
    equal: bool
    cell: ReportCell | None


class ReportStep(Wire):
    id: str
    type: str
    profile: str | None
    inputs: list[str]
    output_root: WireCheckpointRoot
    verdict: StepVerdict
    tensors: int | None = None
    moved_elements: int | None = None
    elements: int | None = None
    movement: list[ReportMovement] = Field(default_factory=list)
    rank: ReportRank | None = None
    trials: list[ReportTrial] = Field(default_factory=list)


class ReportFiles(Wire):
    """Files of the manifest; how many were read and hashed whole, and of how many the Hub's digest was compared."""

    listed: int
    hashed: int
    stated: int = 0


class ReportHub(Wire):
    """Where on the Hub the model is; a branch or tag leads to the commit, or only what anybody can propose."""

    endpoint: str
    repository: str
    revision: str
    commit: str
    reach: Literal["branch", "proposal", "unknown"]


class ReportStatedFile(Wire):
    """A file and its SHA-256 by the word of the Hub."""

    path: str
    size_bytes: int
    stated_digest: WireFileDigest


class ReportUnattested(Wire):
    """What is known of a model without an attestation: nobody has checked any of it.

    `claimed_base_models` and `claimed_relation` are what its card says of where the weights come from.
    """

    files: list[ReportStatedFile]
    claimed_base_models: list[str]
    claimed_relation: str | None


class ReportFinding(Wire):
    code: str
    severity: Literal["fail", "incomplete", "warn", "note"]
    where: str
    expected: str
    actual: str
    clause: str


class ReportCoverage(Wire):
    """What was read and computed of the primary weight set."""

    tensors: int
    tensors_hashed: int
    tensors_reproduced: int
    bytes: int
    bytes_hashed: int
    bytes_reproduced: int


class ReportNotChecked(Wire):
    what: str
    why: str


class ReportModelSig(Wire):
    """What a `model.sig` came to, which a signer whom the caller named has signed. Spec: oms §6.

    `binds` says whether every byte of the folder is as signed there; it is no word on where the weights come from.
    """

    signer: ReportSigner
    time: ReportTime | None
    serialization: Literal["files", "shards"] | None
    hash_type: str | None
    files_listed: int
    files_matched: int
    left_out: int
    binds: bool


class ReportPolicy(Wire):
    """The policy that the caller gave, by the digest of its file. `evaluated` where the procedure ran to its end."""

    digest: WireFileDigest
    evaluated: bool


class ReportRun(Wire):
    """What may differ between machines; so may the estimates in `trials`, and nothing else."""

    device: str | None
    threads: int
    bytes_read: int
    seconds: str


class Report(Wire):
    document_schema: Literal["https://model-attest.github.io/report/v1"] = Field(
        alias="schema", default="https://model-attest.github.io/report/v1"
    )
    tool: ReportTool = ReportTool()
    reference: str
    commit: str | None
    depth: Literal["full", "hub"] = "full"
    hub: ReportHub | None = None
    unattested: ReportUnattested | None = None
    verdict: Verdict
    level: Literal[1, 2, 3] | None
    headline: str
    bundle: ReportBundle | None
    signer: ReportSigner | None
    time: ReportTime | None
    roots: ReportRoots | None
    statement: ReportModel | None
    history: ReportHistory | None
    materials: list[ReportMaterial]
    candidates: list[ReportCandidate]
    steps: list[ReportStep]
    files: ReportFiles | None
    model_sig: ReportModelSig | None = None
    findings: list[ReportFinding]
    coverage: ReportCoverage | None
    policy: ReportPolicy | None
    not_checked: list[ReportNotChecked]
    run: ReportRun

    model_config = ConfigDict(populate_by_name=True)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]

    def attestation(self) -> ReportAttestation:
        """Return what of this report belongs into that of a child."""
        return ReportAttestation(
            reference=self.reference,
            verdict=self.verdict,
            level=self.level,
            headline=self.headline,
            bundle=self.bundle,
            signer=self.signer,
            statement=self.statement,
            steps=self.steps,
            materials=self.materials,
            findings=self.findings,
        )


def report_finding(finding: Finding) -> ReportFinding:
    return ReportFinding(
        code=finding.code,
        severity=finding.severity.value,
        where=finding.where,
        expected=finding.expected,
        actual=finding.actual,
        clause=finding.clause,
    )


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

"""The report, as it is written: what was found, decided, and not checked. Spec: verification §6."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from model_verify import __version__
from model_verify.findings import Finding
from model_verify.history.report import ReportHistory
from model_verify.models import Wire, WireCheckpointRoot, WireFileDigest

StepVerdict = Literal["reproduced", "reproduced-within", "attested", "unsupported", "contradicted", "unchecked"]
Verdict = Literal["VERIFIED", "REJECTED", "INCOMPLETE"]
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

"""The procedure V1 to V12, in order. Spec: verification §3.

    V1 find        V4 statement   V7 files     V10 materials
    V2 envelope    V5 manifest    V8 weights   V11 steps
    V3 signature   V6 leaf file   V9 pipeline  V12 verdict

Each step is one function here; what it needs lives in the module that its docstring names. A step that must stop the
procedure raises `_Stop`; everything else is collected.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal, TypeVar

from model_verify import manifest as manifests
from model_verify import merkle
from model_verify.depth import Depth, unread
from model_verify.digest import FileDigest
from model_verify.envelope import (
    MAX_BUNDLE_BYTES,
    ExpectedSigner,
    SignatureCheck,
    SignedPayload,
    TimestampAuthority,
    TimeTrust,
    check_signature,
    is_statement,
    names_signer,
    open_bundle,
)
from model_verify.errors import CallerError, MalformedDocument
from model_verify.findings import REASONS, Finding, Severity, limited
from model_verify.folder import FolderCheck, check_folder, check_stated
from model_verify.history.check import History, check_history
from model_verify.history.folder import BundleFile
from model_verify.history.target import Target
from model_verify.hub_place import describe_place, fetch_parents, place_findings, with_origins
from model_verify.judgement import Case, Judgement, judge
from model_verify.model_sig import describe_model_sig, hold_model_sig, model_sig_not_checked, what_it_binds
from model_verify.models import BUNDLE_PATH, LEAVES_PATH, MANIFEST_PATH, Manifest, RunStep, TrainStep
from model_verify.observation import observe_materials
from model_verify.oms import ModelSigCheck
from model_verify.pipeline import Pipeline, check_pipeline
from model_verify.policy import Evidence, Policy, anchored, evaluate
from model_verify.replay import processors
from model_verify.report import (
    Report,
    ReportFiles,
    ReportMaterial,
    ReportModel,
    ReportNotChecked,
    ReportPolicy,
    ReportRoots,
    ReportRun,
    Verdict,
    decide,
    report_finding,
)
from model_verify.signature_report import (
    describe_bundle,
    describe_detached,
    describe_signer,
    describe_time,
    undated_reason,
)
from model_verify.sources.detached import DetachedAttestation, DetachedSource
from model_verify.sources.source import Entry, EntryKind, Reach, Source, read_whole
from model_verify.statement import Statement, read_statement
from model_verify.unattested import describe_unattested

MAX_LEAF_FILE_BYTES = 1 << 30
_MOST_NAMED = 5
"""Parents that the headline names."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to verify, whom the caller expects, and what the caller has. Spec: verification §1."""

    source: Source
    expected_signer: ExpectedSigner | None = None
    parents: Mapping[str, Source] = field(default_factory=dict)
    candidates: Sequence[Source] = ()
    repository: str | None = None
    depth: Depth = Depth.FULL
    """Another depth than full needs a source that states digests."""
    fetch: Callable[[str], Source | None] | None = None
    """Asked with the package URL of each material for which there is no parent."""
    recursive: bool = False
    """Whether the attestations of the parents themselves are followed."""
    parent_signers: Mapping[str, ExpectedSigner] = field(default_factory=dict)
    """The signers that are expected for parents, by identifier; for a parent's parent `PARENT/ITS-PARENT`, and so on.
    `parents` has folders under such names too."""
    known_signers: Sequence[ExpectedSigner] = ()
    """Signers that are expected of a bundle that names them, where `expected_signer` is None."""
    revocations: Sequence[BundleFile] = ()
    """What the caller knows to be revoked, besides what lies in the folder."""
    revokers: Sequence[ExpectedSigner] = ()
    """Who may revoke everything, besides those of the policy."""
    observations: Sequence[BundleFile] = ()
    """What others read of the materials."""
    observers: Sequence[ExpectedSigner] = ()
    """Whose observations are taken, besides those of the policy's observers."""
    published: datetime | None = None
    """When the model was published, as far as the caller knows."""
    device: str = "auto"
    threads: int | None = None
    progress: Callable[[int], None] | None = None
    policy: Policy | None = None
    attestation: DetachedAttestation | None = None
    """Where it is not the source's own attestation that is to be read, but somebody's outside of it."""
    now: datetime | None = None
    """When it is verified; the machine's clock where it is None."""
    timestamp_authorities: Sequence[TimestampAuthority] = ()
    """Whose word on the time of a signature is taken; where there is none, whom the policy names."""


def verify(request: Request) -> Report:
    """Return the report on a model folder.

    Raises `CallerError` for a parent that the statement does not know and for a candidate without weights to read, and
    `SourceError` where bytes cannot be had or change while they are read.
    """
    return _Procedure(request).run()


class _Stop(Exception):
    """Nothing further can be evaluated; the findings say why."""


class _Procedure:
    def __init__(self, request: Request) -> None:
        self.request = request
        self.source = request.source
        self.trust = _time_trust(request)
        if request.attestation is not None:
            self.source = DetachedSource(request.source, request.attestation)
        self.repository = request.repository or request.source.repository
        self.place = describe_place(request.source)
        self.findings: list[Finding] = []
        self.is_unattested = False
        self.signed: SignedPayload | None = None
        self.signature = SignatureCheck()
        self.accepted: ExpectedSigner | None = None
        self.statement: Statement | None = None
        self.history = History()
        self.manifest: Manifest | None = None
        self.signed_leaves: memoryview | None = None
        self.folder = FolderCheck()
        self.model_sig: ModelSigCheck | None = None
        self.pipeline = Pipeline((), (), ())
        self.judgement = Judgement()
        self.everything_ran = False
        self.started = time.monotonic()

    def run(self) -> Report:
        try:
            bundle = self.v1_find()
            self.signed = self.v2_envelope(bundle)
            self.v3_signature(self.signed)
            self.statement = self.v4_statement(self.signed)
            self.history = self.v4_history(self.statement)
            self.manifest = self.v5_manifest(self.statement)
            self.signed_leaves = self.v6_leaf_file(self.manifest)
            self.folder = self.v7_v8_folder(self.manifest)
            self.pipeline = self.v9_pipeline(self.statement, self.manifest)
            self.judgement = self.v8_v10_v11_weights(self.manifest)
            self.v7_model_sig()
            if self.request.recursive:
                self.v10_ancestors()
            self.everything_ran = True
        except _Stop:
            pass
        self.v12_policy()
        return self.v12_verdict()

    def stop(self, code: str, where: str = "", expected: str = "", actual: str = "") -> _Stop:
        """Record a finding, and return what to raise."""
        self.findings.append(Finding(code, where, expected, actual))
        return _Stop()

    def attestation_entry(self, path: str) -> Entry | None:
        return next((entry for entry in self.source.entries() if entry.path == path), None)

    def v1_find(self) -> bytes:
        """Return the bundle's bytes. Module: sources."""
        self.findings += place_findings(self.place)
        entry = self.attestation_entry(BUNDLE_PATH)
        if entry is None:
            self.is_unattested = True
            stop = self.stop("ATTESTATION_MISSING", BUNDLE_PATH)
            self.v7_model_sig()
            raise stop
        if entry.kind is EntryKind.IRREGULAR:
            raise self.stop("BUNDLE_MALFORMED", BUNDLE_PATH, "a regular file", entry.detail)
        if entry.size_bytes > MAX_BUNDLE_BYTES:
            raise self.stop("BUNDLE_MALFORMED", BUNDLE_PATH, f"at most {MAX_BUNDLE_BYTES} bytes", str(entry.size_bytes))
        return read_whole(self.source, BUNDLE_PATH, max_bytes=MAX_BUNDLE_BYTES)

    def v2_envelope(self, bundle: bytes) -> SignedPayload:
        """Return what the bundle carries. Module: envelope."""
        try:
            return open_bundle(bundle)
        except MalformedDocument as error:
            raise self.stop(error.code, BUNDLE_PATH, error.rule, error.reason) from error

    def v3_signature(self, signed: SignedPayload) -> None:
        """Hold the signature against the expected signer; below a failed one nothing is parsed. Module: envelope."""
        expected = self.request.expected_signer or next(
            (known for known in _known_signers(self.request) if names_signer(signed, known)), None
        )
        accepted = self.request.policy.signers if self.request.policy else None
        if expected is None:
            if accepted is not None and signed.hint not in accepted.hints:
                raise self.stop("POLICY_SIGNER", BUNDLE_PATH, "a signer that the policy accepts", signed.named)
            self.findings.append(Finding("SIGNER_NOT_EXPECTED", BUNDLE_PATH, "a signer named by you", signed.named))
            return
        self.accepted = expected
        self.signature = check_signature(signed, expected, self.trust)
        self.findings += self.signature.findings
        if not self.signature.holds:
            raise _Stop
        if accepted is not None and not accepted.accepts(self.signature):
            raise self.stop("POLICY_SIGNER", BUNDLE_PATH, "a signer that the policy accepts", signed.named)

    def v4_statement(self, signed: SignedPayload) -> Statement:
        """Return the statement. Module: statement."""
        if not is_statement(signed):
            raise self.stop(
                "PAYLOAD_TYPE_WRONG", BUNDLE_PATH, "application/vnd.in-toto+json", signed.payload_type[:200]
            )
        try:
            statement = read_statement(signed.payload)
        except MalformedDocument as error:
            raise self.stop(error.code, BUNDLE_PATH, error.rule, error.reason) from error
        if statement.unknown_critical:
            names = ", ".join(statement.unknown_critical)[:200]
            raise self.stop("CRITICAL_UNKNOWN", BUNDLE_PATH, "members that are known", names)
        if statement.has_card:
            self.findings.append(Finding("CARD_NOT_CHECKED", BUNDLE_PATH))
        if self.repository is not None and statement.model.uri != self.repository:
            stated = statement.model.uri or "no repository"
            self.findings.append(Finding("ATTESTED_FOR_OTHER_REPO", BUNDLE_PATH, self.repository, stated))
        return statement

    def v4_history(self, statement: Statement) -> History:
        """Return what lies beside the attestation: what is revoked, superseded, committed to. Module: history."""
        detached = self.request.attestation is not None
        target = Target(statement, self.signature, self.accepted, self.trust, detached)
        history = check_history(
            self.source,
            target,
            revocations=self.request.revocations,
            revokers=_revokers(self.request),
            published=self.request.published,
        )
        self.findings += history.findings
        return history

    def v5_manifest(self, statement: Statement) -> Manifest:
        """Return the manifest that the statement's first subject names. Module: manifest."""
        entry = self.attestation_entry(MANIFEST_PATH)
        expected = statement.manifest_digest.text
        if entry is None or entry.kind is EntryKind.IRREGULAR or entry.size_bytes > manifests.MAX_MANIFEST_BYTES:
            found = "no such file" if entry is None else entry.detail or f"{entry.size_bytes} bytes"
            raise self.stop("MANIFEST_MISMATCH", MANIFEST_PATH, expected, found)
        data = read_whole(self.source, MANIFEST_PATH, max_bytes=manifests.MAX_MANIFEST_BYTES)
        digest = FileDigest(hashlib.sha256(data).digest())
        if digest != statement.manifest_digest:
            raise self.stop("MANIFEST_MISMATCH", MANIFEST_PATH, expected, digest.text)
        try:
            manifest = manifests.read_manifest(data)
        except MalformedDocument as error:
            raise self.stop(error.code, MANIFEST_PATH, error.rule, error.reason) from error
        self.findings += _root_findings(manifest, statement)
        self.findings += _subject_findings(manifest, statement)
        return manifest

    def v6_leaf_file(self, manifest: Manifest) -> memoryview | None:
        """Return the signed leaves, or None where the leaf file is not the signed one. Module: merkle."""
        count = sum(info.chunk_count for _, info, _ in manifests.leaf_tensors(manifest))
        if manifest.leaves.count != count:
            stated = f"{manifest.leaves.count} leaves"
            self.findings.append(Finding("LEAVES_MISMATCH", MANIFEST_PATH, f"{count} leaves", stated))
            return None
        size = merkle.LEAF_BYTES * count
        if size > MAX_LEAF_FILE_BYTES:
            self.findings.append(
                Finding("LEAVES_MISMATCH", LEAVES_PATH, f"at most {MAX_LEAF_FILE_BYTES} bytes", str(size))
            )
            return None
        entry = self.attestation_entry(LEAVES_PATH)
        if entry is None or entry.kind is EntryKind.IRREGULAR or entry.size_bytes != size:
            found = "no such file" if entry is None else entry.detail or f"{entry.size_bytes} bytes"
            self.findings.append(Finding("LEAVES_MISMATCH", LEAVES_PATH, f"{size} bytes", found))
            return None
        data = memoryview(read_whole(self.source, LEAVES_PATH, max_bytes=size))
        digest = FileDigest(hashlib.sha256(data).digest())
        if digest != manifest.leaves.file_digest:
            self.findings.append(Finding("LEAVES_MISMATCH", LEAVES_PATH, manifest.leaves.file_digest.text, digest.text))
            return None
        place = 0
        for _, info, root in manifests.leaf_tensors(manifest):
            leaves = merkle.split_leaves(data[place : place + merkle.LEAF_BYTES * info.chunk_count])
            place += merkle.LEAF_BYTES * info.chunk_count
            if merkle.tensor_root(leaves) != root:
                self.findings.append(Finding("LEAVES_MISMATCH", f"{LEAVES_PATH}: {info.name}", root.text))
                return None
        return data

    def v7_v8_folder(self, manifest: Manifest) -> FolderCheck:
        """Return how the folder differs from the manifest, tensor data aside. Module: folder."""
        check_content = check_folder if self.request.depth is Depth.FULL else check_stated
        check = check_content(self.source, manifest)
        self.findings += check.findings
        return check

    def v7_model_sig(self) -> None:
        """Hold a `model.sig` that is there against the folder. Modules: model_sig, oms."""
        if self.request.depth is not Depth.FULL:
            return  # it has digests of weights, too
        policy = self.request.policy.signers if self.request.policy else None
        expected = [self.request.expected_signer] if self.request.expected_signer else self.request.known_signers
        # What is in the folder, whatever stands beside it: a detached attestation is no part of what was signed there.
        self.model_sig = hold_model_sig(
            self.request.source, expected, policy, self.trust, self.manifest, self.folder, self.request.threads
        )
        self.findings += self.model_sig.findings if self.model_sig else ()

    def v9_pipeline(self, statement: Statement, manifest: Manifest) -> Pipeline:
        """Return the steps as objects. Module: pipeline."""
        others = {s.prefix: s.checkpoint_root for s in manifest.weight_sets if not s.primary}
        pipeline = check_pipeline(statement.materials, statement.steps, statement.model.checkpoint_root, others)
        given = {step.output.weight_set for step in pipeline.steps}
        self.findings += limited(
            [
                Finding("UNVERIFIED_WEIGHTS", weight_set.prefix, "a step that gives them", weight_set.format)
                for weight_set in manifest.weight_sets
                if not weight_set.primary and weight_set.prefix not in given
            ]
        )
        self.findings += pipeline.findings
        names = [*(material.name for material in statement.materials), *(step.id for step in pipeline.steps)]
        if not self.request.recursive and (deeper := sorted(path for path in self.request.parents if "/" in path)):
            raise CallerError(f"`{deeper[0]}` is a parent of a parent", hint="`--recursive` follows these")
        unknown = sorted({path.split("/")[0] for path in self.request.parents} - set(names))
        if unknown:
            known = ", ".join(names) or "none"
            raise CallerError(f"the statement has no material or step `{unknown[0]}`", hint=f"it has: {known}")
        if self.request.fetch is not None and self.request.depth is Depth.FULL:
            fetched = fetch_parents(statement.materials, self.request.parents, self.request.fetch)
            self.request = replace(self.request, parents={**self.request.parents, **fetched})
        return pipeline

    def v8_v10_v11_weights(self, manifest: Manifest) -> Judgement:
        """Read everything once: tensors, materials, steps. Module: judgement."""
        if self.request.depth is not Depth.FULL:
            judgement = unread(manifest, self.pipeline)
            self.findings += judgement.findings
            return judgement
        case = Case(
            source=self.source,
            manifest=manifest,
            pipeline=self.pipeline,
            tensors=self.folder.tensors,
            weight_files=self.folder.weight_files,
            structure_is_as_signed=not any(REASONS[f.code] == (Severity.FAIL, "V8") for f in self.folder.findings),
            signed_leaves=self.signed_leaves,
            parents={name: source for name, source in self.request.parents.items() if "/" not in name},
            candidates=self.request.candidates,
            device=self.request.device,
            threads=self.request.threads,
            progress=self.request.progress,
        )
        judgement = judge(case)
        judgement.materials, found = with_origins(judgement.materials, self.request.parents)
        judgement.materials, seen = observe_materials(
            judgement.materials, self.request.observations, _observers(self.request), self.trust
        )
        found = [*found, *seen]
        self.findings += [*judgement.findings, *found]
        return judgement

    def v10_ancestors(self) -> None:
        """Verify the parents' own attestations, each with what the caller has for it. Module: procedure."""
        for place, material in enumerate(self.judgement.materials):
            if material.status != "matched":
                continue
            source = self.request.parents[material.id]
            if all(entry.path != BUNDLE_PATH for entry in source.entries()):
                self.findings.append(Finding("PARENT_NOT_ATTESTED", material.id))
                continue
            report = verify(_of_parent(self.request, material.id, source))
            self.findings += _ancestor_findings(material, report)
            self.judgement.materials[place] = material.model_copy(update={"attestation": report.attestation()})

    def v12_policy(self) -> None:
        """Hold everything that was found against the caller's policy. Module: policy."""
        policy = self.request.policy
        if policy is None or not self.everything_ran or self.manifest is None:
            return
        self.judgement.materials = anchored(self.judgement.materials, policy.anchors)
        verdict, level, _ = self.decide()
        evidence = Evidence(
            verdict=verdict,
            level=level,
            findings=self.findings,
            materials=self.judgement.materials,
            steps=self.judgement.steps,
            files=self.manifest.files,
            coverage=self.judgement.coverage,
            time=self.signature.time,
            now=self.trust.verified_at,
        )
        self.findings = [*self.findings, *evaluate(policy, evidence)]

    def decide(self) -> tuple[Verdict, Literal[1, 2, 3] | None, str]:
        """Return verdict, level and weakest link by the findings so far. Module: report."""
        return decide(
            self.findings,
            self.judgement.steps,
            self.judgement.materials,
            expected_signer=self.signature.holds,
            everything_ran=self.everything_ran and self.judgement.every_tensor_hashed,
        )

    def v12_verdict(self) -> Report:
        """Return the report. Module: report."""
        judged = self.judgement
        verdict, level, link = self.decide()
        more = self.describe_ancestors(verdict)
        more += describe_detached(self.request.attestation, self.signature) if level else ""
        more += what_it_binds(self.model_sig, attested=self.manifest is not None)
        return Report(
            reference=self.source.label,
            commit=self.source.commit,
            depth=self.request.depth.value,
            hub=self.place,
            unattested=describe_unattested(self.source) if self.is_unattested else None,
            verdict=verdict,
            level=level,
            headline=f"{verdict}{f' level {level}' if level else ''}: {link}{more}",
            bundle=describe_bundle(self.signed, self.request.attestation),
            signer=describe_signer(self.signed, self.signature),
            time=describe_time(self.signature.time),
            roots=self.describe_roots(),
            statement=self.describe_model(),
            history=self.history.report,
            files=self.describe_files(),
            model_sig=describe_model_sig(self.model_sig),
            materials=judged.materials,
            candidates=judged.candidates,
            steps=judged.steps,
            findings=[report_finding(finding) for finding in self.findings],
            coverage=judged.coverage,
            policy=self.describe_policy(),
            not_checked=list(self.not_checked()),
            run=ReportRun(
                device=judged.device,
                threads=self.request.threads or processors(),
                bytes_read=judged.bytes_read + self.folder.bytes_hashed,
                seconds=f"{time.monotonic() - self.started:.3f}",
            ),
        )

    def describe_ancestors(self, verdict: Verdict) -> str:
        """Return what the headline says of the parents, where the caller asked for their attestations."""
        if not self.request.recursive or verdict != "VERIFIED" or not self.judgement.materials:
            return ""
        said = [
            f"{material.id} "
            + (f"level {material.attestation.level}" if material.attestation else "has no attestation")
            for material in self.judgement.materials
        ]
        return f"; parents: {', '.join(said[:_MOST_NAMED])}{', …' if len(said) > _MOST_NAMED else ''}"

    def describe_policy(self) -> ReportPolicy | None:
        policy = self.request.policy
        return None if policy is None else ReportPolicy(digest=policy.digest, evaluated=self.everything_ran)

    def describe_roots(self) -> ReportRoots | None:
        if self.statement is None or self.manifest is None:
            return None
        root = self.statement.model.checkpoint_root
        return ReportRoots(checkpoint=root, manifest=self.statement.manifest_digest)

    def describe_model(self) -> ReportModel | None:
        if self.statement is None:
            return None
        model = self.statement.model
        return ReportModel(name=model.name, version=model.version, uri=model.uri)

    def describe_files(self) -> ReportFiles | None:
        if self.manifest is None:
            return None
        return ReportFiles(
            listed=len(self.manifest.files), hashed=self.folder.files_hashed, stated=self.folder.files_stated
        )

    def not_checked(self) -> Iterator[ReportNotChecked]:
        """Yield what this report does not speak of, and why. Spec: verification §5."""
        if self.signed is not None and self.signature.time is None:
            yield ReportNotChecked(what="time of signing", why=undated_reason(self.signed, self.trust))
        yield from model_sig_not_checked(self.source, self.model_sig)
        if not self.everything_ran:
            yield ReportNotChecked(what="everything below the finding that stopped the procedure", why="not evaluated")
            return
        assert self.statement is not None
        if self.repository is None:
            uri = self.statement.model.uri
            why = f"the signer says {uri}" if uri else "the signer names none"
            yield ReportNotChecked(what="the repository", why=f"a local folder does not show it; {why}")
        if self.request.attestation is not None:
            why = f"the attestation is detached, from {self.request.attestation.label}"
            yield ReportNotChecked(what="what the repository itself attests", why=why)
        for what, why in self.history.not_checked:
            yield ReportNotChecked(what=what, why=why)
        for name in self.statement.not_evaluated:
            yield ReportNotChecked(what=f"`{name}` of the statement", why="not evaluated by this version")
        for step in self.pipeline.steps:
            if isinstance(step, TrainStep) and step.record is not None:
                what = f"what is recorded of step {step.id}: data, code, settings, checkpoints, loss"
                yield ReportNotChecked(what=what, why="the signer's word, which no weight shows")
            elif isinstance(step, RunStep):
                yield ReportNotChecked(what=f"the command of step {step.id}", why="the signer's word, it was not run")
        if self.place is not None and self.place.reach == Reach.UNKNOWN.value:
            yield ReportNotChecked(
                what="whether a branch leads to the commit", why="there are too many to look through"
            )
        for material in self.judgement.materials:
            if material.origin == "unknown":
                yield ReportNotChecked(what=f"origin of material {material.id}", why="only its root is known")
        if self.request.policy is not None and self.request.policy.rules.licenses is not None:
            for judged in self.judgement.materials:
                if judged.attestation is None:
                    what = f"licences of what material {judged.id} was made from"
                    yield ReportNotChecked(what=what, why="no attestation of it was followed")
        if self.request.depth is Depth.FULL:
            what = "file digests of safetensors and GGUF files"
            yield ReportNotChecked(what=what, why="their header digests and tensor roots fix the same bytes")
        else:
            what = "the content of files that the Hub states a digest of"
            yield ReportNotChecked(what=what, why="at this depth the Hub is believed")


def _own_level(material: ReportMaterial) -> str:
    return f"level {material.attestation.level}" if material.attestation else "has no attestation"


def _of_parent(request: Request, name: str, source: Source) -> Request:
    """Return the request that verifies a parent: what has its identifier before a slash is for it."""
    before = f"{name}/"
    return Request(
        source=source,
        expected_signer=request.parent_signers.get(name),
        parents=_below(request.parents, before),
        candidates=request.candidates,
        fetch=request.fetch,
        recursive=True,
        parent_signers=_below(request.parent_signers, before),
        known_signers=_known_signers(request),
        revocations=request.revocations,
        revokers=_revokers(request),
        observations=request.observations,
        observers=_observers(request),
        now=request.now,
        timestamp_authorities=_time_trust(request).authorities,
        device=request.device,
        threads=request.threads,
    )


def _time_trust(request: Request) -> TimeTrust:
    """Return whose word on times the caller takes, which is said here or in the policy; raises `CallerError`."""
    named = (tuple(request.timestamp_authorities), request.policy.authorities if request.policy else ())
    if all(named):
        raise CallerError("timestamping authorities beside a policy that names some", hint="name them in one place")
    return TimeTrust(named[0] or named[1], request.now or datetime.now(UTC))


def _known_signers(request: Request) -> list[ExpectedSigner]:
    """Return whom the caller, and the caller's policy, expect of bundles that name them."""
    policy = request.policy.signers if request.policy else None
    named = [request.expected_signer] if request.expected_signer else []
    return [*request.known_signers, *named, *(policy.signers if policy else ())]


def _observers(request: Request) -> Sequence[ExpectedSigner]:
    return (*request.observers, *(request.policy.observers if request.policy else ()))


def _revokers(request: Request) -> Sequence[ExpectedSigner]:
    return (*request.revokers, *(request.policy.revokers if request.policy else ()))


_T = TypeVar("_T")


def _below(named: Mapping[str, _T], before: str) -> dict[str, _T]:
    return {path.removeprefix(before): value for path, value in named.items() if path.startswith(before)}


def _ancestor_findings(material: ReportMaterial, report: Report) -> Iterator[Finding]:
    """Yield what a parent's own report means for the child: no lineage is better than the one it builds on."""
    if report.verdict == "REJECTED":
        yield Finding("PARENT_REJECTED", material.id, "an attestation that holds", report.headline)
    elif report.roots is None or report.roots.checkpoint != material.root:
        signed = "none that could be read" if report.roots is None else report.roots.checkpoint.text
        yield Finding("PARENT_INCOMPLETE", material.id, f"an attestation of {material.root}", signed)
    elif report.verdict == "INCOMPLETE":
        yield Finding("PARENT_INCOMPLETE", material.id, "an attestation checked in full", report.headline)


def _root_findings(manifest: Manifest, statement: Statement) -> Iterator[Finding]:
    for root in manifests.set_roots(manifest):
        if root.written != root.computed:
            where = f"{MANIFEST_PATH}: {root.prefix}"
            yield Finding("CHECKPOINT_ROOT_MISMATCH", where, root.written.text, root.computed.text)
    main = manifests.primary(manifest).checkpoint_root
    if main != statement.model.checkpoint_root:
        yield Finding("CHECKPOINT_ROOT_MISMATCH", BUNDLE_PATH, str(main), statement.model.checkpoint_root.text)


def _subject_findings(manifest: Manifest, statement: Statement) -> Iterator[Finding]:
    listed = {file.path: file.file_digest for file in manifest.files if file.file_class == "weights"}
    for name, digest in statement.other_subjects.items():
        if listed.get(name) != digest:
            yield Finding("SUBJECT_MISMATCH", name[:200], str(listed.get(name)), digest.text)

"""The procedure V1 to V12, in order. Spec: verification §3.

    V1 find        V4 statement   V7 files     V10 materials
    V2 envelope    V5 manifest    V8 weights   V11 steps
    V3 signature   V6 leaf file   V9 pipeline  V12 verdict

Each step is one function here; what it needs lives in the module that its docstring names. A step that must stop the
procedure raises `_Stop`; everything else is collected. `state` has what they find, `conclusion` what that comes to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

from model_verify import manifest as manifests
from model_verify.conclusion import conclude, decide_verdict
from model_verify.depth import Depth, unread
from model_verify.digest import FileDigest
from model_verify.envelope import (
    MAX_BUNDLE_BYTES,
    SignedPayload,
    check_signature,
    is_statement,
    names_signer,
    open_bundle,
)
from model_verify.errors import CallerError, MalformedDocument
from model_verify.findings import REASONS, Finding, Severity, limited
from model_verify.folder import FolderCheck, check_folder, check_stated
from model_verify.history.check import History, check_history
from model_verify.history.target import Target
from model_verify.hub_place import fetch_parents, place_findings, with_origins
from model_verify.judgement import Case, Judgement, judge
from model_verify.leaf_file import check_leaf_file
from model_verify.model_sig import hold_model_sig
from model_verify.models import BUNDLE_PATH, MANIFEST_PATH, Manifest
from model_verify.observation import observe_materials
from model_verify.pipeline import Pipeline, check_pipeline
from model_verify.policy import Evidence, anchored, evaluate
from model_verify.report import Report, ReportMaterial
from model_verify.request import Request
from model_verify.sources.source import Entry, EntryKind, read_whole
from model_verify.state import State
from model_verify.statement import Statement, read_statement

__all__ = ["Request", "verify"]


def verify(request: Request) -> Report:
    """Return the report on a model folder.

    Raises `CallerError` for a parent that the statement does not know and for a candidate without weights to read, and
    `SourceError` where bytes cannot be had or change while they are read.
    """
    return _Procedure(request).run()


class _Stop(Exception):
    """Nothing further can be evaluated; the findings say why."""


class _Procedure(State):
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
        return conclude(self)

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
            (known for known in self.request.all_known_signers() if names_signer(signed, known)), None
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
            revokers=self.request.all_revokers(),
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
        """Return the signed leaves, or None where the leaf file is not the signed one. Module: leaf_file."""
        found = check_leaf_file(self.source, manifest)
        if isinstance(found, Finding):
            self.findings.append(found)
            return None
        return found

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
            judgement.materials, self.request.observations, self.request.all_observers(), self.trust
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
            report = verify(self.request.of_parent(material.id, source))
            self.findings += _ancestor_findings(material, report)
            self.judgement.materials[place] = material.model_copy(update={"attestation": report.attestation()})

    def v12_policy(self) -> None:
        """Hold everything that was found against the caller's policy. Module: policy."""
        policy = self.request.policy
        if policy is None or not self.everything_ran or self.manifest is None:
            return
        self.judgement.materials = anchored(self.judgement.materials, policy.anchors)
        verdict, level, _ = decide_verdict(self)
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

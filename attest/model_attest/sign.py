"""Sign a model folder: inventory, statement, signature, self-check, and only then a file on the disk.

    inventory   every byte is read once and hashed
    statement   the manifest's digest, the recorded steps and the model's identity
    bundle      the statement under the signer's key
    self-check  all of it is read again as a verifier reads it
    placement   the folder `attestation` appears whole, in the place of the old one

Spec: manifest, statement, pipeline.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model_attest.hashing import Progress
from model_attest.inventory import Inventory, take_inventory
from model_attest.kept import Kept, keep, keep_commitment
from model_attest.oms import ModelSig, make_model_sig
from model_attest.placement import output_errors, replace_file, replace_folder, stage_folder, sync_folder, write_synced
from model_attest.record import RECORD_FOLDER, merge_materials, read_records
from model_attest.signed_statement import check_own_bundle
from model_attest.signers.signer import Signer
from model_attest.statement import build_statement, describe_model, step_members
from model_verify import merkle
from model_verify.digest import CheckpointRoot, FileDigest
from model_verify.envelope import MAX_BUNDLE_BYTES, SignatureCheck, SignedPayload, TimeTrust, open_bundle
from model_verify.errors import CallerError, MalformedDocument, MalformedInput, OutputError, SourceError
from model_verify.files import OMS_SIGNATURE_PATH
from model_verify.findings import Severity
from model_verify.folder import redirections
from model_verify.manifest import infos, leaf_tensors, primary, read_manifest, set_roots
from model_verify.models import (
    ATTESTATION_FOLDER,
    BUNDLE_PATH,
    LEAVES_PATH,
    MANIFEST_PATH,
    KnownStep,
    Manifest,
    Material,
    ModelIdentity,
    TrainStep,
)
from model_verify.models.history import Superseded
from model_verify.pipeline import check_pipeline
from model_verify.sources.local import LocalFolder
from model_verify.sources.source import EntryKind, read_whole
from model_verify.statement import read_statement

WORK_FOLDER = ".attest"
_NO_ROOT = CheckpointRoot(bytes(32))


@dataclass(frozen=True, slots=True)
class SignResult:
    """What was signed, and where it lies."""

    name: str
    manifest_digest: FileDigest
    checkpoint_root: CheckpointRoot
    tensor_count: int
    file_count: int
    size_bytes: int
    """Of all files that the manifest lists."""
    materials: tuple[Material, ...]
    steps: tuple[KnownStep, ...]
    other_weight_sets: tuple[str, ...]
    """Prefixes of weight sets that no step speaks of: a verifier reports them as UNVERIFIED_WEIGHTS."""
    signature: SignatureCheck
    """Who signed, and when, as a verifier finds it."""
    supersedes: Superseded | None
    """The attestation that this one supersedes."""
    replaced_steps: int
    """How many steps the attestation had that this one takes the place of."""
    uri: str | None
    """The repository that the model is signed for."""
    bundle_path: Path
    model_sig: ModelSig | None
    """That of OpenSSF Model Signing, where one was asked for."""


@dataclass(frozen=True, slots=True)
class _Attestation:
    """The files of the folder, in memory."""

    manifest: bytes
    leaves: bytes
    bundle: bytes
    kept: Mapping[str, bytes]
    """Files that stay from the attestation before, by their paths."""

    @property
    def files(self) -> dict[str, bytes]:
        """What will lie at which path."""
        return {MANIFEST_PATH: self.manifest, LEAVES_PATH: self.leaves, BUNDLE_PATH: self.bundle, **self.kept}


def sign_folder(
    folder: Path,
    signer: Signer,
    *,
    name: str | None = None,
    version: str | None = None,
    uri: str | None = None,
    detached: Path | None = None,
    progress: Progress | None = None,
    trust: TimeTrust | None = None,
    oms: bool = False,
    reason: str | None = None,
    fresh: bool = False,
) -> SignResult:
    """Sign the model in `folder` and write `attestation/`; with `detached`, its files into that new folder elsewhere.

    Whoever signs detached need not own the folder: nothing is written there.
    The default name is the folder's; the default `uri` is that of the repository where the folder is of the Hub cache.
    The new attestation supersedes one by the same signer, which stays below `attestation/history/`, for a `reason`; not
    with `fresh`. Absorbs the step records under `.attest/steps`. `trust` says whose timestamps count in the self-check.
    Whatever goes wrong, and with KeyboardInterrupt, an attestation that was there stays whole, and nothing else is left
    behind.
    With `oms`, a `model.sig` of OpenSSF Model Signing is written last, which covers the attestation; where that alone
    fails, one that was there before stays, and no longer fits.

    Raises what `take_inventory` and `read_records` raise; `CallerError` where the recorded steps did not give these
    weights; `MalformedDocument` where the steps are no pipeline; `OutputError` where the result cannot be written or
    does not pass its own verification.
    """
    source = LocalFolder(folder)
    records = read_records(folder)
    materials = merge_materials(records)
    steps = [record.step for record in records]
    # What can be refused without reading the weights is refused before: reading them can take hours.
    main = [step for step in steps if step.output.weight_set is None]
    declared_root = main[-1].output.checkpoint_root if main else _NO_ROOT
    _check_steps(materials, steps, declared_root, None)
    name = source.root.name if name is None else name
    uri = source.repository if uri is None else uri
    describe_model(name, declared_root, version=version, uri=uri)
    if detached is not None:
        _check_detached(source, detached)
    elif not os.access(folder, os.W_OK):
        raise OutputError(f"{folder}: not writable", hint="make the folder writable, or sign a copy of it")
    kept = Kept()
    if detached is None:
        kept = keep(source, signer, trust or TimeTrust(), reason=reason, fresh=fresh)
    supersedes = kept.predecessor.supersedes if kept.predecessor else None
    inventory = take_inventory(source, progress=progress)
    others = {s.prefix: s.checkpoint_root for s in inventory.manifest.weight_sets if not s.primary}
    _check_steps(materials, steps, inventory.checkpoint_root, others)
    _check_trainable(steps, inventory.manifest)
    _check_redirections(source, inventory.manifest)
    model = describe_model(name, inventory.checkpoint_root, version=version, uri=uri)
    manifest = inventory.manifest.canonical()
    manifest_digest = FileDigest(hashlib.sha256(manifest).digest())
    committed: Mapping[str, bytes] = {}
    if detached is None:
        committed = keep_commitment(
            source, signer, trust or TimeTrust(), model, manifest_digest, superseded=supersedes, fresh=fresh
        )
    statement = build_statement(inventory.manifest, manifest_digest, model, materials, steps, supersedes)
    attestation = _Attestation(manifest, inventory.leaves, signer.sign(statement), {**kept.files, **committed})
    signature = check_attestation(
        attestation.manifest, attestation.leaves, attestation.bundle, signer=signer, statement=statement, trust=trust
    )
    if kept.predecessor is not None:
        kept.predecessor.check_signer(signature)
    model_sig = None
    if oms:
        model_sig = make_model_sig(source.root, name, inventory.manifest, attestation.files, signer, trust)
    replaced_steps = _stated_steps(source) if detached is None else 0
    bundle_path = _write(folder, attestation) if detached is None else _write_detached(detached, attestation)
    if model_sig is not None:
        with output_errors(folder):
            replace_file(folder / OMS_SIGNATURE_PATH, model_sig.data)
    return _result(
        bundle_path,
        inventory,
        model,
        manifest_digest,
        materials,
        steps,
        signature,
        replaced_steps,
        supersedes,
        model_sig,
    )


def _check_detached(source: LocalFolder, detached: Path) -> None:
    """Raise where a detached attestation would become a part of the model, or take the place of something."""
    place = detached.resolve()
    if place.is_relative_to(source.root):
        raise CallerError(f"{detached} lies in the model's folder", hint="name a folder outside of it")
    if os.path.lexists(detached):
        raise OutputError(f"{detached} is already there", hint="name another folder: an attestation is not replaced")
    if not detached.parent.is_dir():
        raise OutputError(f"{detached.parent} is no folder", hint="make it first")


def _check_steps(
    materials: Sequence[Material],
    steps: Sequence[KnownStep],
    root: CheckpointRoot,
    other_roots: Mapping[str, CheckpointRoot | None] | None,
) -> None:
    """Raise unless the recorded steps lead to the weights that are there. Spec: pipeline §1, §2."""
    pipeline = check_pipeline(materials, [step_members(step) for step in steps], root, other_roots)
    for finding in pipeline.findings:
        if finding.severity is not Severity.FAIL:
            continue
        if finding.code == "OUTPUT_NOT_SUBJECT":
            raise CallerError(
                f"step `{finding.where}` gave weights of root {finding.actual}, but these have {finding.expected}",
                hint=f"the weights changed after it: record that step too, or restore them; without `{RECORD_FOLDER}` "
                "they are signed as having no steps",
            )
        problem = finding.actual or "leads nowhere: no later step uses it"
        raise MalformedDocument(finding.code, f"{finding.where}: {problem}", where=RECORD_FOLDER.as_posix())


def _check_redirections(source: LocalFolder, manifest: Manifest) -> None:
    """Raise where a loader would take other weights than those that are signed: every verifier rejects that."""
    present = {entry.path: entry for entry in source.entries() if entry.kind is EntryKind.FILE}
    for finding in redirections(source, present, primary(manifest)):
        if finding.severity is Severity.FAIL:
            raise CallerError(
                f"{finding.where}: a loader would take other weights ({finding.actual})",
                hint=f"remove it, or make it agree: {finding.expected}",
            )


def _check_trainable(steps: Sequence[KnownStep], manifest: Manifest) -> None:
    """Raise where the last step calls tensors trainable that are not there: a verifier would find it contradicted."""
    last = steps[-1] if steps else None
    if not isinstance(last, TrainStep) or isinstance(last.trainable, str):
        return
    unknown = sorted(set(last.trainable) - infos(primary(manifest)).keys())
    if unknown:
        raise CallerError(
            f"step `{last.id}` calls a tensor trainable that is not there: {unknown[0]}",
            hint="`attest hash --tensors` lists the names",
        )


def check_attestation(
    manifest_bytes: bytes,
    leaves: bytes,
    bundle: bytes,
    *,
    signer: Signer,
    statement: bytes,
    trust: TimeTrust | None = None,
) -> SignatureCheck:
    """Read a finished attestation as a verifier does, V2 to V6, and return who signed it.

    Raises `OutputError` where a verifier would object, or would not take a timestamp by those whom `trust` names.
    """
    signed, signature = check_own_bundle(bundle, signer, statement, trust)
    try:
        problem = _first_objection(manifest_bytes, leaves, signed)
    except MalformedInput as error:
        raise OutputError(f"the attestation does not pass its own verification: {error}") from error
    if problem is not None:
        raise OutputError(f"the attestation does not pass its own verification: {problem}")
    return signature


def _first_objection(manifest_bytes: bytes, leaves: bytes, signed: SignedPayload) -> str | None:
    stated = read_statement(signed.payload)
    if stated.manifest_digest.raw != hashlib.sha256(manifest_bytes).digest():
        return "the subject is not the manifest"
    manifest = read_manifest(manifest_bytes)
    for set_root in set_roots(manifest):
        if set_root.written != set_root.computed:
            return f"weight set {set_root.prefix} has another root"
    if stated.model.checkpoint_root != primary(manifest).checkpoint_root:
        return "the statement names another checkpoint root"
    digests = {file.path: file.file_digest for file in manifest.files}
    if any(digests.get(path) != digest for path, digest in stated.other_subjects.items()):
        return "a subject is not as the manifest has it"
    if manifest.leaves.file_digest.raw != hashlib.sha256(leaves).digest():
        return "the leaf file is not the manifest's"
    position = 0
    for _, info, root in leaf_tensors(manifest):
        end = position + merkle.LEAF_BYTES * info.chunk_count
        if merkle.tensor_root(merkle.split_leaves(leaves[position:end])) != root:
            return f"the leaves of {info.name!r} give another root"
        position = end
    return None if position == len(leaves) else "the leaf file is longer than its tensors"


def _stated_steps(source: LocalFolder) -> int:
    """Return how many steps the attestation that is there states; none where there is none that can be read."""
    try:
        bundle = open_bundle(read_whole(source, BUNDLE_PATH, max_bytes=MAX_BUNDLE_BYTES))
        return len(read_statement(bundle.payload).steps)
    except (MalformedInput, SourceError):
        return 0


def _write_detached(out: Path, attestation: _Attestation) -> Path:
    """Make a new folder of the attestation's files, whole or not at all, and return where its bundle is."""
    with output_errors(out), stage_folder(out.absolute().parent, f".{out.name}.") as stage:
        _stage(stage, attestation)
        replace_folder(stage / ATTESTATION_FOLDER, out, stage / "replaced")
    return out / BUNDLE_PATH.removeprefix(f"{ATTESTATION_FOLDER}/")


def _stage(stage: Path, attestation: _Attestation) -> None:
    (stage / ATTESTATION_FOLDER).mkdir()
    for path, data in attestation.files.items():
        (stage / path).parent.mkdir(exist_ok=True)
        write_synced(stage / path, data)
    for path in attestation.kept:
        sync_folder((stage / path).parent)
    sync_folder(stage / ATTESTATION_FOLDER)


def _write(folder: Path, attestation: _Attestation) -> Path:
    """Make `attestation` the folder's attestation, whole or not at all, and return where its bundle is."""
    work = folder / WORK_FOLDER
    with output_errors(folder):
        try:
            work.mkdir(exist_ok=True)
            with stage_folder(work, "stage-") as stage:
                _stage(stage, attestation)
                replace_folder(stage / ATTESTATION_FOLDER, folder / ATTESTATION_FOLDER, stage / "replaced")
        finally:
            with contextlib.suppress(OSError):
                work.rmdir()  # stays where it holds records
    return folder / BUNDLE_PATH


def _result(
    bundle_path: Path,
    inventory: Inventory,
    model: ModelIdentity,
    manifest_digest: FileDigest,
    materials: Sequence[Material],
    steps: Sequence[KnownStep],
    signature: SignatureCheck,
    replaced_steps: int,
    supersedes: Superseded | None,
    model_sig: ModelSig | None,
) -> SignResult:
    manifest = inventory.manifest
    return SignResult(
        name=model.name,
        uri=model.uri,
        manifest_digest=manifest_digest,
        checkpoint_root=inventory.checkpoint_root,
        tensor_count=len(primary(manifest).tensors or ()),
        file_count=len(manifest.files),
        size_bytes=sum(file.size_bytes for file in manifest.files),
        materials=tuple(materials),
        steps=tuple(steps),
        other_weight_sets=tuple(weight_set.prefix for weight_set in manifest.weight_sets if not weight_set.primary),
        signature=signature,
        replaced_steps=replaced_steps,
        supersedes=supersedes,
        bundle_path=bundle_path,
        model_sig=model_sig,
    )

"""Read a checkpoint once, and sign what was there, for others to rely on. Spec: observation."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from model_attest.hashing import Progress
from model_attest.inventory import Inventory, take_inventory
from model_attest.placement import output_errors, replace_folder, stage_folder, sync_folder, write_synced
from model_attest.signed_statement import sign_statement
from model_attest.signers.signer import Signer
from model_verify.digest import FileDigest
from model_verify.envelope import SignatureCheck, TimeTrust
from model_verify.errors import CallerError, OutputError, SourceUnreadable
from model_verify.models.any_statement import CHECKPOINT_ALGORITHM, AnyStatementHead, AnySubject
from model_verify.models.observation import (
    OBSERVATION_PATH,
    OBSERVATION_TYPE,
    OBSERVED_LEAVES_PATH,
    OBSERVED_MANIFEST_PATH,
    Observation,
)
from model_verify.sources.local import LocalFolder
from model_verify.sources.source import Reach, Source
from model_verify.validation import first_problem


@dataclass(frozen=True, slots=True)
class ObserveResult:
    """What was seen, and who signed that when, as a verifier finds it."""

    observation: Observation
    inventory: Inventory
    signature: SignatureCheck
    bundle_path: Path


def observed_uri(source: Source, uri: str | None) -> str:
    """Return the package URL, with its version, that a model is to be observed under.

    A repository of the Hub, and a folder of the Hub's cache, knows its own. Raises `CallerError` where there is none,
    and where the two differ.
    """
    own = f"{source.repository}@{source.commit}" if source.repository and source.commit else None
    if uri is None and own is None:
        raise CallerError(
            f"{source.label} does not show where it is from", hint="`--uri pkg:huggingface/ORG/NAME@COMMIT`"
        )
    if uri is not None and own is not None and uri != own:
        raise CallerError(f"`--uri {uri[:200]}`, and {source.label} is {own}", hint="leave `--uri` out")
    return uri or own or ""


def observe_model(
    source: Source,
    out: Path,
    signer: Signer,
    *,
    uri: str | None = None,
    trust: TimeTrust | None = None,
    now: datetime | None = None,
    progress: Progress | None = None,
) -> ObserveResult:
    """Read every byte of the model once, and write the new folder `out`: observation, manifest, leaves.

    Nothing is written into the model, and `out` is there whole or not at all. `now` is when it is read. Raises what
    `take_inventory` raises, `CallerError` for a `uri` that is no package URL with a version, and for a commit that
    anybody can have proposed, `SourceUnreadable` where the Hub gives other bytes than it lists, and `OutputError`.

    Spec: observation §1.
    """
    named = observed_uri(source, uri)
    observe_at = (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    no_root, no_digest = "sha256:" + "0" * 64, "sha256:" + "0" * 64
    _read({"uri": named, "checkpointRoot": no_root, "manifestDigest": no_digest, "observed": observe_at})
    if os.path.lexists(out):
        raise OutputError(f"{out} is already there", hint="name another folder: an observation is not replaced")
    if isinstance(source, LocalFolder) and out.resolve().is_relative_to(source.root):
        raise CallerError(f"{out} lies in the model's folder", hint="name a folder outside of it")
    _check_reach(source)
    inventory = take_inventory(source, progress=progress)
    _check_stated(source, inventory)
    manifest = inventory.manifest.canonical()
    observation = Observation(
        uri=named,
        checkpoint_root=inventory.checkpoint_root,
        manifest_digest=FileDigest(hashlib.sha256(manifest).digest()),
        observed=observe_at,
    )
    signed = sign_statement(build_observation(observation), signer, trust)
    with output_errors(out), stage_folder(out.absolute().parent, f".{out.name}.") as stage:
        made = stage / "made"
        made.mkdir()
        write_synced(made / OBSERVED_MANIFEST_PATH, manifest)
        write_synced(made / OBSERVED_LEAVES_PATH, inventory.leaves)
        write_synced(made / OBSERVATION_PATH, signed.data)
        sync_folder(made)
        replace_folder(made, out, stage / "replaced")
    return ObserveResult(observation, inventory, signed.signature, out / OBSERVATION_PATH)


def build_observation(observation: Observation) -> bytes:
    """Return the statement, as canonical JSON."""
    head = AnyStatementHead(
        statement_type="https://in-toto.io/Statement/v1",
        subject=[
            AnySubject(digest={CHECKPOINT_ALGORITHM: observation.checkpoint_root.hex}),
            AnySubject(name=OBSERVED_MANIFEST_PATH, digest={"sha256": observation.manifest_digest.hex}),
        ],
        predicate_type=OBSERVATION_TYPE,
        predicate=observation.model_dump(mode="json", by_alias=True, exclude_none=True),
    )
    return head.canonical()


def _check_reach(source: Source) -> None:
    """Refuse a commit of a repository that nobody who may write to it has put there."""
    if source.hub is not None and source.reach() is Reach.PROPOSAL:
        raise CallerError(
            f"no branch or tag of {source.repository} leads to {source.commit}: anybody can have proposed it",
            hint="it would be signed as that repository's; name a commit of a branch",
        )


def _check_stated(source: Source, inventory: Inventory) -> None:
    """Raise where what came is not what the source says that it has: nobody can say then what is there."""
    stated = source.stated_digests()
    for file in inventory.manifest.files:
        if stated.get(file.path, file.file_digest) != file.file_digest:
            raise SourceUnreadable(
                f"{source.label}: {file.path}: {file.file_digest.text} came, and the Hub lists {stated[file.path].text}"
            )


def _read(members: object) -> Observation:
    """Return an observation, so that what cannot be stated is refused before anything is read."""
    try:
        return Observation.read(members)
    except ValidationError as error:
        raise CallerError(
            f"the observation's {first_problem(error)}", hint="write it like pkg:huggingface/ORG/NAME@COMMIT"
        ) from error

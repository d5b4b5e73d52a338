"""A `model.sig` of OpenSSF Model Signing over a signed folder, attestation included. Spec: oms §7."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model_attest.signed_statement import check_own_bundle
from model_attest.signers.signer import Signer
from model_verify.canonical import Json, dumps, loads
from model_verify.envelope import MAX_BUNDLE_BYTES, PublicKey, SignedPayload, TimeTrust
from model_verify.errors import CallerError, MalformedInput, OutputError
from model_verify.files import OMS_SIGNATURE_PATH
from model_verify.models import Bundle, EnvelopeSignature, KeyMaterial, Manifest, PublicKeyHint
from model_verify.models.any_statement import STATEMENT_TYPE
from model_verify.oms import PREDICATE_TYPE, Listing, pem_hint, read_listing, subject_digest

IGNORED = (
    ".attest", ".cache/huggingface", ".git",  # never covered (manifest §4.4)
    ".gitattributes", ".github", ".gitignore",  # what OMS's own verifier leaves out unless told otherwise
    OMS_SIGNATURE_PATH,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModelSig:
    """A `model.sig` that passed its own verification, and how many files it lists."""

    data: bytes
    file_count: int


def make_model_sig(
    folder: Path,
    name: str,
    manifest: Manifest,
    attestation: Mapping[str, bytes],
    signer: Signer,
    trust: TimeTrust | None = None,
) -> ModelSig:
    """Return the signature over the files of a manifest and those of its attestation, by path; nothing is read again.

    Raises `CallerError` for a key that OMS does not have, `OutputError` where the result does not pass its own
    verification, and what the signer raises.
    """
    digests = {file.path: file.file_digest.raw for file in manifest.files}
    digests |= {path: hashlib.sha256(data).digest() for path, data in attestation.items()}
    covered = Listing("sha256", None, {}, frozenset(IGNORED))
    listed = sorted((path for path in digests if not covered.leaves_out(path)), key=lambda path: path.split("/"))
    has_links = any((folder / path).is_symlink() for path in listed)
    statement = _statement(name, {path: digests[path] for path in listed}, allow_symlinks=has_links)
    bundle = signer.sign(statement)
    signed, _ = check_own_bundle(bundle, signer, statement, trust)
    expected = signer.expected(signed)
    if signed.leaf is not None:
        require_ecdsa(signed.leaf.key)
    if isinstance(expected, PublicKey):
        require_ecdsa(expected)
        bundle = _named_as_oms_does(bundle, expected)
        signed, _ = check_own_bundle(bundle, signer, statement, trust)
    _check_listing(signed, digests, listed)
    return ModelSig(bundle, len(listed))


def require_ecdsa(key: PublicKey) -> None:
    """Raise `CallerError` for a key that OMS has no signatures of."""
    if key.kind not in ("p256", "p384"):
        raise CallerError(
            f"OpenSSF Model Signing has no signatures by keys of type {key.kind}",
            hint="sign with a P-256 or P-384 key, or leave `--oms` out",
        )


def _statement(name: str, digests: Mapping[str, bytes], *, allow_symlinks: bool) -> bytes:
    resources: list[Json] = [
        {"name": path, "algorithm": "sha256", "digest": digest.hex()} for path, digest in digests.items()
    ]
    serialization: Json = {
        "method": "files",
        "hash_type": "sha256",
        "allow_symlinks": allow_symlinks,
        "ignore_paths": list(IGNORED),
    }
    statement: Json = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": subject_digest(list(digests.values()))}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {"serialization": serialization, "resources": resources},
    }
    return dumps(statement)


def _named_as_oms_does(data: bytes, key: PublicKey) -> bytes:
    """Return a bundle by a key with the hint that OMS compares. The signature does not cover it."""
    bundle = Bundle.read(loads(data, max_bytes=MAX_BUNDLE_BYTES))
    material, envelope = bundle.verification_material, bundle.dsse_envelope
    assert isinstance(material, KeyMaterial)
    named = material.model_copy(update={"public_key": PublicKeyHint(hint=pem_hint(key))})
    signature = EnvelopeSignature(sig=envelope.signatures[0].sig, keyid="")
    signed = envelope.model_copy(update={"signatures": [signature]})
    return bundle.model_copy(update={"verification_material": named, "dsse_envelope": signed}).canonical()


def _check_listing(signed: SignedPayload, digests: Mapping[str, bytes], listed: list[str]) -> None:
    """Raise unless a verifier reads out of it what was put in."""
    try:
        listing = read_listing(signed)
    except MalformedInput as error:
        raise OutputError(f"`{OMS_SIGNATURE_PATH}` does not pass its own verification: {error}") from error
    found = {path: resources[0].digest for path, resources in listing.files.items()}
    if found != {path: digests[path] for path in listed}:
        raise OutputError(f"`{OMS_SIGNATURE_PATH}` does not pass its own verification: it lists something else")

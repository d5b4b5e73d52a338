"""Area `verify`: folders with a `model.sig`. Spec: oms."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import toy
from data import concat, hexed, repeated, stored
from envelope import STATEMENT_TYPE, Object, Signing, compact
from folder import A, Given, Outcome, given, incomplete, plain, rejected, vector, verified
from instance import STRANGE
from keys import RELEASE, RELEASE_P384, STRANGER, Key, pem
from manifest import Files
from pki import BETWEEN, CODE, DIGITAL_SIGNATURE, LIFETIME, NAME, NOW, ROOT, Signed, leaf
from vector import Vector

PATH = "model.sig"
TYPE = "https://model_signing/signature/v1.0"
MISSING = "ATTESTATION_MISSING"
BUNDLE_LIMIT = 16 << 20
Edit = Callable[[Any], object]


def pem_hint(key: Key) -> str:
    """Return the hint of a key. Spec: oms §2.2."""
    return hashlib.sha256(key.pem()).hexdigest()


@dataclass(frozen=True, slots=True)
class ModelSig:
    """How a `model.sig` is made, and the ways in which its signer errs or lies."""

    key: Key = RELEASE
    hash_type: str = "sha256"
    shard_bytes: int | None = None
    ignored: Sequence[str] = (PATH,)
    edit: Edit = lambda predicate: None
    """What is altered before the subject is computed."""
    edit_statement: Edit = lambda statement: None
    edit_bundle: Edit = lambda bundle: None
    hint: str | None = None
    chain: Signed | None = None
    """How it is signed under certificates, in place of the key."""

    def over(self, files: Files) -> bytes:
        """Return the bundle over some files."""
        serialization: Object = {"method": "files", "hash_type": self.hash_type, "allow_symlinks": False}
        serialization["ignore_paths"] = list(self.ignored)
        if self.shard_bytes is not None:
            serialization |= {"method": "shards", "shard_size": self.shard_bytes}
        resources = [one for path in sorted(files) for one in self.resources(path, files[path])]
        predicate = {"resources": resources, "serialization": serialization}
        self.edit(predicate)
        digests = b"".join(bytes.fromhex(one["digest"]) for one in predicate["resources"])
        statement = {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": "town-7b", "digest": {"sha256": hashlib.sha256(digests).hexdigest()}}],
            "predicateType": TYPE,
            "predicate": predicate,
        }
        self.edit_statement(statement)
        # What the reference writes: numbers that went through a protobuf Struct.
        text = compact(statement).replace(b'"shard_size":1000,', b'"shard_size":1000.0,')
        by_key = Signing(self.key, hint=self.hint or pem_hint(self.key))
        bundle = by_key.bundle(text) if self.chain is None else self.chain.bundle(text)
        self.edit_bundle(bundle)
        return compact(bundle)

    def resources(self, path: str, data: bytes) -> list[Object]:
        """Return what is listed of a file."""
        hashed = {"sha256": hashlib.sha256, "blake2b": hashlib.blake2b}[self.hash_type]
        if self.shard_bytes is None:
            return [{"name": path, "algorithm": self.hash_type, "digest": hashed(data).hexdigest()}]
        size = self.shard_bytes
        return [
            {
                "name": f"{path}:{start}:{min(start + size, len(data))}",
                "algorithm": f"{self.hash_type}-sharded-{size}",
                "digest": hashed(data[start : start + size]).hexdigest(),
            }
            for start in range(0, len(data), size)
        ]


def alone(made: ModelSig = ModelSig(), *, key: Key | None = RELEASE, without: str = "") -> Given:
    """Return a folder that carries only a `model.sig`, made over all files but one."""
    files = toy.folder(A)
    covered = {path: data for path, data in files.items() if path != without}
    return Given(folder={**files, PATH: made.over(covered)}, key=key)


def beside(made: ModelSig = ModelSig(), *, first: bool = False) -> Given:
    """Return a folder with an attestation and a `model.sig`, which was made last unless it was made `first`."""
    good = given(plain())
    covered = toy.folder(A) if first else good.folder
    return good.altered(files={PATH: made.over(covered)})


def resource(predicate: Any, path: str = "config.json") -> Any:
    """Return the first resource of a path."""
    return next(one for one in predicate["resources"] if one["name"].split(":")[0] == path)


def edited(**members: object) -> ModelSig:
    """Return a `model.sig` in which the resource of `config.json` says something else."""
    return ModelSig(edit=lambda predicate: resource(predicate).update(members))


def serialized(**members: object) -> ModelSig:
    """Return a `model.sig` that says something else of its serialization."""
    return ModelSig(edit=lambda predicate: predicate["serialization"].update(members))


def good() -> Iterator[Vector]:
    """Yield signatures that hold."""
    only = incomplete(MISSING)
    yield vector("oms-alone", "oms §6", "Only a `model.sig`, by the expected signer.", alone(), only)
    p384 = replace(alone(ModelSig(RELEASE_P384)), key=RELEASE_P384)
    yield vector("oms-alone-p384", "oms §2.1", "The same, by a P-384 key.", p384, only)
    yield vector("oms-alone-blake2b", "oms §3.3", "Hashed by BLAKE2b.", alone(ModelSig(hash_type="blake2b")), only)
    shards = ModelSig(shard_bytes=1000)
    yield vector("oms-alone-shards", "oms §3.5", "In shards of 1000 bytes, a size written 1000.0.", alone(shards), only)
    words = "In shards of 100 bytes by BLAKE2b."
    yield vector("oms-alone-shards-blake2b", "oms §3.5", words, alone(ModelSig(RELEASE, "blake2b", 100)), only)
    words = "The hint names another key; the expected one signed."
    yield vector("oms-hint-lies", "oms §2.2", words, alone(ModelSig(hint=pem_hint(STRANGER))), only)
    yield vector("oms-last", "oms §7", "An attestation, and a `model.sig` made after it.", beside(), verified(1))
    words = "An attestation, and a `model.sig` made before it."
    yield vector("oms-first", "oms §4.3", words, beside(first=True), verified(1, "OMS_ATTESTATION_NOT_COVERED"))


def signers() -> Iterator[Vector]:
    """Yield oms §2."""
    words = "By the expected signer, and nobody is expected."
    yield vector("oms-nobody-expected", "oms §2.4", words, alone(key=None), incomplete(MISSING))
    other = ModelSig(STRANGER)
    outcome = incomplete(MISSING, "OMS_SIGNER_OTHER")
    yield vector("oms-other-signer", "oms §2.4", "By another signer.", alone(other), outcome)
    words = "An attestation by the expected signer, a `model.sig` by another one."
    yield vector("oms-other-signer-beside", "oms §2.4", words, beside(other), verified(1, "OMS_SIGNER_OTHER"))
    words = "A `model.sig` by another signer that does not fit: nothing of it is read."
    broken = ModelSig(STRANGER, edit=lambda predicate: resource(predicate).update(digest="00" * 32))
    yield vector("oms-other-signer-broken", "oms §2.4", words, beside(broken), verified(1, "OMS_SIGNER_OTHER"))
    code = "OMS_SIGNATURE_INVALID"
    words = "Signed by a stranger under the hint of the expected key."
    yield vector(
        "oms-signer-false", "oms §2.4", words, beside(ModelSig(STRANGER, hint=pem_hint(RELEASE))), rejected(code)
    )
    words = "The same with the hint of the standard's own bundles, and no attestation."
    false = ModelSig(STRANGER, hint=RELEASE.hint())
    yield vector("oms-signer-false-alone", "oms §2.4", words, alone(false), rejected(MISSING, code))
    words = "A digit of the signed payload was altered afterwards."
    altered = ModelSig(edit_bundle=lambda bundle: flip_payload(bundle["dsseEnvelope"]))
    yield vector("oms-payload-altered", "oms §2.4", words, alone(altered), rejected(MISSING, code))


def flip_payload(envelope: Any) -> None:
    """Alter a signed payload."""
    text = envelope["payload"]
    envelope["payload"] = ("A" if text[8] != "A" else "B").join([text[:8], text[9:]])


def bundles() -> Iterator[Vector]:
    """Yield oms §2.1: what nobody can be said to have signed."""
    warned = verified(1, "OMS_BUNDLE_MALFORMED")
    twice = ModelSig(edit_bundle=lambda b: b["dsseEnvelope"].update(signatures=b["dsseEnvelope"]["signatures"] * 2))
    yield vector("oms-two-signatures", "oms §2.1", "Two signatures.", beside(twice), warned)
    no_json = given(plain()).altered(files={PATH: b"{"})
    yield vector("oms-no-json", "oms §2.1", "No JSON.", no_json, warned)
    words = "One byte over 16 MiB."
    data = beside().folder[PATH]
    huge = concat(stored("model.sig", data), repeated(b" ", BUNDLE_LIMIT - len(data) + 1))
    one = given(plain(), place={"folder/model.sig": huge})
    made = vector("oms-huge", "oms §2.1", words, one, warned)
    yield replace(made, files={**made.files, "model.sig": data})
    none = ModelSig(edit_bundle=lambda b: b.update(verificationMaterial={"x509CertificateChain": {"certificates": []}}))
    yield vector("oms-chain-empty", "oms §2.1", "A chain of no certificates.", beside(none), warned)


def chains() -> Iterator[Vector]:
    """Yield signatures under certificates of private authorities."""
    only = incomplete(MISSING)
    chain = (leaf(), BETWEEN.certificate)
    yield chained("oms-chain", "2.6", "By a key that a private authority certified.", Signed(chain), NOW, only)
    with_root = Signed((*chain, ROOT.certificate))
    yield chained(
        "oms-chain-root", "2.6", "The chain has the root at its end, which is left out.", with_root, NOW, only
    )
    stranger = Signed((leaf(by=STRANGE.root), STRANGE.root.certificate))
    invalid = rejected(MISSING, "OMS_SIGNATURE_INVALID")
    words = "The chain leads to a root of its own, under the expected name."
    yield chained("oms-chain-own-root", "2.6", words, stranger, NOW, invalid)
    words = "The certificate expired a second before the verification, and nothing dates the signature."
    yield chained("oms-chain-expired", "2.5", words, Signed(chain), LIFETIME[1] + 1, invalid)
    other = Signed((leaf(extensions=(DIGITAL_SIGNATURE, CODE)), BETWEEN.certificate))
    words = "The certificate has another name."
    outcome = incomplete(MISSING, "OMS_SIGNER_OTHER")
    yield chained("oms-chain-other-name", "2.4", words, other, NOW, outcome)


def chained(name: str, clause: str, words: str, signed: Signed, now: int, outcome: Outcome) -> Vector:
    """Return a vector in which a name in a certificate is expected, at a time."""
    files = toy.folder(A)
    folder = {**files, PATH: ModelSig(chain=signed).over(files)}
    made = vector(name, f"oms §{clause}", words, Given(folder=folder, key=None), outcome)
    at = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    named = {"certificate": {"name": NAME, "roots": "roots.pem", "crls": []}, "now": at}
    roots = pem("CERTIFICATE", ROOT.certificate)
    return replace(made, input={**made.input, **named}, files={**made.files, "roots.pem": roots})


def listings() -> Iterator[Vector]:
    """Yield oms §3."""

    def bad(code: str) -> Outcome:
        return rejected(MISSING, code)

    def unknown() -> Outcome:
        return incomplete(MISSING, "OMS_UNSUPPORTED")

    v = "oms §3."
    kind = ModelSig(edit_statement=lambda s: s.update(predicateType="https://model_signing/Digests/v0.1"))
    yield vector("oms-predicate-type", v + "1", "Another predicate type.", alone(kind), unknown())
    number = ModelSig(edit=lambda predicate: predicate.update(extra=1.5))
    yield vector("oms-unknown-member", v + "1", "A member that is not known.", alone(number), incomplete(MISSING))
    no_list = ModelSig(edit_statement=lambda s: s["predicate"].pop("resources"))
    yield vector("oms-no-resources", v + "1", "No resources.", alone(no_list), bad("OMS_MALFORMED"))
    subject = ModelSig(edit_statement=lambda s: s["subject"][0].update(digest={"sha256": "00" * 32}))
    yield vector(
        "oms-subject", v + "2", "A subject that is not the resources'.", alone(subject), bad("OMS_SUBJECT_MISMATCH")
    )
    swapped = ModelSig(edit_statement=lambda s: s["predicate"]["resources"].reverse())
    words = "The resources in another order than the subject has them."
    yield vector("oms-subject-order", v + "2", words, alone(swapped), bad("OMS_SUBJECT_MISMATCH"))
    two = ModelSig(edit_statement=lambda s: s.update(subject=s["subject"] * 2))
    yield vector("oms-two-subjects", v + "2", "Two subjects.", alone(two), bad("OMS_MALFORMED"))
    yield vector("oms-method", v + "3", "An unknown serialization.", alone(serialized(method="tensors")), unknown())
    yield vector("oms-hash", v + "3", "An unknown hash.", alone(serialized(hash_type="md5")), unknown())
    words = "A resource by another hash than the serialization says."
    yield vector("oms-algorithm", v + "3", words, alone(edited(algorithm="blake3")), bad("OMS_MALFORMED"))
    yield vector(
        "oms-digest-short", v + "3", "A digest of 31 bytes.", alone(edited(digest="00" * 31)), bad("OMS_MALFORMED")
    )
    again = ModelSig(edit=lambda p: p["resources"].append(dict(resource(p))))
    yield vector("oms-duplicate", v + "4", "A file listed twice.", alone(again), bad("OMS_MALFORMED"))
    for name, path in (("up", "../config.json"), ("absolute", "/etc/passwd"), ("dot", "./config.json"), ("empty", "")):
        made = alone(edited(name=path))
        yield vector(f"oms-path-{name}", v + "6", f"The path is `{path}`.", made, bad("OMS_PATH_UNSAFE"))
    yield from shards(bad("OMS_MALFORMED"))


def shards(malformed: Outcome) -> Iterator[Vector]:
    """Yield oms §3.5."""
    weights = "model.safetensors"

    def sharded(edit: Edit) -> Given:
        return alone(ModelSig(shard_bytes=100, edit=edit))

    def renamed(name: str) -> Given:
        return sharded(lambda predicate: resource(predicate, weights).update(name=name))

    words = "A shard is left out: a gap."
    yield vector(
        "oms-shard-gap", "oms §3.5", words, sharded(lambda p: p["resources"].remove(resource(p, weights))), malformed
    )
    again = sharded(lambda p: p["resources"].append(dict(resource(p, weights))))
    yield vector("oms-shard-twice", "oms §3.5", "A shard is listed twice.", again, malformed)
    for name, text in (
        ("short", f"{weights}:0:99"), ("long", f"{weights}:0:101"), ("empty", f"{weights}:0:0"),
        ("backwards", f"{weights}:100:0"), ("zeros", f"{weights}:00:100"), ("huge", f"{weights}:0:{10**30}"),
        ("no-range", weights), ("colon", f"a:{weights}:0:100"),
    ):  # fmt: skip
        yield vector(f"oms-shard-{name}", "oms §3.5", f"The first shard is `{text}`.", renamed(text), malformed)
    words = "A shard size that is not that of the algorithms' name."
    lied = ModelSig(shard_bytes=100, edit=lambda p: p["serialization"].update(shard_size=200))
    yield vector("oms-shard-size", "oms §3.5", words, alone(lied), malformed)
    whole = ModelSig(shard_bytes=100, edit=lambda p: resource(p).update(algorithm="sha256"))
    yield vector("oms-shard-algorithm", "oms §3.3", "A shard by a file's algorithm.", alone(whole), malformed)


def contents() -> Iterator[Vector]:
    """Yield oms §4."""
    v = "oms §4."
    fine = alone()
    changed = {"config.json": toy.flipped(fine.folder["config.json"])}
    mismatch = rejected(MISSING, "OMS_FILE_MISMATCH")
    yield vector("oms-file-changed", v + "2", "A bit of a file was turned.", fine.altered(files=changed), mismatch)
    readme = fine.altered(files={"README.md": b"# City\n"})
    yield vector("oms-readme-changed", v + "2", "The README was changed.", readme, mismatch)
    weights = {"model.safetensors": toy.flipped(fine.folder["model.safetensors"])}
    yield vector("oms-weights-changed", v + "2", "A bit of a weight was turned.", fine.altered(files=weights), mismatch)
    cut = alone(ModelSig(shard_bytes=100))
    longer = {"config.json": cut.folder["config.json"] + b" "}
    words = "In shards, a file has one byte more than its last one."
    yield vector("oms-shard-file-longer", v + "2", words, cut.altered(files=longer), mismatch)
    shorter = {"model.safetensors": cut.folder["model.safetensors"][:-1]}
    yield vector("oms-shard-file-shorter", v + "2", "In shards, a file is cut.", cut.altered(files=shorter), mismatch)
    gone = fine.altered("config.json")
    yield vector("oms-file-missing", v + "1", "A file is gone.", gone, rejected(MISSING, "OMS_FILE_MISSING"))
    extra = rejected(MISSING, "OMS_FILE_NOT_COVERED")
    yield vector("oms-file-extra", v + "3", "A file more.", fine.altered(files={"x.py": b"x"}), extra)
    words = "A file that was there is not listed."
    yield vector("oms-file-not-listed", v + "3", words, alone(without="config.json"), extra)
    left_out = incomplete(MISSING, "OMS_FILE_LEFT_OUT")
    ignoring = ModelSig(ignored=(PATH, "./model.safetensors"))
    words = "The weights are in `ignore_paths`, not listed, and may have been changed by anybody."
    yield vector("oms-weights-ignored", v + "3", words, alone(ignoring, without="model.safetensors"), left_out)
    everything = ModelSig(ignored=(".",))
    words = "All of the folder is in `ignore_paths`, and all but one is listed."
    yield vector("oms-all-ignored", v + "3", words, alone(everything, without="config.json"), left_out)
    words = "A path that is listed, changed, and in `ignore_paths`."
    listed = alone(ModelSig(ignored=(PATH, "config.json"))).altered(files=changed)
    yield vector("oms-ignored-and-listed", v + "3", words, listed, mismatch)
    words = "An ignored name is no prefix of others."
    prefix = alone(ModelSig(ignored=("config",)), without="config.json")
    yield vector("oms-ignored-prefix", v + "3", words, prefix, extra)
    empty = alone(ModelSig(shard_bytes=100)).altered(files={"__init__.py": b""})
    yield vector("oms-shards-empty-file", v + "3", "In shards, an empty file more.", empty, left_out)
    hidden = {"folder/.attest/x": hexed(b"x")}
    never = ModelSig(edit=lambda p: p["resources"].append(dict(resource(p), name=".attest/x")))
    words = "What is listed lies where nobody looks."
    unsupported = incomplete(MISSING, "OMS_UNSUPPORTED")
    yield vector("oms-never-covered", v + "1", words, replace(alone(never), place=hidden), unsupported)
    lfs = {"folder/.gitattributes": hexed(b"*.none filter=lfs diff=lfs merge=lfs -text\n")}
    words = "The Hub's `.gitattributes`, added afterwards."
    yield vector("oms-gitattributes", v + "3", words, replace(fine, place=lfs), incomplete(MISSING))
    yield from attested(changed)


def attested(changed: Mapping[str, bytes]) -> Iterator[Vector]:
    """Yield oms §4 beside an attestation."""
    v = "oms §4."
    words = "Files were altered after both signatures."
    both = beside().altered(files=dict(changed))
    yield vector("oms-both-changed", v + "2", words, both, rejected("FILE_MISMATCH", "OMS_FILE_MISMATCH"))
    words = "The README was altered: what an attestation only warns of, `model.sig` does not allow."
    readme = beside().altered(files={"README.md": b"# City\n"})
    outcome = rejected("DOCUMENTATION_CHANGED", "OMS_FILE_MISMATCH")
    yield vector("oms-both-readme-changed", v + "2", words, readme, outcome)
    words = "The attestation fits, and the `model.sig` is of an earlier state."
    stale = ModelSig(edit=lambda p: resource(p).update(digest=hashlib.sha256(changed["config.json"]).hexdigest()))
    yield vector("oms-stale", "oms §5", words, beside(stale), rejected("OMS_FILE_MISMATCH"))
    words = "The same of a weight file, whose digest V8 does not compute."
    weights = ModelSig(edit=lambda p: resource(p, "model.safetensors").update(digest="00" * 32))
    yield vector("oms-stale-weights", "oms §5", words, beside(weights), rejected("OMS_FILE_MISMATCH"))
    words = "Files that the manifest lists are left out by `ignore_paths`: the attestation binds them."
    good = given(plain())
    covered = {path: data for path, data in good.folder.items() if path != "model.safetensors"}
    left = good.altered(files={PATH: ModelSig(ignored=(PATH, "model.safetensors")).over(covered)})
    yield vector("oms-left-out-attested", v + "3", words, left, verified(1))
    words = "The attestation's own signature fails: a `model.sig` is not looked at."
    other = beside(ModelSig(edit=lambda p: resource(p).update(digest="00" * 32)))
    yield vector("oms-not-reached", "oms §1", words, replace(other, key=STRANGER), rejected("SIGNATURE_INVALID"))


def vectors() -> list[Vector]:
    """Return all of these."""
    return [*good(), *signers(), *bundles(), *chains(), *listings(), *contents()]

"""Area `verify`: signature, statement, manifest and leaf file of whole folders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import toy
from envelope import MANIFEST_PATH, PAYLOAD_TYPE, Signing
from folder import (
    BUNDLE_PATH,
    LEAVES_PATH,
    MERGED,
    PARENTS,
    REPOSITORY,
    claim,
    given,
    incomplete,
    plain,
    rejected,
    vector,
    verified,
)
from jcs import canonical
from keys import RELEASE_ED25519, RELEASE_P384, STRANGER
from manifest import file_class
from merkle import digest_text, sha256
from vector import Vector

V = "verification "


def levels() -> Iterator[Vector]:
    """Yield folders on which everything is right, and what the caller lacks."""
    good = given(claim())
    yield vector("merge", V + "§5", "A merge of two parents at hand.", good, verified(3))
    yield vector("no-steps", V + "§5", "No materials, no steps.", given(plain()), verified(1))
    words = "No expected key."
    yield vector("no-key", V + "V3", words, given(claim(), key=None), incomplete("SIGNER_NOT_EXPECTED"))
    one = {"a": PARENTS["a"]}
    yield vector(
        "parent-missing", V + "V10", "`b` is not at hand.", given(claim(), parents=one), incomplete("MATERIAL_MISSING")
    )
    words = "Neither parent is at hand, and no key is expected."
    yield vector(
        "nothing-at-hand",
        V + "§5.2",
        words,
        given(claim(), parents={}, key=None),
        incomplete("MATERIAL_MISSING", "SIGNER_NOT_EXPECTED"),
    )
    bare = good.altered(MANIFEST_PATH, LEAVES_PATH, BUNDLE_PATH)
    yield vector("attestation-missing", V + "V1", "No `attestation/`.", bare, incomplete("ATTESTATION_MISSING"))
    words = "Manifest and leaves are there, the bundle is not."
    yield vector("bundle-missing", V + "V1", words, good.altered(BUNDLE_PATH), incomplete("ATTESTATION_MISSING"))
    for key in (RELEASE_P384, RELEASE_ED25519):
        made = given(claim(signing=Signing(key)), key=key)
        yield vector(f"merge-{key.kind}", "statement §5", f"The same with {key.kind}.", made, verified(3))


def envelopes() -> Iterator[Vector]:
    """Yield V2 to V4."""
    good = given(claim())
    yield vector(
        "key-other",
        V + "V3",
        "Signed by a key that is not the expected one.",
        given(claim(signing=Signing(STRANGER))),
        rejected("SIGNATURE_INVALID"),
    )
    words = "A broken folder under a signature that does not hold: nothing below it is evaluated."
    broken = given(claim(signing=Signing(STRANGER))).altered("config.json", files={"extra.txt": b"x"})
    yield vector("key-other-and-broken", V + "V3", words, broken, rejected("SIGNATURE_INVALID"))
    twice = good.folder[BUNDLE_PATH][:-1] + b',"mediaType":"x"}'
    yield vector(
        "bundle-malformed",
        V + "V2",
        "A member of the bundle twice.",
        good.altered(files={BUNDLE_PATH: twice}),
        rejected("BUNDLE_MALFORMED"),
    )
    other = Signing(signed_type=PAYLOAD_TYPE + "x", payload_type=PAYLOAD_TYPE + "x")
    yield vector(
        "payload-type-other",
        V + "V4",
        "Another payload type, signed so.",
        given(claim(signing=other)),
        rejected("PAYLOAD_TYPE_WRONG"),
    )
    words = "The repository that is verified is not the one that was signed."
    yield vector(
        "repository-other",
        V + "V4",
        words,
        given(claim(), repository="pkg:huggingface/town/other"),
        rejected("ATTESTED_FOR_OTHER_REPO"),
    )
    words = "The repository that was signed."
    yield vector("repository-same", V + "V4", words, given(claim(), repository=REPOSITORY), verified(3))
    words = "A card, which this version does not evaluate."
    card = claim(statement_edit=lambda s: s["predicate"].update(card={"license": "mit"}))
    yield vector("card", V + "V4", words, given(card), incomplete("CARD_NOT_CHECKED"))
    words = "An unknown critical member, on a broken folder: nothing after it is evaluated."
    critical = claim(statement_edit=lambda s: s["predicate"].update(critical=["future"], future=1))
    broken = given(critical).altered("config.json")
    yield vector("critical-unknown", V + "V4", words, broken, incomplete("CRITICAL_UNKNOWN"))


def manifests_altered() -> Iterator[Vector]:
    """Yield V5: the manifest is not the one that was signed, or disagrees with the statement."""
    good = given(plain())
    text = good.folder[MANIFEST_PATH]
    changed = text.replace(b'"config.json"', b'"config.jsom"', 1)
    assert changed != text
    yield vector(
        "manifest-altered",
        V + "V5",
        "One letter of the manifest was altered.",
        good.altered(files={MANIFEST_PATH: changed}),
        rejected("MANIFEST_MISMATCH"),
    )
    yield vector(
        "manifest-newline",
        V + "V5",
        "A newline was added to the manifest.",
        good.altered(files={MANIFEST_PATH: text + b"\n"}),
        rejected("MANIFEST_MISMATCH"),
    )
    yield vector(
        "manifest-missing",
        V + "V5",
        "The manifest is not there.",
        good.altered(MANIFEST_PATH),
        rejected("MANIFEST_MISMATCH"),
    )
    words = "The manifest and the folder of another version of the model, under the old signature."
    newer = plain(files=toy.folder(MERGED)).signed()
    newer[BUNDLE_PATH] = good.folder[BUNDLE_PATH]
    yield vector("manifest-of-another", V + "V5", words, good.altered(files=newer), rejected("MANIFEST_MISMATCH"))
    zero = digest_text(bytes(32))
    words = "The signer wrote another checkpoint root into the statement."
    wrong = plain(statement_edit=lambda s: s["predicate"]["model"].update(checkpointRoot=zero))
    yield vector("root-in-statement", V + "V5", words, given(wrong), rejected("CHECKPOINT_ROOT_MISMATCH"))
    words = "The signer wrote another checkpoint root into the manifest."
    wrong = plain(manifest_edit=lambda m: m["weight_sets"][0].update(checkpoint_root=zero))
    yield vector("root-in-manifest", V + "V5", words, given(wrong), rejected("CHECKPOINT_ROOT_MISMATCH"))
    for name, words, file, digest, outcome in (
        ("subject-further", "A further subject, as in the manifest.", "model.safetensors", None, verified(1)),
        ("subject-mismatch", "A further subject with another digest.", "model.safetensors", "00" * 32,
         rejected("SUBJECT_MISMATCH")),
        ("subject-unlisted", "A further subject that the manifest does not list.", "other.safetensors", "00" * 32,
         rejected("SUBJECT_MISMATCH")),
    ):  # fmt: skip
        digest = digest or sha256(good.folder[file]).hex()
        further = {"name": file, "digest": {"sha256": digest}}
        made = plain(statement_edit=lambda s, further=further: s["subject"].append(further))
        yield vector(name, V + "V5", words, given(made), outcome)


def manifests_signed() -> Iterator[Vector]:
    """Yield manifests that are signed, and not as they should be."""
    writes = {
        "spaces": ("Two spaces of indentation.", lambda m: json.dumps(m, indent=2).encode()),
        "newline": ("A newline at the end.", lambda m: canonical(m) + b"\n"),
        "member-order": ("Members in another order.", lambda m: json.dumps(m, separators=(",", ":")).encode()),
        "escape": ("A letter as an escape.", lambda m: canonical(m).replace(b"README", b"\\u0052EADME")),
    }
    for name, (words, write) in writes.items():
        made = given(plain(manifest_write=write))
        assert made.folder[MANIFEST_PATH] != canonical(json.loads(made.folder[MANIFEST_PATH]))
        yield vector(f"manifest-not-canonical-{name}", "manifest §1.1", words, made, rejected("MANIFEST_NOT_CANONICAL"))
    texts = {
        "member-twice": ("§1.1", "A member twice.", lambda m: canonical(m)[:-1] + b',"schema":"x"}'),
        "fraction": ("§1.4", "A size with a fraction.",
                     lambda m: canonical(m).replace(b'"size_bytes":7', b'"size_bytes":7.0')),
        "array": ("§1.2", "An array.", lambda m: b"[" + canonical(m) + b"]"),
        "not-json": ("§1.1", "Not JSON.", lambda m: b"manifest"),
    }  # fmt: skip
    for name, (clause, words, write) in texts.items():
        made = given(plain(manifest_write=write))
        yield vector(f"manifest-{name}", f"manifest {clause}", words, made, rejected("MANIFEST_MALFORMED"))
    for name, (clause, words, edit) in malformed().items():
        made = given(plain(manifest_edit=edit))
        yield vector(f"manifest-{name}", f"manifest {clause}", words, made, rejected("MANIFEST_MALFORMED"))


def malformed() -> dict[str, tuple[str, str, Any]]:
    """Return edits that leave a manifest canonical, and not a manifest."""

    def file(number: int, **members: object) -> Any:
        return lambda m: m["files"][number].update(members)

    def weights(edit: Any) -> Any:
        return lambda m: edit(m["weight_sets"][0])

    long = "d/" * 510 + ".json"
    assert len(long) == 1025
    paths = {
        "parent": ("../config.json", "`..`."), "dot": ("./config.json", "`.`."),
        "absolute": ("/config.json", "A slash first."),
        "double-slash": ("a//config.json", "An empty segment."), "slash-last": ("config.json/", "A slash last."),
        "backslash": ("a\\config.json", "A backslash."), "control": ("config\n.json", "A control character."),
        "bidi": ("config\u202e.json", "A bidirectional override."), "not-nfc": ("config-e\u0301.json", "Not in NFC."),
        "case-twin": ("LiCENSE", "Equal to another path after case folding."), "long": (long, "1,025 bytes."),
        "nul": ("config\x00.json", "A zero character."), "line-separator": ("config\u2028.json", "U+2028."),
    }  # fmt: skip
    made: dict[str, tuple[str, str, Any]] = {
        f"path-{name}": ("§2", words, lambda m, path=path: replace_path(m, path))
        for name, (path, words) in paths.items()
    }
    return made | {
        "schema-other": ("§1.2", "Another schema.", lambda m: m.update(schema=m["schema"].replace("v1", "v2"))),
        "member-unknown": ("§1.2", "An unknown member.", lambda m: m.update(note="x")),
        "member-missing": ("§1.2", "No `leaves`.", lambda m: m.pop("leaves")),
        "file-member-unknown": ("§1.2", "An unknown member of a file.", file(0, note="x")),
        "file-member-missing": ("§1.2", "A file without its digest.", lambda m: m["files"][0].pop("file_digest")),
        "size-string": ("§1.4", "A size that is a string.", file(0, size_bytes="11")),
        "size-negative": ("§1.4", "A negative size.", file(0, size_bytes=-1)),
        "size-boolean": ("§1.4", "A size that is true.", file(0, size_bytes=True)),
        "digest-bare": ("§1.2", "A digest without `sha256:`.", file(0, file_digest="00" * 32)),
        "digest-upper-case": ("§1.2", "A digest in upper case.", file(0, file_digest="sha256:" + "AB" * 32)),
        "class-other": ("§3.3", "A class that does not follow from the path.", file(2, **{"class": "documentation"})),
        "header-digest-missing": ("§3.4", "No header digest of a safetensors file.",
                                  lambda m: m["files"][3].pop("header_digest")),
        "header-digest-extra": ("§3.4", "A header digest of another file.",
                                file(2, header_digest=digest_text(bytes(32)))),
        "files-unordered": ("§1.3", "Two files exchanged.", lambda m: m["files"].insert(0, m["files"].pop(1))),
        "file-twice": ("§1.3", "A file twice.", lambda m: m["files"].insert(0, m["files"][0])),
        "tensors-unordered": ("§1.3", "Two tensors exchanged.", weights(lambda w: w["tensors"].reverse())),
        "tensor-twice": ("§1.3", "A tensor twice.", weights(lambda w: w["tensors"].insert(0, w["tensors"][0]))),
        "dim-string": ("§1.4", "A dimension that is a string.",
                       weights(lambda w: w["tensors"][0].update(shape=["16", 8]))),
        "primary-none": ("§5", "No primary set.", weights(lambda w: w.update(primary=False))),
        "tensor-member-unknown": ("§1.2", "An unknown member of a tensor.",
                                  weights(lambda w: w["tensors"][0].update(note="x"))),
        "leaves-member-unknown": ("§1.2", "An unknown member of `leaves`.", lambda m: m["leaves"].update(note="x")),
        "root-missing": ("§5", "A safetensors set without its root.", weights(lambda w: w.pop("checkpoint_root"))),
    }  # fmt: skip


def replace_path(document: Any, path: str) -> None:
    """Give `config.json` another path, in its place in the order."""
    document["files"][2].update({"path": path, "class": file_class(path)})
    document["files"].sort(key=lambda row: row["path"].encode())


def leaf_files() -> Iterator[Vector]:
    """Yield V6."""
    good = given(plain())
    leaves = good.folder[LEAVES_PATH]
    code = rejected("LEAVES_MISMATCH")
    yield vector(
        "leaves-altered",
        V + "V6",
        "One bit of the leaf file was turned.",
        good.altered(files={LEAVES_PATH: toy.flipped(leaves)}),
        code,
    )
    yield vector(
        "leaves-cut", V + "V6", "The last byte is missing.", good.altered(files={LEAVES_PATH: leaves[:-1]}), code
    )
    yield vector(
        "leaves-longer", V + "V6", "A leaf too many.", good.altered(files={LEAVES_PATH: leaves + leaves[:32]}), code
    )
    yield vector("leaves-missing", V + "V6", "No leaf file.", good.altered(LEAVES_PATH), code)
    words = "The signer stated another number of leaves."
    longer = plain(manifest_edit=lambda m: m["files"][-1].update(size_bytes=m["files"][-1]["size_bytes"] + 1))
    words = "The signer gives the weights a size that they do not have."
    yield vector("size-of-weights", "verification V7", words, given(longer), rejected("FILE_MISMATCH"))
    count = plain(manifest_edit=lambda m: m["leaves"].update(count=m["leaves"]["count"] + 1))
    yield vector("leaves-count", V + "V6", words, given(count), code)
    words = "The signer signed a leaf file that does not give the tensor roots."
    swapped = leaves[32:64] + leaves[:32] + leaves[64:]
    lying = plain(
        manifest_edit=lambda m: m["leaves"].update(file_digest=digest_text(sha256(swapped))),
        leaves_edit=lambda _: swapped,
    )
    yield vector("leaves-lie", V + "V6", words, given(lying), code)


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this area that end before the files."""
    for part in (levels, envelopes, manifests_altered, manifests_signed, leaf_files):
        yield from part()

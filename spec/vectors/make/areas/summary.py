"""Area `summary`: summaries of another's verification, and what a reader makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import toy
from data import Data
from envelope import MANIFEST_PATH, PREDICATE_TYPE, PREFIX, STATEMENT_TYPE, Signing, compact
from folder import MERGED, claim
from history import key_revoked, root_revoked
from history import signed as revocation
from keys import RELEASE, STRANGER, Key
from merkle import sha256
from vector import JsonObject, Vector

TYPE = "https://slsa.dev/verification_summary/v1"
OURS = PREFIX + "summary/v1"
AGENCY = Key("p384", "agency")
VERIFIER, RESOURCE = "https://agency.example/models", "pkg:huggingface/town/town-7b"
NOW, VERIFIED_AT = "2026-07-01T12:00:00Z", "2026-06-01T12:00:00Z"
END, LATER = "2026-07-31T12:00:00Z", "20260731T120000Z"
POLICY = b'schema = "https://model-attest.github.io/policy/v1"\nminimum-level = 2\n'
BUNDLE_PATH = "attestation/pipeline.sigstore.json"
Edit = Callable[[Any], object]


def signed_folder() -> dict[str, bytes]:
    """Return a merge with its attestation."""
    return {path: data for path, data in claim().signed().items() if isinstance(data, bytes)}


FOLDER = signed_folder()
MANIFEST, BUNDLE = FOLDER[MANIFEST_PATH], FOLDER[BUNDLE_PATH]
DIGEST = "sha256:" + sha256(MANIFEST).hex()


def summary() -> Any:
    """Return the summary that an agency writes of that folder."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": MANIFEST_PATH, "digest": {"sha256": sha256(MANIFEST).hex()}},
            {"name": "checkpoint", "digest": {"model-attest-checkpoint-v1": toy.root(MERGED).hex()}},
        ],
        "predicateType": TYPE,
        "predicate": {
            "verifier": {"id": VERIFIER, "version": {"model-attest": "0.1.0"}},
            "timeVerified": VERIFIED_AT,
            "resourceUri": RESOURCE,
            "policy": {"uri": "https://agency.example/policies/7", "digest": {"sha256": sha256(POLICY).hex()}},
            "inputAttestations": [{"name": BUNDLE_PATH, "digest": {"sha256": sha256(BUNDLE).hex()}}],
            "verificationResult": "PASSED",
            "verifiedLevels": ["MODEL_ATTEST_LEVEL_3", "MODEL_ATTEST_DEPTH_FULL", "MODEL_ATTEST_HASHED_PERCENT_100"],
            "slsaVersion": "1.1",
            OURS: {
                "verdict": "VERIFIED",
                "level": 3,
                "headline": "VERIFIED level 3: every step was reproduced bit for bit",
                "depth": "full",
                "detached": False,
                "steps": [{"id": "merge", "type": "merge", "verdict": "reproduced"}],
                "materials": [],
                "findings": [],
                "notChecked": [{"what": "time of signing", "why": "the bundle holds no timestamp"}],
                "leftOut": 0,
            },
        },
    }


@dataclass(frozen=True, slots=True)
class Reader:
    """What a reader has and asks."""

    key: Key | None = AGENCY
    folder: Mapping[str, bytes | Data] | None = None
    asks: Mapping[str, object] = field(default_factory=lambda: {"resource": RESOURCE, "manifest": DIGEST})
    now: str = NOW

    def asking(self, **asks: object) -> Reader:
        """Return the same who asks more."""
        return replace(self, asks={**self.asks, **asks})


READER = Reader()
BARE = replace(READER, asks={"resource": RESOURCE})
OWNER = replace(BARE, folder=FOLDER)
"""One who has the folder."""


def read(
    name: str, clause: str, words: str, bundle: object, *codes: str, by: Reader = READER, verdict: str | None = None
) -> Vector:
    """Return a vector; with codes it is REJECTED, unless `verdict` says otherwise."""
    verdict = verdict or ("REJECTED" if codes else "ACCEPTED")
    exit_code = {"ACCEPTED": 0, "REJECTED": 1, "INCOMPLETE": 3}[verdict]
    given: JsonObject = {
        "summary": "summary.json",
        "key": None if by.key is None else "verifier.pub",
        "now": by.now,
        "folder": None if by.folder is None else "folder",
        **by.asks,
    }
    data = bundle if isinstance(bundle, bytes) else compact(bundle)
    files: dict[str, bytes | Data] = {"summary.json": data, "policy.toml": POLICY, "other.toml": POLICY + b"\n"}
    files |= {} if by.key is None else {"verifier.pub": by.key.pem()}
    files |= {f"folder/{path}": content for path, content in (by.folder or {}).items()}
    expected = {"exit_code": exit_code, "verdict": verdict, "codes": sorted(codes)}
    return Vector("summary", name, f"summary {clause}", words, given, expected, files)


def signed(edit: Edit = lambda _: None, signing: Signing | None = None) -> Any:
    """Return the bundle of a summary that was altered, and then signed."""
    made = deepcopy(summary())
    edit(made)
    return (signing or Signing(AGENCY)).bundle(compact(made))


def of(name: str, clause: str, words: str, edit: Edit, *codes: str, **options: Any) -> Vector:
    """Return a vector of a summary that was altered, and then signed."""
    return read(name, clause, words, signed(edit), *codes, **options)


def said(**members: object) -> Edit:
    """Return an edit of the predicate; None leaves a member out."""

    def edit(made: Any) -> None:
        made["predicate"].update(members)
        for member in [member for member, value in members.items() if value is None]:
            del made["predicate"][member]

    return edit


def ours(**members: object) -> Edit:
    """Return an edit of the member that is this standard's."""
    return lambda made: made["predicate"][OURS].update(members)


def both(*edits: Edit) -> Edit:
    """Return edits in order."""
    return lambda made: [edit(made) for edit in edits]


def signatures() -> Iterator[Vector]:
    """Yield S1."""
    good = signed()
    yield read("good", "§4", "Everything is as it should be.", good)
    yield read(
        "signer-other",
        "§4 S1",
        "Another verifier is expected.",
        good,
        "SIGNATURE_INVALID",
        by=replace(READER, key=STRANGER),
    )
    yield read(
        "signer-publisher", "§4 S1", "The publisher signed it.", signed(signing=Signing(RELEASE)), "SIGNATURE_INVALID"
    )
    yield read(
        "signer-none",
        "§4 S1",
        "Nobody is expected.",
        good,
        "SIGNER_NOT_EXPECTED",
        by=replace(READER, key=None),
        verdict="INCOMPLETE",
    )
    yield read(
        "signer-hint-lies",
        "§4 S1",
        "The hint names another key than the one that signed.",
        signed(signing=Signing(AGENCY, hint=STRANGER.hint())),
    )
    altered = deepcopy(good)
    altered["dsseEnvelope"]["payload"] = signed(said(verificationResult="FAILED"))["dsseEnvelope"]["payload"]
    yield read("payload-other", "§4 S1", "Another payload under the signature.", altered, "SIGNATURE_INVALID")
    yield read(
        "bundle-malformed",
        "§4 S1",
        "Two signatures.",
        {**good, "dsseEnvelope": {**good["dsseEnvelope"], "signatures": good["dsseEnvelope"]["signatures"] * 2}},
        "BUNDLE_MALFORMED",
    )
    yield read("bundle-no-json", "§4 S1", "No JSON.", b"PASSED", "BUNDLE_MALFORMED")
    yield read(
        "bundle-attestation",
        "§4 S2",
        "The attestation itself, by its own signer.",
        BUNDLE,
        "PREDICATE_TYPE_UNKNOWN",
        by=replace(READER, key=RELEASE),
    )


def forms() -> Iterator[Vector]:
    """Yield S2 and §1."""
    bad = "SUMMARY_MALFORMED"
    other = Signing(AGENCY, signed_type="text/plain", payload_type="text/plain")
    yield read("payload-type", "§4 S2", "Of another payload type.", signed(signing=other), "PAYLOAD_TYPE_WRONG")
    yield of(
        "type-other",
        "§4 S2",
        "Of another predicate type.",
        lambda s: s.update(predicateType=PREDICATE_TYPE),
        "PREDICATE_TYPE_UNKNOWN",
    )
    yield of(
        "type-older",
        "§4 S2",
        "Of an older version.",
        lambda s: s.update(predicateType="https://slsa.dev/verification_summary/v0.2"),
        "PREDICATE_TYPE_UNKNOWN",
    )
    yield of(
        "statement-type",
        "§4 S2",
        "Of another statement type.",
        lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"),
        "STATEMENT_MALFORMED",
    )
    yield of("subject-none", "§4 S2", "Without a subject.", lambda s: s["subject"].clear(), "STATEMENT_MALFORMED")
    for name, words, members in (
        ("no-verifier", "Without a verifier.", {"verifier": None}),
        ("verifier-text", "A verifier that is text.", {"verifier": VERIFIER}),
        ("no-resource", "Without a resource.", {"resourceUri": None}),
        ("no-policy", "Without a policy.", {"policy": None}),
        ("policy-no-uri", "A policy without a name.", {"policy": {"digest": {"sha256": sha256(POLICY).hex()}}}),
        ("no-result", "Without a result.", {"verificationResult": None}),
        ("result-other", "A result of another word.", {"verificationResult": "VERIFIED"}),
        ("result-case", "A result in lower case.", {"verificationResult": "passed"}),
        ("no-levels", "Without levels.", {"verifiedLevels": None}),
        ("levels-text", "Levels as text.", {"verifiedLevels": "MODEL_ATTEST_LEVEL_3"}),
        ("levels-many", "257 levels.", {"verifiedLevels": ["X"] * 257}),
        ("time-zone", "A time with an offset.", {"timeVerified": "2026-06-01T12:00:00+00:00"}),
        ("time-none", "A day that no calendar has.", {"timeVerified": "2026-02-30T12:00:00Z"}),
        ("time-number", "A time as a number.", {"timeVerified": 1780315200}),
        ("dependencies", "A count that is negative.", {"dependencyLevels": {"MODEL_ATTEST_LEVEL_1": -1}}),
    ):
        yield of(f"form-{name}", "§1", words, said(**members), bad)
    yield of("form-ours", "§1.3", "A member of ours that is of another form.", ours(notChecked="nothing"), bad)
    yield of(
        "unknown-members",
        "§1.3",
        "Members that nobody knows.",
        both(said(later="x"), ours(later="x"), lambda s: s.update(later="x")),
    )
    yield of("fraction-of-second", "§1.2", "A time with a fraction.", said(timeVerified="2026-06-01T12:00:00.123456Z"))
    yield of(
        "least",
        "§1.1",
        "Nothing but what has to be there.",
        said(**{"timeVerified": None, "inputAttestations": None, "slsaVersion": None, OURS: None}),
    )
    yield of(
        "dependencies-null",
        "§1.1",
        "Dependency levels that are null.",
        lambda s: s["predicate"].update(dependencyLevels=None),
    )


def subjects() -> Iterator[Vector]:
    """Yield S3."""
    bad = "SUMMARY_SUBJECT_MISMATCH"
    good = signed()
    manifest, root = DIGEST, "sha256:" + toy.root(MERGED).hex()
    yield read(
        "subject-nothing",
        "§4 S3",
        "The reader says nothing of the model.",
        good,
        "SUMMARY_SUBJECT_NOT_GIVEN",
        by=BARE,
        verdict="INCOMPLETE",
    )
    yield read("subject-manifest", "§4 S3", "By the manifest's digest.", good, by=BARE.asking(manifest=manifest))
    yield read("subject-root", "§4 S3", "By the checkpoint root.", good, by=BARE.asking(root=root))
    yield read("subject-both", "§4 S3", "The folder, and its root.", good, by=OWNER.asking(root=root))
    yield read(
        "subject-swapped",
        "§4 S3",
        "The root given as a manifest's digest: kinds are not compared.",
        good,
        bad,
        by=BARE.asking(manifest=root),
    )
    yield read(
        "subject-one-of-two",
        "§4 S3",
        "One of two digests is another.",
        good,
        bad,
        by=BARE.asking(manifest=manifest, root="sha256:" + "0" * 64),
    )
    other = {**FOLDER, MANIFEST_PATH: MANIFEST + b"\n"}
    yield read("subject-other", "§4 S3", "Another manifest.", good, bad, by=replace(OWNER, folder=other))
    without = {path: data for path, data in FOLDER.items() if path != MANIFEST_PATH}
    yield read(
        "subject-no-manifest", "§4 S3", "A folder without a manifest.", good, bad, by=replace(OWNER, folder=without)
    )
    yield of(
        "subject-root-only",
        "§4 S3",
        "A summary of the root alone, and a manifest's digest.",
        lambda s: s["subject"].pop(0),
        bad,
    )
    yield of(
        "subject-digest-case",
        "§4 S3",
        "The digest in upper case.",
        lambda s: s["subject"][0]["digest"].update(sha256=sha256(MANIFEST).hex().upper()),
        bad,
    )
    yield read("subject-folder", "§4 S3", "By the folder.", good, by=OWNER)
    bundle = {**FOLDER, BUNDLE_PATH: claim(signing=Signing(STRANGER)).signed()[BUNDLE_PATH]}
    again = replace(OWNER, folder=bundle)
    yield read(
        "attestation-other",
        "§4 S3",
        "The same files under another bundle.",
        good,
        "SUMMARY_ATTESTATION_MISMATCH",
        by=again,
    )
    none = {path: data for path, data in FOLDER.items() if path != BUNDLE_PATH}
    yield read(
        "attestation-none",
        "§4 S3",
        "The folder has no attestation.",
        good,
        "SUMMARY_ATTESTATION_MISMATCH",
        by=replace(OWNER, folder=none),
    )
    yield of(
        "attestation-unsaid",
        "§4 S3",
        "The summary does not say what was verified.",
        said(inputAttestations=None),
        by=again,
    )
    data = FOLDER["model.safetensors"]
    weights = {**FOLDER, "model.safetensors": data[:-1] + bytes([data[-1] ^ 1])}
    altered = replace(OWNER, folder=weights)
    yield read("bytes-unread", "§4 S3", "A weight was altered, and nobody reads it.", good, by=altered)
    yield read(
        "bytes-altered",
        "§4 S3",
        "A weight was altered, and the reader reads it.",
        good,
        "TENSOR_MISMATCH",
        by=altered.asking(read_files=True),
    )
    yield read("bytes-read", "§4 S3", "The reader reads every byte.", good, by=OWNER.asking(read_files=True))
    code = {**FOLDER, "modeling.py": b"pass\n"}
    yield read(
        "bytes-extra",
        "§4 S3",
        "A file is there that nobody signed.",
        good,
        "FILE_EXTRA",
        by=replace(OWNER, folder=code).asking(read_files=True),
    )


def contexts() -> Iterator[Vector]:
    """Yield S4."""
    good = signed()
    none = replace(READER, asks={"manifest": DIGEST})
    yield read("verifier", "§4 S4", "The verifier is named.", good, by=READER.asking(verifier=VERIFIER))
    yield read(
        "verifier-other",
        "§4 S4",
        "Another verifier is named.",
        good,
        "SUMMARY_VERIFIER_MISMATCH",
        by=READER.asking(verifier=VERIFIER + "/"),
    )
    yield read(
        "resource-unsaid",
        "§4 S4",
        "No resource is named.",
        good,
        "SUMMARY_RESOURCE_NOT_GIVEN",
        by=none,
        verdict="INCOMPLETE",
    )
    yield read(
        "resource-other",
        "§4 S4",
        "Another resource is named.",
        good,
        "SUMMARY_RESOURCE_MISMATCH",
        by=READER.asking(resource="pkg:huggingface/town/other"),
    )
    yield read(
        "resource-case",
        "§4 S4",
        "The resource in another case.",
        good,
        "SUMMARY_RESOURCE_MISMATCH",
        by=READER.asking(resource="pkg:huggingface/Town/town-7b"),
    )
    yield read("policy", "§4 S4", "The policy is named.", good, by=READER.asking(policy="policy.toml"))
    yield read(
        "policy-other",
        "§4 S4",
        "Another policy is named.",
        good,
        "SUMMARY_POLICY_MISMATCH",
        by=READER.asking(policy="other.toml"),
    )
    yield of(
        "policy-no-digest",
        "§4 S4",
        "The summary has a policy's name alone.",
        said(policy={"uri": "https://agency.example/policies/7"}),
        "SUMMARY_POLICY_MISMATCH",
        by=READER.asking(policy="policy.toml"),
    )


def taken_back() -> Iterator[Vector]:
    """Yield S4 on revocations."""
    good = signed()
    asks = {"resource": RESOURCE, "manifest": DIGEST, "revocations": ["wrong.sigstore.json"]}
    for name, words, revoked, by, codes in (
        ("root", "The verifier took back what it said of the root.", root_revoked(toy.root(MERGED)), AGENCY,
         ["ROOT_REVOKED"]),
        ("root-other", "The verifier took back what it said of another root.", root_revoked(sha256(b"other")), AGENCY,
         []),
        ("key", "The verifier took back its key.", key_revoked(AGENCY), AGENCY, ["SIGNER_REVOKED"]),
        ("by-publisher", "The publisher of the model revoked its root, who is not the verifier.",
         root_revoked(toy.root(MERGED)), RELEASE, []),
    ):  # fmt: skip
        data = revocation(revoked, Signing(by))
        made = read(f"taken-back-{name}", "§4 S4", words, good, *codes, by=replace(READER, asks=asks))
        yield replace(made, files={**made.files, "wrong.sigstore.json": data})
    made = read("taken-back-malformed", "§4 S4", "What is given as a revocation is none.", good,
                "REVOCATION_MALFORMED", by=replace(READER, asks=asks))  # fmt: skip
    yield replace(made, files={**made.files, "wrong.sigstore.json": b"{}"})


def results() -> Iterator[Vector]:
    """Yield S5."""
    failed = both(
        said(verificationResult="FAILED", verifiedLevels=["FAILED", "MODEL_ATTEST_REJECTED"]),
        ours(verdict="REJECTED", headline="REJECTED: a tensor is not as signed"),
    )
    yield of("failed", "§4 S5", "It did not pass.", failed, "SUMMARY_FAILED")
    incomplete = both(
        said(verificationResult="FAILED", verifiedLevels=["FAILED", "MODEL_ATTEST_INCOMPLETE"]),
        ours(verdict="INCOMPLETE"),
    )
    yield of("failed-incomplete", "§2.2", "Something was not checked: that is FAILED.", incomplete, "SUMMARY_FAILED")
    bad = "SUMMARY_INCONSISTENT"
    yield of(
        "inconsistent-failed", "§4 S5", "FAILED, and a level.", said(verificationResult="FAILED"), bad, "SUMMARY_FAILED"
    )
    yield of(
        "inconsistent-word",
        "§4 S5",
        "PASSED, and FAILED among the levels.",
        said(verifiedLevels=["MODEL_ATTEST_LEVEL_3", "FAILED"]),
        bad,
    )
    for verdict in ("INCOMPLETE", "REJECTED"):
        yield of(
            f"inconsistent-{verdict.lower()}",
            "§4 S5",
            f"PASSED, and the verdict {verdict}.",
            ours(verdict=verdict),
            bad,
        )
    yield of("inconsistent-level", "§4 S5", "Two numbers for the level.", ours(level=2), bad)
    yield of(
        "inconsistent-levels",
        "§3.2",
        "Two levels.",
        said(verifiedLevels=["MODEL_ATTEST_LEVEL_3", "MODEL_ATTEST_LEVEL_2"]),
        bad,
        "SUMMARY_LEVEL_BELOW",
    )
    yield of("inconsistent-end", "§4 S5", "An end that the level's word does not have.", ours(expires=END), bad)


def times() -> Iterator[Vector]:
    """Yield S6."""
    ending = both(said(verifiedLevels=[f"MODEL_ATTEST_LEVEL_3_UNTIL_{LATER}"]), ours(expires=END))
    made = signed(ending)
    yield read("expires", "§4 S6", "It has an end, which has not come.", made)
    yield read(
        "expires-second-before",
        "§4 S6",
        "A second before its end.",
        made,
        by=replace(READER, now="2026-07-31T11:59:59Z"),
    )
    yield read("expired", "§4 S6", "At its end.", made, "SUMMARY_EXPIRED", by=replace(READER, now=END))
    yield of(
        "expired-word",
        "§4 S6",
        "Expired, by the level's word alone.",
        both(said(verifiedLevels=["MODEL_ATTEST_LEVEL_3_UNTIL_20260630T000000Z"]), said(**{OURS: None})),
        "SUMMARY_EXPIRED",
    )
    good = signed()
    yield read("age", "§4 S6", "30 days old, which may be.", good, by=READER.asking(maximum_age_days=30))
    yield read(
        "age-more", "§4 S6", "30 days old, 29 may be.", good, "SUMMARY_EXPIRED", by=READER.asking(maximum_age_days=29)
    )
    yield of(
        "age-unsaid",
        "§4 S6",
        "No time, and the reader asks for one.",
        said(timeVerified=None),
        "SUMMARY_EXPIRED",
        by=READER.asking(maximum_age_days=30),
    )
    yield of("time-unsaid", "§4 S6", "No time.", said(timeVerified=None))
    yield of(
        "future",
        "§4 S6",
        "Five minutes and a second ahead.",
        said(timeVerified="2026-07-01T12:05:01Z"),
        "SUMMARY_FROM_FUTURE",
    )
    yield of("future-skew", "§4 S6", "Five minutes ahead.", said(timeVerified="2026-07-01T12:05:00Z"))


def levels() -> Iterator[Vector]:
    """Yield S7 and §3."""
    good = signed()
    below = {"verdict": "INCOMPLETE"}
    yield read("level", "§4 S7", "Level 3, as asked.", good, by=READER.asking(minimum_level=3))
    lower = both(said(verifiedLevels=["MODEL_ATTEST_LEVEL_1"]), ours(level=1))
    yield of(
        "level-below",
        "§4 S7",
        "Level 1, 2 is asked for.",
        lower,
        "SUMMARY_LEVEL_BELOW",
        by=READER.asking(minimum_level=2),
        **below,
    )
    yield of("level-least", "§4 S7", "Level 1, nothing is asked for.", lower)
    for name, words, word in (
        ("none", "No level of this standard.", "SLSA_BUILD_LEVEL_3"),
        ("qualified", "A level with a part that nobody knows.", "MODEL_ATTEST_LEVEL_3_ON_TUESDAYS"),
        ("depth", "A level at another depth.", "MODEL_ATTEST_LEVEL_2_DEPTH_SAMPLE"),
        ("case", "A level in lower case.", "model_attest_level_3"),
        ("four", "A level that there is not.", "MODEL_ATTEST_LEVEL_4"),
        ("end-none", "An end that no calendar has.", "MODEL_ATTEST_LEVEL_3_UNTIL_20260230T000000Z"),
    ):
        yield of(
            f"level-{name}",
            "§3.1",
            words,
            said(**{"verifiedLevels": [word], OURS: None}),
            "SUMMARY_LEVEL_BELOW",
            **below,
        )
    yield of("level-empty", "§3.1", "No words at all.", said(verifiedLevels=[]), "SUMMARY_LEVEL_BELOW", **below)


def vectors() -> Iterator[Vector]:
    """Yield the vectors of area `summary`."""
    for part in (signatures, forms, subjects, contexts, taken_back, results, times, levels):
        yield from part()

"""Area `statement`: bundles under certificates. Spec: statement §6."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import certificates
from certificates import TIME_STAMPING, Signer
from data import stored
from der import utf8
from envelope import Object, Signing, compact, encoded, statement
from instance import ISSUER, JOB, LIFETIME_S, SIGNED_AT, STRANGE, TOWN, WORKFLOW, Certified, Instance
from keys import RELEASE, Key
from merkle import sha256
from vector import JsonObject, Vector

from areas.statement import plain

PAYLOAD = compact(plain())
OTHER_PAYLOAD = compact(statement(b"another manifest", {}))
V1, V2 = Certified(), Certified(rekor=2)
MALFORMED, INVALID = "BUNDLE_MALFORMED", "SIGNATURE_INVALID"


def vector(
    name: str, clause: str, words: str, bundle: Object, *codes: str, accepted: bool = False,
    expected: tuple[str, str] | None = (WORKFLOW, ISSUER), instance: Instance = TOWN, key: Key | None = None,
    job: JsonObject | None = None,
) -> Vector:  # fmt: skip
    """Return a vector; `expected` are name and issuer of the identity that the caller expects, unless it is a job."""
    data = compact(bundle)
    files = {"bundle.json": data}
    given: dict[str, object] = {
        "bundle": stored("bundle.json", data).described,
        "key": None if key is None else "key.pub",
        "repository": None,
    }
    if key is not None:
        files["key.pub"] = key.pem()
    if job is not None:
        files["trust.json"] = instance.trust_config()
        given["job"] = {**job, "trust_config": "trust.json"}
    elif expected is not None:
        files["trust.json"] = instance.trust_config()
        given["identity"] = {"name": expected[0], "issuer": expected[1], "trust_config": "trust.json"}
    outcome: JsonObject = {"accepted": accepted, "codes": sorted(codes)}
    if accepted:
        outcome = {**outcome, "payload_sha256": sha256(PAYLOAD).hex()}
    return Vector("statement", f"identity-{name}", f"statement §6.{clause}", words, given, outcome, files)


def of(made: Certified, payload: bytes = PAYLOAD) -> Object:
    return made.bundle(payload)


def edited(made: Certified, edit: Any) -> Object:
    """Return a good bundle that was altered after signing."""
    return of(replace(made, edit=edit))


def material(bundle: Any) -> Any:
    return bundle["verificationMaterial"]


def entry(bundle: Any) -> Any:
    return material(bundle)["tlogEntries"][0]


def turn(place: Any, member: Any) -> None:
    """Turn one bit of data that a member has in base64."""
    data = bytearray(base64.b64decode(place[member]))
    data[len(data) // 2] ^= 1
    place[member] = encoded(bytes(data))


def good() -> Iterator[Vector]:
    """Yield signatures that hold, and whom they are of."""
    yield vector("v1", "4", "A dated promise of the log, and a timestamp.", of(V1), accepted=True)
    words = "A dated promise of the log, and no timestamp."
    yield vector("v1-promise", "4", words, of(replace(V1, stamps=())), accepted=True)
    words = "A timestamp, and a log that dates nothing."
    yield vector("v2", "4", words, of(V2), accepted=True)
    words = "A promise of the last second in which the certificate is valid."
    last = replace(V1, stamps=(), promised_at=SIGNED_AT + LIFETIME_S)
    yield vector("last-second", "4", words, of(last), accepted=True)
    for name, words, general in (
        ("mail", "A mail address.", certificates.mail("release@town.example")),
        ("other-name", "A name of Sigstore's own kind.", certificates.other("release@town.example")),
    ):
        made = of(replace(V1, signer=replace(JOB, names=[general])))
        yield vector(name, "2", words, made, accepted=True, expected=("release@town.example", ISSUER))
    for name, words, signer in (
        ("issuer-of-old", "The issuer as bare text alone.", replace(JOB, issuer=None)),
        ("issuer-of-today", "The issuer as UTF8String alone.", replace(JOB, issuer_of_old=None)),
    ):
        # Certificates of the first kind are old, those of the second are to come.
        yield vector(name, "2", words, of(replace(V1, signer=signer)), accepted=True)
    words = "Another name in `logId`, which proves nothing."
    hint = edited(V2, lambda b: turn(entry(b)["logId"], "keyId"))
    yield vector("log-hint", "4", words, hint, accepted=True)


def others() -> Iterator[Vector]:
    """Yield signatures by others than the expected signer."""
    for name, words, expected in (
        ("name-other", "Another name.", (WORKFLOW.replace("v1.0", "v1.1"), ISSUER)),
        ("name-case", "The name in another case.", (WORKFLOW.replace("town", "Town"), ISSUER)),
        ("name-part", "The first part of the name.", (WORKFLOW.partition("@")[0], ISSUER)),
        ("issuer-other", "The name, by another issuer.", (WORKFLOW, "https://gitlab.com")),
        ("issuer-slash", "The issuer with a slash more.", (WORKFLOW, ISSUER + "/")),
    ):
        yield vector(name, "5", words, of(V1), "IDENTITY_MISMATCH", expected=expected)
    words = "Another name, and a signature that does not hold: the name proves nothing."
    broken = edited(V1, lambda b: entry(b).update(integratedTime=str(SIGNED_AT + 3)))
    yield vector("name-other-invalid", "5", words, broken, INVALID, expected=("somebody", ISSUER))
    words = "The same name, certified by an instance that is not trusted."
    yield vector("instance-other", "3", words, of(replace(V1, instance=STRANGE)), INVALID)
    words = "No expected signer: the statement is read, and the signer is nobody that was expected."
    yield vector("none-expected", "5", words, of(V1), "SIGNER_NOT_EXPECTED", accepted=True, expected=None)
    words = "A key is expected, and the bundle has a certificate of that very key."
    own = of(replace(V1, key=RELEASE))
    yield vector("key-expected", "6", words, own, INVALID, expected=None, key=RELEASE)
    words = "An identity is expected, and the bundle names a key."
    yield vector("key-instead", "6", words, Signing().bundle(PAYLOAD), INVALID)


def invalid() -> Iterator[Vector]:
    """Yield signatures that do not hold."""
    other_v1, other_v2 = (of(made, OTHER_PAYLOAD) for made in (V1, V2))
    edits = {
        "payload": ("Another payload.", V1, lambda b: b["dsseEnvelope"].update(payload=encoded(OTHER_PAYLOAD))),
        "payload-type": ("Another payload type.", V1, lambda b: b["dsseEnvelope"].update(payloadType="text/plain")),
        "sig": ("One bit of the signature was turned.", V2,
                lambda b: turn(b["dsseEnvelope"]["signatures"][0], "sig")),
        "entry-other-v1": ("The log entry of another envelope.", V1,
                           lambda b: material(b).update(tlogEntries=material(other_v1)["tlogEntries"])),
        "entry-other-v2": ("The log entry of another envelope, in a log that dates nothing.", V2,
                           lambda b: material(b).update(tlogEntries=material(other_v2)["tlogEntries"])),
        "entry-kind": ("A log entry that is called one of another kind.", V2,
                       lambda b: entry(b)["kindVersion"].update(kind="intoto")),
        "entry-body": ("One bit of the log entry was turned.", V2,
                       lambda b: turn(entry(b), "canonicalizedBody")),
        "proof-hash": ("One bit of the way to the log's root was turned.", V2,
                       lambda b: turn(entry(b)["inclusionProof"]["hashes"], 0)),
        "proof-root": ("One bit of the root was turned.", V2,
                       lambda b: turn(entry(b)["inclusionProof"], "rootHash")),
        "checkpoint-name": ("The checkpoint's text was changed.", V2,
                            lambda b: entry(b)["inclusionProof"]["checkpoint"].update(
                                envelope="x" + entry(b)["inclusionProof"]["checkpoint"]["envelope"])),
        "promise-time": ("The promise's time was changed.", V1,
                         lambda b: entry(b).update(integratedTime=str(SIGNED_AT + 3))),
        "promise-index": ("The promise's place was changed.", V1, lambda b: entry(b).update(logIndex="2")),
        "timestamp-other": ("A timestamp of another signature.", V2,
                            lambda b: material(b).update(
                                timestampVerificationData=material(other_v2)["timestampVerificationData"])),
        "certificate-other": ("The certificate of another key.", V1,
                              lambda b: material(b)["certificate"].update(
                                  rawBytes=encoded(TOWN.certify(JOB, Key("p256", "another"))))),
    }  # fmt: skip
    for name, (words, made, edit) in edits.items():
        yield vector(name, "4", words, edited(made, edit), INVALID)
    makes = {
        "expired": ("Signed after the certificate had expired.", replace(V1, promised_at=SIGNED_AT + LIFETIME_S + 1)),
        "expired-timestamp": ("Timestamped after the certificate had expired.",
                              replace(V2, stamps=((TOWN, SIGNED_AT + LIFETIME_S + 1),))),
        "backdated": ("Timestamped before the certificate.", replace(V2, stamps=((TOWN, SIGNED_AT - 1),))),
        "one-time-outside": ("Of two timestamps one is after the certificate had expired.",
                             replace(V2, stamps=((TOWN, SIGNED_AT + 1), (TOWN, SIGNED_AT + LIFETIME_S + 1)))),
        "timestamp-stranger": ("The only time is by the word of an authority that is not trusted.",
                               replace(V2, stamps=((STRANGE, SIGNED_AT + 1),))),
        "no-ct": ("A certificate in no CT log.", replace(V1, signer=replace(JOB, in_ct_log=False))),
        "usage": ("A certificate for timestamps.", replace(V1, signer=replace(JOB, purpose=TIME_STAMPING))),
    }  # fmt: skip
    for name, (words, made) in makes.items():
        yield vector(name, "4", words, of(made), INVALID)
    words = "A dated promise, and a timestamp by an authority that is not trusted: it is no evidence."
    made = of(replace(V1, stamps=((STRANGE, SIGNED_AT + 1),)))
    yield vector("timestamp-untrusted", "7", words, made, "TIMESTAMP_UNTRUSTED", accepted=True)


def forms() -> Iterator[Vector]:
    """Yield bundles of other forms."""
    edits = {
        "two-signatures": ("Two signatures.", V1,
                           lambda b: b["dsseEnvelope"].update(signatures=b["dsseEnvelope"]["signatures"] * 2)),
        "no-entry": ("No log entry.", V1, lambda b: material(b).update(tlogEntries=[])),
        "two-entries": ("Two log entries.", V1,
                        lambda b: material(b).update(tlogEntries=material(b)["tlogEntries"] * 2)),
        "no-proof": ("A log entry without a proof.", V1, lambda b: entry(b).pop("inclusionProof")),
        "no-time": ("Neither a dated promise nor a timestamp.", V2,
                    lambda b: material(b).pop("timestampVerificationData")),
        "promise-undated": ("A promise without a time, and no timestamp.", replace(V1, stamps=()),
                            lambda b: entry(b).pop("integratedTime")),
        "index-other": ("Without a dated promise, a place in the log that the proof does not have.", V2,
                        lambda b: entry(b).update(logIndex="2")),
        "index-number": ("A place in the log as a number.", V1, lambda b: entry(b).update(logIndex=1)),
        "entry-member": ("An unknown member of the log entry.", V1, lambda b: entry(b).update(note="x")),
        "base64": ("A certificate in base64 with a line end.", V1,
                   lambda b: material(b)["certificate"].update(
                       rawBytes=material(b)["certificate"]["rawBytes"] + "\n")),
        "key-too": ("A key beside the certificate.", V1, lambda b: material(b).update(publicKey={"hint": "0" * 64})),
        "timestamps-33": ("33 timestamps.", V1,
                          lambda b: material(b)["timestampVerificationData"].update(
                              rfc3161Timestamps=material(b)["timestampVerificationData"]["rfc3161Timestamps"] * 33)),
    }  # fmt: skip
    for name, (words, made, edit) in edits.items():
        yield vector(name, "1", words, edited(made, edit), MALFORMED)
    name = certificates.uri(WORKFLOW)
    for title, words, signer in (
        ("names-two", "A certificate with two names.", replace(JOB, names=[name, certificates.mail("a@town.example")])),
        ("names-none", "A certificate without a name.", replace(JOB, names=[])),
        ("names-other", "A certificate for a host.", replace(JOB, names=[certificates.host("town.example")])),
        ("issuer-none", "A certificate without an issuer.", Signer([name], None, None)),
        ("issuers-differ", "A certificate with two issuers.", Signer([name], ISSUER, "https://gitlab.com")),
    ):
        yield vector(title, "2", words, of(replace(V1, signer=signer)), MALFORMED)


def jobs() -> Iterator[Vector]:
    """Yield signatures by a job of a CI that is expected by what its issuer says of it."""
    repository, path, ref = "https://github.com/town/model", ".github/workflows/release.yml", "refs/tags/v1.0"
    said = {12: utf8(repository), 14: utf8(ref), 18: utf8(WORKFLOW)}
    full = {"issuer": ISSUER, "repository": repository, "workflow": path, "ref": ref}
    made = replace(V1, signer=replace(JOB, claims=said))
    for name, words, job in (
        ("repository", "A job of the repository.", {"issuer": ISSUER, "repository": repository}),
        ("all", "A job of the repository, by workflow and ref.", full),
        ("ref-any", "Any tag.", {**full, "ref": "refs/tags/*"}),
        ("ref-begins", "Tags that begin so.", {**full, "ref": "refs/tags/v*"}),
    ):
        yield vector(f"job-{name}", "8", words, of(made), accepted=True, job=job)
    words = "A job that has called a workflow of another repository, which is whom the certificate names."
    called = [certificates.uri("https://github.com/tools/ci/.github/workflows/sign.yml@refs/heads/main")]
    yield vector("job-called", "8", words, of(replace(made, signer=replace(made.signer, names=called))), accepted=True,
                 job=full)  # fmt: skip
    for name, words, changes in (
        ("issuer-other", "Another issuer.", {"issuer": "https://gitlab.com"}),
        ("repository-other", "Another repository.", {"repository": repository + "s"}),
        ("repository-case", "The repository in another case.", {"repository": repository.replace("town", "Town")}),
        ("repository-part", "The first part of the repository.", {"repository": repository[:-1]}),
        ("workflow-other", "Another workflow.", {"workflow": ".github/workflows/test.yml"}),
        ("workflow-part", "The last part of the workflow's path.", {"workflow": "release.yml"}),
        ("ref-other", "Another tag.", {"ref": "refs/tags/v1.1"}),
        ("ref-branch", "Any branch, where it is a tag.", {"ref": "refs/heads/*"}),
        ("ref-deeper", "Anything below `refs`: a `*` stands for no `/`.", {"ref": "refs/*"}),
        ("ref-nothing", "A `*` stands for one character at least.", {"ref": ref + "*"}),
    ):
        yield vector(f"job-{name}", "8", words, of(made), "IDENTITY_MISMATCH", job={**full, **changes})
    for name, words, claims, job in (
        ("says-nothing", "A certificate that says nothing of a job.", {}, {"issuer": ISSUER, "repository": repository}),
        (
            "ref-unsaid",
            "A certificate without the ref, where one is expected.",
            {12: said[12], 18: said[18]},
            {"issuer": ISSUER, "repository": repository, "ref": ref},
        ),
        ("workflow-unsaid", "A certificate without the workflow.", {12: said[12], 14: said[14]}, full),
        (
            "ref-disagrees",
            "The workflow was read at another ref.",
            {**said, 14: utf8("refs/heads/main")},
            {"issuer": ISSUER, "repository": repository, "workflow": path},
        ),
        ("bare-text", "The repository as bare text.", {**said, 12: repository.encode()}, full),
    ):
        other = of(replace(V1, signer=replace(JOB, claims=claims)))
        yield vector(f"job-{name}", "8", words, other, "IDENTITY_MISMATCH", job=job)  # fmt: skip
    words = "The job is as expected, and the signature does not hold."
    broken = of(replace(made, edit=lambda b: entry(b).update(integratedTime=str(SIGNED_AT + 3))))
    yield vector("job-invalid", "8", words, broken, INVALID, job=full)
    words = "A job is expected, and the bundle names a key."
    yield vector("job-key-instead", "6", words, Signing().bundle(PAYLOAD), INVALID, job=full)


def vectors() -> Iterator[Vector]:
    """Yield the vectors of statement §6."""
    for part in (good, others, invalid, forms, jobs):
        yield from part()

"""Area `statement`, continued: the predicate, and the payload as JSON text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from envelope import Signing, compact
from vector import Vector

from areas.statement import REPOSITORY, Edit, of_payload, of_statement, plain, vector

BAD = "STATEMENT_MALFORMED"


def model(edit: Edit) -> Edit:
    """Return an edit of `predicate.model`."""
    return lambda s: edit(s["predicate"]["model"])


def predicate(edit: Edit) -> Edit:
    """Return an edit of `predicate`."""
    return lambda s: edit(s["predicate"])


def models() -> Iterator[Vector]:
    """Yield `model`."""
    cases: dict[str, tuple[str, str, Edit]] = {
        "model-missing": ("§3.1", "No model.", predicate(lambda p: p.pop("model"))),
        "model-name-missing": ("§3.1", "No name.", model(lambda m: m.pop("name"))),
        "model-name-empty": ("§3.1", "An empty name.", model(lambda m: m.update(name=""))),
        "model-name-257": ("§3.1", "A name of 257 characters.", model(lambda m: m.update(name="n" * 257))),
        "model-name-number": ("§3.1", "A name that is a number.", model(lambda m: m.update(name=7))),
        "model-version-number": ("§3.1", "A version that is a number.", model(lambda m: m.update(version=1))),
        "model-uri-null": ("§3.1", "A uri that is null.", model(lambda m: m.update(uri=None))),
        "model-root-missing": ("§3.1", "No root.", model(lambda m: m.pop("checkpointRoot"))),
        "model-root-bare": ("§1.4", "A root without `sha256:`.",
                            model(lambda m: m.update(checkpointRoot=m["checkpointRoot"][7:]))),
        "model-root-upper-case": ("§1.4", "A root in upper case.",
                                  model(lambda m: m.update(checkpointRoot="sha256:" + "AB" * 32))),
        "model-root-other-hash": ("§1.4", "A root of another hash.",
                                  model(lambda m: m.update(checkpointRoot="sha384:" + "ab" * 48))),
        "materials-missing": ("§3.3", "No `resolvedDependencies`.", predicate(lambda p: p.pop("resolvedDependencies"))),
        "materials-null": ("§3.3", "`resolvedDependencies` is null.",
                           predicate(lambda p: p.update(resolvedDependencies=None))),
        "steps-missing": ("§3.3", "No `steps`.", predicate(lambda p: p.pop("steps"))),
        "steps-object": ("§3.3", "`steps` is an object.", predicate(lambda p: p.update(steps=p["steps"][0]))),
        "critical-string": ("§3.4", "`critical` is a string.", predicate(lambda p: p.update(critical="steps"))),
    }  # fmt: skip
    for name, (clause, words, edit) in cases.items():
        yield of_statement(name, clause, words, edit, BAD)
    words = "A name of 256 characters, each beyond the BMP."
    yield of_statement("model-name-256", "§3.1", words, model(lambda m: m.update(name="\U0001f600" * 256)))
    yield of_statement("model-optional", "§3.1", "Neither version nor uri.", model(drop_optional))
    yield of_statement(
        "no-steps",
        "§3.3",
        "No materials and no steps.",
        predicate(lambda p: p.update(resolvedDependencies=[], steps=[])),
    )


def drop_optional(made: Any) -> None:
    """Remove what is optional in `model`."""
    made.pop("version")
    made.pop("uri")


def extensions() -> Iterator[Vector]:
    """Yield `critical`, unknown members, reserved members."""
    unknown = "CRITICAL_UNKNOWN"
    yield of_statement(
        "member-unknown",
        "§3.4",
        "An unknown member that is not critical.",
        predicate(lambda p: p.update(future={"a": 1})),
    )
    yield of_statement(
        "critical-unknown",
        "§3.4",
        "An unknown member that is critical.",
        predicate(lambda p: p.update(future={"a": 1}, critical=["future"])),
        unknown,
    )
    yield of_statement(
        "critical-unknown-among",
        "§3.4",
        "The second of two critical members is unknown.",
        predicate(lambda p: p.update(future={"a": 1}, critical=["steps", "future"])),
        unknown,
    )
    yield of_statement(
        "critical-known",
        "§3.4",
        "A critical member that every verifier knows.",
        predicate(lambda p: p.update(critical=["steps"])),
    )
    yield of_statement("critical-empty", "§3.4", "An empty list.", predicate(lambda p: p.update(critical=[])))
    yield of_statement(
        "card", "§3.5", "A card.", predicate(lambda p: p.update(card={"license": "apache-2.0"})), "CARD_NOT_CHECKED"
    )


def repositories() -> Iterator[Vector]:
    """Yield the repository that is being verified."""
    payload = compact(plain())
    bundle = compact(Signing().bundle(payload))
    words = "The repository that the statement names."
    yield vector("repository-same", "statement §3.2", words, bundle, payload, repository=REPOSITORY)
    for name, words, other in (
        ("repository-other", "Another repository.", "pkg:huggingface/town/other-7b"),
        ("repository-other-case", "Another case: comparison is by bytes.", "pkg:huggingface/Town/town-7b"),
        ("repository-prefix", "A repository whose name begins so.", REPOSITORY + "-chat"),
    ):
        code = "ATTESTED_FOR_OTHER_REPO"
        yield vector(name, "statement §3.2", words, bundle, payload, code, repository=other)


def texts() -> Iterator[Vector]:
    """Yield the payload as JSON text; it is signed as it is."""
    good = compact(plain())
    last = good[:-1]
    cases = {
        "payload-member-twice": ("§1.1", "A member twice.", last + b',"predicateType":"https://slsa.dev/provenance/v1"}'),
        "payload-member-twice-escaped": ("§1.1", "A member twice, once escaped.", last + b',"\\u005ftype":"x"}'),
        "payload-nested-twice": ("§1.1", "A member of the first subject's digest twice.",
                                 good.replace(b'"digest":{', b'"digest":{"sha256":"' + b"ab" * 32 + b'",', 1)),
        "payload-fraction": ("§1.1", "A fraction in a member that is not known.", last + b',"x":0.5}'),
        "coefficient-number": ("§1.1, merge §1.3", "A coefficient that is a number with a fraction.",
                               good.replace(b'"decimal":"0.6"', b'"decimal":0.6', 1)),
        "payload-exponent": ("§1.1", "An exponent in a member that is not known.", last + b',"x":1e3}'),
        "payload-2-53": ("§1.1", "2^53 in a member that is not known.", last + b',"x":9007199254740992}'),
        "payload-lone-surrogate": ("§1.1", "A lone surrogate.", last + b',"x":"\\ud800"}'),
        "payload-bom": ("§1.1", "A byte order mark.", b"\xef\xbb\xbf" + good),
        "payload-deep": ("§1.1", "65 levels in a member that is not known.",
                         last + b',"x":' + b"[" * 64 + b"]" * 64 + b"}"),
        "payload-not-utf8": ("§1.1", "A byte that is not UTF-8.", last + b',"x":"\xff"}'),
        "payload-trailing": ("§1.1", "A letter after the object.", good + b"x"),
        "payload-array": ("§2", "An array.", b"[" + good + b"]"),
        "payload-empty": ("§1.1", "No bytes.", b""),
    }  # fmt: skip
    for name, (clause, words, payload) in cases.items():
        yield of_payload(name, clause, words, payload, BAD)
    words = "White space: the payload is what was signed, canonical or not."
    yield of_payload("payload-spaced", "§4.5", words, b" " + good.replace(b'":', b'" : ') + b"\n")


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this area that concern the predicate."""
    for part in (models, extensions, repositories, texts):
        yield from part()

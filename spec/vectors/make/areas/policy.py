"""Area `policy`: folders under a caller's policy, and policies that are refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import toy
from envelope import Object, Signing, Step, material
from folder import (
    MERGED,
    PARENTS,
    A,
    B,
    Given,
    Outcome,
    claim,
    given,
    incomplete,
    merge_step,
    plain,
    rejected,
    train_step,
    verified,
)
from history import FOLDER as REVOCATIONS
from history import root_revoked, signed
from instance import STRANGE
from instance import TOWN as INSTANCE
from keys import RELEASE, RELEASE_P384, STRANGER, pem
from pki import BETWEEN, LEAF, NAME, ROOT, YEARS, Revoked, Signed, leaf, revocation_list
from vector import JsonObject, Vector

P = "policy "
SCHEMA = 'schema = "https://model-attest.github.io/policy/v1"\n'
NOW = "2026-07-01T12:00:00Z"
NOW_S = 1_782_907_200
DAY_BEFORE = NOW_S - 86_400
ROOT_A, ROOT_B = ("sha256:" + toy.root(one).hex() for one in (A, B))
URI_A, URI_B = "pkg:huggingface/big/a@" + "1" * 40, "pkg:huggingface/town/b@" + "2" * 40


def described(one: Given) -> JsonObject:
    """Return the `input` of a vector."""
    return {**one.described(), "policy": {"file": "policy.toml", "now": NOW}}


def held(name: str, clause: str, words: str, one: Given, text: str, outcome: Outcome) -> Vector:
    """Return a vector of a folder under a policy; the keys that policies name lie beside it."""
    files = {**one.files(), "policy.toml": (SCHEMA + text).encode(), "lab.pub": RELEASE.pem()}
    files["other.pub"] = STRANGER.pem()
    if "tsa.pem" in text:
        files["tsa.pem"] = INSTANCE.authority_pem()
    return Vector("policy", name, P + clause, words, described(one), outcome.described(), files)


def refused(name: str, clause: str, words: str, text: str, key: str, *, bare: bool = False) -> Vector:
    """Return a vector of a policy that is refused, with the key that the error names."""
    one = given(plain())
    files = {**one.files(), "policy.toml": (("" if bare else SCHEMA) + text).encode(), "lab.pub": RELEASE.pem()}
    if "tsa.pem" in text:
        files["tsa.pem"] = INSTANCE.authority_pem()
    expected = {"accepted": False, "key": key}
    return Vector("policy", f"refused-{name}", P + clause, words, described(one), expected, files)


def licensed(a: str | None = None, b: str | None = None) -> Given:
    """Return a merge whose parents have package URLs and licences."""
    made = [described_material("a", A, URI_A, a), described_material("b", B, URI_B, b)]
    return given(claim(materials=made))


def described_material(name: str, model: toy.Model, uri: str, text: str | None) -> Object:
    """Return a material with a package URL, and a licence where there is one."""
    words = {} if text is None else {"license": text}
    return {**material(name, toy.root(model)), "uri": uri, **words}


def signers() -> Iterator[Vector]:
    """Yield policy §2."""
    good = given(claim(), key=None)
    lab, other = '[signers]\nkeys = ["lab.pub"]\n', '[signers]\nkeys = ["other.pub"]\n'
    hint = RELEASE.hint()
    hints = f'[signers]\nhints = ["{hint}"]\n'
    both = '[signers]\nkeys = ["other.pub", "lab.pub"]\n'
    yield held("signer", "§2.1", "The policy accepts the key.", good, lab, verified(3))
    yield held("signer-second", "§2.1", "One of two keys.", good, both, verified(3))
    yield held("signer-other", "§2.1", "Another key is accepted.", good, other, rejected("POLICY_SIGNER"))
    words = "Signed by another key under the hint of the accepted one."
    lying = given(claim(signing=Signing(STRANGER, hint=hint)), key=None)
    yield held("signer-hint-lies", "§2.1", words, lying, lab, rejected("SIGNATURE_INVALID"))
    words = "Another signer, and a folder that breaks other rules: nothing below is evaluated."
    broken = good.altered("config.json")
    yield held(
        "signer-other-and-broken", "§2.1", words, broken, "minimum-level = 3\n" + other, rejected("POLICY_SIGNER")
    )
    words = "The key is accepted by its hint, and not at hand."
    yield held("signer-hint", "§2.1", words, good, hints, incomplete("SIGNER_NOT_EXPECTED"))
    named = replace(good, key=RELEASE)
    yield held("signer-hint-and-key", "§2.2", "The key is accepted by its hint, and named.", named, hints, verified(3))
    yield held("signer-both", "§2.2", "The key is named, and accepted.", named, both, verified(3))
    words = "The key is named and has signed, and the policy does not accept it."
    yield held("signer-named-only", "§2.2", words, named, other, rejected("POLICY_SIGNER"))
    words = "The policy accepts the key that signed; the caller named another."
    narrowed = replace(good, key=RELEASE_P384)
    yield held("signer-narrowed", "§2.2", words, narrowed, lab, rejected("SIGNATURE_INVALID"))
    identity = '[[signers.identities]]\nname = "release@lab.example"\nissuer = "https://issuer.example"\n'
    yield held(
        "signer-identity", "§2.1", "An identity is accepted, a key signed.", good, identity, rejected("POLICY_SIGNER")
    )
    words = "No signers in the policy, and none named."
    yield held("signer-none", "§2", words, good, "minimum-level = 1\n", incomplete("SIGNER_NOT_EXPECTED"))
    words = "A parent whose attestation is by a signer of the policy."
    yield held("signer-of-parent", "§2.3", words, replace(family(), key=None), lab, verified(3))


def revokers() -> Iterator[Vector]:
    """Yield who may revoke everything."""
    root = root_revoked(toy.root(MERGED))
    revoked = given(claim()).altered(files={REVOCATIONS + "wrong.sigstore.json": signed(root, Signing(STRANGER))})
    named = '[revocations.signers]\nkeys = ["other.pub"]\n'
    words = "Whom the policy names revoked the root."
    yield held("revoker", "§2", words, revoked, named, rejected("ROOT_REVOKED"))
    yield held("revoker-none", "§2", "The policy names nobody.", revoked, "minimum-level = 1\n", verified(3))
    other = '[revocations.signers]\nkeys = ["lab.pub"]\n'
    yield held("revoker-other", "§2", "The policy names another.", revoked, other, verified(3))
    words = "A revoker is accepted as no signer."
    strange = given(claim(signing=Signing(STRANGER)), key=None)
    yield held("revoker-no-signer", "§2", words, strange, named, incomplete("SIGNER_NOT_EXPECTED"))
    for name, text, key in (
        ("revokers-nobody", "[revocations.signers]\n", "revocations.signers"),
        ("revokers-hints", f'[revocations.signers]\nhints = ["{RELEASE.hint()}"]\n', "revocations.signers.hints"),
        ("revokers-empty", "[revocations]\n", "revocations"),
        ("revokers-no-file", '[revocations.signers]\nkeys = ["none.pub"]\n', "revocations.signers.keys.0"),
    ):
        yield refused(name, "§2", "Revokers that are refused.", text, key)


def observers() -> Iterator[Vector]:
    """Yield whose observations are taken: the names alone, as a policy names no observation."""
    good = given(claim())
    named = '[observers]\nkeys = ["other.pub"]\n'
    yield held("observers", "§2", "An observer is named, and nothing was observed.", good, named, verified(3))
    origin = '[parents]\norigin = "observed"\n'
    wanted = rejected("POLICY_MATERIAL")
    yield held("observed-none", "§3", "Observed parents are asked for, and none is.", good, named + origin, wanted)
    both = f'[anchors]\n"a" = "{ROOT_A}"\n"b" = "{ROOT_B}"\n'
    yield held("observed-anchored", "§3", "Anchored parents are as good.", good, both + origin, verified(3))
    words = "An observer is accepted as no signer."
    strange = given(claim(signing=Signing(STRANGER)), key=None)
    yield held("observer-no-signer", "§2", words, strange, named, incomplete("SIGNER_NOT_EXPECTED"))
    for name, text, key in (
        ("observers-nobody", "[observers]\n", "observers"),
        ("observers-hints", f'[observers]\nhints = ["{RELEASE.hint()}"]\n', "observers.hints"),
        ("origin-other", '[parents]\norigin = "hub"\n', "parents.origin"),
    ):
        yield refused(name, "§2", "Observers and origins that are refused.", text, key)


def certified() -> Iterator[Vector]:
    """Yield policy §2: names in certificates."""
    chain = [leaf(validity=YEARS), BETWEEN.certificate]
    good = given(claim(signing=Signed(chain)), key=None)
    table = f'[[signers.certificates]]\nname = "{NAME}"\nroots = "roots.pem"\n'
    lists = 'crls = ["lists.pem"]\n'
    other = table.replace(NAME, "lab@town.example")
    for name, words, one, text, outcome in (
        ("certificate", "A name in a certificate is accepted.", good, table, verified(3)),
        ("certificate-second", "The second of two names.", good, other + table, verified(3)),
        ("certificate-other", "Another name is accepted.", good, other, rejected("POLICY_SIGNER")),
        ("certificate-key", "A name is accepted, and a key signed.", given(claim(), key=None), table,
         rejected("POLICY_SIGNER")),
        ("certificate-root-other", "The name is accepted by the word of another root.", good,
         table.replace("roots.pem", "strange.pem"), rejected("CERTIFICATE_INVALID")),
        ("certificate-listed", "And it is on no list.", good, table + lists, verified(3)),
        ("certificate-revoked", "It was revoked.", good, table + lists.replace("lists", "revoked"),
         rejected("CERTIFICATE_REVOKED")),
        ("certificate-lists-lacking", "A list of one authority alone.", good, table + lists.replace("lists", "own"),
         incomplete("REVOCATION_UNKNOWN")),
    ):  # fmt: skip
        made = held(name, "§2.1", words, one, text, outcome)
        yield replace(made, files={**made.files, **_office_files()})


def _office_files() -> dict[str, bytes]:
    own, above = (revocation_list(by, issued=NOW_S - 60, until=NOW_S + 60) for by in (BETWEEN, ROOT))
    revoked = revocation_list(BETWEEN, Revoked(LEAF, NOW_S - 60), issued=NOW_S - 60, until=NOW_S + 60)
    return {
        "roots.pem": pem("CERTIFICATE", ROOT.certificate),
        "strange.pem": pem("CERTIFICATE", STRANGE.root.certificate),
        "own.pem": pem("X509 CRL", own),
        "lists.pem": pem("X509 CRL", own) + pem("X509 CRL", above),
        "revoked.pem": pem("X509 CRL", revoked) + pem("X509 CRL", above),
    }


def parents() -> Iterator[Vector]:
    """Yield policy §3."""
    made = licensed()
    bad = rejected("POLICY_MATERIAL")
    both = f'[anchors]\n"a of big" = "{ROOT_A}"\n"b" = "{ROOT_B}"\n'
    one = f'[anchors]\n"b" = "{ROOT_B}"\n'
    origin = '[parents]\norigin = "anchored"\n'
    yield held("anchored", "§3", "Both parents are anchored.", made, both + origin, verified(3))
    yield held("anchored-one", "§3", "One parent is anchored.", made, one + origin, bad)
    yield held("anchors-alone", "§3", "One parent is anchored, and nothing asks for it.", made, one, verified(3))
    for name, words, key, entries, outcome in (
        ("allowed-root", "Both roots.", "allowed", [ROOT_A, ROOT_B], verified(3)),
        ("allowed-root-one", "The root of one.", "allowed", [ROOT_A], bad),
        (
            "allowed-uri",
            "Patterns for both.",
            "allowed",
            ["pkg:huggingface/big/*", "pkg:huggingface/TOWN/b@*"],
            verified(3),
        ),
        ("allowed-uri-one", "A pattern for one.", "allowed", ["pkg:huggingface/big/*"], bad),
        ("allowed-uri-slash", "`*` stands for no slash.", "allowed", ["pkg:huggingface/*"], bad),
        ("denied-root", "The root of one.", "denied", [ROOT_B], bad),
        ("denied-uri", "A pattern for one.", "denied", ["pkg:huggingface/*/b@*"], bad),
        ("denied-other", "Others.", "denied", ["pkg:huggingface/*/c@*", "sha256:" + "0" * 64], verified(3)),
    ):
        text = f"[parents]\n{key} = {written(entries)}\n"
        yield held(name, "§3", words, made, text, outcome)
    words = "A parent without a package URL fits no pattern."
    yield held("allowed-uri-none", "§3", words, given(claim()), '[parents]\nallowed = ["pkg:*/*/*"]\n', bad)
    root = "sha256:" + toy.root(toy.model("start")).hex()
    denied = f'[parents]\ndenied = ["{root}"]\n'
    words = "A parent's parent is denied, and the lineage is followed."
    yield held("denied-above", "§3", words, family(), denied, bad)
    words = "A parent's parent is denied, and nobody follows the lineage."
    unfollowed = replace(family(), recursive=False, parents={k: v for k, v in family().parents.items() if "/" not in k})
    yield held("denied-above-unseen", "§3", words, unfollowed, denied, verified(3))


def written(entries: list[str]) -> str:
    """Return a list of texts in TOML."""
    return "[" + ", ".join(f'"{entry}"' for entry in entries) + "]"


def family(license_above: str | None = None) -> Given:
    """Return a merge of a parent with an attestation of its own, and of one without, to be followed."""
    start = toy.model("start")
    tuned = toy.trained(start)
    words = {} if license_above is None else {"license": license_above}
    above = {**material("start", toy.root(start)), **words}
    of_a = claim(tuned, materials=[above], steps=[train_step(tuned, start="start")]).signed()
    merged = toy.town("0.6", "0.4").run({"a": tuned, "b": B})
    first = {**material("a", toy.root(tuned)), **({"license": "MIT"} if words else {})}
    second = {**material("b", toy.root(B)), **({"license": "MIT"} if words else {})}
    child = claim(merged, materials=[first, second], steps=[merge_step(merged)]).signed()
    folders = {"a": of_a, "b": {"model.safetensors": toy.file(B)}, "a/start": {"model.safetensors": toy.file(start)}}
    return Given(folder=child, parents=folders, recursive=True)


def licences() -> Iterator[Vector]:
    """Yield policy §4."""
    bad = rejected("POLICY_LICENSE")
    allowed = '[licenses]\nallowed = ["Apache-2.0", "MIT"]\n'
    denied = '[licenses]\ndenied = ["CC-BY-NC-4.0"]\n'
    for name, words, a, text, outcome in (
        ("allowed", "Allowed.", "Apache-2.0", allowed, verified(3)),
        ("case", "As the Hub writes it.", "apache-2.0", allowed, verified(3)),
        ("not-allowed", "Not among the allowed.", "CC-BY-NC-4.0", allowed, bad),
        ("none", "None is stated.", None, allowed, bad),
        ("none-denied", "None is stated, under a list of denied ones.", None, denied, bad),
        ("choice", "A choice, one of which is allowed.", "GPL-3.0-only OR MIT", allowed, verified(3)),
        ("both", "Two at once, one of which is not allowed.", "GPL-3.0-only AND MIT", allowed, bad),
        ("precedence", "AND before OR.", "MIT OR Apache-2.0 AND GPL-3.0-only", allowed, verified(3)),
        ("parentheses", "OR within parentheses.", "(MIT OR Apache-2.0) AND GPL-3.0-only", allowed, bad),
        ("lower-case", "Operators in lower case.", "gpl-3.0-only or mit", allowed, verified(3)),
        ("exception", "An exception that is not listed.", "MIT WITH Classpath-exception-2.0", allowed, bad),
        ("denied", "Denied.", "CC-BY-NC-4.0", denied, bad),
        ("denied-exception", "Denied, with an exception.", "CC-BY-NC-4.0 WITH Classpath-exception-2.0", denied, bad),
        ("denied-later", "Denied, with a plus.", "CC-BY-NC-4.0+", denied, bad),
        ("denied-choice", "A choice without the denied one.", "CC-BY-NC-4.0 OR MIT", denied, verified(3)),
        ("denied-other", "Not denied.", "LicenseRef-town", denied, verified(3)),
        ("malformed", "No expression.", "Apache 2.0", allowed, bad),
        ("malformed-open", "A parenthesis that stays open.", "(MIT", allowed, bad),
        ("malformed-deep", "Seventeen parentheses.", "(" * 17 + "MIT" + ")" * 17, allowed, bad),
        ("deep", "Sixteen parentheses.", "(" * 16 + "MIT" + ")" * 16, allowed, verified(3)),
        ("malformed-wide", "More than 256 choices.", " AND ".join(f"(L{i} OR M{i})" for i in range(9)), denied, bad),
    ):
        yield held(f"license-{name}", "§4", words, licensed(a, "MIT"), text, outcome)
    yield held("license-above", "§4", "Above a parent, allowed.", family("MIT"), allowed, verified(3))
    yield held("license-above-other", "§4", "Above a parent, not allowed.", family("GPL-3.0-only"), allowed, bad)


def outcomes() -> Iterator[Vector]:
    """Yield policy §5: levels, steps, files, findings, coverage and time."""
    good = given(claim())
    trained = toy.trained(A)
    train = given(claim(trained, materials=[material("a", toy.root(A))], steps=[train_step(trained)]))
    train = replace(train, parents={"a": PARENTS["a"]})
    lacking = replace(good, parents={"a": PARENTS["a"]})
    idle = toy.town("1", "0")
    idled = idle.run({"a": A, "b": B})
    none = given(claim(idled, steps=[merge_step(idled, idle)]))
    ran = Step("run", "run", ("a", "b"), toy.root(MERGED), {"command": ["blend"]})
    behind = given(claim(steps=[ran, Step("shards", "reshard", ("run",), toy.root(MERGED))]))
    changed = good.altered(files={"README.md": b"other\n"})
    code = given(plain(files={**toy.folder(A), "modeling_town.py": b"pass\n"}))
    script = given(plain(files={**toy.folder(A), "config.json": b'{"auto_map":{"AutoModel":"x/y--m.M"}}'}))
    pickle = given(plain(files={**toy.folder(A), "pytorch_model.bin": b"x"}))
    for name, words, one, text, outcome in (
        ("level", "As asked.", good, "minimum-level = 3", verified(3)),
        ("level-below", "Below.", train, "minimum-level = 3", rejected("POLICY_LEVEL")),
        ("level-incomplete", "Not every parent is at hand.", lacking, "minimum-level = 3",
         incomplete("MATERIAL_MISSING")),
        ("level-no-steps", "No steps.", given(plain()), "minimum-level = 2", rejected("POLICY_LEVEL")),
        ("step-type", "A type that is listed.", good, '[steps]\ntypes = ["merge"]', verified(3)),
        ("step-type-other", "A type that is not.", train, '[steps]\ntypes = ["merge"]', rejected("POLICY_STEP")),
        ("profile", "A profile that is listed.", good, '[steps]\nmerge-profiles = ["linear/f64-v1"]', verified(3)),
        ("profile-other", "A profile that is not.", good, '[steps]\nmerge-profiles = ["mergekit-0.1.4"]',
         rejected("POLICY_STEP")),
        ("step-verdict", "A verdict that is listed.", good, '[steps.verdicts]\nmerge = ["reproduced"]', verified(3)),
        ("step-verdict-train", "The signer's word, accepted.", train, '[steps.verdicts]\ntrain = ["attested"]',
         verified(2)),
        ("step-verdict-other", "The signer's word, not accepted.", train, '[steps.verdicts]\ntrain = ["reproduced"]',
         rejected("POLICY_STEP")),
        ("step-verdict-unchecked", "Unchecked.", lacking, '[steps.verdicts]\nmerge = ["reproduced"]',
         incomplete("MATERIAL_MISSING")),
        ("files", "None that is forbidden.", good, '[files]\nforbidden = ["pickle", "remote-code"]', verified(3)),
        ("file-code", "A file of class code.", code, '[files]\nforbidden = ["remote-code"]', rejected("POLICY_FILE")),
        ("file-code-unasked", "A file of class code.", code, '[files]\nforbidden = ["pickle"]', verified(1)),
        ("file-code-elsewhere", "Code from elsewhere.", script, '[files]\nforbidden = ["remote-code"]',
         rejected("CODE_ELSEWHERE", "POLICY_FILE")),
        ("file-pickle", "A pickle.", pickle, '[files]\nforbidden = ["pickle"]',
         rejected("PICKLE_WEIGHTS", "POLICY_FILE", "UNVERIFIED_WEIGHTS")),
        ("finding", "A README that was changed.", changed, '[findings]\nrefused = ["DOCUMENTATION_CHANGED"]',
         rejected("DOCUMENTATION_CHANGED", "POLICY_FINDING")),
        ("finding-unasked", "A README that was changed.", changed, '[findings]\nrefused = ["PARENT_NO_EFFECT"]',
         verified(3, "DOCUMENTATION_CHANGED")),
        ("finding-idle-parent", "A parent without effect.", none, '[findings]\nrefused = ["PARENT_NO_EFFECT"]',
         rejected("PARENT_NO_EFFECT", "POLICY_FINDING")),
        ("coverage", "All bytes.", good, "[coverage]\nminimum-percent = 100", verified(3)),
        ("coverage-behind-run", "Copied from what a command gave, which nobody computed.", behind,
         "[coverage]\nminimum-percent = 1", rejected("POLICY_COVERAGE")),
        ("coverage-none", "None.", train, "[coverage]\nminimum-percent = 1", rejected("POLICY_COVERAGE")),
        ("time-timestamp", "No timestamp.", good, '[time]\nrequired = ["timestamp"]', rejected("POLICY_TIME")),
        ("time-log", "No log.", good, '[time]\nrequired = ["log"]', rejected("POLICY_TIME")),
        ("time-age", "No time.", good, "[time]\nmaximum-age-days = 365", rejected("POLICY_TIME")),
        ("time-unasked", "No time, and nothing asks.", good, "minimum-level = 1", verified(3)),
        ("nothing", "No rules.", good, "", verified(3)),
    ):  # fmt: skip
        yield held(name, "§5", words, one, f"{text}\n", outcome)
    words = "Everything but a weight is as a lenient policy wants it."
    weights = good.folder["model.safetensors"]
    flipped = good.altered(files={"model.safetensors": weights[:-1] + bytes([weights[-1] ^ 1])})
    lenient = 'minimum-level = 1\n[steps.verdicts]\nmerge = ["reproduced", "reproduced-within", "attested"]\n'
    yield held("never-looser", "§1", words, flipped, lenient, rejected("TENSOR_MISMATCH"))


def times() -> Iterator[Vector]:
    """Yield policy §5: rules on time, of bundles with a timestamp."""
    trusted = '[timestamps]\nauthorities = ["tsa.pem"]\n'
    for name, words, stamped_at, text, outcome in (
        ("timestamp-there", "A timestamp.", DAY_BEFORE, '[time]\nrequired = ["timestamp"]', verified(3)),
        ("timestamp-no-log", "A timestamp, and no log.", DAY_BEFORE, '[time]\nrequired = ["log"]',
         rejected("POLICY_TIME")),
        ("timestamp-young", "A day old.", DAY_BEFORE, "[time]\nmaximum-age-days = 1", verified(3)),
        ("timestamp-old", "A day and a second old.", DAY_BEFORE - 1, "[time]\nmaximum-age-days = 1",
         rejected("POLICY_TIME")),
        ("timestamp-ahead", "Four minutes ahead of the clock.", NOW_S + 240, "[time]\nmaximum-age-days = 1",
         verified(3)),
        ("timestamp-far-ahead", "Six minutes ahead of the clock: no evidence.", NOW_S + 360,
         "[time]\nmaximum-age-days = 1", rejected("POLICY_TIME", "TIMESTAMP_UNTRUSTED")),
    ):  # fmt: skip
        one = given(claim(signing=Signing(stamps=((INSTANCE, stamped_at),))))
        yield held(name, "§5", words, one, f"{trusted}{text}\n", outcome)
    words = "A timestamp, and the policy names no authority."
    one = given(claim(signing=Signing(stamps=((INSTANCE, DAY_BEFORE),))))
    yield held("timestamp-nobody", "§5", words, one, '[time]\nrequired = ["timestamp"]\n', rejected("POLICY_TIME"))


def malformed() -> Iterator[Vector]:
    """Yield policy §1.2."""
    cases: Mapping[str, tuple[str, str, str]] = {
        "key-unknown": ("A key that does not exist.", "minimum-levle = 3\n", "minimum-levle"),
        "key-nested": ("A key of a table that does not exist.", '[signers]\nkyes = ["lab.pub"]\n', "signers.kyes"),
        "table-unknown": ("A table that does not exist.", "[licences]\n", "licences"),
        "key-underscore": ("An underscore in place of a hyphen.", "minimum_level = 3\n", "minimum_level"),
        "level-text": ("A level that is text.", 'minimum-level = "3"\n', "minimum-level"),
        "level-none": ("A level that does not exist.", "minimum-level = 4\n", "minimum-level"),
        "level-boolean": ("A level that is true.", "minimum-level = true\n", "minimum-level"),
        "list-empty": ("An empty list.", "[parents]\nallowed = []\n", "parents.allowed"),
        "list-text": ("A text in place of a list.", '[parents]\nallowed = "pkg:a/b"\n', "parents.allowed"),
        "list-twice": ("An entry twice.", '[findings]\nrefused = ["NO_STEPS", "NO_STEPS"]\n', "findings.refused"),
        "entry": ("A parent that is neither root nor package URL.", '[parents]\ndenied = ["b"]\n', "parents.denied.0"),
        "root": ("A root that is none.", '[anchors]\nx = "sha256:00"\n', "anchors.x"),
        "root-twice": ("A root under two names.", f'[anchors]\nx = "{ROOT_A}"\ny = "{ROOT_A}"\n', "anchors"),
        "code": ("A reason code that does not exist.", '[findings]\nrefused = ["PICKLES"]\n', "findings.refused"),
        "step-type": ("A type that does not exist.", '[steps]\ntypes = ["marge"]\n', "steps.types.0"),
        "verdict": ("A verdict that nobody can accept.", '[steps.verdicts]\nmerge = ["unchecked"]\n',
                    "steps.verdicts.merge.0"),
        "verdict-type": ("A verdict of a type that does not exist.", '[steps.verdicts]\nmarge = ["attested"]\n',
                         "steps.verdicts.marge"),
        "file-kind": ("A kind of files that does not exist.", '[files]\nforbidden = ["pickles"]\n',
                      "files.forbidden.0"),
        "percent": ("More than everything.", "[coverage]\nminimum-percent = 101\n", "coverage.minimum-percent"),
        "licence": ("Two licences in one entry.", '[licenses]\nallowed = ["MIT OR ISC"]\n', "licenses.allowed.0"),
        "signers-nobody": ("Signers, and nobody among them.", "[signers]\n", "signers"),
        "key-missing": ("A key file that is not there.", '[signers]\nkeys = ["lost.pub"]\n', "signers.keys.0"),
        "key-none": ("A key file that is none.", '[signers]\nkeys = ["policy.toml"]\n', "signers.keys.0"),
        "authority-none": ("An authority without certificates.", '[timestamps]\nauthorities = ["lab.pub"]\n',
                           "timestamps.authorities.0"),
        "authorities-nobody": ("Authorities, and nobody among them.", "[timestamps]\n", "timestamps.authorities"),
        "certificate-roots": ("Roots that are no certificates.",
                              '[[signers.certificates]]\nname = "x"\nroots = "lab.pub"\n',
                              "signers.certificates.0.roots"),
        "certificate-crls": ("A list that is none.",
                             '[[signers.certificates]]\nname = "x"\nroots = "tsa.pem"\ncrls = ["lab.pub"]\n',
                             "signers.certificates.0.crls.0"),
        "certificate-half": ("A name without roots.", '[[signers.certificates]]\nname = "x"\n',
                             "signers.certificates.0.roots"),
        "identity-half": ("An identity without issuer.", '[[signers.identities]]\nname = "x"\n',
                          "signers.identities.0.issuer"),
        "job-half": ("A job without repository.", '[[signers.jobs]]\nissuer = "https://issuer.example"\n',
                     "signers.jobs.0.repository"),
        "job-ref": ("A ref with a `*` inside.",
                    '[[signers.jobs]]\nissuer = "https://issuer.example"\nrepository = "x"\nref = "refs/*/v1"\n',
                    "signers.jobs.0.ref"),
    }  # fmt: skip
    for name, (words, text, key) in cases.items():
        yield refused(name, "§1.2", words, text, key)
    yield refused("member-twice", "§1.1", "A key twice.", "minimum-level = 1\nminimum-level = 1\n", "TOML")
    yield refused("not-toml", "§1.1", "Not TOML.", "{}", "TOML", bare=True)
    yield refused("schema-none", "§1.1", "No schema.", "minimum-level = 1\n", "schema", bare=True)
    other = 'schema = "https://model-attest.github.io/policy/v2"\n'
    yield refused("schema-other", "§1.1", "Another schema.", other, "schema", bare=True)


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this area."""
    for part in (signers, certified, revokers, observers, parents, licences, outcomes, times, malformed):
        yield from part()

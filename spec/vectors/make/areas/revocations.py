"""Area `statement`: certificates that were revoked. Spec: statement §10.6."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import certificates
from certificates import Authority
from der import der, sequence
from envelope import compact
from instance import SIGNED_AT, TOWN
from keys import Key
from pki import (
    BETWEEN,
    DAY,
    LEAF,
    LIFETIME,
    NOW,
    ROOT,
    YEARS,
    Caller,
    Revoked,
    Signed,
    leaf,
    revocation_list,
    vector,
)
from vector import Vector

from areas.statement import plain

PAYLOAD = compact(plain())
GOOD = Signed()
STAMPED = replace(GOOD, stamps=((TOWN, SIGNED_AT),))
REVOKED, UNKNOWN = "CERTIFICATE_REVOKED", "REVOCATION_UNKNOWN"
KEY_COMPROMISE, SUPERSEDED, HOLD, REMOVED = 1, 4, 6, 8
AFTER = SIGNED_AT + 3600
OF_ROOT = revocation_list(ROOT)
MARK = sequence(der(0x81, b"\xff"))  # onlyContainsUserCerts


def case(
    name: str, words: str, own: Sequence[bytes], *codes: str, signed: Signed = GOOD, of_root: bytes | None = OF_ROOT,
    now: int = NOW,
) -> Vector:  # fmt: skip
    """Return a vector; `own` are the lists beside the root's."""
    crls = [*own, *([] if of_root is None else [of_root])]
    caller = Caller(crls=crls, tsa=bool(signed.stamps), now=now)
    return vector(f"crl-{name}", "6", words, signed, PAYLOAD, *codes, caller=caller, accepted=REVOKED not in codes)


def vectors() -> Iterator[Vector]:
    """Yield the vectors of revocation."""
    mine = Revoked(LEAF, AFTER, KEY_COMPROMISE)
    yield case("good", "Lists of both authorities, and nothing on them.", [revocation_list(BETWEEN)])
    other = Revoked(Key("p256", "another"), AFTER)
    yield case("other", "Another certificate was revoked.", [revocation_list(BETWEEN, other)])
    yield case("revoked", "The signer's was revoked.", [revocation_list(BETWEEN, other, mine)], REVOKED)
    words = "An authority's was revoked."
    of_root = revocation_list(ROOT, Revoked(BETWEEN.key, AFTER, 2))
    yield case("revoked-between", words, [revocation_list(BETWEEN)], REVOKED, of_root=of_root)
    for name, words, entry, signed, codes in (
        ("compromised-after", "Stamped, and its key compromised an hour later.", mine, STAMPED, (REVOKED,)),
        ("unspecified-after", "Stamped, and revoked for no stated reason an hour later.", Revoked(LEAF, AFTER), STAMPED,
         (REVOKED,)),
        ("superseded-after", "Stamped, and superseded an hour later.", Revoked(LEAF, AFTER, SUPERSEDED), STAMPED, ()),
        ("superseded-before", "Superseded, and stamped an hour later.", Revoked(LEAF, SIGNED_AT - 3600, SUPERSEDED),
         STAMPED, (REVOKED,)),
        ("superseded-at", "Superseded and stamped in one second.", Revoked(LEAF, SIGNED_AT, SUPERSEDED), STAMPED,
         (REVOKED,)),
        ("superseded-undated", "Superseded, and nothing shows when it signed.", Revoked(LEAF, AFTER, SUPERSEDED), GOOD,
         (REVOKED,)),
        ("removed", "Taken off the list again.", Revoked(LEAF, AFTER, REMOVED), GOOD, ()),
    ):  # fmt: skip
        yield case(name, words, [revocation_list(BETWEEN, entry)], *codes, signed=signed)
    no_lists = Authority(
        "town office", BETWEEN.key,
        certificates.certificate("town office", BETWEEN.key, (ROOT.common, ROOT.key), YEARS, [
            certificates.extension("2.5.29.19", sequence(der(0x01, b"\xff")), critical=True),
            certificates.extension("2.5.29.15", der(0x03, b"\x02\x04"), critical=True),  # keyCertSign alone
        ]),
    )  # fmt: skip
    for name, words, lists in (
        ("none-own", "The root's list alone.", []),
        ("foreign", "A list of another authority.", [revocation_list(TOWN.root, mine)]),
        ("forged", "A list in the authority's name that somebody else signed.",
         [revocation_list(BETWEEN, signer=Key("p256", "stranger"))]),
        ("stale", "A list that was good until a second before.", [revocation_list(BETWEEN, other, until=NOW - 1)]),
        ("stale-hold", "A stale list that has it on hold.",
         [revocation_list(BETWEEN, Revoked(LEAF, AFTER, HOLD), until=NOW - 1)]),
        ("no-end", "A list that does not say how long it is good.", [revocation_list(BETWEEN, other, until=None)]),
        ("ahead", "A list of an hour ahead.", [revocation_list(BETWEEN, issued=NOW + 3600)]),
        ("narrowed", "A list of some certificates only.",
         [revocation_list(BETWEEN, extensions=[certificates.extension("2.5.29.28", MARK, critical=True)])]),
    ):  # fmt: skip
        yield case(name, words, lists, UNKNOWN)
    yield case(
        "none-root", "The list of the authority between alone.", [revocation_list(BETWEEN)], UNKNOWN, of_root=None
    )
    signed = Signed([leaf(by=no_lists), no_lists.certificate])
    words = "A list by an authority whose key usage has no lists."
    yield case("no-usage", words, [revocation_list(BETWEEN)], UNKNOWN, signed=signed)
    words = "A stale one that has it, and a fresh one."
    both = [revocation_list(BETWEEN, mine, until=NOW - 1), revocation_list(BETWEEN)]
    yield case("stale-and-fresh", words, both, REVOKED)
    words = "A stale one that has it."
    yield case("stale-revoked", words, both[:1], REVOKED)
    hold = Revoked(LEAF, AFTER, HOLD)
    words = "A stale one that has it on hold, and a fresh one that does not."
    yield case("hold-past", words, [revocation_list(BETWEEN, hold, until=NOW - 1), revocation_list(BETWEEN)])
    yield case("hold", "It is on hold.", [revocation_list(BETWEEN, hold)], REVOKED)
    words = "Two fresh ones, of which the second has it."
    yield case("two", words, [revocation_list(BETWEEN), revocation_list(BETWEEN, mine)], REVOKED)
    later = LIFETIME[1] + DAY
    words = "Stamped, and a list from after the certificate had expired, which leaves it out."
    lists = [revocation_list(BETWEEN, issued=later, until=later + 7 * DAY)]
    of_root = revocation_list(ROOT, issued=later, until=later + 7 * DAY)
    yield case("after-expiry", words, lists, UNKNOWN, signed=STAMPED, of_root=of_root, now=later + DAY)
    words = "Stamped, and lists of that time, which are stale since."
    lists = [revocation_list(BETWEEN, issued=SIGNED_AT - 60, until=SIGNED_AT + DAY)]
    of_root = revocation_list(ROOT, issued=SIGNED_AT - 60, until=SIGNED_AT + DAY)
    yield case("of-that-time", words, lists, signed=STAMPED, of_root=of_root, now=later)

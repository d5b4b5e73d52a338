"""Area `sample`: which units are drawn, and what they could miss. Spec: sampling."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import groupby
from math import comb

from merkle import sha256
from vector import JsonObject, Vector

MIB = 1 << 20
Groups = Sequence[tuple[str, list[int]]]


def missed(population: int, differing: int, drawn: int) -> Fraction:
    """Return the probability that none of `differing` units is among those drawn."""
    return Fraction(comb(population - differing, drawn), comb(population, drawn))


def sampled(groups: Groups, share: Fraction, confidence: Fraction, seed: bytes) -> JsonObject:
    """Return what a sample of these groups is, by the text of the chapter and without any haste."""
    ordered = sorted(groups, key=lambda group: group[0].encode())
    total = sum(sum(weights) for _, weights in ordered)

    def class_of(name: str) -> str:
        return re.sub("[0-9]+", "0", name)

    by_class = {
        name: sum(sum(weights) for _, weights in members)
        for name, members in (
            (name, list(members))
            for name, members in groupby(sorted(ordered, key=lambda g: class_of(g[0])), key=lambda g: class_of(g[0]))
        )
    }
    complete, so_far = set(), 0
    for name in sorted(by_class, key=lambda name: (by_class[name], name.encode())):
        so_far += by_class[name]
        if so_far > max(1 << 26, total // 2048):
            break
        complete.add(name)
    units = [
        (name, i, weight)
        for name, weights in ordered
        for i, weight in enumerate(weights)
        if weight and class_of(name) not in complete
    ]
    falling = sorted((weight for *_, weight in units), reverse=True)
    count = len(units)
    least = next((k for k in range(1, count + 1) if sum(falling[:k]) >= share * total), None)
    drawn = 0
    if least is not None:
        drawn = next(n for n in range(count + 1) if missed(count, least, n) <= 1 - confidence)
    places = list(range(count))
    for i in range(drawn):
        j = i + int.from_bytes(sha256(b"model-attest/v1/sample\n" + seed + i.to_bytes(8, "big")), "big") % (count - i)
        places[i], places[j] = places[j], places[i]
    read = sorted(units[place][:2] for place in places[:drawn])
    out: dict[str, object] = {
        "classes": sorted(complete, key=str.encode),
        "population": count,
        "drawn": [list(unit) for unit in sorted(read, key=lambda unit: (unit[0].encode(), unit[1]))],
        "missed": None,
    }
    if drawn < count:
        most = max(k for k in range(count - drawn + 1) if missed(count, k, drawn) > 1 - confidence)
        numbers = {name: sum(1 for w in weights if w) for name, weights in ordered if class_of(name) not in complete}
        fitting = [(sum(w), name) for name, w in ordered if 0 < numbers.get(name, 0) <= most]
        heaviest = max(weight for weight, _ in fitting) if fitting else 0
        name = next((name for weight, name in fitting if weight == heaviest), None)
        probability = missed(count, numbers[name], drawn) if name is not None else Fraction(0)
        out["missed"] = {
            "units": most,
            "size_bytes": sum(falling[:most]),
            "group": name,
            "group_bytes": heaviest,
            "group_probability": [str(probability.numerator), str(probability.denominator)],
        }
    return out


def vector(
    name: str, clause: str, words: str, groups: Groups, share: str = "0.01", confidence: str = "0.99", seed: str = "a"
) -> Vector:
    """Return a vector; the seed is the SHA-256 of a word."""
    digest = sha256(seed.encode())
    given: JsonObject = {
        "groups": [
            {"name": name, "weights": [[len(list(run)), weight] for weight, run in groupby(weights)]}
            for name, weights in groups
        ],
        "share": share,
        "confidence": confidence,
        "seed": digest.hex(),
    }
    return Vector("sample", name, f"sampling {clause}", words, given,
                  sampled(groups, Fraction(share), Fraction(confidence), digest))  # fmt: skip


def model(layers: int, chunks: int) -> list[tuple[str, list[int]]]:
    """Return the groups of a model with matrices of so many whole chunks, norms, and an embedding with a short end."""
    found = [("embed.weight", [MIB] * (2 * chunks) + [77])]
    for layer in range(layers):
        found.append((f"layers.{layer}.norm.weight", [8192]))
        found += [(f"layers.{layer}.{part}.weight", [MIB] * chunks) for part in ("up", "down")]
    return found


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this area."""
    yield vector("small", "§2", "A model of less than 64 MiB is read completely.", model(2, 6))
    yield vector(
        "classes", "§2", "Norms are read completely, and 1 % of the bytes is too little to miss.", model(12, 30)
    )
    yield vector("share-5", "§3.3", "Less than 5 %, with 95 %.", model(12, 30), "0.05", "0.95")
    yield vector("share-30", "§3.3", "Less than 30 %, with 50 %.", model(12, 30), "0.3", "0.5")
    yield vector("seed-other", "§3.4", "Another seed.", model(12, 30), "0.05", "0.95", "b")
    words = "Units of one group that holds nearly everything, and of one that is cut in small ones."
    uneven = [("big", [8 * MIB] * 20), ("fine.1", [1000] * 300), ("fine.2", [1000])]
    yield vector("weights", "§3.2", words, uneven, "0.2", "0.9")
    words = "All units outside the small classes together are less than the share: nothing is drawn."
    rest = [("most", [MIB] * 63), ("rest", [MIB] * 60), ("more", [MIB * 4] * 16)]
    yield vector("nothing-to-draw", "§3.2", words, rest, "0.6", "0.99")
    words = "Names in the order of their UTF-8 bytes, and units of weight 0."
    names = [("é", [MIB] * 40), ("z", [MIB] * 40 + [0]), ("\U0001f600", [MIB] * 40), ("\ufb00", [0, MIB])]
    yield vector("order", "§1.4", words, names, "0.1", "0.9")
    words = "Digits are those of ASCII alone: other digits tell classes apart."
    digits = [("w.1", [MIB] * 40), ("w.22", [MIB] * 40), ("w.\u0663", [MIB] * 50), ("w.\u0664", [MIB] * 10)]
    yield vector("digits", "§2", words, digits, "0.1", "0.9")
    words = "One unit, of which each draw is the last."
    yield vector("one", "§3.3", words, [("w", [100 * MIB])], "0.5", "0.99")

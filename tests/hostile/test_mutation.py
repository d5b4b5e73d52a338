"""Thousands of small changes to the files of the vectors: never a better verdict, and no error but ours.

HOSTILE_MUTATIONS sets how many; HOSTILE_SEED where they start.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from model_attest.recipes.mergekit import read_recipe
from model_attest.record import read_records
from model_attest.signers.key import KeySigner
from model_verify.envelope import PublicKey, open_bundle
from model_verify.errors import AttestError, KeyUnreadable
from model_verify.files import file_class, has_only_lfs_attributes
from model_verify.models import BUNDLE_PATH
from model_verify.procedure import Request, verify
from model_verify.report import Report
from model_verify.sources.local import LocalFolder
from tests.models import RECIPE
from tests.vectors.vector import Vector, load

MUTATIONS = int(os.environ.get("HOSTILE_MUTATIONS", "600"))
SEED = int(os.environ.get("HOSTILE_SEED", "1"))

HUGE = [b"9" * 25, b"-1", b"1e999", b"0.5", b"9007199254740992", b"18446744073709551615", b"NaN", b"null", b'"0"']
WORDS = [b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\x00", b"\xff", b"\\ud800", b"\xe2\x80\xae", b"[" * 200]


def flip(data: bytes, dice: random.Random) -> bytes:
    place = dice.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << dice.randrange(8))]) + data[place + 1 :]


def delete(data: bytes, dice: random.Random) -> bytes:
    place = dice.randrange(len(data))
    return data[:place] + data[place + dice.choice([1, 2, 8, 64]) :]


def insert(data: bytes, dice: random.Random) -> bytes:
    place = dice.randrange(len(data) + 1)
    return data[:place] + dice.choice(WORDS) + data[place:]


def duplicate(data: bytes, dice: random.Random) -> bytes:
    place = dice.randrange(len(data))
    end = place + dice.choice([1, 8, 64, 512])
    return data[:end] + data[place:end] + data[end:]


def truncate(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


def enlarge(data: bytes, dice: random.Random) -> bytes:
    """Put something else in the place of a number."""
    digits = [i for i, byte in enumerate(data) if 0x30 <= byte <= 0x39]
    if not digits:
        return insert(data, dice)
    place = dice.choice(digits)
    end = place
    while end < len(data) and 0x30 <= data[end] <= 0x39:
        end += 1
    return data[:place] + dice.choice(HUGE) + data[end:]


def exchange(data: bytes, dice: random.Random) -> bytes:
    first, second = sorted(dice.sample(range(len(data) + 1), 2))
    size = min(dice.choice([1, 4, 32]), second - first)
    middle = data[first + size : second]
    return data[:first] + data[second : second + size] + middle + data[first : first + size] + data[second + size :]


CHANGES: list[Callable[[bytes, random.Random], bytes]] = [
    flip, delete, insert, duplicate, truncate, enlarge, exchange,
]  # fmt: skip


def mutated(data: bytes, dice: random.Random) -> bytes:
    for _ in range(dice.choice([1, 1, 1, 2, 5])):
        if len(data) > 1:
            data = dice.choice(CHANGES)(data, dice)
    return data


VECTORS = [vector for vector in load("verify") if not vector.name.startswith("train-blend")]
"""Estimating blends takes its time, and has nothing to do with what is read."""


def run(vector: Vector, folder: Path) -> Report:
    given = vector.input
    key = given["key"]
    return verify(
        Request(
            LocalFolder(folder / given["folder"]),
            expected_signer=None if key is None else PublicKey.from_pem((folder / key).read_bytes()),
            parents={name: LocalFolder(folder / parent) for name, parent in given["parents"].items()},
            candidates=[LocalFolder(folder / candidate) for candidate in given["candidates"]],
            repository=given["repository"],
            recursive=given.get("recursive", False),
            device="cpu",
            threads=1,
        )
    )


def test_no_change_to_any_file_of_a_vector_betters_the_verdict(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    for number in range(MUTATIONS):
        vector = dice.choice(VECTORS)
        folder = tmp_path / "vector"
        shutil.copytree(vector.folder, folder, symlinks=True)
        for placed in vector.input["place"]:
            (folder / placed["path"]).parent.mkdir(parents=True, exist_ok=True)
            (folder / placed["path"]).write_bytes(vector.data(placed["data"]))
        path = dice.choice(sorted(p for p in folder.rglob("*") if p.is_file() and p.parent != folder))
        before = path.read_bytes()
        path.write_bytes(mutated(before, dice) if before else b"x")
        where = f"change {number} of {vector.name}: {path.relative_to(folder)}"
        try:
            report = run(vector, folder)
        except AttestError:
            pass
        except Exception as error:
            raise AssertionError(where) from error
        else:
            json.dumps(report.model_dump(mode="json", by_alias=True))
            check(vector, report, folder, path, before, where)
        shutil.rmtree(folder)


def check(vector: Vector, report: Report, folder: Path, path: Path, before: bytes, where: str) -> None:
    if report.verdict != "VERIFIED":
        return
    if path.name == ".gitattributes" and has_only_lfs_attributes(path.read_bytes()):
        return  # a cut can leave one that is exempt
    if path == folder / vector.input["folder"] / "model.sig":
        return  # whoever can alter it can take it away, so that it counts for no more than if it were not there
    assert vector.expected["verdict"] == "VERIFIED" or path.read_bytes() == before, where
    assert (report.level or 0) <= (vector.expected["level"] or 0), where
    subject = folder / vector.input["folder"]
    if not path.is_relative_to(subject) or path.read_bytes() == before:
        return
    relative = path.relative_to(subject).as_posix()
    if relative == BUNDLE_PATH:
        assert open_bundle(path.read_bytes()).payload == open_bundle(before).payload, where
    elif file_class(relative) == "documentation":
        assert relative in report.headline, where
    else:
        assert relative in (".gitattributes", "model.sig") or relative.startswith((".git/", ".cache/", ".attest/")), (
            where
        )


KEYS = sorted({(v.folder / v.input["key"]).read_bytes() for v in load("statement") if v.input["key"]})


def test_a_key_file_of_any_bytes_is_a_key_or_unreadable() -> None:
    from model_attest.signers.key import generate_key, private_pem

    dice = random.Random(SEED)
    private = [private_pem(generate_key("p256")), private_pem(generate_key("ed25519"), b"secret")]
    for _ in range(MUTATIONS):
        data = mutated(dice.choice(KEYS), dice)
        with contextlib.suppress(KeyUnreadable):
            PublicKey.from_pem(data)
        data = mutated(dice.choice(private), dice)
        with contextlib.suppress(KeyUnreadable):
            KeySigner.from_pem(data, dice.choice([None, b"secret"]) if b"ENCRYPTED" not in data else None)


def test_a_recipe_of_any_bytes_is_a_recipe_or_refused(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    path = tmp_path / "recipe.yaml"
    yaml = [
        b"&a ",
        b"*a ",
        b"!!python/object ",
        b"<<: ",
        b"? ",
        b"- " * 30,
        b"\t",
        b"|\n",
        b"---\n",
        b"%YAML 9.9\n",
        b"'",
    ]
    for _ in range(MUTATIONS):
        data = mutated(RECIPE.encode(), dice)
        place = dice.randrange(len(data) + 1)
        path.write_bytes(data[:place] + dice.choice(yaml) + data[place:])
        with contextlib.suppress(AttestError):
            read_recipe(path)


def test_a_step_record_of_any_bytes_is_a_record_or_refused(tmp_path: Path, record: bytes) -> None:
    dice = random.Random(SEED)
    path = tmp_path / ".attest" / "steps" / "001.json"
    path.parent.mkdir(parents=True)
    for _ in range(MUTATIONS):
        path.write_bytes(mutated(record, dice))
        with contextlib.suppress(AttestError):
            read_records(tmp_path)


@pytest.fixture
def record(signed_merge: object) -> bytes:
    return (signed_merge.merged / ".attest" / "steps" / "001.json").read_bytes()  # type: ignore[attr-defined]

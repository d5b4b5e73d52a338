"""A repository that nobody attests: what is shown of it, and that it is shown as somebody's word."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

from model_verify.sources.local import LocalFolder
from model_verify.unattested import describe_unattested
from tests.cli.conftest import Attest
from tests.cli.making import tensors, write_model
from tests.hub.server import Hub

CARD = """---
license: mit
base_model:
  - lab/a
  - lab/b
base_model_relation: merge
---
# A model
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = write_model(tmp_path / "model", tensors(1))
    (folder / "README.md").write_text(CARD)
    return folder


def claims(folder: Path, card: bytes) -> tuple[list[str], str | None]:
    (folder / "README.md").write_bytes(card)
    known = describe_unattested(LocalFolder(folder))
    assert known.files == []
    return known.claimed_base_models, known.claimed_relation


def test_what_is_known_is_shown_and_no_weights_are_read(attest: Attest, hub: Hub, folder: Path) -> None:
    commit = hub.storage.add_folder("lab/bare", folder)
    weights = (folder / "model.safetensors").read_bytes()
    digest = f"sha256:{hashlib.sha256(weights).hexdigest()}"
    run = attest("verify", "lab/bare", "--json")
    assert (run.code, run.document["verdict"], run.document["commit"]) == (3, "INCOMPLETE", commit)
    assert run.document["unattested"] == {
        "files": [{"path": "model.safetensors", "size_bytes": len(weights), "stated_digest": digest}],
        "claimed_base_models": ["lab/a", "lab/b"],
        "claimed_relation": "merge",
    }
    assert hub.downloads("/objects/") == []
    lines = attest("verify", "lab/bare").out.splitlines()
    assert f"by the Hub's word: model.safetensors, 2.4 MB, {digest}" in lines
    assert "the card claims: made from lab/a, lab/b (merge); nobody has checked it" in lines
    assert any(line.startswith("hint: ") and f"`hf download lab/bare --revision {commit}`" in line for line in lines)


def test_an_attested_model_has_no_such_part(attest: Attest, hub: Hub, folder: Path, tmp_path: Path) -> None:
    assert attest("keygen", "--out", tmp_path / "lab").code == 0
    assert attest("sign", folder, "--key", tmp_path / "lab").code == 0
    assert attest("verify", folder, "--key", tmp_path / "lab.pub", "--json").document["unattested"] is None


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        (b"---\nbase_model: lab/a\n---\n", (["lab/a"], None)),
        (b"---\r\nbase_model: lab/a\r\n---\r\ntext", (["lab/a"], None)),
        (b"---\nbase_model: [lab/a, 7, {x: y}]\nbase_model_relation: [merge]\n---\n", (["lab/a", "7"], None)),
        (b"# no front matter\n---\nbase_model: lab/a\n---\n", ([], None)),
        (b"---\nbase_model: lab/a\n", ([], None)),
        (b"---\n- a list\n---\n", ([], None)),
        (b"---\nbase_model: [\n---\n", ([], None)),
        (b"---\nbase_model: \xff\n---\n", ([], None)),
        (b"---\nbase_model: !!python/object/apply:os.system [id]\n---\n", (["id"], None)),
        (b"---\n" + b"[" * 30_000 + b"\n---\n", ([], None)),
        (b"---\nbase_model: lab/a\nx: " + b"y" * (64 << 10) + b"\n---\n", ([], None)),
        (b"---\nbase_model: " + b"y" * 300 + b"\n---\n", (["y" * 200], None)),
        (b"---\nbase_model: [" + b"y," * 50 + b"]\n---\n", (["y"] * 20, None)),
        (b"", ([], None)),
    ],
)
def test_cards_of_every_kind(folder: Path, card: bytes, expected: tuple[list[str], str | None]) -> None:
    assert claims(folder, card) == expected


def test_a_card_that_unfolds_takes_no_time(folder: Path) -> None:
    layers = b"".join(b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 60))
    started = time.monotonic()
    assert claims(folder, b"---\na0: &a0 x\n" + layers + b"base_model: *a59\n---\n") == ([], None)
    assert time.monotonic() - started < 10

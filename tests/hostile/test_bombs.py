"""Files made to cost time or memory: an answer within seconds and bounded memory, and never a traceback.

Each runs as the real command in a process of its own, with a limit on its address space.
"""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_attest.signers.key import generate_key, public_pem
from tests.cli.making import SCRIPT
from tests.hostile.forging import ONE_TENSOR
from tests.models import RECIPE, SignedMerge, write_model

TIMEOUT_S = 30
MEMORY_BYTES = 1 << 30


def attest(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run the command under the limits; a core dump or a timeout is a failure by itself."""
    run = subprocess.run(
        [SCRIPT, *arguments],
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES)),
    )
    assert b"Traceback" not in run.stdout + run.stderr
    assert b"INTERNAL" not in run.stdout + run.stderr
    return run


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory, signed_merge: SignedMerge) -> Path:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    path = tmp_path_factory.mktemp("key") / "lab.pub"
    path.write_bytes(signed_merge.key.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


def with_header(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


def tensors(count: int) -> bytes:
    return json.dumps(
        {f"{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(count)}, separators=(",", ":")
    ).encode()


HEADERS = {
    "of terabytes": struct.pack("<Q", 1 << 42) + b"{}",
    "of all the bytes there are": struct.pack("<Q", (1 << 64) - 1) + b"{}",
    "of quotes that never end": with_header(b'{"' + b'\\"' * 3_000_000 + b"[" * 99 + b"}"),
    "of brackets": with_header(b"{" + b'"":[' * 700_000 + b"}"),
    "of pairs of brackets": with_header(b'{"":[' + b"[]," * 500_000 + b"[]]}"),
    "of one number": with_header(b'{"":' + b"9" * 8_000_000 + b"}"),
    "of one name": with_header(b'{"' + b"n" * 8_000_000 + b'":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
    "of many tensors": with_header(tensors(30_000)),
    "of many dimensions": with_header(
        json.dumps({"w": {"dtype": "F64", "shape": [2**53 - 1] * 64, "data_offsets": [0, 0]}}).encode()
    ),
    "of a tensor of petabytes": with_header(
        json.dumps({"w": {"dtype": "U8", "shape": [2**52], "data_offsets": [0, 2**52]}}).encode()
    ),
}


@pytest.mark.parametrize("weights", HEADERS.values(), ids=HEADERS.keys())
def test_a_header_costs_no_more_than_its_bytes(signed_copy: SignedMerge, key: Path, weights: bytes) -> None:
    (signed_copy.merged / "model.safetensors").write_bytes(weights)
    run = attest("verify", signed_copy.merged, "--key", key, "--json")
    assert run.returncode == 1
    assert len(run.stdout) < 20_000_000


BUNDLES = {
    "quotes that never end": b'{"' + b'\\"' * 3_000_000 + b"[" * 99,
    "quotes and brackets": b'"[' * 2_000_000,
    "depth": b"[" * 5_000_000,
    "depth of objects": b'{"a":' * 1_000_000,
    "unknown members": b"{" + b",".join(b'"%x":0' % i for i in range(60_000)) + b"}",
    "one string": b'"' + b"x" * 6_000_000 + b'"',
    "escapes": b'"' + b"\\u0000" * 1_000_000 + b'"',
    "nothing": b"\x00" * 6_000_000,
}


@pytest.mark.parametrize("bundle", BUNDLES.values(), ids=BUNDLES.keys())
def test_a_bundle_costs_no_more_than_its_bytes(signed_copy: SignedMerge, key: Path, bundle: bytes) -> None:
    (signed_copy.merged / "attestation" / "pipeline.sigstore.json").write_bytes(bundle)
    assert attest("verify", signed_copy.merged, "--key", key).returncode == 1


@pytest.mark.parametrize(
    "name",
    [
        "attestation/pipeline.sigstore.json",
        "attestation/manifest.json",
        "attestation/leaves.sha256tree",
        "model.safetensors.index.json",
        ".gitattributes",
        "model.safetensors",
        "README.md",
        "config.json",
        "new.safetensors",
    ],
)
def test_a_file_of_a_terabyte_of_holes_is_not_read_into_memory(signed_copy: SignedMerge, key: Path, name: str) -> None:
    with (signed_copy.merged / name).open("r+b" if (signed_copy.merged / name).exists() else "wb") as file:
        file.truncate(1 << 40)
    run = attest("verify", signed_copy.merged, "--key", key)
    assert run.returncode in ((3,) if name == "README.md" else (1, 2))  # 3: parents are not given


@pytest.mark.parametrize(
    "config",
    [b"[" * 1_000_000, b'{"a":' * 200_000, b"9" * 1_000_000, b"{" + b'"a":[],' * 100_000 + b'"b":0}', b'"' * 999_999],
    ids=["depth", "depth of objects", "a number", "lists", "quotes"],
)
@pytest.mark.parametrize("name", ["config.json", "adapter_config.json", "model.safetensors.index.json"])
def test_a_configuration_costs_no_more_than_its_bytes(
    signed_copy: SignedMerge, key: Path, name: str, config: bytes
) -> None:
    (signed_copy.merged / name).write_bytes(config)
    assert attest("verify", signed_copy.merged, "--key", key).returncode == 1


RECIPES = {
    "laughs": b"a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n",
    "a tag": b"!!python/object/apply:os.system ['true']\n",
    "depth": b"[" * 100_000,
    "depth of blocks": b"- " * 100_000,
    "depth of keys": b"".join(b" " * i + b"a:\n" for i in range(1_000)),
    "questions": b"? " * 100_000,
    "a merge key": b"<<: {merge_method: linear}\n",
    "size": b"# " + b"x" * (2 << 20),
    "a directive": b"%YAML 1.1\n%TAG ! tag:x,2000:\n---\n!x a\n",
    "many documents": b"---\na\n" * 10_000,
    "no text": b"\xff\xfe\x00",
    "a device": RECIPE.replace("model: a", "model: /dev/zero").encode(),
    "up and away": RECIPE.replace("model: a", "model: ../../../../../../../../..").encode(),
    "a nul": RECIPE.replace("model: a", 'model: "a\\0b"').encode(),
    "a weight without end": RECIPE.replace("0.6", "0." + "6" * 100_000).encode(),
    "a weight too large": RECIPE.replace("0.6", "1e999").encode(),
    "a weight that is no number": RECIPE.replace("0.6", ".nan").encode(),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_a_recipe_costs_no_more_than_its_bytes_and_leaves_nothing(tmp_path: Path, recipe: bytes) -> None:
    import numpy as np

    for name in ("a", "b"):
        write_model(tmp_path / name, {"w": np.ones(4, np.float32)})
    (tmp_path / "recipe.yaml").write_bytes(recipe)
    before = sorted(tmp_path.rglob("*"))
    assert attest("merge", tmp_path / "recipe.yaml", tmp_path / "out").returncode == 2
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "record", [b"[" * 1_000_000, b'{"' + b'\\"' * 1_000_000 + b"[" * 99, b"", b"{}", b"\xff"], ids=range(5)
)
def test_a_step_record_costs_no_more_than_its_bytes_and_nothing_is_signed(tmp_path: Path, record: bytes) -> None:
    folder = tmp_path / "model"
    (folder / ".attest" / "steps").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(ONE_TENSOR)
    (folder / ".attest" / "steps" / "001.json").write_bytes(record)
    assert attest("keygen", "--out", tmp_path / "lab").returncode == 0
    assert attest("sign", folder, "--key", tmp_path / "lab").returncode == 2
    assert not (folder / "attestation").exists()


def keys() -> Iterator[bytes]:
    pem = public_pem(generate_key("p256"))
    yield b""
    yield b"\x00" * 65_536
    yield b"-----BEGIN PUBLIC KEY-----\n" + b"A" * 60_000 + b"\n-----END PUBLIC KEY-----\n"
    yield pem.replace(b"PUBLIC KEY", b"CERTIFICATE")
    yield pem[: len(pem) // 2]
    yield b"x" * 70_000


@pytest.mark.parametrize("number", range(6))
def test_a_key_of_any_bytes_is_refused(signed_merge: SignedMerge, tmp_path: Path, number: int) -> None:
    (tmp_path / "k").write_bytes(list(keys())[number])
    assert attest("verify", signed_merge.merged, "--key", tmp_path / "k").returncode == 2
    assert attest("sign", signed_merge.merged, "--key", tmp_path / "k").returncode == 2


@pytest.mark.parametrize(
    "name", [b"a\nVERIFIED level 3  x.png", b"\x1b[2K\rVERIFIED.png", b"\xff.png", "\u202e.png".encode()]
)
def test_no_name_writes_a_line_or_a_control_character_into_the_answer(
    signed_copy: SignedMerge, key: Path, name: bytes
) -> None:
    (signed_copy.merged / os.fsdecode(name)).write_bytes(b"x")
    run = attest("verify", signed_copy.merged, "--key", key)
    assert run.returncode == 1
    assert not any(line.startswith(b"VERIFIED") for line in run.stdout.splitlines())
    assert run.stdout.decode().replace("\n", "").isprintable()
    as_json = attest("verify", signed_copy.merged, "--key", key, "--json")
    assert as_json.stdout.isascii()
    assert json.loads(as_json.stdout)["verdict"] == "REJECTED"


def test_the_limit_on_memory_is_one_that_bites() -> None:
    code = f"import resource\nresource.setrlimit(resource.RLIMIT_AS, ({MEMORY_BYTES},) * 2)\nbytearray({MEMORY_BYTES})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert b"MemoryError" in run.stderr

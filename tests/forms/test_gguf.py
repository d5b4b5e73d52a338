"""Reading GGUF: what the real package writes, and what nobody should."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from model_verify.errors import MalformedWeights
from model_verify.gguf import GGML_DTYPES, read_gguf
from model_verify.sources.local import LocalFolder
from model_verify.tensors import BLOCK_DTYPES, DTYPE_BITS
from model_verify.weights import WeightFile
from tests.forms.gguf_files import ARRAY, BOOL, STRING, U32, assembled, pair, string, tensor, write_real

ONE = tensor(b"w", [2], 0, 0)
TWO = struct.pack("<2f", 1, 2)


def read(path: Path) -> WeightFile:
    with LocalFolder(path.parent).open(path.name) as file:
        return read_gguf(file)


def read_bytes(folder: Path, data: bytes) -> WeightFile:
    (folder / "m.gguf").write_bytes(data)
    return read(folder / "m.gguf")


def test_types_are_those_of_the_package() -> None:
    names = {
        f"GGML_{kind.name}" if f"GGML_{kind.name}" in BLOCK_DTYPES else kind.name for kind in gguf.GGMLQuantizationType
    }
    assert names == set(GGML_DTYPES.values())
    for number, name in GGML_DTYPES.items():
        kind = gguf.GGMLQuantizationType(number)
        assert name.removeprefix("GGML_") == kind.name
        if name in DTYPE_BITS:
            assert gguf.GGML_QUANT_SIZES[kind] == (1, DTYPE_BITS[name] // 8)


@pytest.mark.parametrize("alignment", [None, 8, 1024])
def test_what_the_package_writes_is_read_as_the_package_reads_it(tmp_path: Path, alignment: int | None) -> None:
    generator = np.random.default_rng(0)
    tensors = {
        "token_embd.weight": (generator.standard_normal((10, 64), dtype=np.float32), "Q8_0"),
        "blk.0.attn_norm.weight": (generator.standard_normal(33, dtype=np.float32), "F32"),
        "blk.0.ffn_gate_exps.weight": (generator.standard_normal((3, 5, 256), dtype=np.float32), "TQ2_0"),
        "output.weight": (generator.standard_normal((7, 3), dtype=np.float32), "BF16"),
    }
    path = write_real(tmp_path / "model.gguf", tensors, alignment=alignment)
    given = {stored.info.name: stored for stored in read(path).tensors}
    data = path.read_bytes()
    expected = gguf.GGUFReader(path).tensors
    assert list(given) == [one.name for one in expected]
    for one in expected:
        stored = given[one.name]
        assert stored.info.shape == tuple(reversed([int(extent) for extent in one.shape]))
        assert stored.info.shape == tensors[one.name][0].shape
        assert (stored.offset, stored.info.size_bytes) == (one.data_offset, one.n_bytes)
        assert data[stored.offset : stored.offset + stored.info.size_bytes] == one.data.tobytes()


def test_a_file_may_end_with_its_last_tensor_or_padded(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, assembled([], [ONE], TWO)).size_bytes == 72
    assert read_bytes(tmp_path, assembled([], [ONE], TWO + bytes(24))).size_bytes == 96
    assert read_bytes(tmp_path, assembled(padding=b"")).tensors == ()
    assert read_bytes(tmp_path, assembled()).tensors == ()


BAD = {
    "an empty file": (b"", 1),
    "another magic": (assembled(magic=b"GGML"), 1),
    "version 1": (assembled(version=1), 1),
    "version 4": (assembled(version=4), 1),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), 1),
    "cut off in the counts": (assembled()[:20], 1),
    "more pairs than bytes": (assembled(counts=(0, 1 << 60)), 2),
    "more tensors than bytes": (assembled(counts=(1 << 60, 0)), 4),
    "a pair that is not there": (assembled(counts=(0, 1)), 2),
    "a key that is not UTF-8": (assembled([pair(b"\xff", U32, bytes(4))]), 2),
    "a key twice": (assembled([pair(b"k", U32, bytes(4))] * 2), 2),
    "an unknown type": (assembled([pair(b"k", 13, bytes(8))]), 2),
    "an array of arrays": (assembled([pair(b"k", ARRAY, struct.pack("<IQ", ARRAY, 0))]), 2),
    "an array that is too long": (assembled([pair(b"k", ARRAY, struct.pack("<IQ", U32, 1 << 62))]), 1),
    "an array of too many strings": (assembled([pair(b"k", ARRAY, struct.pack("<IQ", STRING, 1 << 40))]), 2),
    "a string that is too long": (assembled([pair(b"k", STRING, struct.pack("<Q", 1 << 63))]), 1),
    "a string beyond the end": (assembled([pair(b"k", STRING, struct.pack("<Q", 1 << 20))]), 2),
    "a boolean of 2": (assembled([pair(b"k", BOOL, b"\x02")]), 2),
    "an array of booleans with a 3": (assembled([pair(b"k", ARRAY, struct.pack("<IQ", BOOL, 2) + b"\x01\x03")]), 2),
    "an alignment of 0": (assembled([pair(b"general.alignment", U32, bytes(4))]), 3),
    "an alignment of 24": (assembled([pair(b"general.alignment", U32, struct.pack("<I", 24))]), 3),
    "an alignment of 2^17": (assembled([pair(b"general.alignment", U32, struct.pack("<I", 1 << 17))]), 3),
    "an alignment as u64": (assembled([pair(b"general.alignment", 10, struct.pack("<Q", 32))]), 3),
    "an alignment twice": (assembled([pair(b"general.alignment", U32, struct.pack("<I", 32))] * 2), 2),
    "a name that is not UTF-8": (assembled([], [tensor(b"\xc3", [2], 0, 0)], TWO), 4),
    "five axes": (assembled([], [tensor(b"w", [2, 1, 1, 1, 1], 0, 0)], TWO), 4),
    "2^32 - 1 axes": (assembled([], [string(b"w") + b"\xff" * 4 + bytes(20)], TWO), 4),
    "an axis of 2^53": (assembled([], [tensor(b"w", [0, 1 << 53], 0, 0)]), 4),
    "an unknown ggml type": (assembled([], [tensor(b"w", [2], 4, 0)], TWO), 4),
    "a removed ggml type": (assembled([], [tensor(b"w", [2], 31, 0)], TWO), 4),
    "rows of half a block": (assembled([], [tensor(b"w", [16, 2], 8, 0)], bytes(34)), 5),
    "no axes, in blocks": (assembled([], [tensor(b"w", [], 8, 0)], bytes(34)), 5),
    "too many bits": (assembled([], [tensor(b"w", [1 << 30, 1 << 24], 0, 0)]), 5),
    "a first offset that is not 0": (assembled([], [tensor(b"w", [2], 0, 32)], bytes(32) + TWO), 6),
    "an overlap": (assembled([], [ONE, tensor(b"x", [2], 0, 0)], TWO), 6),
    "a hole": (assembled([], [ONE, tensor(b"x", [2], 0, 64)], TWO + bytes(56) + TWO), 6),
    "an unaligned offset": (assembled([], [ONE, tensor(b"x", [2], 0, 8)], TWO * 2), 6),
    "tensors out of order": (assembled([], [tensor(b"x", [2], 0, 32), ONE], TWO + bytes(24) + TWO), 6),
    "data that are cut off": (assembled([], [ONE], TWO[:-1]), 6),
    "no data": (assembled([], [ONE]), 6),
    "something after the data": (assembled([], [ONE], TWO + bytes(25)), 6),
    "data without tensors": (assembled([], [], TWO), 6),
    "padding before the data that is not zero": (assembled([], [ONE], TWO, padding=b"\x01" + bytes(6)), 6),
    "padding between that is not zero": (
        assembled([], [ONE, tensor(b"x", [2], 0, 32)], TWO + b"\x01" + bytes(23) + TWO),
        6,
    ),
    "padding after that is not zero": (assembled([], [ONE], TWO + bytes(23) + b"\x01"), 6),
    "padding without tensors that is not zero": (assembled(padding=bytes(7) + b"\x01"), 6),
    "a name twice": (assembled([], [ONE, tensor(b"w", [2], 0, 32)], TWO + bytes(24) + TWO), 7),
    "names that are one in NFC": (
        assembled([], [tensor("é".encode(), [2], 0, 0), tensor("e\u0301".encode(), [2], 0, 32)], TWO + bytes(24) + TWO),
        7,
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_breaks_a_rule_is_refused_by_it(tmp_path: Path, name: str) -> None:
    data, rule = BAD[name]
    with pytest.raises(MalformedWeights) as raised:
        read_bytes(tmp_path, data)
    assert raised.value.rule == f"tensor-tree §6.{rule}", raised.value


def test_a_header_of_more_than_100_megabytes_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "m.gguf").open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair(b"k", STRING, struct.pack("<Q", 100_000_000)))
        file.truncate(200_000_000)
    with pytest.raises(MalformedWeights, match="more than 100000000 bytes"):
        read(tmp_path / "m.gguf")


def test_damaged_headers_are_read_or_refused_and_never_crash(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    tensors = {f"blk.{n}.w": (generator.standard_normal((2, 32), dtype=np.float32), "Q8_0") for n in range(3)}
    good = write_real(tmp_path / "good.gguf", tensors).read_bytes()
    original = read_bytes(tmp_path, good)
    dice = random.Random(5)
    refused = 0
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(dice.choice((1, 1, 2, 5))):
            place = dice.randrange(len(data))
            match dice.randrange(4):
                case 0:
                    data[place] ^= 1 << dice.randrange(8)
                case 1:
                    data[place : place + 8] = struct.pack("<Q", dice.choice((0, 1, 2**31, 2**63, 2**64 - 1)))
                case 2:
                    del data[place : place + dice.randrange(1, 40)]
                case _:
                    data[place:place] = dice.randbytes(dice.randrange(1, 40))
        try:
            given = read_bytes(tmp_path, bytes(data))
        except MalformedWeights:
            refused += 1
            continue
        for stored in given.tensors:
            assert stored.offset + stored.info.size_bytes <= len(data)
        if given == original:  # the damage is in the data, which the tensor roots fix
            assert data[: given.tensors[0].offset] == good[: given.tensors[0].offset]
    assert 1000 < refused < 3000

"""Area `verify`: a GGUF file beside the primary weights, given by a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import toy
from envelope import Object, material
from folder import Given, claim, given, incomplete, rejected, vector, verified
from ggml import Quantizer
from gguf_file import STRING, gguf, pair, string
from merkle import BLOCKS, Tensor, checkpoint_root
from toy import Model
from vector import Vector

from areas.form import random
from areas.verify_adapters import tensor
from areas.verify_forms import _Written

FILE = "town-q8_0.gguf"
QUERY, EXPERTS, NORM, IDS = "layers.0.q.weight", ("layers.0.e.0", "layers.0.e.1"), "norm.weight", "ids"
SOURCE: Model = {
    QUERY: tensor(QUERY, random("query", "BF16", 8, 32)),
    **{name: tensor(name, random(name, "BF16", 2, 32)) for name in EXPERTS},
    NORM: tensor(NORM, random("norm", "F16", 32)),
    IDS: Tensor(IDS, "I32", (2,), bytes(8)),
}
MATRICES = {
    QUERY: random("query", "BF16", 8, 32),
    **{name: random(name, "BF16", 2, 32) for name in EXPERTS},
    NORM: random("norm", "F16", 32),
}
TARGETS: list[Object] = [
    {"tensor": "blk.0.attn_q.weight", "sources": [QUERY], "dtype": "GGML_Q8_0", "permuteHeads": 2},
    {"tensor": "blk.0.exps.weight", "sources": list(EXPERTS), "dtype": "GGML_Q4_0"},
    {"tensor": "ids", "sources": [IDS], "dtype": "I32"},
    {"tensor": "output_norm.weight", "sources": [NORM], "dtype": "F32", "add": "1"},
]


def made(profile: str = "ggml/nofma") -> list[Tensor]:
    """Return the tensors of the file, computed here."""
    query = Quantizer("GGML_Q8_0", profile, heads=2).apply(MATRICES[QUERY])
    experts = Quantizer("GGML_Q4_0", profile).apply(*(MATRICES[name] for name in EXPERTS))
    norm = Quantizer("F32", profile, added="1").apply(MATRICES[NORM])
    return [
        Tensor("output_norm.weight", "F32", (32,), norm),
        Tensor("blk.0.attn_q.weight", "GGML_Q8_0", (8, 32), query),
        Tensor("blk.0.exps.weight", "GGML_Q4_0", (2, 2, 32), experts),
        Tensor("ids", "I32", (2,), bytes(8)),
    ]


def released(tensors: list[Tensor], body: Mapping[str, Any], source: Model = SOURCE) -> Given:
    """Return the folder of `source` with a GGUF file of `tensors`, stated to be quantized from it."""
    root = "sha256:" + checkpoint_root(tensors).hex()
    steps: list[Object] = [
        {
            "id": "copy",
            "type": "reshard",
            "inputs": ["a"],
            "output": {"checkpointRoot": "sha256:" + toy.root(source).hex()},
        },
        {
            "id": "quantized",
            "type": "quantize",
            "profile": "ggml/nofma",
            "inputs": ["copy"],
            "output": {"checkpointRoot": root, "weightSet": FILE},
            "targets": TARGETS,
            **body,
        },
    ]
    files = {**toy.folder(source), FILE: gguf(tensors, [pair(b"general.architecture", STRING, string(b"town"))])}
    stated = claim(
        source, files=files, materials=[material("a", toy.root(source))], steps=[_Written(step) for step in steps]
    )
    return given(stated, parents={"a": {"model.safetensors": toy.file(source)}})


def changed(tensors: list[Tensor], name: str) -> list[Tensor]:
    """Return the tensors with one bit of one of them turned."""
    return [Tensor(t.name, t.dtype, t.shape, toy.flipped(t.data)) if t.name == name else t for t in tensors]


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this area that concern GGUF files."""
    good = made()
    words = "A permuted matrix, stacked experts, a norm with 1 added, and integers, in a GGUF file."
    yield vector("quantize", "forms §4", words, released(good, {}), verified(3))
    for name in ("blk.0.attn_q.weight", "blk.0.exps.weight", "output_norm.weight", "ids"):
        words = f"One bit of {name} is another."
        yield vector(
            f"quantize-changed-{name.split('.')[-2] if '.' in name else name}",
            "forms §4",
            words,
            released(changed(good, name), {}),
            rejected("REPLAY_MISMATCH"),
        )
    words = "The file has a tensor that no target names."
    more = [*good, Tensor("zz", "F32", (1,), bytes(4))]
    yield vector("quantize-more", "forms §4.1", words, released(more, {}), rejected("REPLAY_MISMATCH"))
    words = "Two heads were stated where there are four."
    other = [{**TARGETS[0], "permuteHeads": 4}, *TARGETS[1:]]
    made_ = released(good, {"targets": other})
    yield vector("quantize-heads-other", "forms §4.2.1", words, made_, rejected("REPLAY_MISMATCH"))
    words = "A tensor of a type that is not computed, beside others that are."
    wide: Model = {**SOURCE, QUERY: tensor(QUERY, random("wide", "BF16", 1, 256))}
    k_quant = Tensor("blk.0.attn_q.weight", "GGML_Q4_K", (1, 256), bytes(BLOCKS["GGML_Q4_K"][1]))
    mixed = [k_quant if one.name == k_quant.name else one for one in good]
    target: Object = {"tensor": k_quant.name, "dtype": "GGML_Q4_K"}
    yield vector(
        "quantize-not-computed",
        "forms §4.1.4",
        words,
        released(mixed, {"targets": [target, *TARGETS[1:]]}, wide),
        incomplete("TYPE_NOT_REPLAYED"),
    )
    words = "The same, and one of the others is not what the step gives."
    yield vector(
        "quantize-not-computed-changed",
        "forms §4.1.4",
        words,
        released(changed(mixed, "ids"), {"targets": [target, *TARGETS[1:]]}, wide),
        rejected("REPLAY_MISMATCH", "TYPE_NOT_REPLAYED"),
    )
    words = "A type that is not computed is stated, and the file has another one."
    yield vector(
        "quantize-not-computed-other",
        "forms §4.1.4",
        words,
        released(good, {"targets": [{**target, "dtype": "GGML_Q6_K"}, *TARGETS[1:]]}),
        rejected("REPLAY_MISMATCH"),
    )
    first = TARGETS[0]
    invalid: dict[str, tuple[str, str, Object]] = {
        "missing": ("A source that is not there.", "§1.1", {**first, "sources": ["x"]}),
        "sources-unlike": ("Sources of two shapes.", "§4.1.1", {**first, "sources": [QUERY, EXPERTS[0]]}),
        "rows": ("Rows that are no blocks.", "§4.1.2", {**first, "dtype": "GGML_TQ2_0"}),
        "heads": ("Three heads of eight rows.", "§4.2.1", {**first, "permuteHeads": 3}),
        "integers": ("Integers as blocks.", "§4.1.3", {**first, "sources": [IDS], "permuteHeads": 1}),
        "to-integers": ("Numbers as integers.", "§4.1.2", {**first, "dtype": "I8"}),
    }
    for name, (words, clause, target) in invalid.items():
        given_ = released(good, {"targets": [target, *TARGETS[1:]]})
        yield vector(f"quantize-{name}", f"forms {clause}", words, given_, rejected("OPERAND_INVALID"))
    malformed: dict[str, tuple[str, str, Mapping[str, Any]]] = {
        "order": ("Targets out of order.", "§1.4", {"targets": TARGETS[::-1]}),
        "dtype": ("A dtype that GGUF does not have.", "§4.1", {"targets": [{**first, "dtype": "U8"}, *TARGETS[1:]]}),
        "both": ("`permuteHeads` and `add`.", "§4.1", {"targets": [{**first, "add": "1"}, *TARGETS[1:]]}),
        "source-twice": (
            "A source twice.",
            "§4.1.1",
            {"targets": [TARGETS[0], {**TARGETS[1], "sources": [EXPERTS[0]] * 2}, *TARGETS[2:]]},
        ),
        "no-heads": ("No heads.", "§4.2.1", {"targets": [{**first, "permuteHeads": 0}, *TARGETS[1:]]}),
        "no-sources": (
            "No sources, though it could be computed.",
            "§4.1.4",
            {"targets": [{"tensor": first["tensor"], "dtype": "F32"}, *TARGETS[1:]]},
        ),
        "add-text": ("`add` that is no number.", "§1.3", {"targets": [*TARGETS[:3], {**TARGETS[3], "add": "one"}]}),
    }
    for name, (words, clause, body) in malformed.items():
        given_ = released(good, body)
        # A step that cannot be read names no weight set.
        unread = ("UNVERIFIED_WEIGHTS",) if name == "no-heads" else ()
        outcome = rejected("PIPELINE_MALFORMED", *unread)
        yield vector(f"quantize-{name}", f"forms {clause}", words, given_, outcome)
    words = "A profile that nobody knows."
    given_ = released(good, {"profile": "ggml/v9"})
    yield vector("quantize-profile-unknown", "forms §4.3", words, given_, incomplete("PROFILE_UNKNOWN"))

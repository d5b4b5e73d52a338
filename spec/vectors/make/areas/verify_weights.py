"""Area `verify`: the weights of the folder, and weight sets."""

from __future__ import annotations

from collections.abc import Iterator

import toy
from folder import MERGED, A, B, Given, claim, given, merge_step, plain, rejected, vector, verified
from gguf_file import STRING, gguf, pair, string
from manifest import Files
from merkle import Tensor
from vector import Vector
from weights_file import framed

V = "verification V8"
GGUF = "model.gguf"
QUANTIZED = [
    Tensor("blk.0.w", "GGML_Q8_0", (2, 64), bytes(range(136))),
    Tensor("norm.w", "F32", (3,), bytes.fromhex("0000803f") * 3),
]
"""What a quantized model holds besides."""
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def quantized() -> Iterator[Vector]:
    """Yield a GGUF file beside the primary set, altered after signing."""
    pairs = [pair(b"general.architecture", STRING, string(b"llama"))]
    file = gguf(QUANTIZED, pairs)
    signed = given(plain(files=folder({WEIGHTS: toy.file(A), GGUF: file})))
    at = file.index(bytes(range(136)))
    cases = {
        "gguf-block": ("A byte of a block is another.", at + 3, ("TENSOR_MISMATCH",)),
        "gguf-metadata": ("A byte of a value is another.", file.index(b"llama"), ("HEADER_MISMATCH",)),
        "gguf-padding": ("A byte of padding is another.", at + 140, ("WEIGHTS_MALFORMED",)),
    }
    for name, (words, place, codes) in cases.items():
        changed = file[:place] + bytes([file[place] ^ 1]) + file[place + 1 :]
        made = signed.altered(files={GGUF: changed})
        yield vector(name, V, words, made, rejected(*codes, "UNVERIFIED_WEIGHTS"))
    words = "The padding at the end is cut off."
    made = signed.altered(files={GGUF: gguf(QUANTIZED, pairs, padded=False)})
    yield vector("gguf-not-padded", V, words, made, rejected("FILE_MISMATCH", "UNVERIFIED_WEIGHTS"))
    words = "Another GGUF file."
    other = [Tensor(one.name, one.dtype, one.shape, one.data[::-1]) for one in QUANTIZED]
    made = signed.altered(files={GGUF: gguf(other, pairs)})
    yield vector("gguf-other", V, words, made, rejected("TENSOR_MISMATCH", "UNVERIFIED_WEIGHTS"))


def other_weights(good: Given, made: toy.Model) -> Given:
    """Return the folder with other weights put in after signing."""
    return good.altered(files={WEIGHTS: toy.file(made)})


def tensors() -> Iterator[Vector]:
    """Yield weights that were altered after signing."""
    good = given(plain())
    rest = {name: one for name, one in A.items() if name != "norm.weight"}
    norm = A["norm.weight"]
    yield vector(
        "tensor-missing",
        V,
        "One tensor is gone.",
        other_weights(good, rest),
        rejected("HEADER_MISMATCH", "TENSOR_MISSING"),
    )
    extra = {**A, "zz.bias": Tensor("zz.bias", "F32", (1,), bytes(4))}
    yield vector(
        "tensor-extra", V, "One tensor more.", other_weights(good, extra), rejected("HEADER_MISMATCH", "TENSOR_EXTRA")
    )
    renamed = {**rest, "norm.bias": Tensor("norm.bias", norm.dtype, norm.shape, norm.data)}
    yield vector(
        "tensor-renamed",
        V,
        "One tensor under another name.",
        other_weights(good, renamed),
        rejected("HEADER_MISMATCH", "TENSOR_EXTRA", "TENSOR_MISSING"),
    )
    retyped = {**A, norm.name: Tensor(norm.name, "I32", norm.shape, norm.data)}
    yield vector(
        "tensor-retyped",
        V,
        "Another dtype, with the same bytes.",
        other_weights(good, retyped),
        rejected("HEADER_MISMATCH", "TENSOR_DTYPE_MISMATCH"),
    )
    reshaped = {**A, norm.name: Tensor(norm.name, norm.dtype, (2, 4), norm.data)}
    yield vector(
        "tensor-reshaped",
        V,
        "Another shape, with the same bytes.",
        other_weights(good, reshaped),
        rejected("HEADER_MISMATCH", "TENSOR_SHAPE_MISMATCH"),
    )
    changed = toy.with_data(A, "embed.weight", toy.flipped)
    yield vector(
        "tensor-changed",
        V,
        "One bit of one tensor was turned.",
        other_weights(good, changed),
        rejected("TENSOR_MISMATCH"),
    )
    yield vector(
        "tensors-all-changed",
        V,
        "The weights of another model, under the same names.",
        other_weights(good, B),
        rejected("TENSOR_MISMATCH"),
    )
    merged = given(claim())
    changed = toy.with_data(MERGED, "embed.weight", toy.flipped)
    words = "One bit of a merge was turned after signing: not as signed, while the step still gives what was signed."
    yield vector("tensor-changed-merge", V, words, other_weights(merged, changed), rejected("TENSOR_MISMATCH"))


def headers() -> Iterator[Vector]:
    """Yield files of which only the form was altered after signing."""
    good = given(plain())
    code = rejected("HEADER_MISMATCH")
    yield vector(
        "header-metadata",
        V,
        "Metadata was added.",
        good.altered(files={WEIGHTS: toy.file(A, metadata={"format": "pt"})}),
        code,
    )
    yield vector(
        "header-order",
        V,
        "The same tensors in another order.",
        good.altered(files={WEIGHTS: toy.file(A, order=sorted(A, reverse=True))}),
        code,
    )
    size = int.from_bytes(good.folder[WEIGHTS][:8], "little")
    header, data = good.folder[WEIGHTS][8 : 8 + size], good.folder[WEIGHTS][8 + size :]
    yield vector(
        "header-spaces",
        V,
        "Eight spaces more after the header.",
        good.altered(files={WEIGHTS: framed(header + b" " * 8, data)}),
        code,
    )
    bad = rejected("WEIGHTS_MALFORMED")
    yield vector(
        "weights-cut",
        V,
        "The last byte of the weights is missing.",
        good.altered(files={WEIGHTS: good.folder[WEIGHTS][:-1]}),
        bad,
    )
    yield vector(
        "weights-longer",
        V,
        "A byte after the weights.",
        good.altered(files={WEIGHTS: good.folder[WEIGHTS] + b"\x00"}),
        bad,
    )
    yield vector("weights-empty", V, "The weights are a file of no bytes.", good.altered(files={WEIGHTS: b""}), bad)
    twice = header.replace(b'"embed.weight"', b'"norm.weight":{},"embed.weight"', 1)
    yield vector(
        "weights-name-twice",
        V,
        "A tensor name twice in the header.",
        good.altered(files={WEIGHTS: framed(twice, data)}),
        bad,
    )


def folder(weights: Files) -> Files:
    """Return a folder of these weights and a `config.json`."""
    return {"config.json": b'{"model_type":"toy"}', **weights}


def sets() -> Iterator[Vector]:
    """Yield folders whose sets are clear."""
    shards = toy.sharded(MERGED)
    step = [merge_step(MERGED)]
    yield vector(
        "sharded",
        "manifest §5.1",
        "The merge in two shards.",
        given(claim(files=folder(shards), steps=step)),
        verified(3),
    )
    one = toy.file(A)
    cases = {
        "primary-diffusers": (
            "`diffusion_pytorch_model` is the primary set.",
            {"diffusion_pytorch_model.safetensors": one},
        ),
        "primary-only-top": ("The only set in the root.", {"town.safetensors": one}),
        "primary-only-nested": ("The only set of all.", {"unet/diffusion_pytorch_model.safetensors": one}),
        "set-sharded-nested": ("Two shards in a folder.", nested(toy.sharded(A))),
    }
    for name, (words, weights) in cases.items():
        yield vector(name, "manifest §5", words, given(plain(files=folder(weights))), verified(1))
    cases = {
        "set-second": ("A second set beside `model`.", {WEIGHTS: one, "other.safetensors": toy.file(B)}),
        "set-nested": (
            "A set in a folder beside one in the root.",
            {"town.safetensors": one, "sub/x.safetensors": toy.file(B)},
        ),
        "set-second-sharded": ("A second set, in shards.", {WEIGHTS: one, **toy.sharded(B, "other")}),
        "set-variant": ("A variant by its index.", {**toy.sharded(A), **variant(B)}),
        "set-gguf": ("Weights of another format.", {WEIGHTS: one, "model.gguf": gguf(QUANTIZED)}),
    }
    for name, (words, weights) in cases.items():
        made = given(plain(files=folder(weights)))
        yield vector(name, "manifest §5", words, made, verified(1, "UNVERIFIED_WEIGHTS"))
    merged = toy.folder(MERGED)
    yield from quantized()
    words = "A second set beside a merge: level 2 at most."
    merge = claim(files={**merged, "other.safetensors": one})
    yield vector("set-second-merge", "verification §5.3", words, given(merge), verified(2, "UNVERIFIED_WEIGHTS"))
    for name, path in (("pickle", "pytorch_model.bin"), ("pickle-pth-tar", "old/weights.pth.tar")):
        merge = claim(files={**merged, path: b"\x80\x04."})
        words = "A format that runs code when it is loaded."
        yield vector(name, "manifest §5", words, given(merge), verified(2, "PICKLE_WEIGHTS", "UNVERIFIED_WEIGHTS"))


def nested(files: Files) -> Files:
    """Return the files in a folder."""
    return {f"transformer/{path}": data for path, data in files.items()}


def variant(made: toy.Model) -> Files:
    """Return a variant fp16 of `model`, with its index."""
    names = list(made)
    path = "model.fp16-00001-of-00001.safetensors"
    return {path: toy.file(made), "model.safetensors.index.fp16.json": toy.index(dict.fromkeys(names, path))}


def ambiguous() -> Iterator[Vector]:
    """Yield what leaves open what loads. A good folder was signed; then it was altered."""
    extra, changed = rejected("FILE_EXTRA", "WEIGHTS_AMBIGUOUS"), rejected("FILE_MISMATCH", "WEIGHTS_AMBIGUOUS")
    single = given(plain())
    names = list(A)
    added = {"model-00001-of-00001.safetensors": toy.file(B)}
    added[INDEX] = toy.index(dict.fromkeys(names, "model-00001-of-00001.safetensors"))
    yield vector(
        "ambiguous-single-and-index",
        "manifest §5",
        "An index beside a single file of its prefix.",
        single.altered(files=added),
        extra,
    )
    own = {INDEX: toy.index(dict.fromkeys(names, WEIGHTS))}
    yield vector(
        "ambiguous-own-stem",
        "manifest §5",
        "An index that refers to the file of its own stem.",
        single.altered(files=own),
        extra,
    )
    yield vector(
        "ambiguous-orphan-shard",
        "manifest §5",
        "A shard to which no index refers.",
        single.altered(files={"other-00001-of-00002.safetensors": toy.file(B)}),
        extra,
    )
    taken = {"town.safetensors.index.json": toy.index(dict.fromkeys(names, WEIGHTS))}
    words = "An index of another stem that refers to `model.safetensors`, which loaders take alone."
    yield vector("ambiguous-index-of-model", "manifest §5", words, single.altered(files=taken), extra)
    twin = {"Model.Safetensors.Index.json": added[INDEX], "model-00001-of-00001.safetensors": toy.file(B)}
    words = "The index and the single file have one prefix where case does not count."
    yield vector("ambiguous-case", "manifest §5", words, single.altered(files=twin), extra)
    words = "A name that ends like safetensors only where case does not count."
    upper = {"OTHER.SAFETENSORS": toy.file(B)}
    yield vector("ambiguous-suffix-case", "manifest §5", words, single.altered(files=upper), extra)
    good = given(plain(files=folder(toy.sharded(A))))
    yield vector(
        "ambiguous-two-indexes",
        "manifest §5",
        "A second index of the same shards.",
        good.altered(files={"other.safetensors.index.json": good.folder[INDEX]}),
        extra,
    )
    for name, (words, weight_map) in weight_maps().items():
        made = good.altered(files={INDEX: toy.index(weight_map)})
        yield vector(f"ambiguous-map-{name}", "manifest §5", words, made, changed)
    twice = good.folder[INDEX].replace(
        b'"weight_map": {', b'"weight_map": {"norm.weight": "' + SHARDS[0].encode() + b'",'
    )
    yield vector(
        "ambiguous-map-twice",
        "manifest §5",
        "A tensor twice in the weight map.",
        good.altered(files={INDEX: twice}),
        changed,
    )


def weight_maps() -> dict[str, tuple[str, dict[str, str]]]:
    """Return weight maps that do not fit the shards."""
    names = list(A)
    good = dict.fromkeys(names[2:], SHARDS[0]) | dict.fromkeys(names[:2], SHARDS[1])
    return {
        "missing": ("A tensor that the weight map lacks.", {n: f for n, f in good.items() if n != names[0]}),
        "extra": ("A tensor that no file has.", good | {"more": SHARDS[0]}),
        "wrong-file": ("A tensor that is mapped to the other file.", good | {names[0]: SHARDS[0]}),
        "missing-file": ("A tensor that is mapped to a file that is not there.", good | {names[0]: "x.safetensors"}),
        "path": ("A path with a slash.", good | {names[0]: "./" + SHARDS[1]}),
        "not-safetensors": ("A file that is not safetensors.", good | {names[0]: "config.json"}),
    }


def ambiguous_signed() -> Iterator[Vector]:
    """Yield folders that were ambiguous when they were signed."""
    twins = {
        "w\u00e9": Tensor("w\u00e9", "F32", (1,), b"\x00\x00\x80\x3f"),
        "we\u0301": Tensor("we\u0301", "F32", (1,), b"\x00\x00\x00\x40"),
    }
    names = list(twins)
    weights = {SHARDS[number]: toy.file(twins, order=[name]) for number, name in enumerate(names)}
    weights[INDEX] = toy.index(dict(zip(names, SHARDS, strict=True)))
    words = "Two tensors in two shards whose names are equal after NFC; signed so."
    yield vector(
        "ambiguous-nfc", "manifest §5", words, given(plain(files=folder(weights))), rejected("WEIGHTS_AMBIGUOUS")
    )
    both = rejected("WEIGHTS_AMBIGUOUS", "UNVERIFIED_WEIGHTS")
    two = folder({WEIGHTS: toy.file(A), "other.safetensors": toy.file(B)})
    words = "The signer calls another set primary although there is a `model`."
    yield vector("ambiguous-primary-other", "manifest §5", words, given(plain(files=two, primary="other")), both)
    two = folder({"x.safetensors": toy.file(A), "y.safetensors": toy.file(B)})
    words = "Two sets in the root, none of a known name; the signer calls one primary."
    yield vector("ambiguous-primary-none", "manifest §5", words, given(plain(files=two, primary="x")), both)
    orphan = folder({WEIGHTS: toy.file(A), "other-00001-of-00002.safetensors": toy.file(B)})
    words = "A shard to which no index refers; signed so."
    yield vector("ambiguous-orphan-shard-signed", "manifest §5", words, given(plain(files=orphan)), both)


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this area that concern weights."""
    for part in (tensors, headers, sets, ambiguous, ambiguous_signed):
        yield from part()

"""Area `verify`: the files of the folder, and what makes a loader take something else."""

from __future__ import annotations

import json
from collections.abc import Iterator

import toy
from data import hexed
from folder import MERGED, A, claim, given, plain, rejected, vector, verified
from manifest import Files
from vector import Vector

V = "verification V7"
LFS = b"# large files\n\n*.none filter=lfs diff=lfs merge=lfs -text\n"


def config(**members: object) -> bytes:
    """Return a `config.json`."""
    return json.dumps({"model_type": "toy", **members}).encode()


def with_files(*without: str, **files: bytes) -> Files:
    """Return the plain folder with other files; a `__` in a keyword stands for a dot."""
    changed = {name.replace("__", "."): data for name, data in files.items()}
    return {**{path: data for path, data in toy.folder(A).items() if path not in without}, **changed}


def files() -> Iterator[Vector]:
    """Yield files that are missing, extra or changed after signing."""
    good = given(plain())
    code = rejected
    yield vector("file-missing", V, "`config.json` is gone.", good.altered("config.json"), code("FILE_MISSING"))
    yield vector("file-extra", V, "A file more.", good.altered(files={"notes.txt": b"x"}), code("FILE_EXTRA"))
    yield vector(
        "file-extra-empty", V, "An empty file more.", good.altered(files={"__init__.py": b""}), code("FILE_EXTRA")
    )
    words = "A file more below `attestation/`."
    yield vector(
        "file-extra-attestation",
        "manifest §4.1",
        words,
        good.altered(files={"attestation/notes.txt": b"x"}),
        code("FILE_EXTRA"),
    )
    yield vector(
        "file-changed",
        V,
        "`config.json` has one byte more.",
        good.altered(files={"config.json": good.folder["config.json"] + b" "}),
        code("FILE_MISMATCH"),
    )
    yield vector(
        "file-changed-same-size",
        V,
        "One bit of `config.json` was turned.",
        good.altered(files={"config.json": toy.flipped(good.folder["config.json"])}),
        code("FILE_MISMATCH"),
    )
    yield vector(
        "licence-changed",
        V,
        "The licence is not documentation.",
        good.altered(files={"LICENSE": b"Another.\n"}),
        code("FILE_MISMATCH"),
    )
    moved = good.altered("config.json", files={"Config.json": good.folder["config.json"]})
    yield vector("file-renamed", V, "A file under another name.", moved, code("FILE_MISSING", "FILE_EXTRA"))
    many = good.altered("config.json", files={"notes.txt": b"x", "LICENSE": b"Another.\n"})
    words = "Every finding is collected: one missing, one extra, one changed."
    yield vector("files-three", "verification §2", words, many, code("FILE_MISSING", "FILE_EXTRA", "FILE_MISMATCH"))
    nested = given(plain(files=with_files(**{"tokenizer/vocab__txt": b"a\nb\n"})))
    yield vector("file-nested", "manifest §3", "A file in a folder.", nested, verified(1))
    changed = nested.altered(files={"tokenizer/vocab.txt": b"b\na\n"})
    yield vector("file-nested-changed", V, "A file in a folder was changed.", changed, code("FILE_MISMATCH"))


def documentation() -> Iterator[Vector]:
    """Yield changes that are named, and do not reject."""
    good = given(claim())
    words = "The README was changed: named, and the weights stay verified."
    yield vector(
        "readme-changed", V, words, good.altered(files={"README.md": b"# City\n"}), verified(3, "DOCUMENTATION_CHANGED")
    )
    yield vector(
        "readme-missing", V, "The README is gone.", good.altered("README.md"), verified(3, "DOCUMENTATION_CHANGED")
    )
    yield vector(
        "image-extra",
        V,
        "An image more.",
        good.altered(files={"assets/plot.PNG": b"\x89PNG"}),
        verified(3, "DOCUMENTATION_CHANGED"),
    )
    words = "A README changed, and a configuration: the second rejects."
    both = good.altered(files={"README.md": b"# City\n", "config.json": b"{}"})
    yield vector("readme-and-config-changed", V, words, both, rejected("DOCUMENTATION_CHANGED", "FILE_MISMATCH"))


def exempt() -> Iterator[Vector]:
    """Yield files that the manifest does not list."""
    good = given(plain())
    lfs = {"folder/.gitattributes": hexed(LFS)}
    words = "A `.gitattributes` of LFS lines, added after signing."
    yield vector("gitattributes-lfs", "manifest §4.3", words, good.altered(place=lfs), verified(1))
    words = "A `.gitattributes` with a line that is not of LFS, added after signing."
    other = {"folder/.gitattributes": hexed(LFS + b"*.txt text eol=crlf\n")}
    yield vector("gitattributes-other", "manifest §4.3", words, good.altered(place=other), rejected("FILE_EXTRA"))
    words = "A `.gitattributes` line of LFS with one attribute more."
    more = {"folder/.gitattributes": hexed(b"*.none filter=lfs diff=lfs merge=lfs -text eol=lf\n")}
    yield vector("gitattributes-more", "manifest §4.3", words, good.altered(place=more), rejected("FILE_EXTRA"))
    words = "What Git, the Hub's client and this project's tools leave behind, and a `model.sig` that is no bundle."
    left = {
        "folder/.git/config": hexed(b"[core]\n"),
        "folder/.cache/huggingface/download/config.json.metadata": hexed(b"x\n"),
        "folder/.attest/steps/001.json": hexed(b"{}"),
        "folder/model.sig": hexed(b"{}"),
    }
    outcome = verified(1, "OMS_BUNDLE_MALFORMED")
    yield vector("exempt", "manifest §4", words, good.altered(place=left), outcome)
    words = "Documentation beside the attestation: not exempt, and not documentation of the model."
    beside = good.altered(place={"folder/attestation/README.md": hexed(b"# All is well")})
    yield vector("attestation-readme", "manifest §4.1", words, beside, rejected("FILE_EXTRA"))
    words = "The same names elsewhere are files like any others."
    elsewhere = good.altered(place={"folder/sub/model.sig": hexed(b"{}"), "folder/sub/.attest/001.json": hexed(b"{}")})
    yield vector("exempt-elsewhere", "manifest §4", words, elsewhere, rejected("FILE_EXTRA"))
    words = "Another folder below `.cache/`."
    cache = good.altered(place={"folder/.cache/other/x": hexed(b"x")})
    yield vector("exempt-other-cache", "manifest §4.4", words, cache, rejected("FILE_EXTRA"))


def paths() -> Iterator[Vector]:
    """Yield paths that are not safe, added after signing."""
    good = given(plain())
    for name, path, words in (
        ("bidi", "notes\u202etxt.exe", "A bidirectional override."),
        ("newline", "notes\n.txt", "A newline."),
        ("backslash", "notes\\..\\x.txt", "Backslashes."),
        ("not-nfc", "note\u0301.txt", "A name that is not in NFC."),
    ):
        made = good.altered(place={f"folder/{path}": hexed(b"x")})
        yield vector(f"path-unsafe-{name}", "manifest §2", words, made, rejected("FILE_PATH_UNSAFE"))


def loaders() -> Iterator[Vector]:
    """Yield what would make a loader take something else; all of it is signed so."""
    redirected, elsewhere = rejected("WEIGHTS_REDIRECTED"), verified(3, "CODE_ELSEWHERE")
    away = with_files(config__json=config(transformers_weights="other.safetensors"))
    yield vector(
        "redirect-other",
        V,
        "`transformers_weights` names a file that is not of the primary set.",
        given(plain(files=away)),
        redirected,
    )
    here = with_files(config__json=config(transformers_weights="model.safetensors"))
    yield vector(
        "redirect-self",
        V,
        "`transformers_weights` names the primary set's file.",
        given(plain(files=here)),
        verified(1),
    )
    shards = toy.sharded(A)
    one_shard = {**shards, "config.json": config(transformers_weights=sorted(shards)[0])}
    words = "`transformers_weights` names one shard of the primary set, which would load alone."
    yield vector("redirect-shard", V, words, given(plain(files=one_shard)), redirected)
    adapter = {"adapter_config.json": config(base_model_name_or_path="org/base")}
    beside = {**toy.folder(A), **adapter}
    yield vector(
        "adapter-beside", V, "An `adapter_config.json` beside a model.", given(plain(files=beside)), redirected
    )
    weights = toy.folder(A)
    adapted = {**adapter, "adapter_model.safetensors": weights["model.safetensors"], "README.md": b"# Adapter\n"}
    yield vector(
        "adapter-base-elsewhere",
        V,
        "The primary set is an adapter of a base that is elsewhere.",
        given(plain(files=adapted)),
        verified(1, "ADAPTER_BASE_ELSEWHERE"),
    )
    merged_adapter = {**adapter, "adapter_model.safetensors": toy.folder(MERGED)["model.safetensors"]}
    words = "A merge of adapters: every step is reproduced, and still the model is elsewhere."
    yield vector(
        "adapter-merge",
        "verification §5",
        words,
        given(claim(files=merged_adapter)),
        verified(2, "ADAPTER_BASE_ELSEWHERE"),
    )
    for name, value in (
        ("auto-map-elsewhere", {"AutoModel": "org/code--modeling.Town"}),
        ("auto-map-elsewhere-list", {"AutoTokenizer": ["tokenization.Slow", "org/code--tokenization.Fast"]}),
    ):
        made = claim(files={**toy.folder(MERGED), "config.json": config(auto_map=value)})
        yield vector(name, V, "Code of another repository.", given(made), elsewhere)
    nested = config(text_config={"auto_map": {"AutoModel": "org/code--modeling.Town"}})
    made = claim(files={**toy.folder(MERGED), "processor_config.json": nested})
    yield vector("auto-map-nested", V, "Code of another repository, in a part of another file.", given(made), elsewhere)
    local = {"AutoModel": "modeling.Town", "AutoTokenizer": [None, "tokenization.Fast"]}
    made = claim(files={**toy.folder(MERGED), "config.json": config(auto_map=local), "modeling.py": b"pass\n"})
    yield vector("auto-map-here", V, "Code of this folder.", given(made), verified(3))


def vectors() -> Iterator[Vector]:
    """Yield the vectors of this area that concern files."""
    for part in (files, documentation, exempt, paths, loaders):
        yield from part()

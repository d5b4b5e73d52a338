from __future__ import annotations

from pathlib import Path
from typing import Any

from model_verify import merkle
from model_verify.sources.local import LocalFolder
from model_verify.tensors import TensorInfo
from model_verify.weight_files import read_weight_file
from tests.vectors.vector import Vector

AREA = "tree"


def test_roots_are_those_of_the_vector(vector: Vector) -> None:
    if vector.input["kind"] == "pair":
        one = check(vector, vector.input["a"], vector.expected["a"])
        other = check(vector, vector.input["b"], vector.expected["b"])
        assert (one == other) is vector.expected["equal"]
    else:
        check(vector, vector.input, vector.expected)


def check(vector: Vector, subject: dict[str, Any], expected: dict[str, Any]) -> bytes:
    """Compare one subject with what is expected of it, and return its root."""
    match subject["kind"]:
        case "strings":
            head = merkle.head([merkle.leaf(vector.data(string)) for string in subject["strings"]])
            assert f"sha256:{head.hex()}" == expected["head"]
            return head
        case "tensor":
            info = TensorInfo("", subject["dtype"], tuple(subject["shape"]))
            leaves = merkle.chunk_leaves(vector.data(subject["data"]))
            root = merkle.tensor_root(leaves)
            assert info.size_bytes == expected["size_bytes"]
            assert info.chunk_count == expected["chunks"] == len(leaves)
            assert [f"sha256:{leaf.hex()}" for leaf in leaves] == expected["leaves"]
            assert root.text == expected["root"]
            return root.raw
        case "checkpoint":
            data = {tensor["name"]: vector.data(tensor["data"]) for tensor in subject["tensors"]}
            infos = [TensorInfo(t["name"], t["dtype"], tuple(t["shape"])) for t in subject["tensors"]]
            return check_checkpoint(infos, data, expected)
        case "files":
            infos, data = read_files(vector.folder, subject["files"])
            return check_checkpoint(infos, data, expected)
    raise AssertionError(subject["kind"])


def check_checkpoint(infos: list[TensorInfo], data: dict[str, bytes], expected: dict[str, Any]) -> bytes:
    roots = {info.name: merkle.tensor_root(merkle.chunk_leaves(data[info.name])) for info in infos}
    assert roots.keys() == {tensor["name"] for tensor in expected["tensors"]}
    for tensor in expected["tensors"]:
        assert roots[tensor["name"]].text == tensor["root"]
    by_name = {info.name: info for info in infos}
    entries = [merkle.entry(by_name[tensor["name"]], roots[tensor["name"]]) for tensor in expected["tensors"]]
    assert [entry.decode() for entry in entries] == expected["entries"]
    root = merkle.checkpoint_root((info, roots[info.name]) for info in reversed(infos))
    assert root.text == expected["checkpoint_root"]
    return root.raw


def read_files(folder: Path, paths: list[str]) -> tuple[list[TensorInfo], dict[str, bytes]]:
    source = LocalFolder(folder)
    infos: list[TensorInfo] = []
    data: dict[str, bytes] = {}
    for path in paths:
        with source.open(path) as file:
            for tensor in read_weight_file(file).tensors:
                infos.append(tensor.info)
                data[tensor.info.name] = file.read(tensor.offset, tensor.info.size_bytes)
    return infos, data

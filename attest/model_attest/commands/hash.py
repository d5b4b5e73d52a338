"""`attest hash`: the checkpoint root of a folder or a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from model_attest import console
from model_attest.commands.arguments import JsonFlag, ThreadsOption
from model_attest.console import Answer

if TYPE_CHECKING:
    from model_attest.commands.documents import HashAnswer


def hash_weights(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="A model folder, a weight index, or one .safetensors file.")
    ],
    tensors: Annotated[bool, typer.Option("--tensors", help="Also print the root of every tensor.")] = False,
    threads: ThreadsOption = None,
    json: JsonFlag = False,
) -> Answer:
    """Print the checkpoint root of weights.

    It is one name for them, however they are stored. For a folder it is the root of the weight set that loaders take.

    \b
    exit codes
      0  the root is on stdout
      2  could not read the weights, or they are no safetensors that a loader would take

    \b
    example
      attest hash ./model --tensors
    """
    from model_attest.commands.documents import HashAnswer, HashedTensor, members
    from model_attest.diff import open_weights, read_weights

    weights = open_weights(path)
    with console.progress("hashing", lambda: weights.size_bytes) as advance:
        (checkpoint,), _ = read_weights([weights], threads=threads, progress=advance)
    ordered = sorted(checkpoint.tensors.values(), key=lambda tensor: tensor.info.name.encode("utf-8"))
    answer = HashAnswer(
        path=path,
        checkpoint_root=checkpoint.root,
        tensor_count=len(ordered),
        size_bytes=weights.size_bytes,
        files=list(weights.files),
        other_weight_sets=list(weights.other_sets),
        tensors=[
            HashedTensor(name=t.info.name, dtype=t.info.dtype, shape=list(t.info.shape), root=t.root) for t in ordered
        ]
        if tensors
        else None,
    )
    return Answer(_lines(answer), members(answer), notes=_notes(answer))


def _lines(answer: HashAnswer) -> list[str]:
    lines = [f"{answer.checkpoint_root}  {answer.path}"]
    lines += [f"{tensor.root}  {tensor.dtype} {tensor.shape}  {tensor.name}" for tensor in answer.tensors or ()]
    return lines


def _notes(answer: HashAnswer) -> list[str]:
    return [f"note: {other} is a weight set of its own and not in this root" for other in answer.other_weight_sets]

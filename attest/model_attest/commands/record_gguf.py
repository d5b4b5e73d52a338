"""`attest record gguf`: a GGUF file that was made of a model's weights."""

from __future__ import annotations

from typing import Annotated

import typer

from model_attest import console
from model_attest.commands.arguments import (
    Device,
    DeviceOption,
    JsonFlag,
    ThreadsOption,
    folder_at,
    place,
    weight_bytes,
)
from model_attest.commands.record_replayed import replayed_answer
from model_attest.console import Answer


def record_gguf(
    source: Annotated[str, typer.Argument(metavar="SRC", help="The model whose weights were converted.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="The GGUF file, in the model folder to be signed.")],
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = None,
    json: JsonFlag = False,
) -> Answer:
    """Record that FILE holds the weights of SRC, tensor by tensor, in the formats of ggml.

    What each tensor was made of is found by its content, and all of it is replayed. Tensors of types that nobody can
    compute, as K-quants, are named; with them a verifier leaves the step unchecked.

    \b
    exit codes
      0  the record is in the folder of FILE
      2  could not record: a tensor of FILE comes from nothing in SRC

    \b
    example
      attest record gguf ./merged ./merged/model-q8_0.gguf
    """
    from model_attest.record.gguf import record_gguf

    folder = folder_at(source)
    with console.progress("replaying", lambda: weight_bytes([folder])) as advance:
        result = record_gguf(folder, place(file), device=device.value, threads=threads, progress=advance)
    return replayed_answer(str(result.path.parents[2]), result)

"""`attest record dequantize`: FP8 weights that were read as numbers."""

from __future__ import annotations

from typing import Annotated

import typer

from model_attest import console
from model_attest.commands.arguments import Device, DeviceOption, JsonFlag, ThreadsOption, folder_at, weight_bytes
from model_attest.commands.record_replayed import replayed_answer
from model_attest.console import Answer


def record_dequantize(
    source: Annotated[str, typer.Argument(metavar="SRC", help="The model with FP8 weights and their scales.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="The same in BF16, F16 or F32.")],
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = None,
    json: JsonFlag = False,
) -> Answer:
    """Record that OUT holds the FP8 weights of SRC as numbers.

    Pairs weights and scales by their names, `weight_scale_inv` or `weight_scale`, and replays all of OUT.

    \b
    exit codes
      0  the record is in OUT
      2  could not record: SRC stores its weights in another way, or OUT is something else

    \b
    example
      attest record dequantize ./deepseek-fp8 ./deepseek-bf16
    """
    from model_attest.record.dequantize import record_dequantize

    folders = [folder_at(text) for text in (source, out)]
    with console.progress("replaying", lambda: weight_bytes(folders)) as advance:
        result = record_dequantize(*folders, device=device.value, threads=threads, progress=advance)
    return replayed_answer(out, result)

"""`attest record form`: a model in another form."""

from __future__ import annotations

from typing import Annotated

import typer

from model_attest import console
from model_attest.commands.arguments import Device, DeviceOption, JsonFlag, ThreadsOption, folder_at, weight_bytes
from model_attest.commands.record_replayed import replayed_answer
from model_attest.console import Answer


def record_form(
    source: Annotated[str, typer.Argument(metavar="SRC", help="The model before.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="The same weights in another form.")],
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = None,
    json: JsonFlag = False,
) -> Answer:
    """Record that OUT is SRC cast to another format, with tensors dropped or renamed, or in other files.

    Sees what was done from both folders, and replays all of it. Where SRC has step records, they come along.

    \b
    exit codes
      0  the records are in OUT
      2  could not record: OUT is something else

    \b
    example
      attest record form ./trained-fp32 ./release-bf16
    """
    from model_attest.record.form import record_form

    folders = [folder_at(text) for text in (source, out)]
    with console.progress("replaying", lambda: weight_bytes(folders)) as advance:
        result = record_form(*folders, device=device.value, threads=threads, progress=advance)
    return replayed_answer(out, result)

"""`attest record lora`: an adapter that was merged into its base."""

from __future__ import annotations

from typing import Annotated

import typer

from model_attest import console
from model_attest.commands.arguments import Device, DeviceOption, JsonFlag, ThreadsOption, folder_at, weight_bytes
from model_attest.commands.record_replayed import replayed_answer
from model_attest.console import Answer


def record_lora(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The model that the adapter is for.")],
    adapter: Annotated[str, typer.Argument(metavar="ADAPTER", help="The adapter, with its adapter_config.json.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="The merged model.")],
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = None,
    json: JsonFlag = False,
) -> Answer:
    """Record that OUT is BASE with a LoRA adapter merged into it.

    Reads what to add where from the adapter, finds the way of merging that gives OUT, and replays all of it.

    \b
    exit codes
      0  the record is in OUT
      2  could not record: the adapter is of a kind that cannot be replayed, or OUT is something else

    \b
    example
      attest record lora ./base ./adapter ./merged
    """
    from model_attest.record.lora import record_lora

    folders = [folder_at(text) for text in (base, adapter, out)]
    with console.progress("replaying", lambda: weight_bytes(folders)) as advance:
        result = record_lora(*folders, device=device.value, threads=threads, progress=advance)
    return replayed_answer(out, result)

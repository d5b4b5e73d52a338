"""`attest record`: state how a model came to be that was made without attest. One file for each of its commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from model_attest.commands.record_dequantize import record_dequantize
from model_attest.commands.record_form import record_form
from model_attest.commands.record_gguf import record_gguf
from model_attest.commands.record_lora import record_lora
from model_attest.commands.record_mergekit import record_mergekit
from model_attest.commands.record_train import record_train
from model_attest.console import Answer

HELP = """Record a step that other tools made.

`attest sign` absorbs it. What can be replayed is replayed first; all else will be the signer's word.
"""
COMMANDS: Mapping[str, Callable[..., Answer]] = {
    "form": record_form,
    "mergekit": record_mergekit,
    "train": record_train,
    "lora": record_lora,
    "dequantize": record_dequantize,
    "gguf": record_gguf,
}

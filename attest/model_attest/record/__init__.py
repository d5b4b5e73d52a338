"""Steps as they happen: recorded beside the model that they gave, for `attest sign` to absorb.

What a training loop needs is here: `record_training` for any loop, `AttestCallback` for transformers' Trainer, and
`data_set` to name data with its digest.

    steps           `.attest/steps/NNN.json`: one step each
    inputs          what goes into a step, hashed, with the steps that gave it
    training        any training loop: `record_training`
    training_run    what is recorded while it runs, and the step that comes of it
    training_file   a training that is described in a file; `plain_file` reads it
    training_check  whether the result can be that of such a training
    loading         the form in which a library loads the base
    progress        what is kept of a training on its way
    command         a command that is run, and what it gave; `child` runs it, `tools` knows its versions
    curve, values   losses and settings in a form that a record can hold
    data            data sets
    repository      the code that runs
    surroundings    software, devices, processes
    confidential    what is left out
    callback        transformers' Trainer: `AttestCallback`
    trainer         what it knows of its training
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from model_attest.record.steps import (
    MAX_RECORD_BYTES,
    RECORD_FOLDER,
    merge_materials,
    read_records,
    replace_records,
    write_record,
)

if TYPE_CHECKING:
    from model_attest.record.callback import AttestCallback, RecordingWarning
    from model_attest.record.data import data_set
    from model_attest.record.training import record_training
    from model_attest.record.training_run import TrainingRun

__all__ = [
    "MAX_RECORD_BYTES",
    "RECORD_FOLDER",
    "AttestCallback",
    "RecordingWarning",
    "TrainingRun",
    "data_set",
    "merge_materials",
    "read_records",
    "record_training",
    "replace_records",
    "write_record",
]

_MODULES = {
    "AttestCallback": "callback",
    "RecordingWarning": "callback",
    "TrainingRun": "training_run",
    "data_set": "data",
    "record_training": "training",
}
"""What is imported when it is asked for: the callback needs transformers, and `attest sign` needs none of it."""


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)

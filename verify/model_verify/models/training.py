"""What is recorded of a training, and of a command that was run. Spec: pipeline §4, §7.

All of it is the signer's word. Every list and text is bounded, so that a hostile statement is too.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from model_verify.canonical import MAX_INTEGER
from model_verify.models.wire import (
    Maybe,
    Open,
    Size,
    WireChainDigest,
    WireCheckpointRoot,
    WireFileDigest,
)

MAX_ENTRIES = 1024
"""Of a list or an object in a record, unless it says otherwise."""
MAX_CHECKPOINTS = 4096
MAX_LOSS_POINTS = 1024
MAX_TEXT = 4096

Name = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)]
Decimal = Annotated[
    str, StringConstraints(max_length=128, pattern=r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?\z")
]
"""A number by the grammar of merge §1."""
Loss = Decimal | Literal["nan", "inf", "-inf"]
Seed = Annotated[str, StringConstraints(pattern=r"^-?(0|[1-9][0-9]{0,19})\z")]
"""Text, because seeds have 64 bits and integers here 53."""
Uri = Annotated[str, StringConstraints(min_length=1, max_length=2048)]


def _is_in_the_calendar(text: str) -> str:
    datetime.fromisoformat(text.removesuffix("Z") + "+00:00")
    return text


Moment = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\z"),
    AfterValidator(_is_in_the_calendar),
]
"""RFC 3339 in UTC, to the second."""
MaybeEmpty = Annotated[str, StringConstraints(max_length=MAX_TEXT)]
Settings = Annotated[
    dict[Name, bool | Annotated[int, Field(ge=-MAX_INTEGER, le=MAX_INTEGER)] | MaybeEmpty],
    Field(max_length=MAX_ENTRIES),
]
Environment = Annotated[dict[Name, MaybeEmpty], Field(max_length=MAX_ENTRIES)]
Versions = Annotated[
    dict[Name, Annotated[str, StringConstraints(min_length=1, max_length=256)]], Field(max_length=MAX_ENTRIES)
]


class FullTraining(Open):
    """The trainable tensors themselves were trained."""

    name: Literal["full"]


class LoraTraining(Open):
    """Low-rank matrices were trained: `rank` is the largest one, `targets` name the modules that have them."""

    name: Literal["lora"]
    rank: Annotated[int, Field(ge=1, le=1 << 20)]
    alpha: Decimal
    targets: Annotated[list[Text], Field(min_length=1, max_length=MAX_ENTRIES)]


class OtherTraining(Open):
    name: Literal["other"]
    description: Text


TrainingMethod = Annotated[FullTraining | LoraTraining | OtherTraining, Field(discriminator="name")]
Objective = Literal["pretraining", "supervised", "preference", "reinforcement", "distillation", "other"]


class DataSet(Open):
    """Data that went in. What is left out is not known.

    `digest` is that of one file, or (`digestOf` is `files`) of the list of several.
    """

    name: Text
    uri: Maybe[Uri] = None
    revision: Maybe[Name] = None
    split: Maybe[Name] = None
    rows: Maybe[Size] = None
    digest: Maybe[WireFileDigest] = None
    digest_of: Maybe[Literal["file", "files"]] = None
    fingerprint: Maybe[Name] = None
    """What a library calls the data by; not a digest that others could compute."""

    @model_validator(mode="after")
    def _digest_says_of_what(self) -> DataSet:
        if (self.digest is None) != (self.digest_of is None):
            raise ValueError("`digest` and `digestOf` come together")
        return self


class Script(Open):
    """The file that was started; `path` is relative to the repository."""

    path: Text
    file_digest: WireFileDigest


class Code(Open):
    """The repository of the code that ran; `diff` is the digest of what was not committed, or `none`."""

    uri: Maybe[Uri] = None
    commit: Maybe[Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})\z")]] = None
    diff: Maybe[Literal["none"] | WireFileDigest] = None
    script: Maybe[Script] = None


class HardwareDevice(Open):
    name: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    count: Annotated[int, Field(ge=1, le=1 << 24)]


class Hardware(Open):
    """Devices of all machines together, and how many processes worked on them."""

    devices: Annotated[list[HardwareDevice], Field(max_length=MAX_ENTRIES)]
    processes: Maybe[Annotated[int, Field(ge=1, le=1 << 24)]] = None


class RecordedCheckpoint(Open):
    """Weights on the way; `chain` is the digest of pipeline §4.9."""

    step: Size
    checkpoint_root: WireCheckpointRoot
    chain: WireChainDigest


class LossPoint(Open):
    step: Size
    loss: Loss


class LossCurve(Open):
    """Of `logged` points every `stride`-th, from the first on, and the last one."""

    logged: Size
    stride: Annotated[int, Field(ge=1, le=1 << 52)]
    points: Annotated[list[LossPoint], Field(max_length=MAX_LOSS_POINTS)]


class Resumption(Open):
    """An interrupted training went on from a checkpoint."""

    step: Size
    at: Moment


class TrainingRecord(Open):
    """What the signer says of a training, beyond what went in and what came out."""

    method: TrainingMethod
    objective: Maybe[Objective] = None
    data: Maybe[Annotated[list[DataSet], Field(max_length=MAX_ENTRIES)]] = None
    code: Maybe[Code] = None
    hyperparameters: Maybe[Settings] = None
    seeds: Maybe[Annotated[dict[Name, Seed], Field(max_length=MAX_ENTRIES)]] = None
    software: Maybe[Versions] = None
    hardware: Maybe[Hardware] = None
    started: Maybe[Moment] = None
    finished: Maybe[Moment] = None
    resumed: Maybe[Annotated[list[Resumption], Field(max_length=MAX_ENTRIES)]] = None
    recorded_from: Maybe[Size] = None
    """The step from which on this was recorded, where that is not the beginning."""
    checkpoints: Maybe[Annotated[list[RecordedCheckpoint], Field(max_length=MAX_CHECKPOINTS)]] = None
    loss: Maybe[LossCurve] = None

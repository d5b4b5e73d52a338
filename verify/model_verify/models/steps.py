"""Steps: how a checkpoint came from others. Spec: pipeline §2 to §5."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from model_verify.models.training import Environment, Moment, TrainingRecord, Versions
from model_verify.models.wire import FloatDtype, Identifier, Maybe, Open, Size, Wire, WireCheckpointRoot

DecimalText = Annotated[str, StringConstraints(min_length=1, max_length=128)]
"""A number by the grammar of merge §1."""
TensorName = Annotated[str, StringConstraints(max_length=4096)]
TensorNames = Annotated[list[TensorName], Field(min_length=1)]
TensorSelection = Literal["rest"] | TensorNames
MAX_ARGUMENTS = 4096
MAX_ARGUMENT = 1 << 15
"""Characters."""


class StepOutput(Open):
    """`weight_set` is the prefix of a weight set of the manifest that is not the primary one. Spec: pipeline §2."""

    checkpoint_root: WireCheckpointRoot
    weight_set: Maybe[Annotated[str, StringConstraints(min_length=1, max_length=4096)]] = None


class StepHead(Open):
    """What every step has, whatever its type."""

    id: Identifier
    type: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    inputs: list[Identifier] = Field(min_length=1)
    output: StepOutput


# Merges. Spec: pipeline §3.


class Coefficient(Wire):
    decimal: Annotated[str, StringConstraints(max_length=128)]
    float32: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}\z")]


class CopyOperation(Open):
    """Tensors as they are in one input; `names` are their names there, where these are others."""

    op: Literal["copy"]
    tensors: TensorSelection
    source: Identifier = Field(alias="from")
    names: Maybe[TensorNames] = None


class ComputedOperation(Open):
    """What operations that compute have in common.

    `inputs` are those of the step's inputs that take part, in order; all of them where it is left out. `names` gives,
    for an input that knows the tensors by other names, these names, one for each of `tensors`.
    """

    tensors: TensorSelection
    inputs: Maybe[Annotated[list[Identifier], Field(min_length=1)]] = None
    names: Maybe[dict[Identifier, TensorNames]] = None
    dtype: FloatDtype


class LinearOperation(ComputedOperation):
    op: Literal["linear"]
    normalize: bool
    coefficients: list[Coefficient]


class MergekitOperation(ComputedOperation):
    """An operation of a mergekit profile: `op` is mergekit's `merge_method`. Spec: merge §5."""

    op: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}\z")]
    compute_dtype: FloatDtype
    base: Maybe[Identifier] = None
    parameters: dict[str, DecimalText | bool]
    """Of the operation: by the method's own section of merge §5, all of them written out."""
    input_parameters: list[dict[str, DecimalText]]
    """Of each input that takes part, in their order; an empty object for one that has none, as a base has."""


class MergeStep(StepHead):
    type: Literal["merge"]
    profile: Literal["linear/f64-v1"]
    operations: list[Annotated[LinearOperation | CopyOperation, Field(discriminator="op")]] = Field(min_length=1)


class MergekitStep(StepHead):
    type: Literal["merge"]
    profile: Literal["mergekit-0.1.4", "mergekit-0.1.5/fma", "mergekit-0.1.5/nofma"]
    operations: list[CopyOperation | MergekitOperation] = Field(min_length=1)


# Steps that give one checkpoint another form. Spec: pipeline §6.


class CastStep(StepHead):
    """Every tensor that is F32, BF16 or F16, or the ones listed, rounded to `dtype`; the others as they are."""

    type: Literal["cast"]
    tensors: Literal["floating"] | TensorNames
    dtype: FloatDtype


class ReshardStep(StepHead):
    """The same tensors in other files."""

    type: Literal["reshard"]


class RenameStep(StepHead):
    """The tensors in `names` under new names, the others as they are."""

    type: Literal["rename"]
    names: Annotated[dict[TensorName, TensorName], Field(min_length=1)]


class DropStep(StepHead):
    """All tensors but those listed."""

    type: Literal["drop"]
    tensors: TensorNames


# Steps that change the form with an arithmetic of their own. Spec: forms.


class LoraTarget(Open):
    """A matrix to which the product of two tensors of the adapter is added."""

    tensor: TensorName
    a: TensorName
    b: TensorName
    scale: DecimalText
    transposed: bool
    delta_dtype: Maybe[FloatDtype] = None


class Replacement(Open):
    """A tensor of the adapter that takes the place of one of the base, or is new."""

    tensor: TensorName
    source: TensorName = Field(alias="from")


class LoraStep(StepHead):
    """An adapter merged into its base; the first input is the base, the second the adapter."""

    type: Literal["lora"]
    profile: Literal["lora/f64-v1", "peft"]
    dtype: Maybe[FloatDtype] = None
    targets: list[LoraTarget] = Field(min_length=1)
    replaced: Maybe[Annotated[list[Replacement], Field(min_length=1)]] = None


class DequantizeTarget(Open):
    """Codes, and the scales of their blocks."""

    tensor: TensorName
    scale: TensorName
    block: Annotated[list[Annotated[Size, Field(ge=1)]], Field(min_length=1)]


class DequantizeStep(StepHead):
    """FP8 codes as numbers; the scales are left out, and so are the tensors in `dropped`."""

    type: Literal["dequantize"]
    dtype: FloatDtype
    targets: list[DequantizeTarget] = Field(min_length=1)
    dropped: Maybe[TensorNames] = None


class QuantizeTarget(Open):
    """A tensor of a GGUF file; `sources` may be left out where its dtype is not computed."""

    tensor: TensorName
    dtype: Annotated[str, StringConstraints(max_length=32)]
    sources: Maybe[TensorNames] = None
    permute_heads: Maybe[Annotated[Size, Field(ge=1)]] = None
    add: Maybe[DecimalText] = None


class QuantizeStep(StepHead):
    """Tensors in the formats of ggml, each with the tensors that it is made of."""

    type: Literal["quantize"]
    profile: Literal["ggml/nofma", "ggml/fma"]
    targets: list[QuantizeTarget] = Field(min_length=1)


# What is taken at the signer's word. Spec: pipeline §4, §7.


class TrainStep(StepHead):
    """The first input is what is trained, the others are its `teachers`.

    `trainable` is `adapter` where the output is an adapter to the input, and not a checkpoint in its place.
    """

    type: Literal["train"]
    trainable: Literal["all", "adapter"] | TensorNames
    teachers: Maybe[Annotated[list[Identifier], Field(min_length=1)]] = None
    record: Maybe[TrainingRecord] = None


class RunStep(StepHead):
    """A command that was run with the inputs at hand, and that left the output behind."""

    type: Literal["run"]
    command: Annotated[
        list[Annotated[str, StringConstraints(max_length=MAX_ARGUMENT)]],
        Field(min_length=1, max_length=MAX_ARGUMENTS),
    ]
    software: Maybe[Versions] = None
    environment: Maybe[Environment] = None
    started: Maybe[Moment] = None
    finished: Maybe[Moment] = None


ReplayedStep = (
    MergeStep | MergekitStep | CastStep | ReshardStep | RenameStep | DropStep | LoraStep | DequantizeStep | QuantizeStep
)
"""Steps whose output is computed again."""
STEP_MODELS = (
    MergeStep,
    MergekitStep,
    CastStep,
    ReshardStep,
    RenameStep,
    DropStep,
    LoraStep,
    DequantizeStep,
    QuantizeStep,
    TrainStep,
    RunStep,
)
KnownStep = Annotated[
    Annotated[MergeStep | MergekitStep, Field(discriminator="profile")]
    | CastStep
    | ReshardStep
    | RenameStep
    | DropStep
    | LoraStep
    | DequantizeStep
    | QuantizeStep
    | TrainStep
    | RunStep,
    Field(discriminator="type"),
]

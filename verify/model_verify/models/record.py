"""Working records of the publisher, unsigned. `attest merge` writes them, `attest sign` absorbs them."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from model_verify.models.statement import Material
from model_verify.models.steps import KnownStep
from model_verify.models.wire import Wire


class StepRecord(Wire):
    """`.attest/steps/NNN.json`: one step, and the materials that it names."""

    document_schema: Literal["https://model-attest.github.io/step-record/v1"] = Field(alias="schema")
    materials: list[Material]
    step: KnownStep

    model_config = ConfigDict(populate_by_name=True)

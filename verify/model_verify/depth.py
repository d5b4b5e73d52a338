"""How much of a model is read, and what is said of what is not. Spec: hub §4."""

from __future__ import annotations

from enum import Enum

from model_verify.findings import Finding
from model_verify.judgement import Judgement
from model_verify.manifest import infos, primary
from model_verify.models import Manifest
from model_verify.pipeline import Pipeline, output_root
from model_verify.report import ReportCoverage, ReportMaterial, ReportStep


class Depth(Enum):
    FULL = "full"
    """Every byte of the model and of its parents."""
    HUB = "hub"
    """No weights: the digests that the Hub states, which is trusted for content."""


def unread(manifest: Manifest, pipeline: Pipeline) -> Judgement:
    """Return the judgement on weights that nobody has read: every material and every step is unchecked."""
    tensors = infos(primary(manifest))
    total_bytes = sum(info.size_bytes for info in tensors.values())
    return Judgement(
        findings=[Finding("WEIGHTS_NOT_READ", primary(manifest).prefix, f"{total_bytes} bytes", "the Hub's digests")],
        materials=[
            ReportMaterial(
                id=material.name,
                uri=material.uri,
                root=material.digest.checkpoint_root,
                status="unchecked",
                license=material.license,
            )
            for material in pipeline.materials
        ],
        steps=[
            ReportStep(
                id=step.id,
                type=step.type,
                profile=getattr(step, "profile", None),
                inputs=list(step.inputs),
                output_root=output_root(step),
                verdict="unchecked",
            )
            for step in pipeline.steps
        ],
        coverage=ReportCoverage(
            tensors=len(tensors),
            tensors_hashed=0,
            tensors_reproduced=0,
            bytes=total_bytes,
            bytes_hashed=0,
            bytes_reproduced=0,
        ),
    )

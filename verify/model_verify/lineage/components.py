"""The part of a model that a tensor belongs to, by its name. Spec: pipeline §4.12.

For people who read a report, so that "the norms stood still" can be seen at a glance. Nothing is decided by it.
"""

from __future__ import annotations

import re
from typing import Literal

Component = Literal["embedding", "attention", "mlp", "experts", "router", "norm", "head", "other"]

_RULES: tuple[tuple[Component, re.Pattern[str]], ...] = (
    ("head", re.compile(r"lm_head|embed_out|score|classifier")),
    ("router", re.compile(r"gate|router|.*_router|shared_expert_gate")),
    ("experts", re.compile(r"experts?|shared_experts?")),
    ("norm", re.compile(r".*norm.*|ln_?[0-9a-z]*")),
    ("embedding", re.compile(r".*embed.*|wte|wpe")),
    ("attention", re.compile(r".*attn.*|.*attention.*")),
    ("mlp", re.compile(r".*mlp.*|.*ffn.*|feed_?forward|fc[0-9]")),
)
"""The first rule that some part of the name matches decides; parts lie between full stops."""


def component_of(name: str) -> Component:
    """Return the component of the tensor `name`; `other` where no rule speaks."""
    parts = name.lower().split(".")
    return next((component for component, rule in _RULES if any(rule.fullmatch(part) for part in parts)), "other")

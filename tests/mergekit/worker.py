"""Runs the real mergekit, 0.1.4 or 0.1.5, for tests: one JSON request a line on stdin, one JSON answer a line.

    {"do": "plan", "config": TEXT}                  what goes into each output tensor, and with which parameters
    {"do": "merge", "config": TEXT, "out": FOLDER}  run it; options of mergekit's are further members
    {"do": "tables"}                                what stands before and after the layers, by architecture

A process of its own, because mergekit needs seconds to import and warns as it does so. Paths are absolute.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TQDM_DISABLE"] = "1"

import mergekit.plan
import torch
import yaml
from mergekit import merge as merging
from mergekit.architecture import get_architecture_info
from mergekit.architecture.json_definitions import JSON_ARCHITECTURES
from mergekit.config import MergeConfiguration
from mergekit.io.tasks import LoaderCache
from mergekit.merge_methods import get as get_method
from mergekit.options import MergeOptions

IS_0_1_4 = not hasattr(mergekit.plan, "resolve_parameters")


class Recorder:
    """Stands in for a method of 0.1.4 and keeps what the planner asks of it."""

    def __init__(self, method: Any) -> None:
        self.method = method
        self.asked: dict[str, dict[str, Any]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.method, name)

    def make_task(self, **asked: Any) -> Any:
        self.asked[asked["output_weight"].name] = asked
        return self.method.make_task(**asked)


def plan(config: MergeConfiguration, options: MergeOptions) -> list[dict[str, Any]]:
    architecture = get_architecture_info(config, options)
    LoaderCache().setup(options=options)
    out = merging._model_out_config(config, architecture)
    planner = mergekit.plan.MergePlanner(config, architecture, options, out)
    recorder = Recorder(get_method(config.merge_method))
    if IS_0_1_4:
        planner._method = recorder
    planner._plan()
    return list(_outputs(planner._tensors, recorder))


def _outputs(tensors: Any, recorder: Recorder) -> Iterator[dict[str, Any]]:
    for weight, task in tensors:
        if IS_0_1_4:
            asked = recorder.asked[weight.name]
            gather, base = asked["tensors"], asked["base_model"]
            shared, own = asked["parameters"].data, asked["tensor_parameters"].data
        else:
            gather, base = task.gather_tensors, task.base_model
            shared, own = dict(task.parameters.items()), dict(task.input_parameters.items())
        operands = []
        for model, load in zip(gather.weight_info.keys(), gather.arguments().values()):  # noqa: B905
            name = load._resolve_name(LoaderCache().get(model))
            if name is not None:
                operands.append({"model": str(model), "tensor": name, "own": dict(own[model].items())})
        yield {
            "name": weight.name,
            "operands": operands,
            "base": None if base is None else str(base),
            "shared": dict(shared),
        }


def tables() -> dict[str, dict[str, list[Any]]]:
    """Return the names that stand before and after the layers, and what is tied to what."""
    found: dict[str, dict[str, list[Any]]] = {}
    for architecture in JSON_ARCHITECTURES:
        for name in architecture.architectures:
            for module in architecture.modules.values():
                definition = module.architecture.definition
                entry = found.setdefault(name, {"modules": [], "before": [], "after": [], "tied": []})
                entry["modules"].append(module.weight_prefix)
                entry["before"] += [weight.name for weight in definition.pre_weights]
                entry["after"] += [weight.name for weight in definition.post_weights]
                entry["tied"] += [
                    [weight.name, list(weight.tied_names)] for weight in definition.post_weights if weight.tied_names
                ]
    return found


def answer(request: dict[str, Any]) -> Any:
    if request["do"] == "tables":
        return tables()
    config = MergeConfiguration.model_validate(yaml.safe_load(request["config"]))
    options = MergeOptions(quiet=True, copy_tokenizer=False, **request.get("options", {}))
    if request["do"] == "plan":
        return plan(config, options)
    torch.manual_seed(0)
    merging.run_merge(config, request["out"], options, config_source=request["config"])
    return None


def main() -> None:
    logging.disable(logging.CRITICAL)
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever else prints
    torch.set_num_threads(1)
    for line in sys.stdin:
        try:
            result = {"answer": answer(json.loads(line))}
        except Exception as error:
            result = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        LoaderCache().loaders.clear()
        answers.write(json.dumps(result) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()

"""What a transformers trainer knows of its training: base, method, objective, hyperparameters.

Everything is looked at by its attributes, so that neither TRL nor PEFT has to be installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from model_attest.record.training_run import Trainable
from model_attest.record.values import decimal, safe_text
from model_verify.errors import CallerError
from model_verify.models import MAX_ENTRIES, FullTraining, LoraTraining, Objective, OtherTraining, TrainingMethod

_OBJECTIVES: Mapping[str, Objective] = {
    "SFTConfig": "supervised",
    "DPOConfig": "preference",
    "KTOConfig": "preference",
    "CPOConfig": "preference",
    "ORPOConfig": "preference",
    "BCOConfig": "preference",
    "RewardConfig": "preference",
    "GRPOConfig": "reinforcement",
    "RLOOConfig": "reinforcement",
    "PPOConfig": "reinforcement",
    "DistillationConfig": "distillation",
    "GKDConfig": "distillation",
    "MiniLLMConfig": "distillation",
}
"""By the class of the arguments, or one that it inherits from. For plain arguments nothing says what they are for."""

_NO_HYPERPARAMETERS = re.compile(
    r"output_dir|logging_dir|run_name|project|report_to|resume_from_checkpoint|disable_tqdm|log_.*|push_to_hub.*|hub_.*"
    r"|trackio_.*|_.*|do_(train|eval|predict)|local_rank|skip_memory_metrics|ray_scope|debug|logging_.*|save_.*"
    r"|eval_.*|.*_full_eval|batch_eval_metrics|per_device_eval_batch_size|prediction_loss_only|include_for_metrics"
    r"|dataloader_(num_workers|pin_memory|persistent_workers|prefetch_factor)|ddp_timeout|enable_jit_checkpoint"
    r"|restore_callback_states_from_checkpoint|include_num_input_tokens_seen|use_cpu"
)
"""Arguments that name places and accounts, or that say how it is watched, saved and told, and change no weight."""
_PLAIN_INITIALISATIONS = (True, False, "gaussian", "orthogonal", "eva")
"""Of LoRA: those that begin with an adapter that changes nothing. The others change the base, too."""


def base_of(model: Any) -> str:
    """Return what a model was loaded from. Raises `CallerError` where it does not know."""
    adapter = _adapter_config(model)
    reference = getattr(adapter, "base_model_name_or_path", None)
    config = getattr(model, "config", None)
    reference = reference or getattr(config, "_name_or_path", None)
    if not isinstance(reference, str) or not reference:
        raise CallerError(
            "the model does not say what it was loaded from",
            hint="name it: `AttestCallback(base=FOLDER)`; one that was made anew has to be saved first",
        )
    commit = getattr(config, "_commit_hash", None)
    return f"{reference}@{commit}" if commit else reference


def method_of(model: Any) -> TrainingMethod:
    """Return how a model is trained, as its PEFT configuration says it; in full without one."""
    config = _adapter_config(model)
    if config is None:
        return FullTraining(name="full")
    kind = safe_text(getattr(config.peft_type, "value", config.peft_type))
    start = getattr(config, "init_lora_weights", True)
    variants = [name for name in ("use_dora", "use_qalora", "use_bdlora") if getattr(config, name, False)]
    variants += [] if start in _PLAIN_INITIALISATIONS else [f"init_lora_weights {safe_text(start)}"]
    if kind != "LORA" or variants:
        return OtherTraining(name="other", description=", ".join([kind, *variants]))
    ranks = [config.r, *(getattr(config, "rank_pattern", None) or {}).values()]
    targets = [*_names(config.target_modules), *_names(getattr(config, "target_parameters", None))]
    return LoraTraining(
        name="lora",
        rank=max(ranks),
        alpha=decimal(config.lora_alpha) if isinstance(config.lora_alpha, float) else str(config.lora_alpha),
        targets=[safe_text(name) for name in targets][:MAX_ENTRIES] or ["chosen by PEFT"],
    )


def objective_of(args: Any) -> Objective | None:
    """Return what a training is for, where the class of its arguments says it."""
    classes = (kind.__name__ for kind in type(args).__mro__)
    return next((_OBJECTIVES[name] for name in classes if name in _OBJECTIVES), None)


def teachers_of(args: Any) -> list[str]:
    """Return the teacher that the arguments of a distillation name; a teacher that is an object has to be named."""
    reference = getattr(args, "teacher_model_name_or_path", None)
    revision = getattr(args, "teacher_model_revision", None)
    if not isinstance(reference, str) or not reference:
        return []
    return [f"{reference}@{revision}" if revision else reference]


def trainable_of(model: Any) -> Trainable:
    """Return what the training is free to change: the adapter, everything, or the tensors that need gradients.

    What is kept in buffers, such as running means, changes without gradients.
    """
    if _adapter_config(model) is not None:
        return "adapter"
    parameters = dict(model.named_parameters())
    if all(parameter.requires_grad for parameter in parameters.values()):
        return "all"
    free = [name for name, parameter in parameters.items() if parameter.requires_grad]
    kept = model.state_dict().keys() - parameters.keys()
    return sorted({*free, *(name for name, _ in model.named_buffers() if name in kept)}, key=str.encode)


def hyperparameters_of(args: Any, state: Any, model: Any, optimizer: Any) -> dict[str, object]:
    """Return the arguments of a training, resolved, without what names places and accounts."""
    found = {name: value for name, value in args.to_dict().items() if not _NO_HYPERPARAMETERS.fullmatch(name)}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found["trained_steps"] = state.max_steps
    found["trained_parameters"] = sum(parameter.numel() for parameter in parameters)
    found["trained_dtypes"] = sorted({str(parameter.dtype).removeprefix("torch.") for parameter in parameters})
    found["total_train_batch_size"] = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    if optimizer is not None:
        found["optimizer"] = type(getattr(optimizer, "optimizer", optimizer)).__name__
    return found


def _adapter_config(model: Any) -> Any:
    """Return the configuration of a PEFT model's active adapter; None for any other model."""
    configs = getattr(model, "peft_config", None)
    if not isinstance(configs, Mapping) or not configs:
        return None
    active = getattr(model, "active_adapter", None)
    return configs.get(active) or next(iter(configs.values()))


def _names(value: str | Iterable[str] | None) -> list[str]:
    match value:
        case None:
            return []
        case str():
            return [value]
        case _:
            return sorted(value)

"""The callback in real trainers: transformers' own, TRL's, with PEFT models; resumed, crashed, and signed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments
from trl import DistillationConfig, DistillationTrainer, DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from model_attest.record import AttestCallback, RecordingWarning, read_records
from model_attest.record.progress import PROGRESS_PATH
from model_attest.sign import sign_folder
from model_verify.errors import CallerError
from model_verify.models import LoraTraining, TrainingRecord, TrainStep
from model_verify.procedure import Request, verify
from model_verify.report import Report
from model_verify.sources.local import LocalFolder
from tests.models import new_signer
from tests.publisher.conftest import expected_root
from tests.recording.tiny import TEXTS, new_model, new_tokenizer, rows

pytestmark = [
    # The libraries tell each other what they will no longer have.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:(torch|trl|peft|transformers|accelerate)"),
]

ARGUMENTS: dict[str, Any] = {
    "max_steps": 6, "per_device_train_batch_size": 4, "learning_rate": 1e-2, "logging_steps": 1, "save_steps": 2,
    "report_to": "none", "disable_tqdm": True, "use_cpu": True, "seed": 7,
}  # fmt: skip


def arguments(folder: str = "out", **changes: Any) -> TrainingArguments:
    return TrainingArguments(output_dir=folder, **{**ARGUMENTS, **changes})


def trainer(base: Path, callback: TrainerCallback, *more: TrainerCallback, **changes: Any) -> Trainer:
    model = AutoModelForCausalLM.from_pretrained(base)
    return Trainer(model, arguments(**changes), train_dataset=rows(), callbacks=[callback, *more])  # type: ignore[arg-type]


def the_step(folder: Path) -> TrainStep:
    (record,) = read_records(folder)
    assert isinstance(record.step, TrainStep)
    return record.step


def the_record(folder: Path) -> TrainingRecord:
    record = the_step(folder).record
    assert record is not None
    return record


def signed_and_verified(folder: Path, **parents: Path) -> Report:
    signer = new_signer()
    sign_folder(folder, signer)
    given = {name: LocalFolder(place) for name, place in parents.items()}
    return verify(Request(LocalFolder(folder), expected_signer=signer.public_key, parents=given, device="cpu"))


def test_a_training_is_recorded_by_itself_and_verifies(base: Path, home: Path) -> None:
    here = trainer(base, AttestCallback())
    here.train()
    here.save_model("tuned")
    assert not (home / "out" / PROGRESS_PATH).exists()
    step, record = the_step(home / "out"), the_record(home / "out")
    assert (step.inputs, step.trainable, step.teachers) == (["base"], "all", None)
    assert step.output.checkpoint_root.text == expected_root(home / "tuned" / "model.safetensors")
    (material,) = read_records(home / "out")[0].materials
    assert f"sha256:{material.digest.checkpoint_root.hex}" == expected_root(base / "model.safetensors")
    assert [one.step for one in record.checkpoints or ()] == [2, 4, 6]
    roots = [one.checkpoint_root.text for one in record.checkpoints or ()]
    assert roots == [expected_root(home / "out" / f"checkpoint-{n}" / "model.safetensors") for n in (2, 4, 6)]
    assert record.loss is not None
    logged = [entry["loss"] for entry in here.state.log_history if "loss" in entry]
    assert [float(point.loss) for point in record.loss.points] == logged
    settings = record.hyperparameters or {}
    assert (settings["learning_rate"], settings["max_steps"], settings["optimizer"]) == ("0.01", 6, "AdamW")
    assert not {name for name in settings if "output_dir" in name or "token" in name.split("_")[-1:]}
    assert record.seeds == {"training": "7"}
    assert (record.software or {})["torch"] == torch.__version__
    assert record.hardware is not None
    assert record.hardware.devices
    assert record.objective is None
    assert record.data is not None
    assert (record.data[0].name, record.data[0].rows, record.data[0].digest) == ("list", 24, None)
    (home / "out" / ".attest").rename(home / "tuned" / ".attest")
    report = signed_and_verified(home / "tuned", base=base)
    assert (report.verdict, report.level, report.headline) == (
        "VERIFIED", 2, "VERIFIED level 2: training is the signer's word",
    )  # fmt: skip
    assert any("recorded of step train" in item.what for item in report.not_checked)


def test_the_record_lies_where_the_model_will_be_saved(base: Path, home: Path) -> None:
    here = trainer(base, AttestCallback(folder="tuned", base_name="town", name="tune"))
    here.train()
    here.save_model("tuned")
    assert not (home / "out" / ".attest").exists()
    assert (the_step(home / "tuned").id, the_step(home / "tuned").inputs) == ("tune", ["town"])
    report = signed_and_verified(home / "tuned", town=base)
    assert (report.verdict, report.level) == ("VERIFIED", 2)


@pytest.mark.parametrize("changes", [{"save_strategy": "no"}, {"save_steps": 4}])
def test_weights_that_no_checkpoint_has_are_recorded_all_the_same(
    base: Path, home: Path, changes: dict[str, Any]
) -> None:
    here = trainer(base, AttestCallback(), **{"max_steps": 5, "save_strategy": "steps", **changes})
    here.train()
    here.save_model()
    step, record = the_step(home / "out"), the_record(home / "out")
    assert step.output.checkpoint_root.text == expected_root(home / "out" / "model.safetensors")
    assert (record.checkpoints or [])[-1].step == 5
    assert not [path for path in (home / "out").iterdir() if "stage" in path.name]


def test_the_best_checkpoint_is_recorded_where_it_is_loaded_at_the_end(base: Path, home: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base)
    best = {"load_best_model_at_end": True, "metric_for_best_model": "loss", "greater_is_better": True}
    plan = arguments(eval_strategy="steps", eval_steps=2, **best)
    here = Trainer(model, plan, train_dataset=rows(), eval_dataset=rows()[:4], callbacks=[AttestCallback()])  # type: ignore[arg-type]
    here.train()
    here.save_model()
    assert here.state.best_global_step == 2
    step, record = the_step(home / "out"), the_record(home / "out")
    assert step.output.checkpoint_root.text == expected_root(home / "out" / "model.safetensors")
    steps = [(one.step, one.checkpoint_root == step.output.checkpoint_root) for one in record.checkpoints or ()]
    assert steps == [(2, True), (4, False), (6, False), (6, True)]


class Crash(TrainerCallback):
    """Ends the training like a power failure, after a step."""

    def __init__(self, step: int, *, on: str = "on_step_end") -> None:
        self.step = step
        setattr(self, on, self.fall)

    def fall(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


def test_a_training_that_crashed_leaves_nothing_to_sign_and_goes_on(base: Path, home: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trainer(base, AttestCallback(), Crash(5)).train()
    assert read_records(home / "out") == []
    assert (home / "out" / PROGRESS_PATH).exists()
    again = trainer(base, AttestCallback())
    again.train(resume_from_checkpoint=True)
    again.save_model()
    record = the_record(home / "out")
    assert [one.step for one in record.checkpoints or ()] == [2, 4, 6]
    assert record.loss is not None
    assert [point.step for point in record.loss.points] == [1, 2, 3, 4, 5, 6]
    assert [one.step for one in record.resumed or ()] == [4]
    assert record.recorded_from is None
    assert not (home / "out" / PROGRESS_PATH).exists()


def test_a_checkpoint_that_was_saved_and_not_recorded_is_caught_up_with(base: Path, home: Path) -> None:
    """The crash falls between the trainer's saving and the callback's turn."""
    with pytest.raises(KeyboardInterrupt):
        trainer(base, Crash(4, on="on_save"), AttestCallback()).train()
    trainer(base, AttestCallback()).train(resume_from_checkpoint=True)
    assert [one.step for one in the_record(home / "out").checkpoints or ()] == [2, 4, 6]


def test_a_training_resumed_without_what_was_recorded_says_so(base: Path, home: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trainer(base, AttestCallback(), Crash(5)).train()
    (home / "out" / PROGRESS_PATH).unlink()
    trainer(base, AttestCallback()).train(resume_from_checkpoint=True)
    record = the_record(home / "out")
    assert record.recorded_from == 4
    assert [one.step for one in record.checkpoints or ()] == [4, 6]
    assert record.loss is not None
    assert record.loss.logged == 6  # the trainer kept them


def test_a_resumed_training_of_other_weights_is_refused(base: Path, home: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trainer(base, AttestCallback(), Crash(5)).train()
    new_model(seed=1).save_pretrained("other")
    with pytest.raises(CallerError, match="is a training of sha256"):
        trainer(base, AttestCallback(base="other")).train(resume_from_checkpoint=True)


def test_a_training_started_over_replaces_what_was_recorded(base: Path, home: Path) -> None:
    for rate in (1e-2, 2e-2):
        trainer(base, AttestCallback(), learning_rate=rate).train()
    assert (the_record(home / "out").hyperparameters or {})["learning_rate"] == "0.02"
    assert len(list((home / "out" / ".attest").glob("replaced-*/001.json"))) == 1


def test_frozen_tensors_are_not_called_trainable(base: Path, home: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base)
    for parameter in model.model.layers[0].parameters():
        parameter.requires_grad = False
    here = Trainer(model, arguments(), train_dataset=rows(), callbacks=[AttestCallback()])  # type: ignore[arg-type]
    here.train()
    here.save_model("tuned")
    trainable = the_step(home / "out").trainable
    assert "model.layers.1.mlp.up_proj.weight" in trainable
    assert not [name for name in trainable if name.startswith("model.layers.0.")]
    (home / "out" / ".attest").rename(home / "tuned" / ".attest")
    assert signed_and_verified(home / "tuned", base=base).verdict == "VERIFIED"


def test_an_adapter_is_recorded_as_one(base: Path, home: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base)
    low_rank = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], rank_pattern={"v_proj": 6})
    peft_model = get_peft_model(model, low_rank)
    here = Trainer(peft_model, arguments(), train_dataset=rows(), callbacks=[AttestCallback()])  # type: ignore[arg-type]
    here.train()
    here.save_model("adapter")
    step = the_step(home / "out")
    assert step.trainable == "adapter"
    assert step.output.checkpoint_root.text == expected_root(home / "adapter" / "adapter_model.safetensors")
    method = the_record(home / "out").method
    assert method == LoraTraining(name="lora", rank=6, alpha="8", targets=["q_proj", "v_proj"])
    (home / "out" / ".attest").rename(home / "adapter" / ".attest")
    (home / "adapter" / "training_args.bin").unlink()
    report = signed_and_verified(home / "adapter", base=base)
    assert (report.verdict, report.level) == ("VERIFIED", 2)
    assert [found.code for found in report.findings if found.severity != "note"] == ["ADAPTER_BASE_ELSEWHERE"]


def test_trls_sft_with_an_adapter(base: Path, home: Path) -> None:
    plan = SFTConfig(output_dir="out", max_length=32, **ARGUMENTS)
    texts = Dataset.from_dict({"text": TEXTS})
    here = SFTTrainer(
        str(base),
        args=plan,
        train_dataset=texts,
        processing_class=new_tokenizer(),
        peft_config=LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj"]),
        callbacks=[AttestCallback()],
    )
    here.train()
    here.save_model()
    step, record = the_step(home / "out"), the_record(home / "out")
    assert (record.objective, record.method.name, step.trainable) == ("supervised", "lora", "adapter")
    assert step.output.checkpoint_root.text == expected_root(home / "out" / "adapter_model.safetensors")
    assert record.data is not None
    assert record.data[0].rows == len(TEXTS)
    assert record.data[0].fingerprint


def test_a_base_that_was_loaded_in_another_format_is_cast_by_a_step(base: Path, home: Path) -> None:
    """TRL loads a model that it is given by name in float32, whatever its format is."""
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained("narrow")
    plan = SFTConfig(output_dir="out", max_length=32, **{**ARGUMENTS, "max_steps": 2})
    texts = Dataset.from_dict({"text": TEXTS})
    here = SFTTrainer(
        "narrow", args=plan, train_dataset=texts, processing_class=new_tokenizer(), callbacks=[AttestCallback()]
    )
    here.train()
    here.save_model("tuned")
    (home / "out" / ".attest").rename(home / "tuned" / ".attest")
    assert [record.step.id for record in read_records(home / "tuned")] == ["cast", "train"]
    report = signed_and_verified(home / "tuned", narrow=home / "narrow")
    assert [(step.id, step.verdict) for step in report.steps] == [("cast", "reproduced"), ("train", "attested")]


def test_trls_distillation_names_its_teacher(base: Path, home: Path) -> None:
    new_model(seed=3).save_pretrained("teacher")
    new_tokenizer().save_pretrained("teacher")
    plan = DistillationConfig(
        output_dir="out", max_completion_length=8, teacher_model_name_or_path="teacher",
        **{**ARGUMENTS, "max_steps": 2},
    )  # fmt: skip
    tokenizer = new_tokenizer()
    tokenizer.padding_side = "left"
    here = DistillationTrainer(
        str(base),
        teacher_model="teacher",
        args=plan,
        train_dataset=Dataset.from_dict({"prompt": TEXTS}),
        processing_class=tokenizer,
        callbacks=[AttestCallback()],
    )
    here.train()
    here.save_model()
    step, record = the_step(home / "out"), the_record(home / "out")
    assert (step.inputs, step.teachers, record.objective) == (["base", "teacher"], ["teacher"], "distillation")


def test_trls_dpo(base: Path, home: Path) -> None:
    plan = DPOConfig(output_dir="out", max_length=32, **{**ARGUMENTS, "max_steps": 2})
    pairs = Dataset.from_dict({"prompt": TEXTS, "chosen": [" agreed"] * 24, "rejected": [" refused"] * 24})
    here = DPOTrainer(
        str(base), args=plan, train_dataset=pairs, processing_class=new_tokenizer(), callbacks=[AttestCallback()]
    )
    here.train()
    here.save_model()
    step, record = the_step(home / "out"), the_record(home / "out")
    assert (record.objective, step.trainable) == ("preference", "all")
    assert step.output.checkpoint_root.text == expected_root(home / "out" / "model.safetensors")
    assert "beta" in (record.hyperparameters or {})


def test_a_model_made_anew_has_to_name_its_base(home: Path) -> None:
    here = Trainer(new_model(), arguments(), train_dataset=rows(), callbacks=[AttestCallback()])  # type: ignore[arg-type]
    with pytest.raises(CallerError, match="does not say what it was loaded from"):
        here.train()
    assert not (home / "out" / ".attest").exists()


def test_a_callback_records_one_training(base: Path, home: Path) -> None:
    here = trainer(base, AttestCallback())
    here.train()
    with pytest.raises(CallerError, match="has recorded a training"):
        here.train()


def test_what_cannot_be_recorded_is_warned_of_and_the_training_goes_on(base: Path, home: Path) -> None:
    """The model is saved with more tokens than the base has: no training gives other shapes."""
    model = AutoModelForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(70)
    here = Trainer(model, arguments(), train_dataset=rows(), callbacks=[AttestCallback()])  # type: ignore[arg-type]
    with pytest.warns(RecordingWarning, match=r"`lm_head.weight` was F32 \[64, 32\] and is F32 \[70, 32\]"):
        here.train()
    assert here.state.global_step == 6
    assert read_records(home / "out") == []


def test_a_loss_that_is_not_finite_is_recorded(base: Path, home: Path) -> None:
    callback = AttestCallback()
    here = trainer(base, callback)
    here.add_callback(SpoilLoss())
    here.callback_handler.callbacks.sort(key=lambda one: isinstance(one, AttestCallback))
    here.train()
    assert [point.loss for point in the_record(home / "out").loss.points][:2] == ["nan", "inf"]  # type: ignore[union-attr]


class SpoilLoss(TrainerCallback):
    """Makes the first losses what they are in a training that blows up."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if state.global_step <= 2 and "loss" in logs:
            logs["loss"] = (float("nan"), float("inf"))[state.global_step - 1]


def test_no_warning_without_a_reason(base: Path, home: Path) -> None:
    here = trainer(base, AttestCallback())
    with warnings.catch_warnings():
        warnings.simplefilter("error", RecordingWarning)
        here.train()

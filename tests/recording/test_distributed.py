"""Recording with Accelerate's own loop, and in two real processes that train one model together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM

from model_attest.record import read_records, record_training
from model_verify.models import TrainStep
from tests.publisher.conftest import expected_root
from tests.recording.tiny import rows

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 300

SCRIPT = """
import sys
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments
from model_attest.record import AttestCallback
from tests.recording.tiny import rows

args = TrainingArguments("out", max_steps=4, save_steps=2, logging_steps=1, use_cpu=True, report_to="none",
                         per_device_train_batch_size=2, disable_tqdm=True)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
trainer = Trainer(model, args, train_dataset=rows(), callbacks=[AttestCallback()])
trainer.train()
trainer.save_model()
"""


def test_a_loop_of_accelerates(base: Path, home: Path) -> None:
    accelerator = Accelerator(cpu=True)
    model = AutoModelForCausalLM.from_pretrained(base)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data: list[dict[str, torch.Tensor]] = [{k: torch.tensor(v) for k, v in row.items()} for row in rows()]
    loader = DataLoader(data, batch_size=4)  # type: ignore[arg-type]
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    with record_training(
        "tuned", base, is_writer=accelerator.is_main_process, processes=accelerator.num_processes
    ) as run:
        for step, batch in enumerate(loader, start=1):
            loss = model(**batch).loss
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            run.log(step, loss.item())
        accelerator.unwrap_model(model).save_pretrained("tuned")
    step_made = read_records(home / "tuned")[0].step
    assert isinstance(step_made, TrainStep)
    assert step_made.record is not None
    assert step_made.output.checkpoint_root.text == expected_root(home / "tuned" / "model.safetensors")
    assert step_made.record.loss is not None
    assert step_made.record.loss.logged == 6
    assert (step_made.record.software or {}).keys() >= {"accelerate", "torch", "transformers"}


@pytest.mark.slow
def test_of_two_processes_the_first_records(base: Path, home: Path) -> None:
    (home / "train.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "train.py", str(base)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    (record,) = read_records(home / "out")
    assert isinstance(record.step, TrainStep)
    assert record.step.record is not None
    assert record.step.output.checkpoint_root.text == expected_root(home / "out" / "model.safetensors")
    assert [one.step for one in record.step.record.checkpoints or ()] == [2, 4]
    assert record.step.record.hardware is not None
    assert record.step.record.hardware.processes == 2
    assert record.step.record.hardware.devices[0].count == 1
    assert record.step.record.code is not None
    assert record.step.record.code.script is not None
    assert record.step.record.code.script.path == "train.py"

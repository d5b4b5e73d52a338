"""A language model of characters, small enough to be trained in seconds and real in everything else."""

# Shape suffixes: B texts of a batch, T characters of a text, C width, V characters that there are, H heads.

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

ALPHABET = "\n" + "".join(map(chr, range(32, 127)))
CONTEXT = 64
WIDTH = 96
LAYERS = 2
HEADS = 4

BATCH = 8
LEARNING_RATE = 2e-3


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(WIDTH)
        self.attention_in = nn.Linear(WIDTH, 3 * WIDTH)
        self.attention_out = nn.Linear(WIDTH, WIDTH)
        self.mlp_norm = nn.LayerNorm(WIDTH)
        self.mlp_up = nn.Linear(WIDTH, 4 * WIDTH)
        self.mlp_down = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x_BTC: Tensor) -> Tensor:
        batch, length, _ = x_BTC.shape
        parts = self.attention_in(self.attention_norm(x_BTC)).view(batch, length, 3, HEADS, WIDTH // HEADS)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each B, H, T, C/H
        seen = scaled_dot_product_attention(query, key, value, is_causal=True)
        x_BTC = x_BTC + self.attention_out(seen.transpose(1, 2).reshape(batch, length, WIDTH))
        grown: Tensor = self.mlp_down(nn.functional.gelu(self.mlp_up(self.mlp_norm(x_BTC))))
        return x_BTC + grown


class CharacterModel(nn.Module):
    """A transformer that predicts the next character."""

    position_ids: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.characters = nn.Embedding(len(ALPHABET), WIDTH)
        self.positions = nn.Embedding(CONTEXT, WIDTH)
        self.layers = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, len(ALPHABET), bias=False)
        # Integers cannot be blended: a merge has to say whose they are.
        self.register_buffer("position_ids", torch.arange(CONTEXT).unsqueeze(0))

    def forward(self, text_BT: Tensor) -> Tensor:
        """Return logits as B, T, V."""
        x_BTC = self.characters(text_BT) + self.positions(self.position_ids[:, : text_BT.shape[1]])
        for layer in self.layers:
            x_BTC = layer(x_BTC)
        logits_BTV: Tensor = self.head(self.norm(x_BTC))
        return logits_BTV


def new_model(seed: int) -> CharacterModel:
    """Return an untrained model; the same one for the same seed and torch."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CharacterModel()


def train(model: CharacterModel, text: str, *, steps: int, seed: int, learning_rate: float = LEARNING_RATE) -> None:
    """Train `model` on random excerpts of `text` with AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    codes = encode(text)
    generator = torch.Generator().manual_seed(seed)
    model.train()
    for _ in range(steps):
        starts = torch.randint(len(codes) - CONTEXT, (BATCH,), generator=generator).tolist()
        batch = torch.stack([codes[start : start + CONTEXT + 1] for start in starts])
        optimizer.zero_grad()
        _loss(model, batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def loss(model: CharacterModel, text: str) -> float:
    """Return the mean loss of a character, in nats, over `text` cut into pieces of the context's length."""
    codes = encode(text)
    pieces = codes[: (len(codes) - 1) // CONTEXT * CONTEXT + 1].unfold(0, CONTEXT + 1, CONTEXT)
    model.eval()
    with torch.no_grad():
        return float(_loss(model, pieces))


def _loss(model: CharacterModel, text_BT: Tensor) -> Tensor:
    logits_BTV = model(text_BT[:, :-1])
    return cross_entropy(logits_BTV.flatten(0, 1), text_BT[:, 1:].flatten())


def encode(text: str) -> Tensor:
    """Return the characters of `text` as numbers. Raises `ValueError` for one that is not in the alphabet."""
    return torch.tensor([ALPHABET.index(character) for character in text])


def parameter_count(model: CharacterModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def save_model(model: CharacterModel, folder: Path, *, readme: str) -> None:
    """Write a model folder as people publish them: weights in BF16, configuration, README."""
    folder.mkdir()
    tensors = {
        name: (tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in model.state_dict().items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"alphabet": ALPHABET, "context": CONTEXT, "heads": HEADS, "layers": LAYERS, "width": WIDTH}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(readme, encoding="utf-8")


def load_model(folder: Path) -> CharacterModel:
    """Return the model in `folder`; its weights, read as float32."""
    model = new_model(0)
    model.load_state_dict(load_file(folder / "model.safetensors"))  # copies into float32 parameters
    return model


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread meanwhile: for tensors this small torch's pool costs more than it gives."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

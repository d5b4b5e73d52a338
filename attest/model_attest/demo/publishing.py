"""What an honest publisher does: trains two models from one base, merges them, and signs the merge."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

from model_attest.demo import models
from model_attest.demo.show import Check, Question, Show, codes_are, step_is, verdict_is
from model_attest.demo.texts import ALICE, MOBY_DICK
from model_attest.merge import MergeResult, run_merge
from model_attest.recipes.mergekit import read_recipe
from model_attest.sign import sign_folder
from model_attest.signers.key import KeySigner, generate_key, write_key_pair
from model_verify.envelope import PublicKey
from model_verify.report import Report

PARENTS = ("parent-a", "parent-b")
MERGED = "merged"
PUBLISHER = "publisher"
WEIGHTS = "model.safetensors"

_RECIPE = "recipe.yaml"
_BASE_STEPS = 120
_PARENT_STEPS = 100


@dataclass(frozen=True, slots=True)
class Published:
    """A merge that was signed, and what it was made with."""

    coefficients: tuple[str, str]
    merge: MergeResult
    key: PublicKey

    def question(self, folder: str) -> Question:
        """Ask for a folder that says to be this model, from the same publisher."""
        return Question(folder, PUBLISHER, self.key, parents=PARENTS)


def train_parents(show: Show, seed: int) -> None:
    """Train a base on both texts, and from it one parent on each; write the parents' folders."""
    base = models.new_model(seed)
    count = models.parameter_count(base)
    show.heading(f"two models, trained from one base: {count:,} parameters each, in BF16")
    before = _losses(base)
    models.train(base, ALICE + MOBY_DICK, steps=_BASE_STEPS, seed=seed)
    _say_losses(show, "base", before, _losses(base), f"{_BASE_STEPS} steps on both texts")
    for name, text, title in zip(PARENTS, (ALICE, MOBY_DICK), ("Alice", "Moby-Dick"), strict=True):
        parent = copy.deepcopy(base)
        before = _losses(parent)
        models.train(parent, text, steps=_PARENT_STEPS, seed=seed + 1)
        _say_losses(show, name, before, _losses(parent), f"{_PARENT_STEPS} steps on {title}")
        readme = f"# {name}\n\nA language model of characters, trained on the opening of {title}.\n"
        models.save_model(parent, show.stage / name, readme=readme)


def _losses(model: models.CharacterModel) -> tuple[float, float]:
    return models.loss(model, ALICE), models.loss(model, MOBY_DICK)


def _say_losses(show: Show, name: str, before: tuple[float, float], after: tuple[float, float], how: str) -> None:
    losses = ", ".join(
        f"on {title} {was:.2f} -> {now:.2f}"
        for title, was, now in zip(("Alice", "Moby-Dick"), before, after, strict=True)
    )
    show.did(f"{name:<8}  {how}: loss {losses}")


def publish_merge(show: Show, coefficients: tuple[str, str]) -> Published:
    """Merge the parents, sign the merge, and verify it as a stranger would."""
    show.heading(f"a merge of the two, with coefficients drawn at random: {coefficients[0]} and {coefficients[1]}")
    recipe = show.stage / _RECIPE
    recipe.write_text(_recipe_text(coefficients), encoding="utf-8")
    merge = run_merge(read_recipe(recipe), show.stage / MERGED, device="cpu")
    show.ran("attest", "merge", _RECIPE, MERGED)
    show.more(f"{merge.blended_tensors} tensors blended, {merge.copied_tensors} copied from {PARENTS[0]}")
    blend = " + ".join(f"{weight}·{parent}" for weight, parent in zip(coefficients, PARENTS, strict=True))
    (merge.out / "README.md").write_text(f"# merged\n\nA merge: {blend}.\n", encoding="utf-8")
    signer = new_signer(show, PUBLISHER)
    sign(show, MERGED, PUBLISHER, signer)
    published = Published(coefficients, merge, signer.public_key)
    show.heading("a stranger verifies it, naming the publisher's key and the parents")
    show.ask("merge", published.question(MERGED), _reproduced, good="every tensor was computed again from the parents")
    return published


def _recipe_text(coefficients: tuple[str, str]) -> str:
    lines = ["merge_method: linear", "models:"]
    for parent, weight in zip(PARENTS, coefficients, strict=True):
        lines += [f"  - model: {parent}", f"    parameters: {{weight: {weight}}}"]
    lines += ["parameters: {normalize: false}", "out_dtype: bfloat16", f"attest: {{copy_from: {PARENTS[0]}}}"]
    return "\n".join(lines) + "\n"


def _reproduced(report: Report) -> list[Check]:
    coverage = report.coverage
    everything = coverage is not None and coverage.bytes == coverage.bytes_hashed == coverage.bytes_reproduced
    return [
        verdict_is(report, "VERIFIED", 3),
        step_is(report, 0, "merge", "reproduced"),
        codes_are(report, "fail", set()),
        Check("every byte of every tensor was reproduced", everything),
    ]


def new_signer(show: Show, name: str) -> KeySigner:
    key = generate_key("p256")
    write_key_pair(key, show.stage / name)
    show.ran("attest", "keygen", "--out", name)
    return KeySigner(key)


def sign(show: Show, folder: str, key_name: str, signer: KeySigner) -> None:
    sign_folder(show.stage / folder, signer)
    show.ran("attest", "sign", folder, "--key", key_name)


def weights_path(show: Show, folder: str) -> Path:
    return show.stage / folder / WEIGHTS

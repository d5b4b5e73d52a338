"""Small models, merged and signed with this project's own tools, for tests that then do something to them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives import serialization
from safetensors.numpy import save_file

from model_attest.merge import run_merge
from model_attest.recipes.mergekit import read_recipe
from model_attest.sign import sign_folder
from model_attest.signers.key import KeySigner, generate_key
from model_verify.envelope import PublicKey
from model_verify.procedure import Request, verify
from model_verify.report import Report
from model_verify.sources.local import LocalFolder

RECIPE = """\
merge_method: linear
models:
  - model: a
    parameters: {weight: 0.6}
  - model: b
    parameters: {weight: 0.4}
parameters: {normalize: false}
attest: {copy_from: a}
"""


@dataclass(frozen=True)
class SignedMerge:
    """A merge of `a` and `b` in `merged`, signed; everything in one folder."""

    root: Path
    key: PublicKey

    @property
    def merged(self) -> Path:
        return self.root / "merged"

    def copy(self, target: Path) -> SignedMerge:
        shutil.copytree(self.root, target, symlinks=True)
        return SignedMerge(target, self.key)

    def verify(self, **changes: object) -> Report:
        """Verify with the right key and parents, except for the `changes` to the request."""
        request = {"expected_signer": self.key, "device": "cpu", **changes}
        if "parents" not in request:
            request["parents"] = {name: LocalFolder(self.root / name) for name in ("a", "b")}
        return verify(Request(LocalFolder(self.merged), **request))  # type: ignore[arg-type]


def write_model(folder: Path, tensors: dict[str, np.ndarray], *, readme: str = "# A model\n") -> Path:
    """Write a model folder with the real safetensors library."""
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text('{"hidden_size": 8, "layer_norm_eps": 1e-12}')
    (folder / "README.md").write_text(readme)
    return folder


def small_tensors(seed: int, *, elements: int = 24) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        "embed.weight": generator.standard_normal((elements, 4), dtype=np.float32),
        "norm.weight": generator.standard_normal(4, dtype=np.float32).astype(np.float16),
        "position_ids": np.arange(4, dtype=np.int64),
    }


def new_signer(kind: str = "p256") -> KeySigner:
    pem = generate_key(kind).private_bytes(  # type: ignore[arg-type]
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return KeySigner.from_pem(pem, None)


def make_signed_merge(root: Path, *, elements: int = 24, recipe: str = RECIPE) -> SignedMerge:
    """Write parents `a` and `b`, merge them into `merged`, and sign that."""
    for seed, name in enumerate(("a", "b")):
        write_model(root / name, small_tensors(seed, elements=elements))
    (root / "recipe.yaml").write_text(recipe)
    run_merge(read_recipe(root / "recipe.yaml"), root / "merged", device="cpu")
    signer = new_signer()
    sign_folder(root / "merged", signer, name="merged", version=None, uri=None)
    return SignedMerge(root, signer.public_key)

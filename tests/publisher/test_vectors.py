"""The folders of the spec's vectors, whose manifests another implementation made: ours are the same, or refused too."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from model_attest.inventory import take_inventory
from model_attest.merge import run_merge
from model_attest.recipes import read_recipe
from model_verify.errors import AttestError
from model_verify.sources.local import LocalFolder
from tests.publisher.conftest import expected_root, stored_tensors
from tests.vectors.vector import Vector, load

UNSIGNABLE = {"WEIGHTS_AMBIGUOUS", "WEIGHTS_MALFORMED", "FILE_NOT_REGULAR", "FILE_PATH_UNSAFE"}

VECTORS = load("verify")
ACCEPTED = [
    vector
    for vector in VECTORS
    if vector.expected["verdict"] == "VERIFIED"
    and "DOCUMENTATION_CHANGED" not in vector.expected["codes"]
    and "attestation" not in vector.input  # detached, so that the manifest lies elsewhere
]
# In this one the folder is as it should be, and the manifest names another primary set than a loader takes.
FOLDER_IS_FINE = {"ambiguous-primary-other"}
REFUSED = [v for v in VECTORS if UNSIGNABLE & set(v.expected["codes"]) and v.name not in FOLDER_IS_FINE]


def lay_out(vector: Vector, folder: Path) -> Path:
    """Return the vector's model folder, copied and completed."""
    shutil.copytree(vector.folder, folder)
    for placed in vector.input.get("place", ()):
        target = folder / placed["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(vector.data(placed["data"]))
    return folder / str(vector.input["folder"])


@pytest.mark.parametrize("vector", ACCEPTED, ids=lambda vector: str(vector.name))
def test_a_verified_folder_has_the_manifest_and_leaves_of_the_vector(vector: Vector, tmp_path: Path) -> None:
    model = lay_out(vector, tmp_path / "vector")
    inventory = take_inventory(LocalFolder(model))
    assert inventory.manifest.canonical() == (model / "attestation" / "manifest.json").read_bytes()
    assert inventory.leaves == (model / "attestation" / "leaves.sha256tree").read_bytes()


@pytest.mark.parametrize("vector", REFUSED, ids=lambda vector: str(vector.name))
def test_a_folder_that_a_verifier_refuses_for_its_form_cannot_be_signed(vector: Vector, tmp_path: Path) -> None:
    model = lay_out(vector, tmp_path / "vector")
    shutil.rmtree(model / "attestation")
    with pytest.raises(AttestError):
        take_inventory(LocalFolder(model))


def test_there_are_vectors_of_both_kinds() -> None:
    assert len(ACCEPTED) > 20
    assert len(REFUSED) > 10


@pytest.mark.parametrize(
    ("name", "weights", "normalize", "extra"),
    [
        ("merge", {"a": "0.6", "b": "0.4"}, "false", ""),
        ("merge-three", {"a": "1", "b": "1", "c": "1"}, "true", ""),
        ("merge-widened", {"a": "0.6", "b": "0.4"}, "false", "out_dtype: float32\n"),
    ],
)
def test_a_recipe_gives_the_merge_of_the_vector(
    name: str, weights: dict[str, str], normalize: str, extra: str, tmp_path: Path
) -> None:
    (vector,) = (vector for vector in VECTORS if vector.name == name)
    model = lay_out(vector, tmp_path / "vector")
    models = "".join(f"  - {{model: vector/parents/{p}, parameters: {{weight: {w}}}}}\n" for p, w in weights.items())
    (tmp_path / "recipe.yml").write_text(
        f"merge_method: linear\nmodels:\n{models}parameters: {{normalize: {normalize}}}\n"
        f"attest: {{copy_from: a}}\n{extra}"
    )
    result = run_merge(read_recipe(tmp_path / "recipe.yml"), tmp_path / "out", device="cpu")
    (weight_file,) = model.glob("*.safetensors")
    assert stored_tensors(tmp_path / "out" / "model.safetensors") == stored_tensors(weight_file)
    assert result.checkpoint_root.text == expected_root(weight_file)

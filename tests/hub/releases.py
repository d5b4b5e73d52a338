"""A merge on the Hub, its parents there too, all uploaded, downloaded and signed with the real tools."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download

from model_attest import cli
from tests.cli.making import tensors, write_model
from tests.hub.server import Hub

RECIPE = """
merge_method: linear
models:
  - model: {a}
    parameters: {{weight: 0.6}}
  - model: {b}
    parameters: {{weight: 0.4}}
parameters: {{normalize: false}}
out_dtype: bfloat16
attest: {{copy_from: a, copy_tensors: [positions]}}
"""
URI = "pkg:huggingface/town/merged"


@dataclass(frozen=True)
class Release:
    """`town/merged` at `commit`, made of `lab/a` and `lab/b` at `parents`; the signed folder, and who signed."""

    hub: Hub
    folder: Path
    key: Path
    commit: str
    parents: dict[str, str]

    def publish(self, *, ref: str = "main") -> str:
        """Return the commit of the folder as it is now."""
        return self.hub.storage.add_folder("town/merged", self.folder, ref=ref)


def release(hub: Hub, root: Path, *, uri: str = URI) -> Release:
    """Return a release whose statement names its parents at their commits."""
    parents, snapshots = {}, {}
    for seed, name in enumerate("ab"):
        folder = write_model(root / name, tensors(10 * seed))
        parents[name] = hub.storage.add_folder(f"lab/{name}", folder)
        snapshots[name] = snapshot_download(f"lab/{name}", cache_dir=root / "downloaded")
    (root / "recipe.yaml").write_text(RECIPE.format(**snapshots))
    merged = root / "merged"
    for arguments in (
        ["keygen", "--out", f"{root}/lab"],
        ["merge", f"{root}/recipe.yaml", f"{merged}", "--device", "cpu"],
        ["sign", f"{merged}", "--key", f"{root}/lab", "--name", "merged", "--uri", uri],
    ):
        assert cli.run(arguments) == 0, arguments
    hub.asked.clear()
    commit = hub.storage.add_folder("town/merged", merged)
    return Release(hub, merged, root / "lab.pub", commit, parents)


def again(made: Release, hub: Hub, root: Path) -> Release:
    """Return the same release, from a copy of its folders, on another Hub."""
    shutil.copytree(made.folder.parent, root, symlinks=True)
    parents = {name: hub.storage.add_folder(f"lab/{name}", root / name) for name in made.parents}
    commit = hub.storage.add_folder("town/merged", root / "merged")
    assert (parents, commit) == (made.parents, made.commit)
    return Release(hub, root / "merged", root / "lab.pub", commit, parents)

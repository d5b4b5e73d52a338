"""Paths, file classes and exempt files of a model folder. Spec: manifest §2 to §4."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from model_verify.digest import FileDigest
from model_verify.models import ATTESTATION_FOLDER, BUNDLE_PATH, LEAVES_PATH, MANIFEST_PATH, FileClass

MAX_PATH_BYTES = 1024
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_BARRED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})

WEIGHT_SUFFIXES = (
    ".safetensors", ".bin", ".pt", ".pth", ".pth.tar", ".pkl", ".pickle", ".ckpt", ".joblib", ".gguf", ".ggml", ".onnx",
    ".onnx_data", ".h5", ".keras", ".msgpack", ".npz", ".npy", ".tflite", ".pb", ".ot", ".mlmodel", ".dduf", ".nemo",
    ".distcp", ".pdparams",
)  # fmt: skip
SAFETENSORS = "safetensors"
GGUF = "gguf"
TENSOR_FORMATS = frozenset({SAFETENSORS, GGUF})
"""Formats whose tensors the standard reads; files of others are hashed whole."""
PICKLE_FORMATS = frozenset(
    {"bin", "pt", "pth", "pth.tar", "pkl", "pickle", "ckpt", "joblib", "nemo", "distcp", "pdparams", "h5", "keras"}
)
"""Formats that can run code when they are loaded: pickles, and such as carry functions."""
_README = re.compile(r"readme.*(readme|\.md|\.txt|\.rst)|readme", re.DOTALL)
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp")
_CODE_SUFFIXES = (
    ".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".sh", ".js", ".ipynb", ".cu", ".cpp", ".whl"
)  # fmt: skip
_TOKENIZER_PREFIXES = ("tokenizer", "vocab", "merges", "special_tokens", "added_tokens", "chat_template")
_TOKENIZER_SUFFIXES = (".model", ".tiktoken", ".spm", ".jinja")
_CONFIG_SUFFIXES = (".json", ".yaml", ".yml", ".toml", ".ini", ".cfg")

_EXEMPT = frozenset({MANIFEST_PATH, LEAVES_PATH, BUNDLE_PATH})
REVOCATIONS_FOLDER = ATTESTATION_FOLDER + "/revocations"
_REVOCATION = re.compile(rf"{REVOCATIONS_FOLDER}/[0-9a-z][0-9a-z._-]{{0,127}}\.sigstore\.json")
COMMITMENT_PATH = ATTESTATION_FOLDER + "/commit.sigstore.json"
_SUPERSEDED = re.compile(rf"{ATTESTATION_FOLDER}/history/[0-9a-f]{{64}}\.sigstore\.json")
_NEVER_COVERED = (".git/", ".cache/huggingface/", ".attest/")
_LFS_LINE = re.compile(rb"[ \t]*(#.*|[^\s#]\S*[ \t]+filter=lfs[ \t]+diff=lfs[ \t]+merge=lfs[ \t]+-text[ \t]*)?")
GITATTRIBUTES_PATH = ".gitattributes"
OMS_SIGNATURE_PATH = "model.sig"
MAX_GITATTRIBUTES_BYTES = 1 << 20


def path_problem(path: str) -> str | None:
    """Return what makes `path` unusable, or None. Spec: manifest §2."""
    try:
        encoded = path.encode("utf-8")
    except UnicodeEncodeError:
        return "is not Unicode text"
    if not path or len(encoded) > MAX_PATH_BYTES:
        return f"is empty or longer than {MAX_PATH_BYTES} bytes"
    if any(segment in ("", ".", "..") for segment in path.split("/")):
        return "has an empty segment, `.` or `..`"
    if "\\" in path:
        return "has a backslash"
    if path.isascii():
        return "has a control character" if any(c < " " or c == "\x7f" for c in path) else None
    if any(c in _BIDI or unicodedata.category(c) in _BARRED_CATEGORIES for c in path):
        return "has a control or direction character"
    if unicodedata.normalize("NFC", path) != path:
        return "is not in Unicode normal form C"
    return None


def colliding_paths(paths: Iterable[str]) -> list[tuple[str, str]]:
    """Return pairs of paths that are equal after NFKC and case folding. Spec: manifest §2."""
    seen: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []
    for path in paths:
        folded = path.casefold() if path.isascii() else _fold(path)
        if folded in seen:
            pairs.append((seen[folded], path))
        else:
            seen[folded] = path
    return pairs


def _fold(path: str) -> str:
    # Folding can undo a normal form and the reverse; twice is where Unicode's NFKC_Casefold settles.
    for _ in range(2):
        path = unicodedata.normalize("NFKC", path).casefold()
    return unicodedata.normalize("NFKC", path)


def file_class(path: str) -> FileClass:
    """Return the class that follows from the path alone. Spec: manifest §3.3."""
    name = path.rsplit("/", 1)[-1].casefold()
    if name.endswith(WEIGHT_SUFFIXES):
        return "weights"
    if _README.fullmatch(name) or name.endswith(_IMAGE_SUFFIXES):
        return "documentation"
    if name.endswith(_CODE_SUFFIXES):
        return "code"
    if name.startswith(_TOKENIZER_PREFIXES) or name.endswith(_TOKENIZER_SUFFIXES):
        return "tokenizer"
    if name.endswith(_CONFIG_SUFFIXES):
        return "config"
    return "other"


def weight_format(path: str) -> str:
    """Return the format of a file of class weights: its last suffix without the dot. Spec: manifest §5.3."""
    name = path.rsplit("/", 1)[-1].casefold()
    return "pth.tar" if name.endswith(".pth.tar") else name.rsplit(".", 1)[-1]


def has_tensors(path: str) -> bool:
    """Return whether the standard reads the tensors of the file at `path`. Spec: manifest §3.4."""
    return weight_format(path) in TENSOR_FORMATS


def is_exempt(path: str) -> bool:
    """Return whether the manifest does not list `path` whatever it holds. Spec: manifest §4.1, §4.2, §4.4."""
    return path in _EXEMPT or path == OMS_SIGNATURE_PATH or is_of_history(path) or is_never_covered(path)


def is_never_covered(path: str) -> bool:
    """Return whether `path` is where nobody looks. Spec: manifest §4.4."""
    return path.startswith(_NEVER_COVERED)


def is_of_history(path: str) -> bool:
    """Return whether a chapter of the history says what `path` holds. Spec: manifest §4.1."""
    return path == COMMITMENT_PATH or is_revocation_path(path) or is_superseded_path(path)


def is_superseded_path(path: str) -> bool:
    """Return whether `path` is where an attestation lies that another one took the place of. Spec: history §2.2."""
    return _SUPERSEDED.fullmatch(path) is not None


def superseded_path(bundle: FileDigest) -> str:
    """Return where such an attestation lies, by the digest of its bundle."""
    return f"{ATTESTATION_FOLDER}/history/{bundle.hex}.sigstore.json"


def is_revocation_path(path: str) -> bool:
    """Return whether `path` is where a revocation lies. Spec: history §1.1."""
    return _REVOCATION.fullmatch(path) is not None


def is_reserved(path: str) -> bool:
    """Return whether nothing in a model may refer to `path`. Spec: manifest §4."""
    return is_exempt(path) or path.startswith(ATTESTATION_FOLDER + "/")


def has_only_lfs_attributes(gitattributes: bytes) -> bool:
    """Return whether every line is empty, a comment, or marks a pattern for LFS. Spec: manifest §4.3."""
    return all(_LFS_LINE.fullmatch(line.rstrip(b"\r")) for line in gitattributes.split(b"\n"))

"""What records are put together from: losses, settings, data, code, machines; and what is left out of them."""

from __future__ import annotations

import hashlib
import os
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from model_attest.record import data_set
from model_attest.record.confidential import arguments_without_secrets, is_secret, without_secrets
from model_attest.record.curve import CurveBuilder
from model_attest.record.data import described
from model_attest.record.repository import code_state
from model_attest.record.surroundings import cpu_name, hardware, rank, software
from model_attest.record.values import decimal, safe_text, settings
from model_verify.errors import SourceMissing
from model_verify.models import DataSet, LossCurve
from model_verify.models.training import Code, TrainingRecord


@pytest.mark.parametrize("points", [0, 1, 2, 1022, 1023, 1024, 1025, 2047, 2048, 4095, 5000, 100_000])
def test_a_curve_of_any_length_is_every_nth_point_and_the_last(points: int) -> None:
    builder = CurveBuilder()
    for number in range(points):
        builder.add(number, str(number))
    curve = builder.written
    assert curve.logged == points
    assert len(curve.points) <= 1024
    expected = sorted({*range(0, points, curve.stride), *({points - 1} if points else ())})
    assert [point.step for point in curve.points] == expected
    assert curve.stride & (curve.stride - 1) == 0
    assert curve.stride == 1 or points // curve.stride >= 511


@given(st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 3000))
def test_a_curve_that_was_cut_goes_on_as_if_nothing_had_come_after(before: int, cut: int, after: int) -> None:
    builder, straight = CurveBuilder(), CurveBuilder()
    for number in range(before):
        builder.add(number, "1")
    kept = min(cut, before)
    resumed = CurveBuilder.of(LossCurve.read(builder.written.model_dump(mode="json", by_alias=True)))
    resumed.cut(kept - 1, kept)
    for number in range(kept, kept + after):
        resumed.add(number, "1")
    for number in range(kept + after):
        straight.add(number, "1")
    steps = [point.step for point in resumed.written.points]
    assert resumed.written.logged == kept + after
    # A curve that had been thinned before the cut stays so.
    assert set(steps) - {kept + after - 1} <= set(range(0, kept + after, resumed.stride))
    assert resumed.stride >= straight.stride
    if resumed.stride == straight.stride and after:
        assert resumed.written == straight.written


@given(st.floats())
def test_decimals_obey_the_grammar_and_mean_the_same_number(value: float) -> None:
    text = decimal(value)
    TrainingRecord.read(
        {"method": {"name": "full"}, "loss": {"logged": 1, "stride": 1, "points": [{"step": 0, "loss": text}]}}
    )
    assert repr(float(text)) == repr(value)
    if "n" not in text:
        assert Decimal(text) == Decimal(repr(value))


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    | st.binary(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)), max_size=5))  # fmt: skip
def test_any_settings_make_a_record(values: dict[str, object]) -> None:
    TrainingRecord.read({"method": {"name": "full"}, "hyperparameters": settings(values)})


@given(st.text(st.characters(codec=None)))
def test_any_text_can_be_written(text: str) -> None:
    assert len(safe_text(text, 20).encode("utf-8").decode("utf-8")) <= 20


@pytest.mark.parametrize(
    "name",
    ["hub_token", "HF_TOKEN", "--token", "hubToken", "api_key", "apiKey", "OPENAI_API_KEY", "password", "DbPassword",
     "client-secret", "aws_secret_access_key", "credentials", "secret", "private-key"],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    ["tokenizer_name", "max_tokens", "eos_token", "pad_token", "include_num_input_tokens_seen", "key", "num_kv_heads",
     "keyword", "monkey", "token_dropout", "", "--", "secretary"],
)  # fmt: skip
def test_names_of_no_secrets(name: str) -> None:
    assert not is_secret(name)


def test_a_command_line_loses_its_secrets_and_nothing_else() -> None:
    given_line = [
        "train", "--token", "abc", "--api-key=xyz", "--lr", "3e-4", "HF_TOKEN=hf_x", "--password", "--verbose",
        "https://user:word@host.example/x", "hf_" + "a" * 34, "--eos_token", "</s>", "", "--out=k=v",
    ]  # fmt: skip
    assert arguments_without_secrets(given_line) == [
        "train", "--token", "(withheld)", "--api-key=(withheld)", "--lr", "3e-4", "HF_TOKEN=(withheld)", "--password",
        "--verbose", "https://host.example/x", "(withheld)", "--eos_token", "</s>", "", "--out=k=v",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "token",
    ["hf_" + "A" * 34, "sk-proj-" + "a1" * 20, "ghp_" + "a" * 36, "github_pat_" + "a" * 40, "AKIA" + "A" * 16,
     "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc"],
)  # fmt: skip
def test_tokens_are_known_by_their_form(token: str) -> None:
    assert token not in without_secrets(f"x={token} y")
    assert token not in str(settings({"note": f"see {token}"}))


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "letters.jsonl").write_bytes(b"abc")
    found = data_set(tmp_path / "letters.jsonl", uri="https://x.example/letters")
    # printf abc | sha256sum
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (found.digest.hex, found.digest_of) == (digest, "file")  # type: ignore[union-attr]


def test_the_digest_of_a_folder_is_that_of_the_list_of_its_files(tmp_path: Path) -> None:
    for name, content in (("b.txt", b"abc"), ("a/é.txt", b""), ("a.txt", b"x")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    listed = [
        {"file_digest": f"sha256:{hashlib.sha256(content).hexdigest()}", "path": path}
        for path, content in (("a.txt", b"x"), ("a/é.txt", b""), ("b.txt", b"abc"))
    ]
    found = data_set(tmp_path, name="three")
    assert found.digest is not None
    assert (found.digest.raw, found.digest_of) == (hashlib.sha256(rfc8785.dumps(listed)).digest(), "files")


def test_data_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing):
        data_set(tmp_path / "nowhere")


class Table:
    """What the `datasets` library has, as far as it is looked at."""

    class info:
        dataset_name = "minutes"

    split = "train"
    _fingerprint = "18c132446c30d98c"

    def __init__(self, *folders: str) -> None:
        self.cache_files = [{"filename": f"/root/.cache/huggingface/datasets/{folder}/m.arrow"} for folder in folders]

    def __len__(self) -> int:
        return 12


COMMIT, OTHER = "0123456789abcdef" * 2 + "01234567", "f" * 40


def test_a_data_set_of_the_hub_tells_its_commit_by_where_it_lies() -> None:
    (found,) = described(Table(f"town___minutes/default/0.0.0/{COMMIT}"))
    assert found == DataSet(
        name="town/minutes", uri=f"pkg:huggingface/datasets/town/minutes@{COMMIT}", revision=COMMIT, split="train",
        rows=12, fingerprint="18c132446c30d98c",
    )  # fmt: skip


def test_data_of_several_sources_name_each_of_them_and_no_rows() -> None:
    found = described(Table(f"town___minutes/default/0.0.0/{COMMIT}", f"lab___letters/en/1.0.0/{OTHER}"))
    assert [(one.name, one.revision, one.rows) for one in found] == [
        ("town/minutes", COMMIT, None), ("lab/letters", OTHER, None),
    ]  # fmt: skip


def test_local_data_tell_nothing_of_where_they_are_from() -> None:
    (found,) = described(Table(f"json/default-0a49cb72/0.0.0/{'a' * 64}"))
    assert found == DataSet(name="minutes", split="train", rows=12, fingerprint="18c132446c30d98c")


def test_other_data_have_a_class_and_a_length() -> None:
    assert described([{"text": "x"}] * 3) == [DataSet(name="list", rows=3)]
    assert described(iter(())) == [DataSet(name="tuple_iterator")]
    assert described(()) == []


def git(folder: Path, *arguments: str) -> str:
    who = {f"GIT_{role}_{what}": "x@x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return subprocess.run(
        ["git", *arguments], cwd=folder, env={**os.environ, **who}, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "train.py").write_text("print(1)\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


def code_of(script: Path) -> Code:
    found = code_state(script, script.parent)
    assert found is not None
    return found


def test_the_code_is_a_commit_and_nothing_else(repository: Path) -> None:
    git(repository, "remote", "add", "origin", "https://me:word@git.example/tuning.git")
    found = code_of(repository / "src" / "train.py")
    assert (found.uri, found.diff) == ("https://git.example/tuning.git", "none")
    assert found.commit == git(repository, "rev-parse", "HEAD").strip()
    assert found.script is not None
    assert (found.script.path, found.script.file_digest.hex) == (
        "src/train.py",
        hashlib.sha256(b"print(1)\n").hexdigest(),
    )


def test_what_is_not_committed_has_a_digest_that_settings_do_not_change(repository: Path) -> None:
    (repository / "src" / "train.py").write_text("print(2)\n")
    diff = git(repository, "diff", "--binary", "--full-index", "HEAD")
    expected = hashlib.sha256(diff.encode()).hexdigest()
    assert code_of(repository / "src" / "train.py").diff.hex == expected  # type: ignore[union-attr]
    for name, value in (("diff.noprefix", "true"), ("diff.context", "9"), ("color.ui", "always"),
                        ("diff.external", "false"), ("core.fsmonitor", "false")):  # fmt: skip
        git(repository, "config", name, value)
    git(repository, "add", ".")  # staged or not is the same
    assert code_of(repository / "src" / "train.py").diff.hex == expected  # type: ignore[union-attr]


def test_a_repository_on_this_machine_is_named_without_its_place(repository: Path) -> None:
    git(repository, "remote", "add", "origin", "/home/somebody/secret-project/tuning.git")
    assert code_of(repository / "src" / "train.py").uri == "tuning.git"


def test_a_script_outside_any_repository_has_its_digest(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("")
    found = code_of(tmp_path / "train.py")
    assert (found.commit, found.diff, found.uri) == (None, None, None)
    assert found.script is not None
    assert found.script.path == "train.py"


def test_no_script_and_no_repository_is_nothing(tmp_path: Path) -> None:
    assert code_state(None, tmp_path) is None


def test_a_repository_without_a_commit_is_known_to_have_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "train.py").write_text("")
    found = code_of(tmp_path / "train.py")
    assert (found.commit, found.diff) == (None, None)


def test_software_and_hardware_are_those_of_this_process() -> None:
    import numpy

    assert software()["numpy"] == numpy.__version__
    assert software()["python"].startswith("3.")
    assert [device.count for device in hardware().devices] == [1]
    assert cpu_name()


def test_devices_are_those_of_all_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert [device.count for device in hardware(16).devices] == [4]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "x")
    assert [device.count for device in hardware(16).devices] == [1]


def test_the_rank_is_what_the_launcher_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rank() == 0
    monkeypatch.setenv("RANK", "3")
    assert rank() == 3
    monkeypatch.setenv("RANK", "-1")
    assert rank() == 0

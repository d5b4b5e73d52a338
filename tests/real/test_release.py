"""Real models from merge to verdict: what was merged is verified and loads, and no damage to it passes.

What the merged bytes should be comes from `tests.real.arithmetic`, which shares no code with the project.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from model_attest import cli
from model_verify.report import Report
from model_verify.sources.local import LocalFolder
from tests.real import arithmetic, finetune, release
from tests.real.fetch import Pair
from tests.real.release import Blend, Release, Rule

SHARD_BYTES = 12_000_000
ONE_FILE_BYTES = 1 << 40
CHUNK_BYTES = 1 << 20
SAMPLE_ELEMENTS = 3000

WORDS = "embeddings.word_embeddings.weight"
POSITION_IDS = "embeddings.position_ids"
WORDS_ELEMENTS = 30522 * 384
QUERY, VALUE = (f"encoder.layer.3.attention.self.{part}.weight" for part in ("query", "value"))

SIX_TO_FOUR = Rule(("0.6", "0.4"), (0x3F19999A, 0x3ECCCCCD))
THREE_DECIMALS = Rule(("0.617", "0.383"), (0x3F1DF3B6, 0x3EC41893))
ELEVEN_TENTHS = Rule(("0.7", "0.4"), (0x3F333333, 0x3ECCCCCD))
ATTENTION = Rule(("0.25", "0.75"), (0x3E800000, 0x3F400000), "attention")
GATE = Rule(("0.123", "0.877"), (0x3DFBE76D, 0x3F608312), "mlp_gate")

CASES = {
    "chgnet": ("chgnet", Blend((SIX_TO_FOUR,)), ONE_FILE_BYTES),
    "chgnet, three decimals, normalized": ("chgnet", Blend((THREE_DECIMALS,), normalize=True), ONE_FILE_BYTES),
    "chgnet, sum other than one, normalized": ("chgnet", Blend((ELEVEN_TENTHS,), normalize=True), 200_000),
    "chgnet, gates apart": ("chgnet", Blend((GATE, SIX_TO_FOUR)), ONE_FILE_BYTES),
    "minilm": ("minilm", Blend((SIX_TO_FOUR,)), ONE_FILE_BYTES),
    "minilm, attention apart": ("minilm", Blend((ATTENTION, THREE_DECIMALS), normalize=True), SHARD_BYTES),
    "bf16": ("bf16", Blend((SIX_TO_FOUR,)), SHARD_BYTES),
    "bf16, three decimals": ("bf16", Blend((THREE_DECIMALS,)), ONE_FILE_BYTES),
    "bf16, attention apart": ("bf16", Blend((ATTENTION, SIX_TO_FOUR)), SHARD_BYTES),
    "bf16, sum other than one, normalized": ("bf16", Blend((ELEVEN_TENTHS,), normalize=True), ONE_FILE_BYTES),
}

Pairs = Callable[[str], Pair]
Releases = Callable[[str], Release]


@pytest.fixture(scope="module")
def pairs(request: pytest.FixtureRequest) -> Pairs:
    """Return a real pair by name; only those that are asked for are fetched."""

    def pair(name: str) -> Pair:
        match name:
            case "minilm":
                return Pair(request.getfixturevalue("minilm"), request.getfixturevalue("minilm_finetuned"))
            case "bf16":
                found: Pair = request.getfixturevalue("minilm_bf16_pair")
            case _:
                found = request.getfixturevalue("chgnet_pair")
        return found

    return pair


@pytest.fixture(scope="module")
def releases(pairs: Pairs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Releases]:
    """Return the signed merge of a case, made once. A test that damages one takes a copy."""
    root = tmp_path_factory.mktemp("releases")
    made: dict[str, Release] = {}

    def make(case: str) -> Release:
        if case not in made:
            pair, blend, max_shard_bytes = CASES[case]
            out = root / str(len(made))
            made[case] = release.make_release(pairs(pair), blend, out, max_shard_bytes=max_shard_bytes)
        return made[case]

    yield make
    shutil.rmtree(root)


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    """A folder for copies of models, which are large: gone after the test."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def findings_of(report: Report, *severities: str) -> list[tuple[str, str]]:
    kinds = severities or ("fail", "incomplete", "warn")
    return [(finding.code, finding.where) for finding in report.findings if finding.severity in kinds]


def codes_of(report: Report) -> set[str]:
    return {code for code, _ in findings_of(report)}


def assert_reproduced(report: Report) -> None:
    assert (report.verdict, report.level, findings_of(report)) == ("VERIFIED", 3, []), report.headline
    assert [step.verdict for step in report.steps] == ["reproduced"]


def bits_of(tensor: Tensor) -> np.ndarray:
    kind = {4: np.uint32, 2: np.uint16}[tensor.element_size()]
    return tensor.contiguous().flatten().view(torch.uint8).numpy().view(kind)


# What was merged.


@pytest.mark.parametrize("case", CASES)
def test_merge_of_a_real_pair_is_reproduced_to_the_bit(case: str, releases: Releases) -> None:
    merged = releases(case)
    report = merged.verify()
    assert_reproduced(report)
    assert report.headline == "VERIFIED level 3: every step was reproduced bit for bit"
    assert [(material.id, material.status) for material in report.materials] == [
        (folder.name, "matched") for folder in merged.parents.values()
    ]
    assert report.coverage is not None
    assert report.coverage.tensors == report.coverage.tensors_hashed == report.coverage.tensors_reproduced
    shards = list(merged.folder.glob("*.safetensors"))
    assert (len(shards) > 1) == (CASES[case][2] != ONE_FILE_BYTES) == (merged.folder / release.INDEX).exists()


@pytest.mark.parametrize("case", CASES)
def test_merged_bytes_are_those_of_two_other_implementations(case: str, releases: Releases) -> None:
    merged, blend = releases(case), CASES[case][1]
    result = release.weights_of(merged.folder)
    parents = [release.weights_of(folder) for folder in merged.parents.values()]
    assert result.keys() == parents[0].keys() == parents[1].keys()
    generator = random.Random(case)
    sampled = 0
    for name, tensor in result.items():
        inputs = [parent[name] for parent in parents]
        if not tensor.is_floating_point():
            assert torch.equal(tensor, inputs[0])
            continue
        bits = blend.bits_for(name)
        expected = arithmetic.by_torch(inputs, bits, normalize=blend.normalize)
        assert (tensor.dtype, tensor.shape) == (expected.dtype, expected.shape)
        got = bits_of(tensor)
        assert got.tobytes() == bits_of(expected).tobytes(), name
        first, second = (bits_of(parent) for parent in inputs)
        for place in generator.choices(range(len(got)), k=SAMPLE_ELEMENTS // len(result) + 1):
            if not tensor.flatten()[place]:
                continue
            elements = int(first[place]), int(second[place])
            dtype = arithmetic.TORCH_DTYPES[tensor.dtype]
            exact = arithmetic.exactly(elements, bits, dtype, normalize=blend.normalize)
            assert int(got[place]) == exact, (name, place)
            sampled += 1
    assert sampled > SAMPLE_ELEMENTS / 2


def test_tensors_that_a_filter_names_have_other_coefficients(releases: Releases) -> None:
    plain, apart = (release.weights_of(releases(case).folder) for case in ("bf16", "bf16, attention apart"))
    same = {name for name in plain if torch.equal(plain[name], apart[name])}
    assert all("attention" not in name for name in same)
    assert {name for name in plain if "attention" not in name} <= same
    assert len(plain) - len(same) == 60


def test_merged_model_takes_sentences_as_its_parents_do(releases: Releases) -> None:
    merged = releases("minilm")
    with torch.no_grad():
        means = [
            finetune.encode(release.weights_of(folder), finetune.QUESTIONS)[0]
            for folder in (*merged.parents.values(), merged.folder)
        ]
    base_BD, tuned_BD, merged_BD = means
    apart = (tuned_BD - base_BD).norm()
    assert 0 < (merged_BD - base_BD).norm() < apart
    assert 0 < (merged_BD - tuned_BD).norm() < apart


def test_other_files_of_the_first_parent_go_with_the_weights(releases: Releases) -> None:
    merged = releases("minilm")
    for path in ("config.json", "tokenizer.json", "vocab.txt", "1_Pooling/config.json", "README.md"):
        assert (merged.folder / path).read_bytes() == (merged.parents["minilm"] / path).read_bytes()


def checkpoint_root(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert cli.run(["hash", str(path), "--json"]) == 0
    root = json.loads(capsys.readouterr().out)["checkpoint_root"]
    assert isinstance(root, str)
    return root


def test_root_is_the_same_however_the_safetensors_library_shards_the_weights(
    releases: Releases, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    merged = releases("bf16")
    weights = release.weights_of(merged.folder)
    names = sorted(weights, reverse=True)
    release.write_shards(work, [names[0::3], names[1::3], names[2::3]], weights)
    roots = {checkpoint_root(folder, capsys) for folder in (merged.folder, work)}
    release.write_weights(work, weights)
    roots |= {checkpoint_root(path, capsys) for path in (work, work / "model.safetensors")}
    report = merged.verify()
    assert report.roots is not None
    assert roots == {report.roots.checkpoint.text}
    assert cli.run(["diff", str(merged.folder), str(work)]) == 0


def test_roots_of_the_two_models_of_a_pair_differ(pairs: Pairs, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("chgnet", "bf16"):
        assert len({checkpoint_root(folder, capsys) for folder in pairs(name)}) == 2


# What was damaged afterwards.


@pytest.mark.parametrize(
    ("case", "bit", "ulp"), [("bf16", 0, 1), ("bf16", 6, 64), ("minilm", 0, 1), ("minilm", 23, 1 << 23)]
)
def test_one_bit_in_the_middle_of_a_large_tensor_is_named_to_the_byte(
    case: str, bit: int, ulp: int, releases: Releases, work: Path
) -> None:
    copy = releases(case).copy(work / "copy")
    place = release.place_of(copy.folder, WORDS)
    element_bytes = 4 if case == "minilm" else 2
    byte = element_bytes * (WORDS_ELEMENTS // 2 + 12345) + bit // 8
    release.flip_bit(place, byte, bit % 8)
    report = copy.verify()
    assert report.verdict == "REJECTED"
    assert report.headline == f"REJECTED: a tensor is not as signed ({place.path.name}: {WORDS})"
    assert findings_of(report) == [("TENSOR_MISMATCH", f"{place.path.name}: {WORDS}")]
    assert report.findings[0].actual == f"first difference at byte {byte}, 1 element differs, by up to {ulp} ULP"
    assert [step.verdict for step in report.steps] == ["reproduced"]


def test_without_parents_a_changed_bit_is_still_placed_in_its_chunk(releases: Releases, work: Path) -> None:
    copy = releases("bf16").copy(work / "copy")
    release.flip_bit(release.place_of(copy.folder, WORDS), 17 * CHUNK_BYTES + 5, 4)
    report = copy.verify(parents={})
    assert report.verdict == "REJECTED"
    assert codes_of(report) == {"TENSOR_MISMATCH", "MATERIAL_MISSING"}
    (finding,) = [finding for finding in report.findings if finding.code == "TENSOR_MISMATCH"]
    assert finding.actual == "1 of 23 chunks differ, the first at bytes 17825792 to 18874367"


def test_two_shards_that_change_places_are_rejected(releases: Releases, work: Path) -> None:
    copy = releases("bf16").copy(work / "copy")
    one, other = sorted(copy.folder.glob("*.safetensors"))[1:3]
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    report = copy.verify()
    assert report.verdict == "REJECTED"
    assert codes_of(report) == {"WEIGHTS_AMBIGUOUS", "HEADER_MISMATCH", "TENSOR_MISSING", "TENSOR_EXTRA"}
    headers = {where for code, where in findings_of(report) if code == "HEADER_MISMATCH"}
    assert headers == {one.name, other.name}


def test_data_of_two_tensors_of_one_shape_that_change_places_are_both_named(releases: Releases, work: Path) -> None:
    copy = releases("bf16").copy(work / "copy")
    places = [release.place_of(copy.folder, name) for name in (QUERY, VALUE)]
    query, value = (place.read() for place in places)
    places[0].write(value)
    places[1].write(query)
    report = copy.verify()
    assert report.verdict == "REJECTED"
    assert findings_of(report) == [
        ("TENSOR_MISMATCH", f"{place.path.name}: {name}") for place, name in zip(places, (QUERY, VALUE), strict=True)
    ]


def test_names_of_two_tensors_of_one_shape_that_change_places_are_rejected(releases: Releases, work: Path) -> None:
    copy = releases("bf16").copy(work / "copy")
    path = release.place_of(copy.folder, QUERY).path
    assert path == release.place_of(copy.folder, VALUE).path
    data = path.read_bytes()
    query, value, other = (name.encode() for name in (QUERY, VALUE, "?" * len(QUERY)))
    assert data.count(query) == data.count(value) == 1
    path.write_bytes(data.replace(query, other).replace(value, query).replace(other, value))
    report = copy.verify()
    assert report.verdict == "REJECTED"
    assert findings_of(report) == [
        ("HEADER_MISMATCH", path.name),
        ("TENSOR_MISMATCH", f"{path.name}: {QUERY}"),
        ("TENSOR_MISMATCH", f"{path.name}: {VALUE}"),
    ]


def test_upload_of_the_base_in_place_of_the_merge_is_rejected(releases: Releases, work: Path) -> None:
    copy = releases("minilm").copy(work / "copy")
    shutil.copy(copy.parents["minilm"] / "model.safetensors", copy.folder)
    report = copy.verify()
    assert report.verdict == "REJECTED"
    mismatched = [where for code, where in findings_of(report) if code == "TENSOR_MISMATCH"]
    # 103 float tensors; the integer buffer is the base's own.
    assert mismatched[0] == "model.safetensors: embeddings.LayerNorm.bias"
    assert len(mismatched) == 21
    assert mismatched[20].startswith("83 more")
    assert not any(POSITION_IDS in where for where in mismatched)


@pytest.mark.parametrize("missing_bytes", [1, CHUNK_BYTES, 80_000_000])
def test_truncated_upload_is_rejected(missing_bytes: int, releases: Releases, work: Path) -> None:
    copy = releases("minilm").copy(work / "copy")
    path = copy.folder / "model.safetensors"
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - missing_bytes)
    report = copy.verify()
    assert (report.verdict, findings_of(report)) == ("REJECTED", [("WEIGHTS_MALFORMED", "model.safetensors")])


def test_other_shards_of_the_same_tensors_are_rejected_by_their_files_alone(releases: Releases, work: Path) -> None:
    copy = releases("bf16").copy(work / "copy")
    weights = release.weights_of(copy.folder)
    names = sorted(weights)
    release.write_shards(copy.folder, [names[0::2], names[1::2]], weights)
    report = copy.verify()
    assert report.verdict == "REJECTED"
    assert findings_of(report) == [
        *(("FILE_EXTRA", f"model-0000{number}-of-00002.safetensors") for number in (1, 2)),
        *(("FILE_MISSING", f"model-0000{number}-of-00004.safetensors") for number in (1, 2, 3, 4)),
        ("FILE_MISMATCH", release.INDEX),
    ]


def test_cast_of_the_weights_is_rejected(releases: Releases, work: Path) -> None:
    copy = releases("minilm").copy(work / "copy")
    weights = release.weights_of(copy.folder)
    cast = {name: value.bfloat16() if value.is_floating_point() else value for name, value in weights.items()}
    release.write_weights(copy.folder, cast)
    report = copy.verify()
    assert (report.verdict, codes_of(report)) == ("REJECTED", {"HEADER_MISMATCH", "TENSOR_DTYPE_MISMATCH"})
    assert ("TENSOR_DTYPE_MISMATCH", f"model.safetensors: {WORDS}") in findings_of(report)


def test_edited_readme_leaves_the_verdict_and_is_in_the_headline(releases: Releases, work: Path) -> None:
    copy = releases("bf16").copy(work / "copy")
    with (copy.folder / "README.md").open("a") as file:
        file.write("\nNow with fewer typos.\n")
    report = copy.verify()
    assert (report.verdict, report.level) == ("VERIFIED", 3)
    assert findings_of(report) == [("DOCUMENTATION_CHANGED", "README.md")]
    assert report.headline == (
        "VERIFIED level 3: every step was reproduced bit for bit; `README.md` differs from what was signed"
    )


@pytest.mark.parametrize("case", ["chgnet", "bf16"])
def test_parent_replaced_by_its_fine_tune_is_named(case: str, releases: Releases) -> None:
    merged = releases(case)
    base, tuned = merged.parents
    parents = {name: LocalFolder(merged.parents[tuned]) for name in (base, tuned)}
    report = merged.verify(parents=parents)
    assert (report.verdict, findings_of(report)) == ("REJECTED", [("MATERIAL_MISMATCH", base)])
    assert [step.verdict for step in report.steps] == ["unchecked"]


@pytest.mark.parametrize("case", ["chgnet", "bf16"])
def test_parents_that_change_places_are_both_named(case: str, releases: Releases) -> None:
    merged = releases(case)
    base, tuned = merged.parents
    parents = {base: LocalFolder(merged.parents[tuned]), tuned: LocalFolder(merged.parents[base])}
    report = merged.verify(parents=parents)
    assert report.verdict == "REJECTED"
    assert findings_of(report) == [("MATERIAL_MISMATCH", base), ("MATERIAL_MISMATCH", tuned)]


# What was signed, and is not so.


def test_merge_with_other_coefficients_than_were_declared_is_contradicted(releases: Releases, work: Path) -> None:
    copy = releases("chgnet").copy(work / "copy")
    parents = [release.weights_of(folder) for folder in copy.parents.values()]
    bits = (0x3F1B22D1, 0x3EC9BA5E)  # 0.606 and 0.394
    other = {
        name: arithmetic.by_torch([parent[name] for parent in parents], bits, normalize=False) for name in parents[0]
    }
    release.write_weights(copy.folder, other)
    report = release.sign_again(copy).verify()
    assert (report.verdict, codes_of(report)) == ("REJECTED", {"REPLAY_MISMATCH"})
    assert [step.verdict for step in report.steps] == ["contradicted"]


def test_merge_with_one_element_that_is_off_by_one_bit_is_contradicted(releases: Releases, work: Path) -> None:
    copy = releases("bf16").copy(work / "copy")
    release.flip_bit(release.place_of(copy.folder, WORDS), 20_000_000, 0)
    report = release.sign_again(copy).verify()
    assert (report.verdict, findings_of(report)) == ("REJECTED", [("REPLAY_MISMATCH", f"merge: {WORDS}")])
    assert report.findings[0].actual == "first difference at byte 20000000, 1 element differs, by up to 1 ULP"


# What was declared as training.


def sources_of(*folders: Path) -> list[LocalFolder]:
    return [LocalFolder(folder) for folder in folders]


def assert_attested(report: Report) -> None:
    assert (report.verdict, report.level, findings_of(report)) == ("VERIFIED", 2, []), report.headline
    assert report.headline == "VERIFIED level 2: training is the signer's word"
    assert [step.verdict for step in report.steps] == ["attested"]


def test_real_training_is_attested(pairs: Pairs, work: Path) -> None:
    pair = pairs("minilm")
    shutil.copytree(pair.finetune, work / "tuned")
    report = release.make_training_release(work / "tuned", pair.base).verify()
    assert_attested(report)
    assert [finding.code for finding in report.findings] == ["TRAINING_MOVED", "UNDECLARED_PARENTS_NOT_TESTED"]
    (step,) = report.steps
    assert step.moved_elements is not None
    assert step.elements == 22_713_728
    assert step.moved_elements > 0.9 * step.elements


def test_real_training_is_attested_beside_a_merge_that_holds_it(pairs: Pairs, releases: Releases, work: Path) -> None:
    """The merge of base and fine-tune points back at the fine-tune, up to what float32 sums may be off."""
    for case, warnings in (("chgnet", [("CANDIDATE_NOT_TRIED", "train")]), ("bf16", [])):
        pair = pairs(case)
        shutil.copytree(pair.finetune, work / case)
        signed = release.make_training_release(work / case, pair.base)
        report = signed.verify(candidates=sources_of(releases(case).folder))
        assert (report.verdict, report.level, findings_of(report)) == ("VERIFIED", 2, warnings), report.headline
        assert [step.verdict for step in report.steps] == ["attested"]


@pytest.mark.parametrize("name", ["chgnet", "minilm", "bf16"])
def test_base_that_is_declared_as_trained_is_contradicted(name: str, pairs: Pairs, work: Path) -> None:
    pair = pairs(name)
    shutil.copytree(pair.base, work / "tuned")
    report = release.make_training_release(work / "tuned", pair.base).verify(candidates=sources_of(pair.finetune))
    assert (report.verdict, findings_of(report)) == ("REJECTED", [("TRAINING_NO_EFFECT", "train")])
    assert [step.verdict for step in report.steps] == ["contradicted"]


@pytest.mark.parametrize(
    ("case", "found"),
    [
        ("chgnet", "0.6·{base} + 0.4·candidate 1"),
        ("chgnet, sum other than one, normalized", "0.7·{base} + 0.4·candidate 1, normalized"),
        (
            "chgnet, gates apart",
            "0.6·{base} + 0.4·candidate 1 in 96 tensors; 0.123·{base} + 0.877·candidate 1 in 32 tensors;"
            # The 8 tensors that the published fine-tuning left as they were.
            " 1·{base} + 0·candidate 1 in 8 tensors",
        ),
        ("minilm", "0.6·{base} + 0.4·candidate 1"),
        ("bf16", "0.6·{base} + 0.4·candidate 1"),
        ("bf16, three decimals", "0.617·{base} + 0.383·candidate 1"),
        (
            "bf16, attention apart",
            "0.25·{base} + 0.75·candidate 1 in 60 tensors; 0.6·{base} + 0.4·candidate 1 in 37 tensors;"
            " 1·{base} + 0·candidate 1 in 6 tensors",  # in which rounding leaves every element as it was
        ),
        # 0.7 and 0.4, normalized, give the same bits; the whole numbers are tried first.
        ("bf16, sum other than one, normalized", "7·{base} + 4·candidate 1, normalized"),
    ],
)
def test_blend_that_is_declared_as_training_is_contradicted_with_its_coefficients(
    case: str, found: str, pairs: Pairs, releases: Releases, work: Path
) -> None:
    pair = pairs(CASES[case][0])
    weights = release.weights_of(releases(case).folder)
    shutil.copytree(pair.base, work / "blend")
    release.write_weights(work / "blend", weights)
    report = release.make_training_release(work / "blend", pair.base).verify(candidates=sources_of(pair.finetune))
    assert (report.verdict, findings_of(report)) == ("REJECTED", [("TRAINING_EQUALS_BLEND", "train")])
    assert report.findings[0].actual == found.format(base=pair.base.name) + ", to the bit"


@pytest.mark.parametrize("name", ["minilm", "bf16"])
def test_blend_with_one_real_training_step_on_it_is_attested(
    name: str, pairs: Pairs, releases: Releases, work: Path
) -> None:
    pair = pairs(name)
    blend = {
        key: value.float() if value.is_floating_point() else value
        for key, value in release.weights_of(releases(name).folder).items()
    }
    trained = finetune.train(blend, steps=1)
    if name == "bf16":
        trained = {key: value.bfloat16() if value.is_floating_point() else value for key, value in trained.items()}
    shutil.copytree(pair.base, work / "trained")
    release.write_weights(work / "trained", trained)
    report = release.make_training_release(work / "trained", pair.base).verify(candidates=sources_of(pair.finetune))
    assert_attested(report)

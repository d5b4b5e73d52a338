"""The documents say what is so: links lead somewhere, names exist, and sessions print what is shown.

A session that no longer prints what its document shows is renewed by hand: run it, and paste what it prints.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from model_verify import errors
from model_verify.findings import REASONS
from model_verify.models import StepRecord
from tests.cli.making import attest
from tests.docs.document import ROOT, Block, Shown, blocks, follow, is_as_shown, prose
from tests.publisher.conftest import expected_root

GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CHAPTERS = [path for path in sorted((ROOT / "spec").rglob("*.md")) if "folder" not in path.parts]
DOCUMENTS = [*GUIDES, *CHAPTERS, ROOT / "CHANGELOG.md"]

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_INLINE_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_INDENTED_CODE = re.compile(r"^    (\S.*)$", re.MULTILINE)
_CODE_NAME = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
_COMMAND = re.compile(r"(?<![\w/.-])attest (?P<name>[a-z]+(?:-[a-z]+)*)\b(?P<rest>.*)")
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_CLAUSE = re.compile(
    r"\b(?P<chapter>tensor-tree|manifest|statement|pipeline|merge|verification|history|observation|summary)"
    r" §(?P<number>[0-9]+)"
)

_NO_REASON = {"HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_TOKEN", "HTTPS_PROXY", "SSL_CERT_FILE"}
"""Variables of the environment."""
_OURS = "MODEL_ATTEST_"
"""Begins our own variables, and the words of summaries."""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code_lines(document: Path) -> Iterator[str]:
    """Yield what a document shows as something to type: inline code, indented code, and the commands of sessions."""
    text = prose(document)
    yield from _INLINE_CODE.findall(text)
    yield from _INDENTED_CODE.findall(text)
    for block in blocks(document):
        if block.language in ("sh", "console"):
            yield from (line.removeprefix("$ ") for line in block.text.splitlines())


def helps(*command: str) -> Iterator[str]:
    """Yield the help of a command, and of those that stand behind its name."""
    shown = attest(*command, "--help").stdout
    yield shown
    for name in re.findall(r"^  ([a-z-]+)  ", shown.partition("Commands:\n")[2], re.MULTILINE):
        yield from helps(*command, name)


@pytest.fixture(scope="module")
def flags() -> Mapping[str, set[str]]:
    """The flags of each command, from its help."""
    listed = re.findall(r"^  ([a-z-]+)  ", attest("--help").stdout.partition("Commands:\n")[2], re.MULTILINE)
    assert {"hash", "merge", "sign", "verify", "demo"} <= set(listed)
    return {name: set(_FLAG.findall("".join(helps(name)))) for name in listed}


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    for target in (match["target"] for match in _LINK.finditer(prose(document))):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        place = (document.parent / path).resolve() if path else document
        assert place.exists(), f"{target} leads nowhere"
        assert place.is_relative_to(ROOT), f"{target} leads out of the repository"
        assert not anchor or anchor in anchors(place), f"{target}: no such heading"


@pytest.mark.parametrize("document", GUIDES, ids=named)
def test_every_code_that_is_named_exists(document: Path) -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.AttestError)]
    known = REASONS.keys() | {kind.code for kind in kinds} | _NO_REASON
    spans = " ".join(_INLINE_CODE.findall(prose(document)))
    assert {name for name in _CODE_NAME.findall(spans) if not name.startswith(_OURS)} <= known


def test_the_threat_model_names_every_reason_code() -> None:
    assert REASONS.keys() <= set(_CODE_NAME.findall((ROOT / "docs/threat-model.md").read_text("utf-8")))


@pytest.mark.parametrize("document", GUIDES, ids=named)
def test_every_clause_that_is_cited_exists(document: Path) -> None:
    for clause in _CLAUSE.finditer(prose(document)):
        chapter = (ROOT / "spec/v1" / f"{clause['chapter']}.md").read_text("utf-8")
        assert re.search(rf"^## {clause['number']}\. ", chapter, re.MULTILINE), clause[0]


@pytest.mark.parametrize("document", GUIDES, ids=named)
def test_every_command_and_flag_that_is_named_exists(document: Path, flags: Mapping[str, set[str]]) -> None:
    anywhere = set().union(*flags.values())
    for line in code_lines(document):
        if line.startswith("--"):
            assert set(_FLAG.findall(line)) <= anywhere, line
        for command in _COMMAND.finditer(line):
            assert command["name"] in flags, line
            assert set(_FLAG.findall(command["rest"])) <= flags[command["name"]], line


def test_the_readme_and_the_quickstart_name_the_commands_that_matter() -> None:
    """So that the test above cannot pass because it finds nothing."""
    found = {
        command["name"]
        for document in (ROOT / "README.md", ROOT / "docs/quickstart.md")
        for line in code_lines(document)
        for command in _COMMAND.finditer(line)
    }
    assert found >= {"keygen", "merge", "sign", "verify", "inspect", "hash", "diff"}


@dataclass(frozen=True)
class Followed:
    """A document that was followed in `folder`: each command with what the document shows and what it printed."""

    document: Path
    folder: Path
    done: list[tuple[Shown, str]]

    def check(self) -> None:
        """Fail unless every command printed what the document shows."""
        for shown, output in self.done:
            expected = "\n".join(shown.lines)
            assert is_as_shown(output, shown), (
                f"{named(self.document)} shows for `{shown.command}`\n{expected}\nand it prints\n{output}"
            )

    @property
    def verdicts(self) -> list[str]:
        """Verdict and level of every `attest verify` whose report went to the terminal."""
        reports = [output for shown, output in self.done if shown.command.startswith("attest verify") and output]
        return [report.splitlines()[0].split("  ")[0] for report in reports]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    document, folder = ROOT / "docs/quickstart.md", tmp_path_factory.mktemp("quickstart")
    return Followed(document, folder, list(follow(document, folder)))


def test_the_readmes_session_prints_what_it_shows(tmp_path: Path) -> None:
    document = ROOT / "README.md"
    readme = Followed(document, tmp_path, list(follow(document, tmp_path)))
    assert readme.verdicts == ["VERIFIED level 3", "REJECTED"]
    readme.check()


def test_the_sessions_on_policies_print_what_they_show(tmp_path: Path) -> None:
    document = ROOT / "docs/policy.md"
    policies = Followed(document, tmp_path, list(follow(document, tmp_path)))
    policies.check()
    assert policies.verdicts[0] == "REJECTED"


def test_the_sessions_on_observations_print_what_they_show(tmp_path: Path) -> None:
    document = ROOT / "docs/observations.md"
    observations = Followed(document, tmp_path, list(follow(document, tmp_path)))
    observations.check()
    assert observations.verdicts == ["VERIFIED level 3"]


def test_the_sessions_on_history_print_what_they_show(tmp_path: Path) -> None:
    document = ROOT / "docs/history.md"
    history = Followed(document, tmp_path, list(follow(document, tmp_path)))
    history.check()
    assert history.verdicts[0] == "REJECTED"


def test_the_sessions_on_model_signing_print_what_they_show(tmp_path: Path) -> None:
    document = ROOT / "docs/model-signing.md"
    signing = Followed(document, tmp_path, list(follow(document, tmp_path)))
    signing.check()
    assert signing.verdicts == ["VERIFIED level 1", "INCOMPLETE", "REJECTED"]


def test_the_sessions_on_certificates_print_what_they_show(tmp_path: Path) -> None:
    document = ROOT / "docs/certificates.md"
    certificates = Followed(document, tmp_path, list(follow(document, tmp_path)))
    certificates.check()
    assert certificates.verdicts == ["VERIFIED level 1", "REJECTED"]


def test_the_sessions_for_a_procurement_office_print_what_they_show(tmp_path: Path) -> None:
    document = ROOT / "docs/procurement.md"
    procurement = Followed(document, tmp_path, list(follow(document, tmp_path)))
    procurement.check()
    assert procurement.verdicts == ["VERIFIED level 3", "SUMMARY ACCEPTED", "SUMMARY REJECTED", "VERIFIED level 1"]


def test_the_quickstarts_sessions_print_what_they_show(quickstart: Followed) -> None:
    assert quickstart.verdicts == ["INCOMPLETE", *(f"VERIFIED level {level}" for level in (3, 2, 2, 1))]
    quickstart.check()


@pytest.mark.filterwarnings("ignore")
def test_the_sessions_on_recording_print_what_they_show(tmp_path: Path) -> None:
    document = ROOT / "docs/recording-training.md"
    recording = Followed(document, tmp_path, list(follow(document, tmp_path)))
    assert recording.verdicts == ["VERIFIED level 2"]
    recording.check()


def test_the_sessions_about_merges_print_what_they_show(tmp_path: Path) -> None:
    document = ROOT / "docs/publishing-merges.md"
    followed = Followed(document, tmp_path, list(follow(document, tmp_path)))
    assert followed.verdicts == ["VERIFIED level 3", "VERIFIED level 2"]
    followed.check()
    roots = {expected_root(tmp_path / name / "model.safetensors") for name in ("merged", "again")}
    assert len(roots) == 1  # what the text says of them


def the_record() -> Block:
    """Return the step record that the quickstart shows."""
    shown = blocks(ROOT / "docs/quickstart.md")
    (record,) = [block for block in shown if block.file.endswith(".attest/steps/001.json")]
    return record


def test_the_quickstarts_step_record_is_one() -> None:
    record = StepRecord.read(json.loads(the_record().text))
    assert json.loads(record.canonical()) == json.loads(the_record().text)


def test_the_quickstarts_step_record_is_signed_and_verified(quickstart: Followed) -> None:
    folder = the_record().file.partition("/")[0]
    done = attest("verify", folder, "--key", "lab.pub", "--parent", "a=a", "--json", cwd=quickstart.folder)
    report = json.loads(done.stdout)
    assert (done.returncode, report["verdict"], report["level"]) == (0, "VERIFIED", 2)
    assert [(step["id"], step["verdict"]) for step in report["steps"]] == [("train", "attested")]
    assert {finding["code"] for finding in report["findings"]} == {"TRAINING_MOVED", "UNDECLARED_PARENTS_NOT_TESTED"}


@pytest.mark.parametrize(
    ("printed", "is_shown"),
    [
        (f"root sha256:{'a' * 64}\nlast\n", True),
        (f"root sha256:{'b' * 64}\nmore\nlines\nlast\n", True),
        (f"root sha256:{'b' * 63}\nlast\n", False),
        (f"root sha256:{'a' * 64}\nlast\nand more\n", False),
        ("last\n", False),
    ],
)
def test_a_session_that_prints_something_else_is_seen(printed: str, is_shown: bool) -> None:
    assert is_as_shown(printed, Shown("x", (f"root sha256:{'c' * 64}", "…", "last"))) is is_shown

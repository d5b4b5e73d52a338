"""What the Hub says of where a model and its parents are. Spec: hub §1, verification V1, V10."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from model_verify.errors import SourceMissing
from model_verify.findings import Finding
from model_verify.models import BUNDLE_PATH, Material
from model_verify.report import ReportHub, ReportMaterial
from model_verify.sources.source import Reach, Source

_ON_NO_BRANCH = "no branch or tag leads to {}"


def describe_place(source: Source) -> ReportHub | None:
    """Return where on the Hub a source is, or None for any other. Raises `SourceError`."""
    if source.hub is None or source.repository is None or source.commit is None:
        return None
    return ReportHub(
        endpoint=source.hub.endpoint,
        repository=source.repository,
        revision=source.hub.revision,
        commit=source.commit,
        reach=source.reach().value,
    )


def place_findings(place: ReportHub | None) -> Iterator[Finding]:
    """Yield what is to be said of a model's own commit: whoever opens a pull request can put one there."""
    if place is not None and place.reach == Reach.PROPOSAL.value:
        yield Finding("COMMIT_NOT_ON_BRANCH", BUNDLE_PATH, "a branch or a tag", _ON_NO_BRANCH.format(place.commit))


def fetch_parents(
    materials: Sequence[Material], parents: Mapping[str, Source], fetch: Callable[[str], Source | None]
) -> dict[str, Source]:
    """Return the sources of materials for which the caller has no parent, as far as the caller can fetch them.

    Whoever is not there stays missing, which has a finding. Raises `SourceError` else.
    """
    found: dict[str, Source] = {}
    for material in materials:
        if material.uri is not None and material.name not in parents:
            with contextlib.suppress(SourceMissing):
                source = fetch(material.uri)
                if source is not None:
                    found[material.name] = source
    return found


def with_origins(
    materials: Sequence[ReportMaterial], parents: Mapping[str, Source]
) -> tuple[list[ReportMaterial], list[Finding]]:
    """Return the materials with what the Hub says of those that were read from it, and the findings of that.

    The Hub's word is the origin of weights that match and that were read from the declared repository, at the declared
    commit, to which a branch or a tag leads. Raises `SourceError`.
    """
    placed: list[ReportMaterial] = []
    findings: list[Finding] = []
    for material in materials:
        source = parents.get(material.id)
        if source is None or source.hub is None or material.status != "matched":
            placed.append(material)
            continue
        read_from = f"{source.repository}@{source.commit}"
        if source.reach() is Reach.PROPOSAL:
            actual = _ON_NO_BRANCH.format(source.commit)
            findings.append(Finding("MATERIAL_NOT_ON_BRANCH", material.id, "a branch or a tag", actual))
        is_declared = material.uri in (read_from, source.repository)
        origin = "hub" if is_declared and source.reach() is Reach.BRANCH else material.origin
        placed.append(material.model_copy(update={"read_from": read_from, "origin": origin}))
    return placed, findings

"""One line of a report's table, and what was found below it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from model_verify.report import ReportFinding

Status = Literal["ok", "warn", "skip", "FAIL"]

_RANKS: dict[Status, int] = {"ok": 0, "warn": 1, "skip": 2, "FAIL": 3}
_OF_SEVERITY: dict[str, Status] = {"fail": "FAIL", "incomplete": "skip", "warn": "warn", "note": "ok"}


@dataclass(slots=True)
class Area:
    """One line of the table, and the findings below it. A finding can only make `status` worse."""

    name: str
    status: Status
    text: str
    findings: list[ReportFinding] = field(default_factory=list)
    details: tuple[str, ...] = ()

    def add(self, finding: ReportFinding) -> None:
        self.findings.append(finding)
        status = _OF_SEVERITY[finding.severity]
        if _RANKS[status] > _RANKS[self.status]:
            self.status = status

"""Failures of a report, grouped by code, each group with the next step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.domain.job import LOST_BY_SERVICE, STEM_MISSING
from orchestrator.reporting.row import WELL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_EXAMPLES = 3
_BY_CODE = {
    "ResourceNotFound": "Check the names: these objects are not in the bucket.",
    "ResourceNotSupported": "Convert these files to a supported format, then --retry failed.",
    "InternalError": "The service failed; --retry failed.",
    STEM_MISSING: "--retry failed looks for the stems first, and pays only if they are missing.",
    LOST_BY_SERVICE: "--retry failed looks for the jobs first.",
    "StateUnknown": "--retry failed queries the jobs again.",
    "Stalled": "--retry failed tracks the jobs again.",
}
_BY_STATE = {
    "failed": "--retry failed",
    "rejected": "Correct them, then --retry rejected.",
    "cancelled": "--retry all",
    "unfinished": "--retry failed looks for them first.",
}


@dataclass(slots=True)
class Group:
    """Failures of one state and code.

    Attributes:
        state: Their state.
        code: Their error code, or empty.
        jobs: How many they are.
        message: Message of the first.
        examples: The first objects.
    """

    state: str
    code: str
    jobs: int = 0
    message: str = ""
    examples: list[str] = field(default_factory=list)

    @property
    def advice(self) -> str:
        """Next step."""
        return _BY_CODE.get(self.code) or _BY_STATE.get(self.state, "")


class Failures:
    """Groups the rows that did not succeed."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], Group] = {}

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count these rows."""
        for row in rows:
            if row["state"] in WELL:
                continue
            kind = row["state"], row["code"]
            group = self._groups.setdefault(kind, Group(*kind))
            group.jobs += 1
            group.message = group.message or row["message"]
            if len(group.examples) < _EXAMPLES:
                group.examples.append(row["input"]["object"])

    def groups(self) -> list[Group]:
        """Return the groups, the largest first."""
        return sorted(self._groups.values(), key=lambda group: (-group.jobs, group.code))

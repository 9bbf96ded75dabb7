"""Collecting what is wrong, so that the user hears of everything at once, and of the nearest right word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import Fault, ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_FAULTS = 50
"""Faults that are told in full unless the user asks for more: what a person reads before mending the first ones."""

FILE_LENGTH = 500
"""The same for file names, which one wants to copy."""


class FaultList:
    """Faults in the order in which they were found, bounded; what is beyond the bound is counted.

    Args:
        limit: Faults to keep.
    """

    def __init__(self, limit: int = MAX_FAULTS) -> None:
        self.limit = max(1, limit)
        self.kept: list[Fault] = []
        self.omitted = 0

    def __len__(self) -> int:
        """All faults, the omitted ones too."""
        return len(self.kept) + self.omitted

    def add(self, fault: Fault) -> None:
        """Take one more fault."""
        if len(self.kept) < self.limit:
            self.kept.append(fault)
        else:
            self.omitted += 1

    def extend(self, faults: Iterable[Fault]) -> None:
        """Take more faults."""
        for fault in faults:
            self.add(fault)

    def raise_if_any(self, kind: type[ManifestError] = ManifestError) -> None:
        """Raise ``kind`` with all faults, if there are any."""
        if self.kept:
            raise kind(self.kept, omitted=self.omitted)

"""Collection of faults, so that a user sees all of them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import Fault, ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_FAULTS = 50
"""Faults that are shown unless the user asks for more: people fix the first ones and try again."""
FILE_LENGTH = 500
"""Characters of a file name that are shown: people copy file names."""


class FaultList:
    """Faults in the order of discovery.

    Args:
        limit: Faults to keep; the others are only counted.
    """

    def __init__(self, limit: int = MAX_FAULTS) -> None:
        self.limit = max(1, limit)
        self.kept: list[Fault] = []
        self.omitted = 0

    def __len__(self) -> int:
        """Return the number of all faults, including the omitted ones."""
        return len(self.kept) + self.omitted

    def add(self, fault: Fault) -> None:
        """Add a fault."""
        if len(self.kept) < self.limit:
            self.kept.append(fault)
        else:
            self.omitted += 1

    def extend(self, faults: Iterable[Fault]) -> None:
        """Add several faults."""
        for fault in faults:
            self.add(fault)

    def raise_if_any(self, kind: type[ManifestError] = ManifestError) -> None:
        """Raise ``kind`` with all faults if there are any."""
        if self.kept:
            raise kind(self.kept, omitted=self.omitted)

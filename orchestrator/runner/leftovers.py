"""Leftovers: jobs of earlier runs that were not sent and that the manifest no longer names.

Manifests of one name share a ledger. Each start of a run (a visit) is of one of them, and the jobs
that it names carry the visit's number. So the leftovers of another manifest are known: they are
always kept, because that manifest may name them again, unless its file is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import orjson

from orchestrator.domain.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

MANIFESTS = "manifests"
"""Name under which the ledger keeps which manifest each visit was of."""
_MOST = 2000
"""Changes between manifests that are kept; older visits count as the present manifest's."""


@dataclass(slots=True)
class VisitLog:
    """The manifest of each visit: (first visit, manifest) for each change, in order."""

    changes: list[tuple[int, str]] = field(default_factory=list)

    @classmethod
    def read(cls, raw: bytes | None) -> Self:
        """Return the log that :meth:`encoded` wrote; an empty one for None."""
        return cls([(visit, manifest) for visit, manifest in orjson.loads(raw or b"[]")])

    def encoded(self) -> bytes:
        """Return the log as bytes."""
        return orjson.dumps(self.changes[-_MOST:])

    def note(self, visit: int, manifest: str) -> bool:
        """Note a visit; return True if the log has changed."""
        if self.changes and self.changes[-1][1] == manifest:
            return False
        self.changes.append((visit, manifest))
        return True

    def manifest_of(self, visit: int) -> str | None:
        """Return the manifest of a visit, or None if it is not known."""
        ends = [*self.changes, (visit + 1, "")]
        return next(
            (manifest for (first, manifest), (end, _) in pairwise(ends) if first <= visit < end),
            None,
        )

    def of_others(
        self, visits: Iterable[int], manifest: str, exists: Callable[[str], bool]
    ) -> dict[int, str]:
        """Return those visits that were of another manifest, each with that manifest.

        A manifest that no longer ``exists`` was renamed or deleted: what it left is ours.
        """
        owners = {visit: self.manifest_of(visit) for visit in visits}
        others = {owner for owner in owners.values() if owner and owner != manifest}
        living = {owner for owner in others if exists(owner)}
        return {visit: owner for visit, owner in owners.items() if owner in living}


def kept_text(left: int, others: Iterable[str]) -> str:
    """Return the sentence about kept leftovers, some of them of ``others``."""
    jobs, them = counted(left, "job"), "It is" if left == 1 else "They are"
    verb, why = ("was", "is") if left == 1 else ("were", "are")
    text = (
        f"{jobs} of earlier runs {verb} not sent and {why} not in this manifest. {them} kept: "
        "neither sent nor cancelled."
    )
    if names := ", ".join(sorted(set(others))):
        return f"{text} Named by {names}, which uses the same ledger."
    return f"{text} `leftovers: finish` sends, `orchestrator cancel MANIFEST --left` cancels."

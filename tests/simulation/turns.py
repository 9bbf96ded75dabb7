"""Whose turn it was: priority and fair shares as the service sees them, from what waited in the ledger and what was sent.

Nothing here looks into the engine. A job *waits* from the moment at which the ledger has it as planned and due; that is known to the
engine at the same instant. From a little later on (the batch that was being recorded meanwhile may still leave) nothing of a lower level
may be sent before it, unless that level has aged; and no group of its own level may be sent much more often than its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.domain.spec import JobKey, JobSpec


@dataclass(frozen=True, slots=True)
class _Waiting:
    soonest: float
    latest: float
    level: int
    share: str


class Turns:
    """Keeps the turns of one visit.

    Args:
        age_after: Sends of higher levels that lift a waiting level by one.
        batch: Jobs that are chosen at one moment.
        slack_s: Longest time from the choice of a job to its departure.
    """

    def __init__(self, age_after: int, batch: int, slack_s: float) -> None:
        self._age_after = age_after
        self._batch = batch
        self._slack_s = slack_s
        self._waiting: dict[JobKey, _Waiting] = {}
        self._chosen: dict[
            JobKey, _Waiting
        ] = {}  # their intent is being recorded, or was, and they have not left
        self._passed: dict[
            int, int
        ] = {}  # sends of higher levels while this one waited, since it was sent last
        self._overtaken: dict[
            tuple[int, str], dict[str, int]
        ] = {}  # sends of each other group while this one waited

    def wait(self, spec: JobSpec, soonest: float, latest: float) -> None:
        """From ``soonest`` on it may go, from ``latest`` on it must have its turn."""
        if (
            self._chosen.pop(spec.key, None) is not None
        ):  # called back before it was sent: it has had its turn
            for level in range(spec.level):
                self._passed[level] = self._passed.get(level, 0) + 1
        self._waiting[spec.key] = _Waiting(soonest, latest, spec.level, spec.share)

    def leave(self, key: JobKey) -> None:
        """It does not wait any more."""
        self._waiting.pop(key, None)
        self._chosen.pop(key, None)

    def choose(self, key: JobKey) -> None:
        """It goes next."""
        if key in self._waiting:
            self._chosen[key] = self._waiting.pop(key)

    def send(self, spec: JobSpec, now: float) -> None:
        """It is sent: nothing else had a better claim.

        Raises:
            AssertionError: If something had.
        """
        self._chosen.pop(spec.key, None)
        long_due = {
            (one.level, one.share)
            for one in self._waiting.values()
            if one.latest + self._slack_s <= now
        }
        self._check_level(spec, {level for level, _ in long_due})
        behind = [*self._waiting.values(), *self._chosen.values()]
        self._count_passed(spec.level, {one.level for one in behind if one.soonest <= now})
        self._check_starved({level for level, _ in long_due})
        self._check_shares(spec, {share for level, share in long_due if level == spec.level})

    def _check_level(self, spec: JobSpec, waiting: set[int]) -> None:
        higher = [level for level in waiting if level > spec.level]
        if higher:
            needed = self._age_after * (min(higher) - spec.level + 1)
            passed = self._passed.get(spec.level, 0)
            assert passed + self._batch >= needed, (
                f"{spec.key} of level {spec.level} went before level {max(higher)}"
            )

    def _count_passed(self, sent: int, waiting: set[int]) -> None:
        for level in (0, 1, 2):
            if level == sent or level not in waiting:
                self._passed[level] = 0
            elif level < sent:
                self._passed[level] = self._passed.get(level, 0) + 1

    def _check_starved(self, waiting: set[int]) -> None:
        # Level 0 waits for level 2 (3 lifts) or for a level 1 that has itself aged beyond level 2 (4 lifts).
        most = 4 * self._age_after + 2 * self._batch + 2
        starved = [level for level in waiting if self._passed.get(level, 0) > most]
        assert not starved, f"level {starved} starves: passed {self._passed} times"

    def _check_shares(self, spec: JobSpec, waiting: set[str]) -> None:
        for level, share in list(self._overtaken):
            if level == spec.level and share not in waiting:
                del self._overtaken[level, share]
        self._overtaken.pop((spec.level, spec.share), None)
        for share in waiting - {spec.share}:
            ahead = self._overtaken.setdefault((spec.level, share), {})
            ahead[spec.share] = ahead.get(spec.share, 0) + 1
            # Of groups that take turns one may be ahead by one, and by one more when it came first by name; and the batch under way.
            assert ahead[spec.share] <= 2 + self._batch, (
                f"group {spec.share!r} of level {spec.level} shuts out {share!r}"
            )

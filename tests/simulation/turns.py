"""Check of priority and fair shares, from the jobs that waited in the ledger and those sent.

The check does not read the runner's state. A job *waits* from the moment at which the ledger holds
it as planned and due; the runner knows of it at the same instant. From a little later on (a batch
that is being recorded may still leave), no job of a lower level may be sent before it, unless that
level has aged, and no other group of its level may be sent much more often than its own.
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
    """Check the order of the submits of one process.

    Args:
        age_after: Sends of higher levels that lift a waiting level by one.
        batch: Number of jobs chosen at one moment.
        slack_s: Longest time from the choice of a job to its departure.
    """

    def __init__(self, age_after: int, batch: int, slack_s: float) -> None:
        self._age_after = age_after
        self._batch = batch
        self._slack_s = slack_s
        self._waiting: dict[JobKey, _Waiting] = {}
        self._chosen: dict[JobKey, _Waiting] = {}
        """Jobs with an intent that have not been sent."""
        self._passed: dict[int, int] = {}
        """By level: sends of higher levels while it waited, since its last send."""
        self._overtaken: dict[tuple[int, str], dict[str, int]] = {}
        """By level and group: sends of each other group while it waited."""

    def wait(self, spec: JobSpec, soonest: float, latest: float) -> None:
        """Add a job that may go from ``soonest`` on and must go from ``latest``."""
        if self._chosen.pop(spec.key, None) is not None:  # returned unsent: it has had its turn
            for level in range(spec.level):
                self._passed[level] = self._passed.get(level, 0) + 1
        self._waiting[spec.key] = _Waiting(soonest, latest, spec.level, spec.share)

    def leave(self, key: JobKey) -> None:
        """Remove a job that no longer waits."""
        self._waiting.pop(key, None)
        self._chosen.pop(key, None)

    def choose(self, key: JobKey) -> None:
        """Mark a job as the next one to send."""
        if key in self._waiting:
            self._chosen[key] = self._waiting.pop(key)

    def send(self, spec: JobSpec, now: float) -> None:
        """Record that a job is sent.

        Raises:
            AssertionError: If another job should have been sent first.
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
            # Jobs that were chosen before it, and leave after it, have passed it too.
            ahead = sum(one.level > spec.level for one in self._chosen.values())
            passed = self._passed.get(spec.level, 0) + ahead
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
        # Level 0 waits for level 2 (3 lifts) or for a level 1 that has aged past level 2 (4 lifts).
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
            # A group that takes turns may lead by one, by one more if its name sorts first, and by
            # the batch under way.
            assert ahead[spec.share] <= 2 + self._batch, (
                f"group {spec.share!r} of level {spec.level} shuts out {share!r}"
            )

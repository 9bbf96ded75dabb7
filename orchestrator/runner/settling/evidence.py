"""Decide what a list of jobs proves about a job in doubt. Pure.

A job is *found* by its key. It is *absent* only if the list can be trusted, and shows nothing that
could be the job: not one of the same object, created since, whose key cannot be read.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.domain.spec import is_key_of_another, key_of_user_data

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from orchestrator.domain.job import Job
    from orchestrator.domain.remote import RemoteJob
    from orchestrator.domain.spec import JobKey

ADOPT_MARGIN_S = 1200.0
"""Lag of the service's clock that the search for a lost job allows for. The vendor refuses
requests beyond 15 minutes. A signature's time begins up to two minutes before it is used, and that
may be all that the service compares."""
_MOST_WITNESSES = 200
_SETTLES_PER_LAG = 2.0
"""Wait for this many times the longest lag that was seen: the next job may lag longer."""
SETTLES_UNSEEN = 4.0
"""Wait for this many settle times while nothing shows how far the list has come."""
HOPELESS_S = 300.0
"""An accepted job that is not listed after this time is not late: the filter or the list fails."""


@dataclass(slots=True)
class Witness:
    """A job that is known to be at the service, so that the list must show it.

    Attributes:
        job_id: Remote job id.
        key: Its job key.
        object: Key of its input.
        accepted_at: When it was accepted, seconds since the epoch; by the service's clock as soon
            as a list has shown it, because this machine's clock may have been wrong.
        sent_at: When its request was sent, monotonic, because the answer may come long after the
            job was accepted; minus infinity if that was in an earlier visit.
    """

    job_id: str
    key: JobKey
    object: str
    accepted_at: float
    sent_at: float = -math.inf


@dataclass(slots=True)
class Trust:
    """Experience with the list of one bucket in this visit.

    Attributes:
        by_time: The time filter returned a job that is known to match it. False: it failed to.
            None: not tried.
        by_object: The same for the filter by input object.
        has_keys: A job was listed with the key that it was sent with. False: without it.
        lag_s: Longest time that a job took to be listed, as far as it was seen.
        shown_at: When the latest witness was sent that was seen to be listed, monotonic.
        late: Remote ids of those that were not listed when they were looked for.
        witnesses: Jobs that the list must show, the latest last.
    """

    by_time: bool | None = None
    by_object: bool | None = None
    has_keys: bool | None = None
    lag_s: float = 0.0
    shown_at: float = -math.inf
    late: set[str] = field(default_factory=set)
    witnesses: deque[Witness] = field(default_factory=lambda: deque(maxlen=_MOST_WITNESSES))

    def settle_s(self, least_s: float, since: float = -math.inf) -> float:
        """Return how long a job must stay absent.

        Args:
            least_s: The shortest time.
            since: When its answer was lost, monotonic. If a job that was sent later is listed, the
                list has come this far; otherwise its lag is not known. Nor is it while a job that
                was not listed has not been seen since.
        """
        settle_s = max(least_s, _SETTLES_PER_LAG * self.lag_s)
        is_known = since == -math.inf or (self.shown_at >= since and not self.late)
        return settle_s if is_known else SETTLES_UNSEEN * settle_s

    def late_witness(self, now: float) -> Witness | None:
        """Return the oldest witness that was not listed when it was looked for, or None."""
        late = [
            known
            for known in self.witnesses
            if known.job_id in self.late and now - known.sent_at < HOPELESS_S
        ]
        self.late.intersection_update(known.job_id for known in late)
        return late[0] if late else None

    def witness(self, now: float, aged_s: float) -> Witness | None:
        """Return the latest witness that was accepted ``aged_s`` ago, else the oldest; or None."""
        aged = (known for known in reversed(self.witnesses) if now - known.sent_at >= aged_s)
        return next(aged, self.witnesses[0] if self.witnesses else None)

    def forget(self, key: JobKey) -> None:
        """Forget a job as a witness: it is in doubt itself."""
        kept = [known for known in self.witnesses if known.key != key]
        self.witnesses = deque(kept, maxlen=_MOST_WITNESSES)

    def forget_lag(self) -> None:
        """Forget how late the list seemed to be: a filter that fails has hidden the jobs."""
        self.lag_s = 0.0
        self.late.clear()

    def compare(self, expected: Iterable[Witness], listed: Sequence[RemoteJob], now: float) -> bool:
        """Learn from a list that must show ``expected``; return True if it shows one of them."""
        by_id = {remote.job_id: remote for remote in listed}
        is_shown = False
        for witness in expected:
            remote = by_id.get(witness.job_id)
            age_s = now - witness.sent_at
            is_late = witness.job_id in self.late or remote is None
            if is_late and age_s < HOPELESS_S:
                self.lag_s = max(self.lag_s, age_s)
                self.late.add(witness.job_id)
            if remote is not None:
                self.late.discard(witness.job_id)
                is_shown = True
                witness.accepted_at = remote.created_at or witness.accepted_at
                self.shown_at = max(self.shown_at, witness.sent_at)
                found = key_of_user_data(remote.user_data)
                if not is_key_of_another(found, witness.key):  # else the answers were mixed up
                    self.has_keys = found == witness.key and self.has_keys is not False
        return is_shown


def is_of(remote: RemoteJob, job: Job) -> bool:
    """Return True if a listed job has the key of ``job``, and is not an earlier attempt of it."""
    has_key = key_of_user_data(remote.user_data) == job.spec.key
    return has_key and remote.job_id not in job.past_job_ids


def could_be(remote: RemoteJob, job: Job, others: Collection[str]) -> bool:
    """Return True if a listed job without a readable key could be ``job``.

    Args:
        remote: The listed job.
        job: A job in doubt.
        others: Remote ids that are known to belong to other jobs.
    """
    return (
        remote.job_id not in others
        and remote.job_id not in job.past_job_ids
        and remote.is_about(job.spec.media.key)
        and not is_key_of_another(key_of_user_data(remote.user_data), job.spec.key)
        and not _is_from_before(remote, job)
    )


def _is_from_before(remote: RemoteJob, job: Job) -> bool:
    """Return True if a listed job is older than the request, whatever the clocks show."""
    earliest = (job.intent_at or 0.0) - ADOPT_MARGIN_S
    return remote.created_at is not None and remote.created_at < earliest


def attempts_of(job: Job, listed: Iterable[RemoteJob]) -> list[RemoteJob]:
    """Return the listed jobs with the key of ``job`` that are not known to be earlier attempts.

    Those that may still succeed come first: they exist and are paid for, whichever request made
    them. Of a failed one from before the request, nothing is to be learned: a ledger that was lost
    does not know its earlier attempts. Then the newest comes first: it is the last to write the
    stems.
    """
    found = {remote.job_id: remote for remote in listed if is_of(remote, job)}
    possible = [
        remote for remote in found.values() if not (remote.is_lost and _is_from_before(remote, job))
    ]
    return sorted(
        possible,
        key=lambda remote: (not remote.is_lost, remote.created_at or 0.0, remote.job_id),
        reverse=True,
    )

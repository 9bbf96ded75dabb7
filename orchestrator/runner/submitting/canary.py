"""The canary: a few jobs, unlike each other, that must succeed before any other job is sent.

They are chosen from a bounded look-ahead into the manifest, so that a list of a million lines need
not be held. A choice is durable before the first of them is sent: if the run is interrupted while
they are under way, the same jobs decide when it is resumed. The canary decides; the dispatcher
acts.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from enum import Enum
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.domain.run import CanaryOutcome
from orchestrator.domain.states import TERMINAL, JobState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from orchestrator.domain.job import Job
    from orchestrator.domain.ports import Clock
    from orchestrator.domain.spec import JobKey, Place

LOOK_AHEAD = 10_000
"""Jobs to be sent among which the canary is chosen ..."""
LOOK_AHEAD_S = 5.0
"""... but no longer than this after the first of them: a pipe or a listing may be slow."""


class _Traits(NamedTuple):
    """Values in which the jobs of a canary should differ."""

    source: str
    codec: str
    bucket: Place
    output_bucket: Place


def _traits(job: Job) -> _Traits:
    spec = job.spec
    codec = spec.operation.template_id or spec.operation.audio.codec or ""
    return _Traits(spec.origin.source, codec, spec.media.place, spec.output.place)


def spread(jobs: Iterable[Job], count: int, before: Iterable[Job] = ()) -> list[Job]:
    """Return up to ``count`` jobs, as unlike each other and ``before`` as possible.

    Each combination of source, codec and buckets comes once before any comes twice. Among those,
    the one with the most new values comes first; then the order of the manifest counts.
    """
    groups: dict[_Traits, deque[Job]] = defaultdict(deque)
    for job in jobs:
        groups[_traits(job)].append(job)
    known = [_traits(job) for job in before]
    uses = Counter(known)
    seen = {value for traits in known for value in enumerate(traits)}
    order = {traits: number for number, traits in enumerate(groups)}

    def rank(traits: _Traits) -> tuple[int, int, int]:
        return uses[traits], sum(value in seen for value in enumerate(traits)), order[traits]

    heap = [(rank(traits), traits) for traits in groups]
    heapify(heap)
    chosen: list[Job] = []
    while heap and len(chosen) < count:
        ranked, traits = heappop(heap)
        # Ranks only fall, so the first whose rank still holds is the best.
        if ranked == rank(traits):
            chosen.append(groups[traits].popleft())
            uses[traits] += 1
            seen.update(enumerate(traits))
        if groups[traits]:
            heappush(heap, (rank(traits), traits))
    return chosen


def has_passed(job: Job) -> bool:
    """Return True if a job succeeded and each of its stems was seen in its bucket."""
    return (
        job.state is JobState.SUCCEEDED
        and bool(job.files)
        and all(file.verified for file in job.files)
    )


class _Stage(Enum):
    """Progress of a job of the canary."""

    CHOSEN = "chosen in an earlier start of the run, and not met yet"
    WAITING = "waits to be sent"
    SENT = "sent, not ended"
    PASSED = "succeeded"


class Canary:
    """The canary of one run.

    Args:
        size: Jobs that must succeed before others are sent; 0 for no canary.
        clock: Time.
        cap_s: Longest wait of a job that is planned again.

    Attributes:
        size: The same.
        is_running: Only jobs of the canary may be sent: it has not passed.
        reason: Why it failed; empty if it did not.
    """

    def __init__(self, size: int, clock: Clock, cap_s: float) -> None:
        self.size = size
        self.is_running = size > 0
        self.reason = ""
        self._clock = clock
        self._cap_s = cap_s
        self._stages: dict[JobKey, _Stage] = {}
        self._chosen: list[Job] = []
        self._waiting: dict[int, tuple[float, Job]] = {}  # when each may be sent, monotonic
        self._candidates: list[Job] = []
        self._choose_at = 0.0
        self._is_look_over = False
        self._is_plan_over = False

    # --- what there is

    @property
    def waiting(self) -> int:
        """Jobs that the canary holds and that are not sent."""
        return len(self._waiting) + len(self._candidates)

    @property
    def keys(self) -> Collection[JobKey]:
        """Keys of its jobs."""
        return self._stages.keys()

    @property
    def _room(self) -> int:
        return self.size - len(self._stages)

    def _of(self, stage: _Stage) -> int:
        return sum(each is stage for each in self._stages.values())

    def outcome(self) -> CanaryOutcome | None:
        """Return the outcome, or None if there was to be no canary."""
        if not self.size:
            return None
        passed = self._of(_Stage.PASSED)
        if self.reason:
            result = "failed"
        elif not self.is_running:
            result = "passed"
        elif not self._is_plan_over or self.waiting or passed < len(self._stages):
            result = "pending"
        else:  # there were fewer jobs
            result = "passed" if passed else "not_needed"
        return CanaryOutcome(result, self.size, passed, self.reason)

    # --- its jobs

    def restore(self, jobs: Collection[Job]) -> None:
        """Continue with the jobs that an earlier start of this run has chosen, if it was undecided.

        A canary of which a job ended badly has failed, and one whose jobs have all passed has
        passed: then a new one begins.
        """
        jobs = [job for job in jobs if not job.was_dropped]
        passed = [job for job in jobs if has_passed(job)]
        if len(passed) >= self.size or any(
            job.state in TERMINAL and job not in passed for job in jobs
        ):
            return
        for job in jobs:
            self._stages[job.spec.key] = _Stage.PASSED if job in passed else _Stage.CHOSEN
            self._chosen.append(job)

    def wants(self, job: Job) -> bool:
        """Return True if a job that is to be sent belongs here: of the canary, or a candidate."""
        return self.is_running and (job.spec.key in self._stages or self._room > 0)

    def offer(self, job: Job) -> None:
        """Take a job that belongs here."""
        if job.spec.key in self._stages:
            self._wait(job)
            return
        if not self._candidates:
            self._choose_at = self._clock.monotonic() + LOOK_AHEAD_S
        self._candidates.append(job)

    def _wait(self, job: Job) -> None:
        wait_s = job.not_before - self._clock.now() if job.not_before else 0.0
        # A wait beyond the cap means that the clock was set back.
        due = self._clock.monotonic() + min(max(wait_s, 0.0), self._cap_s)
        self._stages[job.spec.key] = _Stage.WAITING
        self._waiting[job.id] = due, job

    def occupied(self, job: Job) -> None:
        """Note a job that is at the service since an earlier start of the run."""
        if job.spec.key in self._stages:
            self._stages[job.spec.key] = _Stage.SENT

    def released(self, job: Job) -> None:
        """Note a job that is planned again, and that the manifest has not named yet."""
        if job.spec.key in self._stages:
            self._stages[job.spec.key] = _Stage.CHOSEN

    def ended(self, job: Job) -> bool:
        """Note a job that ended; return True if that decided the canary."""
        if not self.is_running or self.reason or job.spec.key not in self._stages:
            return False
        if has_passed(job):
            self._stages[job.spec.key] = _Stage.PASSED
            self.is_running = self._of(_Stage.PASSED) < self.size
            return not self.is_running
        self.fail(_why(job))
        return True

    def fail(self, reason: str) -> None:
        """Let nothing more be sent."""
        self.reason = f"the canary failed: {reason}"

    def plan_ended(self) -> None:
        """Note that the manifest was read to its end: jobs that were not met have left it."""
        self._is_plan_over = self._is_look_over = True
        for key in [key for key, stage in self._stages.items() if stage is _Stage.CHOSEN]:
            del self._stages[key]
            self._chosen = [job for job in self._chosen if job.spec.key != key]

    # --- the choice

    def must_choose(self) -> bool:
        """Return True if it is time to choose among the candidates."""
        if len(self._candidates) >= LOOK_AHEAD or (
            self._candidates and self._clock.monotonic() >= self._choose_at
        ):
            self._is_look_over = True
        return bool(self._candidates) and self._is_look_over and not self.reason

    @property
    def lacks_jobs(self) -> bool:
        """True if jobs must be found elsewhere: chosen ones have left the manifest."""
        can_take = self.is_running and not self.reason and self._room > 0
        return can_take and self._is_plan_over and not self._candidates

    def choose(self) -> tuple[list[Job], list[Job]]:
        """Choose among the candidates; return the chosen ones and the rest."""
        chosen = spread(self._candidates, self._room, self._chosen)
        self._chosen += chosen
        for job in chosen:
            self._wait(job)
        rest = [job for job in self._candidates if job.id not in self._waiting]
        self._candidates = []
        return chosen, rest

    # --- sending

    def ready(self) -> int:
        """Return how many of its jobs may be sent now."""
        if self.reason:
            return 0
        now = self._clock.monotonic()
        return sum(due <= now for due, _ in self._waiting.values())

    def next_due_in_s(self) -> float | None:
        """Return the time until the canary has something to do, or None if it waits for others."""
        now = self._clock.monotonic()
        due = [due for due, _ in self._waiting.values() if due > now]
        if self._candidates:
            due.append(self._choose_at)
        return None if self.reason or not due else min(due) - now

    def pop(self) -> Job:
        """Take out the best job that may be sent now."""
        now = self._clock.monotonic()
        jobs = [job for due, job in self._waiting.values() if due <= now]
        job = min(jobs, key=lambda job: (-job.spec.level, job.seq))
        del self._waiting[job.id]
        self._stages[job.spec.key] = _Stage.SENT
        return job

    def is_stuck(self) -> bool:
        """Return True if the jobs that are under way are all that can decide it."""
        is_undecided = self.is_running and not self.reason
        return is_undecided and self._of(_Stage.SENT) > 0 and not self._waiting


_ENDS = {
    JobState.REJECTED: "was rejected",
    JobState.CANCELLED: "was cancelled",
    JobState.UNFINISHED: "is unfinished",
}


def _why(job: Job) -> str:
    name = job.spec.media.key
    if job.state is JobState.SUCCEEDED:
        return f"{name} succeeded, but its stems were not seen in their bucket"
    detail = ": ".join(part for part in (job.code, job.message) if part)
    return f"{name} {_ENDS.get(job.state, job.state)}" + (f" ({detail})" if detail else "")


def names_of(jobs: Sequence[Job]) -> tuple[str, ...]:
    """Return the names of their objects."""
    return tuple(job.spec.media.key for job in jobs)

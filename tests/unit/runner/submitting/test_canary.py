"""The choice of a canary, and its way to a decision."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.domain.job import LEFT, Job, StemFile
from orchestrator.domain.spec import AudioConfig, Operation, Origin, Output, Stem
from orchestrator.domain.states import JobState
from orchestrator.runner.submitting.canary import (
    LOOK_AHEAD,
    LOOK_AHEAD_S,
    Canary,
    has_passed,
    spread,
)
from orchestrator.testing.builders import make_job, make_spec

if TYPE_CHECKING:
    from collections.abc import Sequence


class ManualClock:
    """A clock that a test sets; the two times differ."""

    def __init__(self) -> None:
        self.at = 100.0

    def now(self) -> float:
        return 1_700_000_000 + self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, delay_s: float) -> None:
        raise AssertionError("nothing here sleeps")


SEEN = (StemFile(Stem.VOICE, "stems/1/voice.mp3", size_bytes=1, verified=True),)


def job_of(
    number: int, source: int = 0, codec: str = "mp3", bucket: str = "media-1250000000"
) -> Job:
    spec = make_spec(number, origin=Origin("m.yaml", number, f"inputs[{source}]"))
    spec = replace(
        spec,
        media=replace(spec.media, bucket=bucket),
        operation=Operation(audio=AudioConfig(codec)),
    )
    return make_job(number, spec=spec)


def numbers(jobs: Sequence[Job]) -> list[int]:
    return [job.id for job in jobs]


def ended(job: Job, state: JobState = JobState.SUCCEEDED, **changes: Any) -> Job:
    return make_job(job.id, spec=job.spec, state=state, files=SEEN, **changes)


def canary_of(size: int, *jobs: Job) -> tuple[Canary, ManualClock]:
    """Return a canary to which the whole plan was offered."""
    clock = ManualClock()
    canary = Canary(size, clock, cap_s=60.0)
    for job in jobs:
        if canary.wants(job):
            canary.offer(job)
    canary.plan_ended()
    assert canary.must_choose() or not jobs
    canary.choose()
    return canary, clock


def popped(canary: Canary) -> list[int]:
    return [canary.pop().id for _ in range(canary.ready())]


# --- the choice


def test_jobs_that_are_all_alike_are_taken_in_order() -> None:
    assert numbers(spread([job_of(number) for number in range(1, 9)], 3)) == [1, 2, 3]


def test_every_combination_comes_once_before_any_comes_twice() -> None:
    jobs = [job_of(1), job_of(2), job_of(3), job_of(4, codec="flac"), job_of(5, source=1)]

    assert set(numbers(spread(jobs, 3))) == {1, 4, 5}
    assert numbers(spread(jobs, 5))[3:] == [2, 3]


def test_the_combination_with_the_most_new_values_comes_first() -> None:
    jobs = [
        job_of(1),
        job_of(2, codec="flac"),
        job_of(3, source=1, codec="flac"),
        job_of(4, source=2, codec="wav", bucket="live-1250000000"),
    ]

    assert numbers(spread(jobs, 2)) == [1, 4]
    assert numbers(spread(jobs, 3)) == [1, 4, 3]


def test_output_buckets_and_templates_count_as_differences() -> None:
    other = job_of(3)
    other.spec = replace(other.spec, output=Output("stems-1250000000", "ap-chongqing", voice="v"))
    template = job_of(4)
    template.spec = replace(template.spec, operation=Operation(template_id="t1"))

    assert set(numbers(spread([job_of(1), job_of(2), other, template], 3))) == {1, 3, 4}


def test_jobs_chosen_before_count_as_seen() -> None:
    jobs = [job_of(1), job_of(2, codec="flac")]

    assert numbers(spread(jobs, 1, before=[job_of(9)])) == [2]


def test_a_choice_among_a_full_look_ahead_of_single_objects_is_quick() -> None:
    jobs = [job_of(number, source=number) for number in range(1, LOOK_AHEAD + 1)]

    assert numbers(spread(jobs, 1000)) == list(range(1, 1001))


# --- when it is chosen


def test_the_choice_waits_for_the_look_ahead_and_no_longer_than_a_few_seconds() -> None:
    clock = ManualClock()
    canary = Canary(2, clock, cap_s=60.0)
    canary.offer(job_of(1))
    assert not canary.must_choose()
    clock.at += LOOK_AHEAD_S - 1
    canary.offer(job_of(2))
    canary.offer(job_of(3, source=1))
    assert not canary.must_choose()
    assert canary.next_due_in_s() == pytest.approx(1)
    clock.at += 1

    assert canary.must_choose()
    chosen, rest = canary.choose()
    assert (numbers(chosen), numbers(rest)) == ([1, 3], [2])


def test_a_full_look_ahead_is_enough() -> None:
    canary = Canary(1, ManualClock(), cap_s=60.0)
    for number in range(1, LOOK_AHEAD):
        canary.offer(job_of(number))
    assert not canary.must_choose()
    canary.offer(job_of(LOOK_AHEAD))

    assert canary.must_choose()


def test_after_the_look_ahead_jobs_that_come_late_fill_the_canary_at_once() -> None:
    canary, _ = canary_of(2, job_of(1))
    late = job_of(2)
    assert canary.wants(late)
    canary.offer(late)

    assert canary.must_choose()
    canary.choose()
    assert not canary.wants(job_of(3))
    assert popped(canary) == [1, 2]


# --- its decision


def test_it_passes_when_each_of_its_jobs_has_succeeded() -> None:
    jobs = [job_of(1), job_of(2), job_of(3)]
    canary, _ = canary_of(2, *jobs)
    assert popped(canary) == [1, 2]

    assert not canary.ended(ended(jobs[0]))
    assert canary.is_running
    assert canary.ended(ended(jobs[1]))
    assert not canary.is_running
    outcome = canary.outcome()
    assert outcome is not None
    assert (outcome.result, outcome.jobs, outcome.succeeded) == ("passed", 2, 2)


@pytest.mark.parametrize(
    ("state", "changes", "reason"),
    [
        (JobState.FAILED, {"code": "NoSuchKey", "message": "gone"}, "failed (NoSuchKey: gone)"),
        (JobState.REJECTED, {"message": "no"}, "rejected (no)"),
        (JobState.UNFINISHED, {}, "incoming/1.mp3 is unfinished"),
        (JobState.CANCELLED, {}, "cancelled"),
    ],
)
def test_it_fails_with_the_first_job_that_ends_badly(
    state: JobState, changes: dict[str, Any], reason: str
) -> None:
    jobs = [job_of(1), job_of(2)]
    canary, _ = canary_of(2, *jobs)
    canary.pop()

    assert canary.ended(ended(jobs[0], state, **changes))
    assert canary.is_running
    assert canary.ready() == 0
    assert canary.next_due_in_s() is None
    assert canary.reason.endswith(reason)
    outcome = canary.outcome()
    assert outcome is not None
    assert (outcome.result, outcome.reason) == ("failed", canary.reason)


def test_a_success_whose_stems_were_not_seen_is_none() -> None:
    job = job_of(1)
    canary, _ = canary_of(1, job)
    canary.pop()
    unseen = ended(job)
    unseen.files = (*SEEN, replace(SEEN[0], stem=Stem.BACKGROUND, verified=False))

    assert not has_passed(unseen)
    assert canary.ended(unseen)
    assert "its stems were not seen" in canary.reason


def test_the_end_of_another_job_decides_nothing() -> None:
    canary, _ = canary_of(1, job_of(1))

    assert not canary.ended(ended(job_of(7), JobState.FAILED))
    assert not canary.reason


def test_fewer_jobs_than_its_size_are_all_in_it() -> None:
    job = job_of(1)
    canary, _ = canary_of(3, job)
    canary.pop()
    outcome = canary.outcome()
    assert outcome is not None
    assert outcome.result == "pending"
    canary.ended(ended(job))

    outcome = canary.outcome()
    assert outcome is not None
    assert (outcome.result, outcome.succeeded) == ("passed", 1)


def test_without_a_job_to_send_it_is_not_needed() -> None:
    canary, _ = canary_of(3)
    outcome = canary.outcome()

    assert outcome is not None
    assert outcome.result == "not_needed"
    assert Canary(0, ManualClock(), 60.0).outcome() is None
    assert not Canary(0, ManualClock(), 60.0).wants(job_of(1))


# --- jobs that come back, and jobs of an earlier start


def test_a_job_that_must_wait_is_not_ready_before_its_time() -> None:
    job = job_of(1)
    canary, clock = canary_of(1, job)
    assert canary.pop() is job
    job.not_before = clock.now() + 5
    canary.offer(job)
    assert canary.ready() == 0
    assert canary.next_due_in_s() == pytest.approx(5)
    clock.at += 5

    assert popped(canary) == [1]


def test_a_wait_beyond_the_cap_is_cut_because_the_clock_was_set_back() -> None:
    job = job_of(1)
    canary, clock = canary_of(1, job)
    canary.pop()
    job.not_before = clock.now() + 86400
    canary.offer(job)

    assert canary.next_due_in_s() == pytest.approx(60)


def test_an_undecided_canary_continues_with_its_jobs() -> None:
    first, second, other = job_of(1), job_of(2), job_of(3)
    canary = Canary(2, ManualClock(), cap_s=60.0)
    canary.restore([ended(first), second])
    assert canary.wants(second)
    assert not canary.wants(other)
    canary.offer(second)

    assert popped(canary) == [2]
    assert canary.ended(ended(second))
    assert not canary.is_running


def test_a_decided_canary_is_not_continued() -> None:
    for jobs in (
        [ended(job_of(1)), ended(job_of(2))],
        [ended(job_of(1), JobState.FAILED), job_of(2)],
    ):
        canary = Canary(2, ManualClock(), cap_s=60.0)
        canary.restore(jobs)
        assert not canary.keys


def test_a_job_that_was_dropped_leaves_its_place_to_another() -> None:
    canary = Canary(2, ManualClock(), cap_s=60.0)
    canary.restore([job_of(1), ended(job_of(2), JobState.CANCELLED, message=LEFT)])

    assert list(canary.keys) == [job_of(1).spec.key]
    assert canary.wants(job_of(3))


def test_a_chosen_job_that_the_manifest_no_longer_names_leaves_its_place() -> None:
    canary = Canary(1, ManualClock(), cap_s=60.0)
    canary.restore([job_of(1)])
    assert not canary.lacks_jobs
    canary.plan_ended()

    assert canary.lacks_jobs
    assert canary.wants(job_of(2))


def test_it_is_stuck_when_only_jobs_under_way_can_decide_it() -> None:
    canary, _ = canary_of(2, job_of(1), job_of(2))
    assert not canary.is_stuck()
    canary.pop()
    assert not canary.is_stuck()
    canary.pop()
    assert canary.is_stuck()
    canary.fail("it is stuck")
    assert not canary.is_stuck()

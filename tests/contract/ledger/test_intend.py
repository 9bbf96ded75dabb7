"""Recording intents: from then on the jobs may be at the service, even if this process dies."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from orchestrator.domain.run import Counts, Run
from orchestrator.domain.states import JobState, Step
from orchestrator.errors import LedgerError, LedgerLocked, LedgerMismatch
from orchestrator.testing.builders import make_holder, make_job, make_specs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.domain.job import Job
    from orchestrator.domain.ports import Ledger

    from .conftest import Home

T0 = 1_795_309_200.0


async def start(ledger: Ledger, count: int = 1) -> tuple[Run, list[Job]]:
    run = await ledger.begin_run("n", T0, "r")
    return run, await ledger.add(run, make_specs(count))


def send(*jobs: Job, attempts: int = 1) -> list[Job]:
    for job in jobs:
        job.step(Step.SEND)
        job.attempts, job.intent_at = attempts, T0 + 0.123456
    return list(jobs)


async def stored(ledger: Ledger, job: Job) -> Job:
    return (await ledger.find([job.spec.key]))[job.spec.key]


async def now_and_later(home: Home, ledger: Ledger) -> AsyncIterator[Ledger]:
    """Yield the ledger, then the ledger of the next process."""
    yield ledger
    yield await home.reopen(ledger)


async def ids(ledger: Ledger, *states: JobState) -> list[int]:
    return [job.id for job in await ledger.in_states(states)]


async def test_an_intent_outlives_the_process_that_recorded_it(home: Home, ledger: Ledger) -> None:
    run, [job, other] = await start(ledger, 2)
    await ledger.intend(send(job, attempts=2))
    assert job.saved_state is JobState.SUBMITTING

    async for look in now_and_later(home, ledger):
        found = await stored(look, job)
        assert (found.state, found.saved_state, found.attempts, found.intent_at) == (
            *[JobState.SUBMITTING] * 2,
            2,
            T0 + 0.123456,
        )
        assert await look.counts(run) == Counts({JobState.SUBMITTING: 1, JobState.PLANNED: 1})
        assert await ids(look, JobState.SUBMITTING) == [job.id]
        assert await ids(look, JobState.PLANNED) == [other.id]
        assert await ids(look, JobState.PLANNED, JobState.SUBMITTING) == [job.id, other.id]


async def test_a_job_with_an_intent_is_not_ready(ledger: Ledger) -> None:
    run, jobs = await start(ledger, 5)
    await ledger.intend(send(*jobs[:3]))

    assert [job.id for job in await ledger.ready(run, 0, "inputs[0]", 2, {jobs[3].id}, T0)] == [
        jobs[4].id
    ]
    assert await ledger.next_ready_at(run, {jobs[3].id}) == 0.0
    assert await ledger.next_ready_at(run, {job.id for job in jobs[3:]}) is None


async def test_the_answer_replaces_the_intent(home: Home, ledger: Ledger) -> None:
    run, [job] = await start(ledger)
    await ledger.intend(send(job))
    job.step(Step.ACCEPT)
    job.job_id = "v1"
    await ledger.save([job])

    async for look in now_and_later(home, ledger):
        found = await stored(look, job)
        assert (found.state, found.job_id, found.attempts, found.intent_at) == (
            JobState.SUBMITTED,
            "v1",
            1,
            T0 + 0.123456,
        )
        assert await look.counts(run) == Counts({JobState.SUBMITTED: 1})


async def test_a_returned_job_is_planned_and_can_be_sent_again(home: Home, ledger: Ledger) -> None:
    run, [job] = await start(ledger)
    await ledger.intend(send(job))
    job.step(Step.NOT_SENT)
    job.attempts = 0
    await ledger.save([job])

    again = await home.reopen(ledger)
    assert (await stored(again, job)).state is JobState.PLANNED
    [ready] = await again.ready(await again.begin_run("n", T0, "r"), 0, "inputs[0]", 9, (), T0) or [
        await stored(again, job)
    ]
    await again.intend(send(ready))
    assert await again.counts(run) == Counts({JobState.SUBMITTING: 1})


async def test_a_job_that_is_not_planned_is_refused_and_nothing_of_the_call_is_kept(
    ledger: Ledger,
) -> None:
    """It was accepted, and a caller still takes it for planned: it would be paid for twice."""
    _, [job, other] = await start(ledger, 2)
    twin = await stored(ledger, job)
    await ledger.intend(send(job))
    with pytest.raises(LedgerMismatch):
        await ledger.intend(send(other, twin))
    job.step(Step.ACCEPT)
    await ledger.save([job])
    twin.state = JobState.PLANNED
    other.state = JobState.PLANNED
    with pytest.raises(LedgerMismatch, match=job.spec.key):
        await ledger.intend(send(other, twin))

    assert (other.saved_state, twin.saved_state) == (JobState.PLANNED, JobState.PLANNED)
    assert [(await stored(ledger, one)).state for one in (job, other)] == [
        JobState.SUBMITTED,
        JobState.PLANNED,
    ]
    await ledger.intend([other])
    assert (await stored(ledger, other)).state is JobState.SUBMITTING


async def test_a_caller_unaware_of_the_intent_cannot_change_the_job(ledger: Ledger) -> None:
    _, [job] = await start(ledger)
    twin = await stored(ledger, job)
    await ledger.intend(send(job))
    twin.step(Step.CANCEL)

    with pytest.raises(LedgerMismatch, match=job.spec.key):
        await ledger.save([twin])
    assert (await stored(ledger, job)).state is JobState.SUBMITTING


async def test_a_job_twice_in_one_call_is_refused(ledger: Ledger) -> None:
    _, [job] = await start(ledger)
    send(job)
    with pytest.raises(LedgerMismatch):
        await ledger.intend([job, job])


async def test_a_process_that_lost_the_lease_gets_an_error_before_it_sends(
    home: Home, ledger: Ledger
) -> None:
    _, [job, other] = await start(ledger, 2)
    await ledger.intend(send(job))
    home.lose_lease()
    heir = home.open()
    await heir.acquire(make_holder(4712))

    with pytest.raises(LedgerLocked):
        await ledger.intend(send(other))
    assert [(await stored(heir, one)).state for one in (job, other)] == [
        JobState.SUBMITTING,
        JobState.PLANNED,
    ]


async def test_a_process_that_lost_the_lease_gets_an_error_for_a_late_answer(
    home: Home, ledger: Ledger
) -> None:
    if home.kind == "memory":
        pytest.skip("what was saved last counts there")
    _, [job] = await start(ledger)
    await ledger.intend(send(job))
    home.lose_lease()
    await home.open().acquire(make_holder(4712))

    job.step(Step.ACCEPT)
    with pytest.raises(LedgerLocked, match="another run took it"):
        await ledger.save([job])


async def test_an_unknown_job_is_refused(ledger: Ledger) -> None:
    await start(ledger)
    with pytest.raises(LedgerMismatch):
        await ledger.intend(send(make_job(99)))


async def test_without_the_lease_nothing_is_recorded(home: Home, ledger: Ledger) -> None:
    _, [job] = await start(ledger)
    with pytest.raises(LedgerError):
        await home.open().intend(send(job))
    assert (await stored(ledger, job)).state is JobState.PLANNED


async def test_thousands_of_intents_are_all_kept(home: Home, ledger: Ledger) -> None:
    run, jobs = await start(ledger, 2345)
    send(*jobs)
    await ledger.intend(jobs[:2000])
    await asyncio.gather(*(ledger.intend([job]) for job in jobs[2000:]))
    for job in jobs[::2]:
        job.step(Step.ACCEPT)
    await ledger.save(jobs[::2])

    async for look in now_and_later(home, ledger):
        assert await look.counts(run) == Counts(
            {JobState.SUBMITTED: 1173, JobState.SUBMITTING: 1172}
        )


async def test_a_known_key_with_an_intent_is_unchanged(ledger: Ledger) -> None:
    run, [job] = await start(ledger)
    await ledger.intend(send(job))

    for visit in (run, await ledger.begin_run("n", T0, "r")):
        [again] = await ledger.add(visit, make_specs(1, level=2))
        assert (again.state, again.spec.level, again.attempts) == (JobState.SUBMITTING, 0, 1)


async def test_a_job_with_an_intent_is_not_dropped_and_keeps_the_run_open(
    ledger: Ledger,
) -> None:
    _, [job, _] = await start(ledger, 2)
    await ledger.intend(send(job))
    run = await ledger.begin_run("n", T0, "r")

    assert await ledger.drop_unseen(run, T0) == 1
    with pytest.raises(LedgerMismatch, match=f"{job.spec.key} is still submitting"):
        await ledger.end_run(run, T0)
    assert await ledger.counts(run) == Counts({JobState.SUBMITTING: 1, JobState.CANCELLED: 1})

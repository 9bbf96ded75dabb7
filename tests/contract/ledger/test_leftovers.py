"""Planned jobs that the manifest no longer names: left, taken, dropped, cancelled, named again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain.job import LEFT
from orchestrator.domain.run import Counts, Run
from orchestrator.domain.states import JobState, Step
from orchestrator.testing.builders import make_spec, make_specs

if TYPE_CHECKING:
    from orchestrator.domain.job import Job
    from orchestrator.domain.ports import Ledger

    from .conftest import Home

T0 = 1_795_309_200.0
SHARE = "inputs[0]"


async def begin(ledger: Ledger) -> Run:
    return await ledger.begin_run("n", T0, "r")


async def only(ledger: Ledger, number: int) -> Job:
    key = make_spec(number).key
    return (await ledger.find([key]))[key]


async def ready(ledger: Ledger, run: Run) -> list[str]:
    return [job.spec.user_data for job in await ledger.ready(run, 0, SHARE, 99, (), T0)]


async def with_leftovers(home: Home, ledger: Ledger) -> tuple[Ledger, Run]:
    """Return a ledger whose manifest named 1 to 4 in one visit, 5 in the next, and now only 2."""
    await ledger.add(await begin(ledger), make_specs(4))
    second = await home.reopen(ledger)
    await second.add(await begin(second), [make_spec(5)])
    third = await home.reopen(second)
    run = await begin(third)
    await third.add(run, [make_spec(2)])
    return third, run


async def test_unseen_jobs_are_known_by_the_visits_that_named_them_last(
    home: Home, ledger: Ledger
) -> None:
    again, run = await with_leftovers(home, ledger)

    assert run.visit == 3
    assert await again.unseen_visits(run) == [1, 2]


async def test_a_job_that_is_being_sent_is_not_unseen(home: Home, ledger: Ledger) -> None:
    again, run = await with_leftovers(home, ledger)
    job = await only(again, 5)
    job.step(Step.SEND)
    job.intent_at = T0
    await again.intend([job])
    await again.leave_unseen(run)

    assert (await only(again, 5)).run_no == run.number
    assert (await again.counts(run)).of(JobState.SUBMITTING) == 1


async def test_jobs_that_are_left_belong_to_no_run_and_keep_none_open(
    home: Home, ledger: Ledger
) -> None:
    again, run = await with_leftovers(home, ledger)
    await again.leave_unseen(run)

    assert await again.counts(run) == Counts({JobState.PLANNED: 1}, left=4)
    assert await ready(again, run) == ["2"]
    assert await again.rows(run) == []
    job = await only(again, 2)
    job.step(Step.CANCEL)
    await again.save([job])
    await again.end_run(run, T0)
    assert (await again.counts(run)).left == 4
    assert {job.spec.user_data for job in await again.in_states({JobState.PLANNED})} == set("1345")


async def test_a_job_that_was_left_continues_in_the_run_that_names_it_again(
    home: Home, ledger: Ledger
) -> None:
    again, run = await with_leftovers(home, ledger)
    await again.leave_unseen(run)
    [job] = await again.add(run, [make_spec(4)])

    assert (job.state, job.run_no, job.row) == (JobState.PLANNED, run.number, 0)
    assert await ready(again, run) == ["2", "4"]
    assert (await again.counts(run)).left == 3


async def test_unseen_jobs_are_taken_page_by_page_behind_the_others(
    home: Home, ledger: Ledger
) -> None:
    again, run = await with_leftovers(home, ledger)
    await again.leave_unseen(run)  # an earlier run kept them

    pages = [await again.take_unseen(run, [1], limit=2) for _ in range(3)]

    assert [[job.spec.user_data for job in page] for page in pages] == [["1", "3"], ["4"], []]
    assert all(job.run_no == run.number for page in pages for job in page)
    assert await ready(again, run) == ["2", "1", "3", "4"]
    assert await again.counts(run) == Counts({JobState.PLANNED: 4}, left=1)


async def test_only_jobs_of_the_given_visits_are_dropped(home: Home, ledger: Ledger) -> None:
    again, run = await with_leftovers(home, ledger)

    assert await again.drop_unseen(run, T0, [2]) == 1
    assert [row.spec.user_data for row in await again.rows(run)] == ["5"]
    assert (await only(again, 5)).was_dropped
    assert (await only(again, 1)).state is JobState.PLANNED
    assert await again.drop_unseen(run, T0, []) == 0
    assert await again.drop_unseen(run, T0) == 3


async def test_a_job_that_was_dropped_is_planned_when_a_later_run_names_it_again(
    home: Home, ledger: Ledger
) -> None:
    """Also if an older version has dropped it: that wrote the same message."""
    again, run = await with_leftovers(home, ledger)
    await again.drop_unseen(run, T0)
    [same_run] = await again.add(run, [make_spec(5)])
    assert same_run.was_dropped, "its row is written: a new run must do it"
    kept = await only(again, 2)
    kept.step(Step.CANCEL)
    await again.save([kept])
    await again.end_run(run, T0)
    later = await begin(again)
    named, cancelled = await again.add(later, [make_spec(5), make_spec(2)])

    assert (named.state, named.message, named.row) == (JobState.PLANNED, "", 0)
    assert cancelled.state is JobState.CANCELLED, "the user cancelled this one"
    assert await ready(again, later) == ["5"]


async def test_leftovers_are_cancelled_outside_any_run(home: Home, ledger: Ledger) -> None:
    again, run = await with_leftovers(home, ledger)
    jobs = {number: await only(again, number) for number in range(1, 6)}
    await again.leave_unseen(run)
    sent = jobs[2]
    sent.step(Step.SEND)
    await again.save([sent])

    ids = [job.id for job in jobs.values()]
    assert await again.cancel_left(ids, T0 + 7, besides=[2]) == 3
    assert await again.cancel_left(ids, T0 + 7, besides=[2]) == 0
    found = await only(again, 1)
    assert (found.message, found.finished_at, found.row, found.run_no) == (LEFT, T0 + 7, 0, 0)
    assert (await only(again, 2)).state is JobState.SUBMITTING
    assert (await only(again, 5)).state is JobState.PLANNED
    assert await again.rows(run) == []
    assert (await again.counts(run)).left == 1
    [named] = await again.add(run, [make_spec(1)])
    assert (named.state, named.run_no) == (JobState.PLANNED, run.number)

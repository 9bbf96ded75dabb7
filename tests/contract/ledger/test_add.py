"""Adding specs to a run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orchestrator.domain.run import Counts, Run
from orchestrator.domain.spec import Callback, JobSpec, Origin
from orchestrator.domain.states import OPEN, TERMINAL, JobState, Step
from orchestrator.testing.builders import make_spec, make_specs, way_to

if TYPE_CHECKING:
    from orchestrator.domain.job import Job
    from orchestrator.domain.ports import Ledger

    from .conftest import Home

T0 = 1_795_309_200.0
NOT_DONE = sorted(TERMINAL - {JobState.SUCCEEDED})


async def begin(ledger: Ledger, now: float = T0) -> Run:
    return await ledger.begin_run("nightly", now, "{run}.jsonl")


async def bring(ledger: Ledger, job: Job, state: JobState) -> None:
    """Walk the job to ``state`` and save every step, as a runner does.

    A job that ended was at the service before, unless it was rejected.
    """
    is_remote = job.state is JobState.PLANNED and state in TERMINAL - {JobState.REJECTED}
    for step in (
        [*way_to(JobState.SUBMITTED), *way_to(state, JobState.SUBMITTED)]
        if is_remote
        else way_to(state, job.state)
    ):
        job.step(step)
        if step is Step.SEND:
            job.attempts, job.intent_at = job.attempts + 1, T0 + 1
        if step is Step.ACCEPT:
            job.job_id, job.queue_id, job.request_id, job.submitted_at = (
                f"j{job.id}",
                "p1",
                "req",
                T0 + 2,
            )
        if job.state in TERMINAL:
            job.finished_at = T0 + 9
            job.code, job.message = (
                ("", "") if job.state is JobState.SUCCEEDED else ("Oops", "It broke.")
            )
        await ledger.save([job])


async def earlier(ledger: Ledger, state: JobState, spec: JobSpec | None = None) -> Job:
    """Return a job that ended in ``state``, in a run that is closed."""
    run = await begin(ledger)
    [job] = await ledger.add(run, [spec or make_spec()])
    await bring(ledger, job, state)
    await ledger.end_run(run, T0 + 10)
    return job


async def test_new_specs_become_planned_jobs_in_their_order(ledger: Ledger) -> None:
    run = await begin(ledger)
    specs = [make_spec(3), make_spec(1), make_spec(2, callback=Callback("https://h", "JSON"))]
    jobs = await ledger.add(run, specs)

    assert [job.spec for job in jobs] == specs
    assert {job.state for job in jobs} == {job.saved_state for job in jobs} == {JobState.PLANNED}
    assert [job.seq for job in jobs] == [1, 2, 3]
    assert len({job.id for job in jobs}) == 3
    assert {(job.run_no, job.row, job.skipped) for job in jobs} == {(run.number, 0, False)}
    assert (await ledger.find([specs[2].key]))[specs[2].key].spec == specs[2]


async def test_adding_nothing_changes_nothing(ledger: Ledger) -> None:
    assert await ledger.add(await begin(ledger), []) == []


async def test_a_repeated_key_is_one_job(ledger: Ledger) -> None:
    run = await begin(ledger)
    first, twin, other = await ledger.add(run, [make_spec(1), make_spec(1, level=2), make_spec(2)])
    [again] = await ledger.add(run, [make_spec(1, level=1)])

    assert first.id == twin.id == again.id
    assert first.spec.level == twin.spec.level == again.spec.level == 0
    assert other.seq == 2
    assert (await ledger.counts(run)).total == 2


async def test_many_specs_at_once_are_all_added(ledger: Ledger) -> None:
    run = await begin(ledger)
    specs = make_specs(1377)
    jobs = await ledger.add(run, specs)
    found = await ledger.find([spec.key for spec in specs])

    assert [job.spec.key for job in jobs] == [spec.key for spec in specs]
    assert {key: job.id for key, job in found.items()} == {job.spec.key: job.id for job in jobs}


async def test_a_planned_job_takes_all_but_its_identity_from_the_new_spec(
    home: Home, ledger: Ledger
) -> None:
    old = make_spec(1)
    await ledger.add(await begin(ledger), [make_spec(7), old])
    again = await home.reopen(ledger)
    run = await begin(again)
    new = make_spec(
        1,
        level=2,
        callback=Callback("no"),
        queue_id="p9",
        group="films",
        user_data="later",
        origin=Origin("other.csv", 9, "inputs[1]"),
    )
    offered = replace(new, media=replace(new.media, duration_s=3.5))
    [job] = await again.add(run, [offered])

    assert job.spec == new
    assert job.seq == 1
    assert [waiting.spec for waiting in await again.ready(run, 2, "films", 9, (), T0)] == [new]
    assert (await again.find([new.key]))[new.key].spec == new


@pytest.mark.parametrize("state", sorted(OPEN - {JobState.PLANNED}))
async def test_an_open_job_is_continued_unchanged(
    home: Home, ledger: Ledger, state: JobState
) -> None:
    run = await begin(ledger)
    [before] = await ledger.add(run, [make_spec()])
    await bring(ledger, before, state)
    again = await home.reopen(ledger)
    run = await begin(again)
    [job] = await again.add(run, [make_spec(level=2)], retry=TERMINAL)

    assert (job.state, job.saved_state, job.job_id, job.attempts) == (
        state,
        state,
        before.job_id,
        before.attempts,
    )
    assert job.spec.level == 0
    assert await again.counts(run) == Counts({state: 1})


@pytest.mark.parametrize("retry", [(), NOT_DONE])
async def test_a_job_that_succeeded_in_an_earlier_run_is_skipped_with_a_row(
    ledger: Ledger, retry: frozenset[JobState]
) -> None:
    """Even if all other terminal states are retried: a finished job is never paid for twice."""
    done = await earlier(ledger, JobState.SUCCEEDED)
    run = await begin(ledger, T0 + 60)
    [job] = await ledger.add(run, [make_spec(level=2)], retry)

    assert (job.state, job.skipped, job.run_no, job.row) == (JobState.SUCCEEDED, True, 2, 1)
    assert (job.job_id, job.finished_at, job.spec.level) == (done.job_id, done.finished_at, 0)
    assert [row.id for row in await ledger.rows(run)] == [job.id]
    assert await ledger.counts(run) == Counts({}, skipped=1)


async def test_rows_of_skipped_jobs_come_in_the_order_of_the_manifest(ledger: Ledger) -> None:
    run = await begin(ledger)
    jobs = await ledger.add(run, make_specs(5))
    for job in reversed(jobs):
        await bring(ledger, job, JobState.SUCCEEDED)
    assert [job.row for job in jobs] == [5, 4, 3, 2, 1]
    await ledger.end_run(run, T0)
    run = await begin(ledger)
    again = await ledger.add(run, [*make_specs(3, 3), make_spec(9), *make_specs(2, 1)])

    assert [job.row for job in again] == [1, 2, 3, 0, 4, 5]
    assert [job.spec.key for job in await ledger.rows(run)] == [
        make_spec(number).key for number in (3, 4, 5, 1, 2)
    ]


async def test_a_job_that_succeeded_in_this_run_keeps_its_row_when_the_run_is_resumed(
    home: Home, ledger: Ledger
) -> None:
    run = await begin(ledger)
    done, _ = await ledger.add(run, make_specs(2))
    await bring(ledger, done, JobState.SUCCEEDED)
    again = await home.reopen(ledger)
    run = await begin(again)
    job, _ = await again.add(run, make_specs(2))

    assert (job.row, job.skipped) == (1, False)
    assert await again.counts(run) == Counts({JobState.SUCCEEDED: 1, JobState.PLANNED: 1})


async def test_a_skipped_job_stays_skipped_when_the_run_is_resumed(
    home: Home, ledger: Ledger
) -> None:
    await earlier(ledger, JobState.SUCCEEDED)
    run = await begin(ledger, T0 + 60)
    await ledger.add(run, make_specs(2))
    again = await home.reopen(ledger)
    run = await begin(again)
    job, _ = await again.add(run, make_specs(2))

    assert (job.row, job.skipped) == (1, True)
    assert await again.counts(run) == Counts({JobState.PLANNED: 1}, skipped=1)


@pytest.mark.parametrize("state", NOT_DONE)
async def test_a_job_that_did_not_succeed_gets_its_row_again(
    ledger: Ledger, state: JobState
) -> None:
    before = await earlier(ledger, state)
    run = await begin(ledger, T0 + 60)
    [job] = await ledger.add(run, [make_spec()], retry=set(NOT_DONE) - {state})

    assert (job.state, job.skipped, job.run_no, job.row) == (state, False, 2, 1)
    assert (job.code, job.attempts) == (before.code, before.attempts)
    assert await ledger.counts(run) == Counts({state: 1})


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.REJECTED, JobState.CANCELLED])
async def test_a_retried_job_is_planned_again(ledger: Ledger, state: JobState) -> None:
    await earlier(ledger, state)
    run = await begin(ledger, T0 + 60)
    [job] = await ledger.add(run, [make_spec(level=1, user_data="new")], retry={state})
    [stored] = (await ledger.find([job.spec.key])).values()
    [waiting] = await ledger.ready(run, 1, job.spec.share, 5, (), T0)

    for seen in (job, stored, waiting):
        assert (seen.state, seen.saved_state, seen.run_no, seen.row) == (
            JobState.PLANNED,
            JobState.PLANNED,
            2,
            0,
        )
        assert seen.past_job_ids == (() if state is JobState.REJECTED else ("j1",))
        assert (
            seen.job_id,
            seen.queue_id,
            seen.request_id,
            seen.code,
            seen.message,
            seen.attempts,
        ) == ("", "", "", "", "", 0)
        assert (seen.intent_at, seen.submitted_at, seen.finished_at, seen.files) == (
            None,
            None,
            None,
            (),
        )
        assert (seen.spec.level, seen.spec.user_data) == (1, "new")
    assert await ledger.counts(run) == Counts({JobState.PLANNED: 1})


async def test_past_job_ids_accumulate_over_runs(ledger: Ledger) -> None:
    await earlier(ledger, JobState.FAILED)
    run = await begin(ledger, T0 + 60)
    [job] = await ledger.add(run, [make_spec()], retry={JobState.FAILED})
    for step in (Step.SEND, Step.ACCEPT, Step.FAIL):
        job.step(step)
    job.job_id = "second"
    await ledger.save([job])
    await ledger.end_run(run, T0 + 70)
    [job] = await ledger.add(await begin(ledger, T0 + 80), [make_spec()], retry={JobState.FAILED})

    assert job.past_job_ids == ("j1", "second")


async def test_an_unfinished_job_with_a_remote_id_is_queried_again(ledger: Ledger) -> None:
    before = await earlier(ledger, JobState.UNFINISHED)
    run = await begin(ledger, T0 + 60)
    [job] = await ledger.add(run, [make_spec(level=2)], retry={JobState.UNFINISHED})

    assert (job.state, job.saved_state, job.row) == (JobState.SUBMITTED, JobState.SUBMITTED, 0)
    assert (job.job_id, job.attempts, job.submitted_at, job.past_job_ids) == (
        before.job_id,
        1,
        T0 + 2,
        (),
    )
    assert (job.code, job.message, job.finished_at) == ("", "", None)
    assert job.spec.level == 0
    assert await ledger.counts(run) == Counts({JobState.SUBMITTED: 1})
    assert [seen.id for seen in await ledger.in_states({JobState.SUBMITTED})] == [job.id]


async def test_an_unfinished_job_without_a_remote_id_is_planned_again(ledger: Ledger) -> None:
    run = await begin(ledger)
    [job] = await ledger.add(run, [make_spec()])
    await bring(ledger, job, JobState.UNFINISHED)
    job.job_id = ""
    await ledger.save([job])
    await ledger.end_run(run, T0)
    [job] = await ledger.add(await begin(ledger), [make_spec()], retry={JobState.UNFINISHED})

    assert (job.state, job.past_job_ids) == (JobState.PLANNED, ())


async def test_a_job_that_ended_in_this_run_is_not_retried_by_it(
    home: Home, ledger: Ledger
) -> None:
    """It has its row, and a run has one row per job."""
    run = await begin(ledger)
    failed, _ = await ledger.add(run, make_specs(2))
    await bring(ledger, failed, JobState.FAILED)
    again = await home.reopen(ledger)
    run = await begin(again)
    job, _ = await again.add(run, make_specs(2), retry={JobState.FAILED})

    assert (job.state, job.row, job.run_no) == (JobState.FAILED, 1, 1)


async def test_a_succeeded_job_that_is_planned_again_before_it_is_added_is_redone(
    ledger: Ledger,
) -> None:
    """A run redoes jobs whose outputs are lost this way."""
    await earlier(ledger, JobState.SUCCEEDED)
    run = await begin(ledger, T0 + 60)
    [lost] = (await ledger.find([make_spec().key])).values()
    lost.step(Step.RETRY)
    await ledger.save([lost])
    [job] = await ledger.add(run, [make_spec()])

    assert (job.state, job.run_no, job.row, job.skipped) == (JobState.PLANNED, 2, 0, False)
    await bring(ledger, job, JobState.SUCCEEDED)
    assert (job.row, job.run_no) == (1, 2)
    assert await ledger.counts(run) == Counts({JobState.SUCCEEDED: 1})


async def test_ids_continue_after_a_restart(home: Home, ledger: Ledger) -> None:
    first = await ledger.add(await begin(ledger), make_specs(3))
    again = await home.reopen(ledger)
    second = await again.add(await begin(again), make_specs(3, 4))

    assert len({job.id for job in [*first, *second]}) == 6

"""Saving jobs, and assigning rows."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from orchestrator.domain.job import Job, StemFile
from orchestrator.domain.run import Counts, Run
from orchestrator.domain.spec import Stem
from orchestrator.domain.states import JobState, Step
from orchestrator.errors import LedgerMismatch
from orchestrator.testing.builders import make_job, make_specs

if TYPE_CHECKING:
    from orchestrator.domain.ports import Ledger

    from .conftest import Home

T0 = 1_795_309_200.0


async def start(ledger: Ledger, count: int = 1) -> tuple[Run, list[Job]]:
    run = await ledger.begin_run("n", T0, "r")
    return run, await ledger.add(run, make_specs(count))


def state_of(job: Job) -> dict[str, object]:
    return {field.name: getattr(job, field.name) for field in fields(job)}


async def stored(ledger: Ledger, job: Job) -> Job:
    return (await ledger.find([job.spec.key]))[job.spec.key]


def walk(job: Job, *steps: Step) -> None:
    for step in steps:
        job.step(step)


async def test_every_field_is_kept(home: Home, ledger: Ledger) -> None:
    run, [job] = await start(ledger)
    walk(job, Step.SEND, Step.LOSE_ANSWER, Step.ADOPT, Step.SUCCEED)
    job.attempts, job.job_id, job.past_job_ids, job.queue_id, job.request_id = (
        3,
        "j'1",
        ('a"', "b,"),
        "p\u00e9",
        "NjA=\n",
    )
    job.adopted, job.code, job.message = (
        True,
        "Co'de",
        'It "broke" \u4e2d\u6587 \U0001f3b5 \\ \0 end',
    )
    job.not_before, job.intent_at, job.submitted_at = T0 + 0.000001, T0 + 0.123456, T0 + 1.1
    job.started_at, job.finished_at, job.media_duration_s = T0 + 2.2, T0 + 3.3, 13.69
    job.files = (
        StemFile(Stem.VOICE, "stems/1/v oice.mp3", "0" * 32, 219_263, True),
        StemFile(Stem.BACKGROUND, "\u4e2d.mp3"),
    )
    await ledger.save([job])

    assert job.row == 1
    again = await home.reopen(ledger)
    assert state_of(await stored(again, job)) == state_of(job)
    assert [state_of(row) for row in await again.rows(run)] == [state_of(job)]


async def test_names_of_stems_are_kept_whether_the_spec_has_them_or_not(
    home: Home, ledger: Ledger
) -> None:
    run, [job] = await start(ledger)
    walk(job, Step.SEND, Step.ACCEPT, Step.SUCCEED)
    voice = job.spec.output.voice
    job.files = (
        StemFile(Stem.VOICE, voice, "0" * 32, 219_263, True),
        StemFile(Stem.BACKGROUND, voice),
        StemFile(Stem.BASS, ""),
        StemFile(Stem.DRUMS, "null"),
    )
    await ledger.save([job])

    assert voice
    again = await home.reopen(ledger)
    assert (await stored(again, job)).files == job.files
    assert [row.files for row in await again.rows(run)] == [job.files]


async def test_instants_are_kept_to_the_microsecond(ledger: Ledger) -> None:
    _, [job] = await start(ledger)
    job.not_before = T0 + 0.1234564
    await ledger.save([job])

    assert (await stored(ledger, job)).not_before == T0 + 0.123456


async def test_saving_nothing_changes_nothing(ledger: Ledger) -> None:
    await ledger.save([])


async def test_fields_are_read_before_the_first_await(ledger: Ledger) -> None:
    _, [job] = await start(ledger)
    walk(job, Step.SEND)
    saving = asyncio.ensure_future(ledger.save([job]))
    await asyncio.wait([saving], timeout=0)  # one turn of the loop
    walk(job, Step.ACCEPT)
    job.job_id = "later"
    await saving

    assert job.saved_state is JobState.SUBMITTING
    assert ((await stored(ledger, job)).state, (await stored(ledger, job)).job_id) == (
        JobState.SUBMITTING,
        "",
    )
    await ledger.save([job])
    assert (await stored(ledger, job)).job_id == "later"


async def test_saved_state_is_updated_by_save(ledger: Ledger) -> None:
    _, [job] = await start(ledger)
    seen = [job.saved_state]
    for step in (Step.SEND, Step.LOSE_ANSWER):
        walk(job, step)
        seen.append(job.saved_state)
        await ledger.save([job])
        seen.append(job.saved_state)

    planned, submitting = JobState.PLANNED, JobState.SUBMITTING
    assert seen == [planned, planned, submitting, submitting, JobState.IN_DOUBT]


async def test_a_job_that_was_changed_elsewhere_is_refused_and_nothing_of_the_call_is_kept(
    ledger: Ledger,
) -> None:
    _, [job, other] = await start(ledger, 2)
    twin = await stored(ledger, job)
    walk(job, Step.SEND)
    await ledger.save([job])
    walk(twin, Step.CANCEL)
    walk(other, Step.SEND)

    with pytest.raises(LedgerMismatch, match=job.spec.key):
        await ledger.save([other, twin])
    assert (await stored(ledger, other)).state is JobState.PLANNED
    assert (other.saved_state, twin.saved_state, twin.row) == (
        JobState.PLANNED,
        JobState.PLANNED,
        0,
    )
    await ledger.save([other])
    walk(other, Step.REJECT)
    await ledger.save([other])
    assert other.row == 1


async def test_a_job_that_does_not_exist_is_refused(ledger: Ledger) -> None:
    await start(ledger)
    with pytest.raises(LedgerMismatch):
        await ledger.save([make_job(99)])


async def test_a_job_twice_in_one_call_is_saved_twice_in_order(ledger: Ledger) -> None:
    _, [job] = await start(ledger)
    job.message = "first"
    await ledger.save([job, job])

    assert (await stored(ledger, job)).message == "first"


async def test_calls_that_overlap_are_all_kept(ledger: Ledger) -> None:
    run, jobs = await start(ledger, 300)
    for job in jobs:
        walk(job, Step.SEND)
    await asyncio.gather(*(ledger.save([job]) for job in jobs))
    for job in jobs:
        walk(job, Step.ACCEPT)
    await asyncio.gather(*(ledger.save(jobs[start : start + 7]) for start in range(0, 300, 7)))

    assert await ledger.counts(run) == Counts({JobState.SUBMITTED: 300})
    assert {job.saved_state for job in jobs} == {JobState.SUBMITTED}


async def test_thousands_in_one_call_are_all_kept(ledger: Ledger) -> None:
    run, jobs = await start(ledger, 2345)
    for job in jobs:
        walk(job, Step.CANCEL)
    await ledger.save(jobs)

    assert [job.row for job in jobs] == list(range(1, 2346))
    assert await ledger.counts(run) == Counts({JobState.CANCELLED: 2345})


async def test_rows_are_assigned_in_the_order_of_calls_without_a_gap(ledger: Ledger) -> None:
    run, jobs = await start(ledger, 50)
    order = jobs[::2] + jobs[1::2]
    for job in jobs:
        walk(job, Step.CANCEL)
    await asyncio.gather(*(ledger.save([job]) for job in order))

    assert [job.row for job in order] == list(range(1, 51))
    assert [job.id for job in await ledger.rows(run)] == [job.id for job in order]


async def test_a_job_keeps_its_row_when_it_is_saved_again(ledger: Ledger) -> None:
    run, [job, other] = await start(ledger, 2)
    walk(job, Step.CANCEL)
    await ledger.save([job])
    job.message = "by the user"
    walk(other, Step.CANCEL)
    await ledger.save([job, other])

    assert [(row.row, row.message) for row in await ledger.rows(run)] == [
        (1, "by the user"),
        (2, ""),
    ]


async def test_rows_continue_after_a_restart(home: Home, ledger: Ledger) -> None:
    _, [job, other] = await start(ledger, 2)
    walk(job, Step.CANCEL)
    await ledger.save([job])
    again = await home.reopen(ledger)
    run = await again.begin_run("n", T0, "r")
    [seen] = await again.in_states({JobState.PLANNED})
    walk(seen, Step.CANCEL)
    await again.save([seen])

    assert [row.spec.key for row in await again.rows(run)] == [job.spec.key, other.spec.key]


async def test_rows_start_at_one_in_each_run(ledger: Ledger) -> None:
    run, [job] = await start(ledger)
    walk(job, Step.CANCEL)
    await ledger.save([job])
    await ledger.end_run(run, T0)
    run = await ledger.begin_run("n", T0 + 60, "r")
    [other] = await ledger.add(run, make_specs(1, 5))
    walk(other, Step.CANCEL)
    await ledger.save([other])

    assert (other.row, other.run_no) == (1, 2)


async def test_a_cancelled_caller_does_not_affect_the_others(ledger: Ledger) -> None:
    run, jobs = await start(ledger, 3)
    for job in jobs:
        walk(job, Step.SEND)
    tasks = [asyncio.ensure_future(ledger.save([job])) for job in jobs]
    await asyncio.wait(tasks, timeout=0)
    tasks[1].cancel()
    await asyncio.gather(tasks[0], tasks[2])

    assert jobs[0].saved_state is JobState.SUBMITTING
    assert (await ledger.counts(run)).total == 3

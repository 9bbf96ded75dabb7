"""Questions to a ledger."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orchestrator.domain.run import Counts, Run
from orchestrator.domain.spec import JobKey, Place
from orchestrator.domain.states import JobState, Step
from orchestrator.testing.builders import make_spec, make_specs

if TYPE_CHECKING:
    from orchestrator.domain.job import Job
    from orchestrator.domain.ports import Ledger
    from orchestrator.domain.spec import JobSpec

    from .conftest import Home

T0 = 1_795_309_200.0
SHARE = "inputs[0]"


async def begin(ledger: Ledger) -> Run:
    return await ledger.begin_run("n", T0, "r")


def keys(jobs: list[Job]) -> list[JobKey]:
    return [job.spec.key for job in jobs]


async def move(ledger: Ledger, job: Job, *steps: Step) -> None:
    for step in steps:
        job.step(step)
    await ledger.save([job])


async def test_ready_jobs_are_those_of_the_level_and_share_in_the_order_of_the_manifest(
    ledger: Ledger,
) -> None:
    run = await begin(ledger)
    specs = [
        make_spec(number, level=number % 3, group="odd" if number % 2 else "")
        for number in range(20, 0, -1)
    ]
    await ledger.add(run, specs)

    for level in range(3):
        for share in ("odd", SHARE):
            wanted = [spec.key for spec in specs if spec.level == level and spec.share == share]
            assert keys(await ledger.ready(run, level, share, 100, (), T0)) == wanted
            assert keys(await ledger.ready(run, level, share, 2, (), T0)) == wanted[:2]
    assert await ledger.ready(run, 0, "others", 100, (), T0) == []


async def test_ready_leaves_out_jobs_that_the_caller_holds(ledger: Ledger) -> None:
    run = await begin(ledger)
    jobs = await ledger.add(run, make_specs(40))
    held = {job.id for job in jobs[:30]} | {jobs[33].id, 999}

    assert keys(await ledger.ready(run, 0, SHARE, 5, held, T0)) == keys(
        [jobs[30], jobs[31], jobs[32], jobs[34], jobs[35]]
    )
    assert await ledger.ready(run, 0, SHARE, 5, {job.id for job in jobs}, T0) == []


async def test_only_planned_jobs_are_ready(ledger: Ledger) -> None:
    run = await begin(ledger)
    first, second, third = await ledger.add(run, make_specs(3))
    await move(ledger, first, Step.SEND)
    await move(ledger, third, Step.CANCEL)

    assert keys(await ledger.ready(run, 0, SHARE, 9, (), T0)) == [second.spec.key]
    await move(ledger, first, Step.REFUSED)
    assert keys(await ledger.ready(run, 0, SHARE, 9, (), T0)) == [first.spec.key, second.spec.key]


async def test_a_job_is_ready_from_its_instant(ledger: Ledger) -> None:
    run = await begin(ledger)
    job, other = await ledger.add(run, make_specs(2))
    job.not_before, other.not_before = T0 + 5, T0 + 7.25
    await ledger.save([job, other])

    assert await ledger.ready(run, 0, SHARE, 9, (), T0 + 4.999) == []
    assert await ledger.next_ready_at(run, ()) == T0 + 5
    assert keys(await ledger.ready(run, 0, SHARE, 9, (), T0 + 5)) == [job.spec.key]
    assert await ledger.next_ready_at(run, {job.id}) == T0 + 7.25
    assert await ledger.next_ready_at(run, {job.id, other.id}) is None


def in_place(number: int, place: Place) -> JobSpec:
    spec = make_spec(number)
    return replace(spec, media=replace(spec.media, bucket=place.bucket, region=place.region))


NEAR = [
    Place("media-1250000000", "ap-chongqing"),
    Place("media-1250000000", "ap-chongqing2"),
    Place("media-1250000000", "ap"),
    Place("edia-1250000000", "ap-chongqing"),
    Place('media-1250000000","ap-chongqing', "x"),
    Place("\N{BLACK SQUARE}-1250000000", "ap-%"),
]


@pytest.mark.parametrize("closed", NEAR)
async def test_jobs_of_closed_places_are_not_ready(ledger: Ledger, closed: Place) -> None:
    run = await begin(ledger)
    jobs = await ledger.add(run, [in_place(number, place) for number, place in enumerate(NEAR, 1)])
    others = [job for job in jobs if job.spec.media.place != closed]

    assert keys(await ledger.ready(run, 0, SHARE, 9, (), T0, [closed])) == keys(others)
    assert keys(await ledger.ready(run, 0, SHARE, 2, {others[0].id}, T0, [closed])) == keys(
        others[1:3]
    )
    assert await ledger.ready(run, 0, SHARE, 9, (), T0, NEAR) == []
    assert len(await ledger.ready(run, 0, SHARE, 9, (), T0)) == len(NEAR)


async def test_the_next_instant_is_not_that_of_a_job_of_a_closed_place(ledger: Ledger) -> None:
    run = await begin(ledger)
    at_once, soon, later = await ledger.add(
        run, [in_place(number, place) for number, place in enumerate(NEAR[:3], 1)]
    )
    soon.not_before, later.not_before = T0 + 5, T0 + 7.25
    await ledger.save([soon, later])

    assert await ledger.next_ready_at(run, (), NEAR[1:]) == 0.0
    assert await ledger.next_ready_at(run, (), NEAR[:1]) == T0 + 5
    assert await ledger.next_ready_at(run, {at_once.id}, NEAR[1:2]) == T0 + 7.25
    assert await ledger.next_ready_at(run, {soon.id}, NEAR[:1]) == T0 + 7.25
    assert await ledger.next_ready_at(run, (), NEAR) is None


async def test_a_job_whose_output_alone_lies_in_a_closed_place_is_ready(ledger: Ledger) -> None:
    run = await begin(ledger)
    spec = in_place(1, NEAR[0])
    there = replace(spec.output, bucket=NEAR[1].bucket, region=NEAR[1].region)
    await ledger.add(run, [replace(spec, output=there)])

    assert keys(await ledger.ready(run, 0, SHARE, 9, (), T0, NEAR[1:])) == [spec.key]
    assert await ledger.next_ready_at(run, (), NEAR[1:]) == 0.0


async def test_a_job_that_was_not_added_since_the_start_is_not_ready(
    home: Home, ledger: Ledger
) -> None:
    await ledger.add(await begin(ledger), make_specs(3))
    again = await home.reopen(ledger)
    run = await begin(again)

    assert await again.ready(run, 0, SHARE, 9, (), T0) == []
    assert await again.next_ready_at(run, ()) is None
    await again.add(run, [make_spec(2)])
    assert keys(await again.ready(run, 0, SHARE, 9, (), T0)) == [make_spec(2).key]
    assert await again.next_ready_at(run, ()) == 0.0


async def test_a_job_that_left_the_manifest_is_cancelled_with_a_row(
    home: Home, ledger: Ledger
) -> None:
    jobs = await ledger.add(await begin(ledger), make_specs(5))
    await move(ledger, jobs[0], Step.CANCEL)
    await move(ledger, jobs[1], Step.SEND)
    again = await home.reopen(ledger)
    run = await begin(again)
    await again.add(run, [make_spec(4)])

    assert await again.drop_unseen(run, T0 + 9) == 2
    assert await again.drop_unseen(run, T0 + 9) == 0
    assert await again.counts(run) == Counts(
        {JobState.CANCELLED: 3, JobState.SUBMITTING: 1, JobState.PLANNED: 1}
    )
    rows = await again.rows(run)
    assert [(row.row, row.spec.key) for row in rows] == [
        (1, jobs[0].spec.key),
        (2, jobs[2].spec.key),
        (3, jobs[4].spec.key),
    ]
    assert {(row.finished_at, "manifest" in row.message) for row in rows[1:]} == {(T0 + 9, True)}
    [kept] = await again.in_states({JobState.PLANNED})
    await move(again, kept, Step.CANCEL)
    assert kept.row == 4


async def test_jobs_are_found_by_state_page_by_page(ledger: Ledger) -> None:
    run = await begin(ledger)
    jobs = await ledger.add(run, make_specs(12))
    for job in jobs[:8]:
        await move(ledger, job, Step.SEND)
    for job in jobs[:3]:
        await move(ledger, job, Step.LOSE_ANSWER)
    await move(ledger, jobs[11], Step.CANCEL)

    def ids(*places: int) -> list[int]:
        return [jobs[place].id for place in places]

    async def page(states: set[JobState], after: int = 0, limit: int = 1000) -> list[int]:
        return [job.id for job in await ledger.in_states(states, after, limit)]

    assert await page({JobState.IN_DOUBT, JobState.SUBMITTING}) == ids(*range(8))
    assert await page({JobState.IN_DOUBT, JobState.SUBMITTING}, limit=4) == ids(0, 1, 2, 3)
    assert await page({JobState.IN_DOUBT, JobState.SUBMITTING}, after=jobs[5].id) == ids(6, 7)
    assert await page({JobState.SUBMITTING}, after=jobs[2].id, limit=2) == ids(3, 4)
    assert await page({JobState.PLANNED, JobState.CANCELLED, JobState.IN_DOUBT}) == ids(
        0, 1, 2, 8, 9, 10, 11
    )
    assert await page({JobState.SUCCEEDED}) == []
    assert await page(set()) == []


async def test_rows_are_read_page_by_page(ledger: Ledger) -> None:
    run = await begin(ledger)
    jobs = await ledger.add(run, make_specs(7))
    for job in reversed(jobs):
        job.step(Step.CANCEL)
    await ledger.save(list(reversed(jobs)))

    assert [row.row for row in await ledger.rows(run, limit=3)] == [1, 2, 3]
    assert [row.row for row in await ledger.rows(run, after_row=3, limit=3)] == [4, 5, 6]
    assert [row.row for row in await ledger.rows(run, after_row=6, limit=3)] == [7]
    assert await ledger.rows(run, after_row=7) == []


async def test_counts_are_those_of_the_run(ledger: Ledger) -> None:
    first = await begin(ledger)
    assert await ledger.counts(first) == Counts()
    jobs = await ledger.add(first, make_specs(6))
    await move(ledger, jobs[0], Step.SEND, Step.ACCEPT, Step.SUCCEED)
    await move(ledger, jobs[1], Step.SEND, Step.REJECT)
    await move(ledger, jobs[2], Step.SEND, Step.ACCEPT)
    for job in jobs[3:]:
        await move(ledger, job, Step.CANCEL)
    assert await ledger.counts(first) == Counts(
        {JobState.SUCCEEDED: 1, JobState.REJECTED: 1, JobState.SUBMITTED: 1, JobState.CANCELLED: 3}
    )

    await move(ledger, jobs[2], Step.FAIL)
    await ledger.end_run(first, T0)
    second = await begin(ledger)
    assert await ledger.counts(second) == Counts()
    await ledger.add(second, make_specs(3))
    assert await ledger.counts(second) == Counts(
        {JobState.REJECTED: 1, JobState.FAILED: 1}, skipped=1
    )
    assert (await ledger.counts(second)).total == 3


async def test_the_usage_of_a_run_sums_up_what_has_ended_and_leaves_out_the_skipped(
    ledger: Ledger,
) -> None:
    first = await begin(ledger)
    plain = make_specs(4)
    given = [
        replace(spec, media=replace(spec.media, key=name, duration_s=length, size_bytes=size))
        for spec, name, length, size in zip(
            plain,
            ("a/1.MP3", "a/2.mp3", "b.d/noise", "x.y/3.wav"),
            (60.5, None, None, 10.0),
            (None, 2_000, None, 5),
            strict=True,
        )
    ]
    given[3] = replace(given[3], level=2, output=replace(given[3].output, background=""))
    jobs = await ledger.add(first, given)
    for job, measured in zip(jobs, (61.25, None, None, None), strict=True):
        job.media_duration_s = measured
        await move(ledger, job, Step.SEND, Step.ACCEPT)
        if job is not jobs[2]:
            await move(ledger, job, Step.SUCCEED)

    usage = await ledger.usage(first)
    both = [each for each in usage if each.suffix == "mp3"]
    assert [(each.level, each.source, each.state, each.code) for each in both] == [
        (0, SHARE, JobState.SUCCEEDED, "")
    ]
    assert both[0][4:] == (2, "mp3", 2, 61.25, 1, 60.5, 2_000, 0)
    (wav,) = [each for each in usage if each.suffix == "wav"]
    assert (wav.level, wav.stems, wav.media_s, wav.given_s, wav.sized_bytes) == (2, 1, 10, 10, 0)
    assert len(usage) == 2, "one job has not ended"

    jobs[2].code = "Broken"
    await move(ledger, jobs[2], Step.FAIL)
    (failed,) = [each for each in await ledger.usage(first) if each.code]
    assert failed == (
        0, SHARE, JobState.FAILED, "Broken", 2, "", 1, 0.0, 1, 0.0, 0, 1,
    )  # fmt: skip

    await ledger.end_run(first, T0)
    second = await begin(ledger)
    await ledger.add(second, given)
    assert [each.state for each in await ledger.usage(second)] == [JobState.FAILED]


async def test_only_known_keys_are_found(ledger: Ledger) -> None:
    run = await begin(ledger)
    await ledger.add(run, make_specs(3))

    assert set(await ledger.find([make_spec(2).key, make_spec(9).key, make_spec(2).key])) == {
        make_spec(2).key
    }
    assert await ledger.find([]) == {}


@pytest.mark.parametrize("count", [1, 5, 700])
async def test_an_object_that_has_a_job_under_another_key_is_known(
    ledger: Ledger, count: int
) -> None:
    run = await begin(ledger)
    specs = make_specs(count)
    await ledger.add(run, specs)
    changed = [replace(spec, key=JobKey(f"{spec.key}-flac")) for spec in specs[::2]]
    elsewhere = [
        replace(
            spec, key=JobKey(f"{spec.key}-there"), media=replace(spec.media, region="ap-beijing")
        )
        for spec in specs
    ]

    assert await ledger.same_object([*specs, *changed, *elsewhere, make_spec(9999)]) == {
        new.key: [old] for new, old in zip(changed, specs[::2], strict=True)
    }
    assert await ledger.same_object([]) == {}


async def test_a_dropped_job_that_has_a_row_already_keeps_it(home: Home, ledger: Ledger) -> None:
    run = await begin(ledger)
    first, second = await ledger.add(run, make_specs(2))
    await move(ledger, first, Step.CANCEL)
    await move(ledger, first, Step.RETRY)
    again = await home.reopen(ledger)
    run = await begin(again)

    assert await again.drop_unseen(run, T0) == 2
    assert [(row.row, row.id) for row in await again.rows(run)] == [(1, first.id), (2, second.id)]

"""The lease of a ledger, and its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.domain.states import Step
from orchestrator.errors import LedgerError, LedgerLocked, LedgerMismatch
from orchestrator.testing.builders import make_holder, make_spec, make_specs

if TYPE_CHECKING:
    from orchestrator.domain.ports import Ledger

    from .conftest import Home

T0 = 1_795_309_200.0


async def test_a_second_process_gets_an_error_that_names_the_holder(
    home: Home, ledger: Ledger
) -> None:
    second = home.open()
    with pytest.raises(LedgerLocked) as raised:
        await second.acquire(make_holder(pid=815))

    assert "4711" in str(raised.value)
    assert "worker-1" in str(raised.value)
    assert "2023-11-14 22:13:20 UTC" in str(raised.value)
    assert await second.holder() == make_holder()


async def test_a_lease_is_free_again_once_its_holder_closed(home: Home, ledger: Ledger) -> None:
    second = home.open()
    await ledger.close()

    assert await second.holder() is None
    await second.acquire(make_holder(pid=815))
    assert await second.holder() == make_holder(pid=815)


async def test_the_holder_may_acquire_again(ledger: Ledger) -> None:
    await ledger.acquire(make_holder(pid=815))

    assert await ledger.holder() == make_holder(pid=815)


async def test_a_heartbeat_needs_the_lease(home: Home, ledger: Ledger) -> None:
    await ledger.heartbeat(T0)
    with pytest.raises(LedgerLocked):
        await home.open().heartbeat(T0)


async def test_a_run_needs_the_lease(home: Home) -> None:
    with pytest.raises(LedgerError, match="acquire"):
        await home.open().begin_run("nightly", T0, "r.jsonl")


async def test_a_closed_ledger_refuses_work_and_closes_again(ledger: Ledger) -> None:
    await ledger.close()
    await ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        await ledger.recall("x")


async def test_a_new_run_has_an_id_of_name_and_time_and_its_report_is_named_after_it(
    ledger: Ledger,
) -> None:
    run = await ledger.begin_run("nightly", T0 + 0.25, "reports/{run}.jsonl")

    assert (run.id, run.number, run.opened_at) == ("nightly-20261122T010000Z", 1, T0 + 0.25)
    assert run.report == "reports/nightly-20261122T010000Z.jsonl"
    assert not run.resumed
    assert run.visit == 1


async def test_a_taken_id_gets_a_number(ledger: Ledger) -> None:
    ids = []
    for _ in range(3):
        run = await ledger.begin_run("nightly", T0, "r-{run}.jsonl")
        ids.append((run.id, run.number))
        await ledger.end_run(run, T0)

    base = "nightly-20261122T010000Z"
    assert ids == [(base, 1), (f"{base}-2", 2), (f"{base}-3", 3)]


async def test_an_open_run_is_resumed_under_its_own_id_and_report(
    home: Home, ledger: Ledger
) -> None:
    first = await ledger.begin_run("nightly", T0, "{run}.jsonl")
    again = await home.reopen(ledger)
    run = await again.begin_run("other", T0 + 100, "other-{run}.jsonl")

    assert (run.id, run.number, run.opened_at, run.report) == (first.id, 1, T0, first.report)
    assert run.resumed
    assert run.visit == 2


async def test_visits_are_counted_over_runs(home: Home, ledger: Ledger) -> None:
    await ledger.end_run(await ledger.begin_run("n", T0, "r"), T0)
    again = await home.reopen(ledger)

    assert (await again.begin_run("n", T0 + 1, "r")).visit == 2


async def test_runs_are_listed_from_the_latest(home: Home, ledger: Ledger) -> None:
    assert await ledger.runs(5) == []
    first = await ledger.begin_run("n", T0, "a")
    await ledger.end_run(first, T0 + 60.5)
    await ledger.begin_run("n", T0 + 100, "b")

    found = await home.open().runs(5)

    assert [(run.number, run.report, run.resumed) for run in found] == [
        (2, "b", True),
        (1, "a", False),
    ]
    assert [run.closed_at for run in found] == [None, T0 + 60.5]
    assert [run.number for run in await ledger.runs(1)] == [2]


async def test_the_last_run_is_known_without_beginning_one(home: Home, ledger: Ledger) -> None:
    reader = home.open()
    assert await reader.last_run() is None
    run = await ledger.begin_run("n", T0, "{run}.jsonl")

    seen = await reader.last_run()
    assert seen is not None
    assert (seen.id, seen.resumed, seen.visit) == (run.id, True, 1)
    await ledger.end_run(run, T0)
    seen = await reader.last_run()
    assert seen is not None
    assert (seen.id, seen.resumed) == (run.id, False)


@pytest.mark.parametrize(
    "steps", [[], [Step.SEND], [Step.SEND, Step.LOSE_ANSWER], [Step.SEND, Step.ACCEPT, Step.START]]
)
async def test_a_run_with_an_open_job_cannot_end(ledger: Ledger, steps: list[Step]) -> None:
    run = await ledger.begin_run("n", T0, "r")
    [job] = await ledger.add(run, [make_spec()])
    for step in steps:
        job.step(step)
    await ledger.save([job])

    with pytest.raises(LedgerMismatch, match=job.spec.key):
        await ledger.end_run(run, T0)
    last = await ledger.last_run()
    assert last is not None
    assert last.resumed


async def test_a_run_whose_jobs_have_ended_can_end(ledger: Ledger) -> None:
    run = await ledger.begin_run("n", T0, "r")
    [job] = await ledger.add(run, [make_spec()])
    job.step(Step.CANCEL)
    await ledger.save([job])
    await ledger.end_run(run, T0)

    assert (await ledger.begin_run("n", T0 + 60, "r")).number == 2


async def test_a_job_cannot_end_outside_a_run(ledger: Ledger) -> None:
    run = await ledger.begin_run("n", T0, "r")
    [job] = await ledger.add(run, [make_spec()])
    job.step(Step.CANCEL)
    await ledger.save([job])
    await ledger.end_run(run, T0)
    job.step(Step.RETRY)
    await ledger.save([job])
    job.row = 0
    job.step(Step.CANCEL)

    with pytest.raises(LedgerError, match="begin_run"):
        await ledger.save([job])


async def test_a_remembered_value_outlives_the_process(home: Home, ledger: Ledger) -> None:
    assert await ledger.recall("rate") is None
    await ledger.remember("rate", b"\x00\xff 20.5")
    await ledger.remember("other", b"")
    await ledger.remember("rate", b"\x00\xff 21")
    again = await home.reopen(ledger)

    assert await again.recall("rate") == b"\x00\xff 21"
    assert await again.recall("other") == b""


async def test_another_process_reads_new_commits(home: Home, ledger: Ledger) -> None:
    run = await ledger.begin_run("n", T0, "r")
    reader = home.open()
    await ledger.add(run, make_specs(3))

    assert (await reader.counts(run)).total == 3

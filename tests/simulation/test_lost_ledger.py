"""Ledgers that were lost, and lines that leave the manifest and come back: nothing is doubled."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.domain.events import Noticed
from orchestrator.domain.remote import JobPage
from orchestrator.domain.states import JobState
from orchestrator.errors import ApiAnswer, Rejected, ServerFault
from orchestrator.runner.settings import RunnerSettings
from orchestrator.runner.settling import job_list, survey
from orchestrator.testing.builders import make_spec, make_specs
from orchestrator.testing.loop import run_virtual
from orchestrator.testing.oddities import Oddities
from orchestrator.testing.weather import Fault, Weather
from tests.simulation.doubles import replace_method
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from orchestrator.domain.remote import JobFilter, RemoteJob
    from orchestrator.domain.spec import Place
    from orchestrator.testing.memory_ledger import MemoryStore

DAY_S = 86_400.0


def nights(
    folder: Path, work: Callable[[Callable[..., Rig]], Coroutine[Any, Any, Rig]], **parts: Any
) -> Rig:
    """Carry out runs one after the other against one service, each with its own report."""

    async def main() -> Rig:
        rigs: list[Rig] = []

        def rig(store: MemoryStore | None = None) -> Rig:
            service = rigs[-1].service if rigs else None
            rigs.append(Rig(folder / str(len(rigs)), store=store, service=service, **parts))
            return rigs[-1]

        return await work(rig)

    return run_virtual(main())


def made(rig: Rig, number: int) -> list[str]:
    return [job.job_id for job in rig.service.accepted(make_spec(number).key)]


def notices(rig: Rig) -> str:
    return "\n".join(event.text for event in rig.recorder.events if isinstance(event, Noticed))


def test_a_line_that_comes_back_after_its_ledger_was_lost_is_not_paid_again(
    tmp_path: Path,
) -> None:
    async def work(rig: Callable[..., Rig]) -> Rig:
        await rig().run(make_specs(4))
        # The ledger is lost, and the new one reads the list while line 4 is not in the manifest.
        new = rig()
        await new.run([make_spec(1), make_spec(5)])
        for day in range(2):
            await new.clock.sleep(DAY_S)
            new = rig(new.store)
            await new.run([make_spec(1), make_spec(6 + day)])
        await new.clock.sleep(DAY_S)
        last = rig(new.store)
        result = await last.run([*make_specs(4), make_spec(8)])
        assert result.counts.of(JobState.SUCCEEDED) + result.counts.skipped == 5
        return last

    last = nights(tmp_path, work)

    assert [len(made(last, number)) for number in range(1, 9)] == [1] * 8
    assert sum(row["adopted"] for row in last.rows()) == 4
    assert last.service.calls["list"] == 5, "the list is read once in each run"


def test_too_many_jobs_to_keep_are_looked_back_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "MOST_UNNAMED", 3)

    async def work(rig: Callable[..., Rig]) -> Rig:
        await rig().run(make_specs(6))
        new = rig()
        await new.run([make_spec(1), make_spec(7)])
        assert "belong to no line of this manifest" in notices(new)
        await new.clock.sleep(DAY_S)
        last = rig(new.store)
        await last.run([*make_specs(6), make_spec(8)])
        return last

    last = nights(tmp_path, work)

    assert [len(made(last, number)) for number in range(1, 9)] == [1] * 8


def test_jobs_beyond_the_lookback_are_not_kept(tmp_path: Path) -> None:
    """The vendor has forgotten them: such a job would be neither found nor sent."""

    async def work(rig: Callable[..., Rig]) -> Rig:
        await rig().run(make_specs(2))
        new = rig()
        await new.run([make_spec(3)])
        await new.clock.sleep(31 * DAY_S)
        for job_id in made(new, 1):
            del new.service.jobs[job_id]
        last = rig(new.store)
        await last.run([make_spec(1), make_spec(3)])
        return last

    last = nights(tmp_path, work)

    assert [row["state"] for row in last.rows()] == ["skipped", "succeeded"]


def test_a_list_that_was_refused_is_read_as_far_back_by_the_next_run(tmp_path: Path) -> None:
    async def refuse(place: Place, wanted: JobFilter, token: str = "") -> JobPage:
        raise Rejected(ApiAnswer(403, "AccessDenied", "no list for you"))

    async def work(rig: Callable[..., Rig]) -> Rig:
        await rig().run(make_specs(3))
        new = rig()
        await new.clock.sleep(DAY_S)
        listing = new.service.list_jobs
        replace_method(new.service, "list_jobs", refuse)
        await new.run([make_spec(4)])
        replace_method(new.service, "list_jobs", listing)
        await new.clock.sleep(DAY_S)
        last = rig(new.store)
        await last.run(make_specs(5))
        return last

    last = nights(tmp_path, work)

    assert [len(made(last, number)) for number in range(1, 6)] == [1] * 5


def test_of_two_jobs_of_a_lost_ledger_the_newer_one_is_followed_and_both_are_reported(
    tmp_path: Path,
) -> None:
    async def work(rig: Callable[..., Rig]) -> Rig:
        first = rig()
        await first.run(make_specs(2))
        await first.clock.sleep(100)
        first.service._accept(make_spec(1), first.clock.monotonic())
        await first.clock.sleep(100)
        last = rig()
        await last.run(make_specs(2))
        return last

    last = nights(tmp_path, work)

    rows = {row["key"]: row["job_id"] for row in last.rows()}
    assert rows[make_spec(1).key] == made(last, 1)[1], "it wrote the stems that are there now"
    assert "two jobs at the service" in notices(last)


def test_a_failed_attempt_of_a_lost_ledger_is_not_taken_for_the_new_job(tmp_path: Path) -> None:
    """The list shows the new job late, and the failed one at once.

    It was read for the first time when the line was not in the manifest.
    """

    async def work(rig: Callable[..., Rig]) -> Rig:
        first = rig()
        first.service.weather.job_fails = 1.0
        await first.run(make_specs(2))
        await first.clock.sleep(DAY_S)
        first.service.weather.job_fails = 0.0
        new = rig()
        await new.run([make_spec(3)])
        await new.clock.sleep(DAY_S)
        new.service.weather = Weather(
            faults={Fault.ACCEPT_THEN_DROP: 1.0}, oddities=Oddities(least_lag_s=15.0)
        )
        last = rig(new.store)
        await last.run(make_specs(2))
        return last

    last = nights(tmp_path, work)

    assert {(row["state"], row["job_id"]) for row in last.rows()} == {
        ("succeeded", made(last, 1)[1]),
        ("succeeded", made(last, 2)[1]),
    }


@pytest.mark.parametrize("share", ["rejected", "failed"])
def test_a_retry_finds_what_a_later_ledger_had_done(tmp_path: Path, share: str) -> None:
    """The restored ledger knows a refusal. It has read the list before the retry is asked for."""
    retry = {JobState.REJECTED, JobState.FAILED}

    async def work(rig: Callable[..., Rig]) -> Rig:
        first = rig()
        weather = first.service.weather
        weather.job_fails = float(share == "failed")
        weather.faults = {Fault.REJECT if share == "rejected" else Fault.NONE: 1.0}
        await first.run(make_specs(1))
        backup = copy.deepcopy(first.store)
        weather.faults, weather.job_fails = {Fault.NONE: 1.0}, 0.0
        await first.clock.sleep(DAY_S)
        await rig(first.store).run(make_specs(1), retry=retry)
        await first.clock.sleep(DAY_S)
        restored = rig(backup)
        await restored.run(make_specs(2))
        await first.clock.sleep(DAY_S)
        last = rig(restored.store)
        await last.run(make_specs(3), retry=retry)
        return last

    last = nights(tmp_path, work)

    assert "two jobs" not in notices(last)
    assert len(made(last, 1)) == 1 + (share == "failed")
    assert {row["state"] for row in last.rows()} == {"succeeded", "skipped"}


# --- a list that fails now and then


def fail_lists(rig: Rig, share: float) -> None:
    """Let this share of the list calls fail."""
    right, rng = rig.service.list_jobs, random.Random(5)

    async def changed(place: Place, wanted: JobFilter, token: str = "") -> JobPage:
        if rng.random() < share:
            raise ServerFault(ApiAnswer(503, "ServiceUnavailable", "come back later"))
        return await right(place, replace(wanted, size=5), token)

    replace_method(rig.service, "list_jobs", changed)


def test_a_long_list_is_not_read_from_the_start_when_a_page_fails(tmp_path: Path) -> None:
    """With 60 pages and one failure in ten, it would be read 500 times."""

    async def work(rig: Callable[..., Rig]) -> Rig:
        await rig().run(make_specs(300))
        last = rig()
        fail_lists(last, 0.1)
        await last.run(make_specs(300))
        return last

    last = nights(tmp_path, work)

    assert sum(row["adopted"] for row in last.rows()) == 300
    assert 60 <= last.service.calls["list"] - 1 < 80


def test_many_jobs_in_doubt_are_settled_by_a_list_that_often_fails(tmp_path: Path) -> None:
    """The list is read by name, because its filter by time does not work."""

    async def work(rig: Callable[..., Rig]) -> Rig:
        last = rig()
        await last.run(make_specs(5))
        last = rig(last.store)
        last.service.weather.faults = {Fault.NONE: 1, Fault.DROP: 1, Fault.ACCEPT_THEN_DROP: 1}
        ignore_times(last)
        fail_lists(last, 0.4)
        await last.run(make_specs(40))
        assert last.clock.monotonic() < 1200
        return last

    last = nights(tmp_path, work, settings=RunnerSettings(settle_s=20))

    assert {len(made(last, number)) for number in range(1, 41)} == {1}


def ignore_times(rig: Rig) -> None:
    """Let the list be empty where it is filtered by time."""
    right = rig.service.list_jobs

    async def changed(place: Place, wanted: JobFilter, token: str = "") -> JobPage:
        if wanted.created_from is not None:
            return JobPage()
        return await right(place, wanted, token)

    replace_method(rig.service, "list_jobs", changed)


def test_of_a_long_list_only_what_the_ledger_lacks_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger from a backup knows most of the jobs; a list of a hundred thousand fills memory."""
    monkeypatch.setattr(job_list, "SIFT_AT", 5)
    kept: list[int] = []
    right = survey.Survey._without_own

    async def noted(self: survey.Survey, jobs: list[RemoteJob]) -> list[RemoteJob]:
        left = await right(self, jobs)
        kept.append(len(left))
        return left

    monkeypatch.setattr(survey.Survey, "_without_own", noted)

    async def work(rig: Callable[..., Rig]) -> Rig:
        first = rig()
        await first.run(make_specs(20))
        backup = copy.deepcopy(first.store)
        await rig(first.store).run(make_specs(24))
        restored = rig(backup)
        page = restored.service.list_jobs
        replace_method(
            restored.service,
            "list_jobs",
            lambda place, wanted, token="": page(place, replace(wanted, size=3), token),
        )
        result = await restored.run(make_specs(30))
        assert result.counts.of(JobState.SUCCEEDED) == 10
        return restored

    last = nights(tmp_path, work)

    assert [len(made(last, number)) for number in range(1, 31)] == [1] * 30
    assert sum(row["adopted"] for row in last.rows()) == 4
    assert kept, "the list is longer than what is kept"
    assert max(kept) <= 4

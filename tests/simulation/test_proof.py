"""Odd answers of the service, the storage, and everything on the way to them, one kind at a time.

Each object is paid for once, each row is true, and what cannot be known is said.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.commands.exit_codes import ExitCode, of_result
from orchestrator.domain.events import JobInDoubt, Noticed, Waiting
from orchestrator.domain.remote import (
    JobFilter,
    JobPage,
    ObjectHead,
    QueryReply,
    RemoteFile,
    RemoteJob,
    RemoteState,
    SubmitReply,
)
from orchestrator.domain.states import JobState
from orchestrator.errors import (
    ApiAnswer,
    BucketRefused,
    BucketUnknown,
    NotFound,
    OrchestratorError,
    ProtocolError,
    ProxyRefused,
    Rejected,
    ServerFault,
    Throttled,
    UnprovenAnswer,
)
from orchestrator.runner.settings import RunnerSettings
from orchestrator.testing.builders import make_spec, make_specs
from orchestrator.testing.loop import run_virtual
from orchestrator.testing.memory_ledger import MemoryLedger, MemoryStore
from orchestrator.testing.oddities import Oddities
from orchestrator.testing.weather import Fault, Weather
from tests.simulation.doubles import replace_method
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from orchestrator.domain.job import Job
    from orchestrator.domain.spec import JobSpec, Place
    from orchestrator.runner.result import RunResult

FAILED = {JobState.FAILED}
QUICK = RunnerSettings(settle_s=30)


def notices(rig: Rig) -> str:
    return "\n".join(event.text for event in rig.recorder.events if isinstance(event, Noticed))


def paid(rig: Rig) -> dict[str, int]:
    """Return how often each object was accepted by the service."""
    made = [job.spec.media.key for job in rig.service.jobs.values()]
    return {key: made.count(key) for key in made}


def answer_with(rig: Rig, change: Callable[[RemoteJob], RemoteJob]) -> None:
    """Change every job as the service shows it, in answers and in lists."""
    right = rig.service._view
    replace_method(rig.service, "_view", lambda job: change(right(job)))


def list_with(rig: Rig, change: Callable[[RemoteJob], RemoteJob]) -> None:
    """Change every job in lists only."""
    right = rig.service.list_jobs

    async def changed(place: Place, wanted: JobFilter, token: str = "") -> JobPage:
        page = await right(place, wanted, token)
        return JobPage(tuple(change(job) for job in page.jobs), page.next_token)

    replace_method(rig.service, "list_jobs", changed)


def lose_answers(rig: Rig, error: OrchestratorError, *numbers: int, accept: bool = True) -> None:
    """Answer the POSTs with these numbers with an error, after or instead of accepting them."""
    right = rig.service.submit
    posts = iter(range(1, 10_000))

    async def changed(spec: JobSpec) -> SubmitReply:
        number = next(posts)
        if number not in numbers:
            return await right(spec)
        if accept:
            await right(spec)
        raise error

    replace_method(rig.service, "submit", changed)


def run(rig_of: Callable[[], Rig], *specs: JobSpec, **options: Any) -> tuple[RunResult, Rig]:
    async def main() -> tuple[RunResult, Rig]:
        rig = rig_of()
        return await rig.run(list(specs), **options), rig

    return run_virtual(main())


# --- a POST


BARE = [
    UnprovenAnswer(ApiAnswer(302)),
    UnprovenAnswer(ApiAnswer(403)),
    UnprovenAnswer(ApiAnswer(404)),
    ProxyRefused(ApiAnswer(407)),
    UnprovenAnswer(ApiAnswer(408)),
    Throttled(ApiAnswer(429)),
    UnprovenAnswer(ApiAnswer(499)),
    UnprovenAnswer(ApiAnswer(400, "Code", request_id="r1", is_whole=False)),
    ServerFault(ApiAnswer(502)),
]


@pytest.mark.parametrize("error", BARE, ids=lambda error: str(error.answer.http_status))
@pytest.mark.parametrize("is_passed_on", [True, False])
def test_an_answer_by_something_on_the_way_is_not_a_refusal(
    tmp_path: Path, error: OrchestratorError, is_passed_on: bool
) -> None:
    async def main() -> tuple[RunResult, Rig]:
        rig = Rig(tmp_path / "1", settings=QUICK)
        lose_answers(rig, error, 1, 4, accept=is_passed_on)
        result = await rig.run(make_specs(6))
        while error.fatal and not result.is_over:
            # A proxy that wants a password stops the run; running again resumes it.
            assert of_result(result) is ExitCode.CREDENTIALS
            rig = Rig(tmp_path / "2", settings=QUICK, store=rig.store, service=rig.service)
            result = await rig.run(make_specs(6))
        return result, rig

    result, rig = run_virtual(main())

    assert result.counts.of(JobState.SUCCEEDED) + result.counts.skipped == 6
    assert set(paid(rig).values()) == {1}
    assert len(paid(rig)) == 6


def test_a_request_that_never_arrives_costs_no_attempt(tmp_path: Path) -> None:
    """The service fails for 90 seconds, for longer than the attempts would last."""

    async def main() -> tuple[RunResult, Rig]:
        rig = Rig(tmp_path, settings=RunnerSettings(settle_s=5, attempts=2))
        right = rig.service.submit

        async def changed(spec: JobSpec) -> SubmitReply:
            if rig.clock.monotonic() < 90:
                raise ServerFault(ApiAnswer(500, "InternalError"))
            return await right(spec)

        replace_method(rig.service, "submit", changed)
        return await rig.run(make_specs(2)), rig

    result, rig = run_virtual(main())

    assert result.counts.of(JobState.SUCCEEDED) == 2
    assert [row["attempts"] for row in rig.rows()] == [1, 1]


def test_an_object_whose_requests_never_arrive_is_given_up_at_last(tmp_path: Path) -> None:
    async def main() -> tuple[RunResult, Rig]:
        rig = Rig(tmp_path, settings=RunnerSettings(settle_s=5, attempts=3, cap_s=10))
        right = rig.service.submit

        async def changed(spec: JobSpec) -> SubmitReply:
            if spec.media.key == "incoming/1.mp3":
                raise ServerFault(ApiAnswer(500, "InternalError", "poison"))
            return await right(spec)

        replace_method(rig.service, "submit", changed)

        async def feed() -> Any:
            for number in range(1, 40):
                yield [make_spec(number)]
                await rig.clock.sleep(30)

        return await rig.run_feed(feed()), rig

    result, rig = run_virtual(main())

    assert result.counts.of(JobState.SUCCEEDED) == 38
    (row,) = [row for row in rig.rows() if row["state"] == "failed"]
    assert "did not reach the service" in row["message"]
    assert "poison" in row["message"]
    assert paid(rig).get("incoming/1.mp3", 0) == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda text: f"\n  {text}\n ",
        str.upper,
        lambda text: text.replace(" ", "+"),
        lambda text: text.replace(" ", "\n\t"),
    ],
    ids=["line breaks", "upper case", "plus", "tab"],
)
def test_a_key_is_found_however_the_list_echoes_it(
    tmp_path: Path, change: Callable[[str], str]
) -> None:
    def rig_of() -> Rig:
        rig = Rig(tmp_path, settings=QUICK)
        list_with(rig, lambda job: job._replace(user_data=change(job.user_data)))
        lose_answers(rig, ServerFault(ApiAnswer(500)), 2, 5)
        return rig

    result, rig = run(rig_of, *make_specs(8))

    assert result.counts.of(JobState.SUCCEEDED) == 8
    assert set(paid(rig).values()) == {1}
    assert sum(row["adopted"] for row in rig.rows()) == 2


@pytest.mark.parametrize(
    "change",
    [lambda _: "", lambda text: text[:10], lambda _: "batch=7"],
    ids=["empty", "cut", "foreign"],
)
@pytest.mark.parametrize("is_accepted", [True, False])
def test_without_readable_keys_absence_is_not_proven(
    tmp_path: Path, change: Callable[[str], str], is_accepted: bool
) -> None:
    def rig_of() -> Rig:
        rig = Rig(tmp_path, settings=QUICK)
        list_with(rig, lambda job: job._replace(user_data=change(job.user_data)))
        lose_answers(rig, ServerFault(ApiAnswer(500)), 2, 5, accept=is_accepted)
        return rig

    result, rig = run(rig_of, *make_specs(8))

    assert result.counts.of(JobState.SUCCEEDED) == 6
    assert result.counts.of(JobState.IN_DOUBT) == 2
    assert of_result(result) is ExitCode.UNFINISHED
    assert set(paid(rig).values()) == {1}
    assert notices(rig).count("stay in doubt") + notices(rig).count("stays in doubt") == 1
    assert "without the key" in notices(rig) or "readable key" in notices(rig)


def test_a_run_ends_where_keys_are_unreadable_and_every_job_is_in_doubt(tmp_path: Path) -> None:
    """The one job that was accepted, and showed that, is in doubt itself after its retry."""

    def rig_of() -> Rig:
        rig = Rig(tmp_path, settings=QUICK, weather=Weather(job_s=200, job_falters=1.0))
        list_with(rig, lambda job: job._replace(user_data="", input_object="elsewhere"))
        lose_answers(rig, ServerFault(ApiAnswer(500)), 2, 3, accept=False)
        return rig

    result, rig = run(rig_of, *make_specs(2))

    assert result.counts.of(JobState.IN_DOUBT) == 2
    assert of_result(result) is ExitCode.UNFINISHED
    assert rig.clock.monotonic() < 1800


def test_a_list_that_shows_nothing_proves_nothing(tmp_path: Path) -> None:
    """Its filter is broken, or it shows the jobs of another queue."""

    def rig_of() -> Rig:
        rig = Rig(tmp_path, settings=QUICK)

        async def nothing(place: Place, wanted: JobFilter, token: str = "") -> JobPage:
            rig.service.calls["list"] += 1
            return JobPage()

        replace_method(rig.service, "list_jobs", nothing)
        lose_answers(rig, ServerFault(ApiAnswer(500)), 2, 5)
        return rig

    result, rig = run(rig_of, *make_specs(8))

    assert result.counts.of(JobState.IN_DOUBT) == 2
    assert set(paid(rig).values()) == {1}
    assert "lacks the job" in notices(rig) or "does not show the job" in notices(rig)


@pytest.mark.parametrize("broken", ["object", "time"])
@pytest.mark.parametrize("lost", [1, 6])
def test_a_filter_that_fails_is_not_used(tmp_path: Path, broken: str, lost: int) -> None:
    def rig_of() -> Rig:
        rig = Rig(tmp_path, settings=QUICK)
        right = rig.service.list_jobs

        async def changed(place: Place, wanted: JobFilter, token: str = "") -> JobPage:
            is_used = wanted.input_object if broken == "object" else wanted.created_from
            return JobPage() if is_used else await right(place, wanted, token)

        replace_method(rig.service, "list_jobs", changed)
        lose_answers(rig, ServerFault(ApiAnswer(500)), *range(2, 2 + lost))
        return rig

    async def main() -> tuple[RunResult, Rig]:
        rig = rig_of()

        async def feed() -> Any:
            yield make_specs(12)
            await rig.clock.sleep(1000)

        return await rig.run_feed(feed()), rig

    result, rig = run_virtual(main())

    assert set(paid(rig).values()) == {1}
    assert result.counts.of(JobState.SUCCEEDED) == 12, notices(rig)


def test_a_list_that_insists_on_a_queue_gets_one(tmp_path: Path) -> None:
    def rig_of() -> Rig:
        rig = Rig(tmp_path, settings=QUICK)
        right = rig.service.list_jobs

        async def changed(place: Place, wanted: JobFilter, token: str = "") -> JobPage:
            if not wanted.queue_id:
                rig.service.calls["list"] += 1
                raise Rejected(ApiAnswer(400, "InvalidArgument", "queueId is required"))
            return await right(place, wanted, token)

        replace_method(rig.service, "list_jobs", changed)
        lose_answers(rig, ServerFault(ApiAnswer(500)), 1, 2)
        return rig

    result, rig = run(rig_of, *make_specs(5))

    assert result.counts.of(JobState.SUCCEEDED) == 5
    assert set(paid(rig).values()) == {1}


def test_a_list_that_lags_longer_than_it_is_waited_for_doubles_nothing(tmp_path: Path) -> None:
    def rig_of() -> Rig:
        rig = Rig(tmp_path, settings=QUICK, weather=Weather(job_s=600))
        right = rig.service._accept

        def slow(spec: JobSpec, when: float) -> Any:
            job = right(spec, when)
            job.listed_at = when + 75
            return job

        replace_method(rig.service, "_accept", slow)
        lose_answers(rig, ServerFault(ApiAnswer(500)), *range(3, 30, 3))
        return rig

    result, rig = run(rig_of, *make_specs(30))

    assert result.counts.of(JobState.SUCCEEDED) == 30
    assert set(paid(rig).values()) == {1}


def test_many_jobs_in_doubt_are_settled_with_few_list_calls(tmp_path: Path) -> None:
    def rig_of() -> Rig:
        rig = Rig(tmp_path, settings=replace(QUICK, connections=64), weather=Weather(job_s=300))
        lose_answers(rig, UnprovenAnswer(ApiAnswer(403)), *range(50, 250, 2))
        return rig

    result, rig = run(rig_of, *make_specs(300))

    assert result.counts.of(JobState.SUCCEEDED) == 300
    assert set(paid(rig).values()) == {1}
    assert result.calls.lists <= 60, "not one list for each of 100 jobs"


def test_a_long_storm_of_doubts_costs_less_than_a_list_call_for_each(tmp_path: Path) -> None:
    def rig_of() -> Rig:
        faults = {Fault.NONE: 2.0, Fault.ACCEPT_THEN_BARE: 1.0, Fault.BARE: 1.0}
        return Rig(tmp_path, weather=Weather(faults=faults, concurrency=20), rate_per_s=10)

    result, rig = run(rig_of, *make_specs(400))

    doubts = sum(isinstance(event, JobInDoubt) for event in rig.recorder.events)
    assert doubts > 200
    assert result.calls.lists < doubts
    assert set(paid(rig).values()) == {1}


def test_foreign_and_odd_jobs_in_the_list_hinder_nothing(tmp_path: Path) -> None:
    def rig_of() -> Rig:
        rig = Rig(tmp_path, settings=QUICK)
        right = rig.service.list_jobs

        async def changed(place: Place, wanted: JobFilter, token: str = "") -> JobPage:
            page = await right(place, wanted, token)
            foreign = (
                RemoteJob("jx", RemoteState.UNKNOWN, input_object="films/1.mov", state_word="Odd"),
                RemoteJob("jy", RemoteState.RUNNING, user_data="v1.", input_object="a b"),
            )
            return JobPage((*foreign, *page.jobs), page.next_token)

        replace_method(rig.service, "list_jobs", changed)
        lose_answers(rig, ServerFault(ApiAnswer(500)), 2)
        lose_answers(rig, ServerFault(ApiAnswer(500)), 5, accept=False)
        return rig

    result, rig = run(rig_of, *make_specs(8))

    assert result.counts.of(JobState.SUCCEEDED) == 8
    assert set(paid(rig).values()) == {1}


@pytest.mark.parametrize("first", [1, 2], ids=["no job was accepted", "one was"])
def test_a_job_that_may_be_anothers_holds_up_no_run(tmp_path: Path, first: int) -> None:
    """Each new job has a twin without a key; with one slot nothing else can be accepted."""

    def rig_of() -> Rig:
        rig = Rig(tmp_path, settings=RunnerSettings(settle_s=30, in_flight=1))
        right = rig.service.list_jobs

        async def changed(place: Place, wanted: JobFilter, token: str = "") -> JobPage:
            page = await right(place, wanted, token)
            twin = RemoteJob("jtwin", RemoteState.RUNNING, input_object=make_spec(first).media.key)
            return JobPage((*page.jobs, twin), page.next_token)

        replace_method(rig.service, "list_jobs", changed)
        lose_answers(rig, ServerFault(ApiAnswer(500)), first, accept=False)
        return rig

    result, rig = run(rig_of, *make_specs(4))

    assert result.counts.of(JobState.SUCCEEDED) == 3
    assert of_result(result) is ExitCode.UNFINISHED
    assert rig.clock.monotonic() < 600
    assert "shows one of the same object without a readable key" in notices(rig)
    waiting = [event for event in rig.recorder.events if isinstance(event, Waiting)]
    assert any("without a readable key" in text for event in waiting for text in event.reasons)


# --- the service is the second ledger


@pytest.mark.parametrize("when_s", [5.0, 40.0, 10_000.0], ids=["sent", "running", "done"])
def test_jobs_of_a_lost_ledger_are_adopted(tmp_path: Path, when_s: float) -> None:
    async def main() -> tuple[RunResult, Rig]:
        first = Rig(tmp_path / "1", weather=Weather(job_s=60, concurrency=3))
        first.after(when_s, lambda: first.stop(_signal()))
        await first.run(make_specs(10))
        again = Rig(tmp_path / "2", store=MemoryStore(), service=first.service)
        return await again.run(make_specs(12)), again

    result, rig = run_virtual(main())

    assert result.counts.of(JobState.SUCCEEDED) == 12
    assert set(paid(rig).values()) == {1}
    assert rig.service.calls["submit"] == 12
    assert sum(row["adopted"] for row in rig.rows()) == 10


def test_a_restored_ledger_adopts_what_was_done_since(tmp_path: Path) -> None:
    async def main() -> tuple[RunResult, Rig]:
        first = Rig(tmp_path / "1")
        await first.run(make_specs(4))
        backup = _copy(first.store)
        night = Rig(tmp_path / "2", store=first.store, service=first.service)
        await night.run(make_specs(10))
        await night.clock.sleep(86_400)
        restored = Rig(tmp_path / "3", store=backup, service=first.service)
        return await restored.run(make_specs(11)), restored

    result, rig = run_virtual(main())

    assert result.counts.of(JobState.SUCCEEDED) + result.counts.skipped == 11
    assert set(paid(rig).values()) == {1}


def test_failed_jobs_of_a_lost_ledger_are_sent_again(tmp_path: Path) -> None:
    async def main() -> tuple[RunResult, Rig]:
        first = Rig(tmp_path / "1", weather=Weather(job_fails=1.0))
        await first.run(make_specs(3))
        first.service.weather.job_fails = 0.0
        again = Rig(tmp_path / "2", store=MemoryStore(), service=first.service)
        return await again.run(make_specs(3)), again

    result, rig = run_virtual(main())

    assert result.counts.of(JobState.SUCCEEDED) == 3
    assert [row["adopted"] for row in rig.rows()] == [False] * 3


def test_a_run_with_nothing_to_send_asks_the_service_nothing(tmp_path: Path) -> None:
    async def main() -> tuple[RunResult, Rig, dict[str, int]]:
        first = Rig(tmp_path / "1")
        await first.run(make_specs(3))
        before = dict(first.service.calls)
        again = Rig(tmp_path / "2", store=first.store, service=first.service)
        return await again.run(make_specs(3)), again, before

    result, rig, before = run_virtual(main())

    assert result.counts.skipped == 3
    assert rig.service.calls == before


def test_two_jobs_with_one_key_are_reported_and_the_waiting_one_is_cancelled(
    tmp_path: Path,
) -> None:
    """Two ledgers sent the same manifest: the second one's job waits at the service."""

    async def main() -> tuple[RunResult, Rig]:
        rig = Rig(tmp_path / "1", weather=Weather(job_s=100, concurrency=2))
        rig.after(10, lambda: rig.stop(_signal()))
        await rig.run(make_specs(2))
        rig.service._accept(make_spec(1), rig.clock.monotonic())
        again = Rig(tmp_path / "2", store=rig.store, service=rig.service)
        return await again.run(make_specs(3)), again

    result, rig = run_virtual(main())

    assert result.counts.of(JobState.SUCCEEDED) == 3
    states = [job.state for job in rig.service.accepted(make_spec(1).key)]
    assert states == [RemoteState.SUCCEEDED, RemoteState.CANCELLED]
    assert "two jobs at the service" in notices(rig)


# --- which job an answer is about


def test_two_jobs_answered_with_one_id_are_both_found_by_their_keys(tmp_path: Path) -> None:
    def rig_of() -> Rig:
        rig = Rig(tmp_path, settings=QUICK)
        right = rig.service.submit
        ids: list[str] = []

        async def changed(spec: JobSpec) -> SubmitReply:
            reply = await right(spec)
            ids.append(reply.job.job_id)
            job = reply.job._replace(job_id=ids[0] if len(ids) == 2 else reply.job.job_id)
            return reply._replace(job=job._replace(user_data=""))

        replace_method(rig.service, "submit", changed)
        return rig

    result, rig = run(rig_of, *make_specs(4))

    assert result.counts.of(JobState.SUCCEEDED) == 4
    assert set(paid(rig).values()) == {1}
    made = {job.spec.key: job.job_id for job in rig.service.jobs.values()}
    assert {row["key"]: row["job_id"] for row in rig.rows()} == made


def test_an_id_is_answered_twice_while_the_ledger_records_the_first_job(tmp_path: Path) -> None:
    """Two records of one job at the same time would contradict each other."""

    def rig_of() -> Rig:
        rig = Rig(tmp_path, settings=QUICK)
        slow_s, is_recording = [0.0], asyncio.Event()

        async def pause() -> None:
            pause_s, slow_s[0] = slow_s[0], 0.0
            await rig.clock.sleep(pause_s)

        rig.ledger = MemoryLedger(rig.store, pause=pause)
        rig.parts = replace(rig.parts, ledger=rig.ledger)
        save, submit = rig.ledger.save, rig.service.submit

        async def save_slowly(jobs: Sequence[Job]) -> None:
            if not is_recording.is_set() and any(job.state is JobState.RUNNING for job in jobs):
                is_recording.set()
                slow_s[0] = 5.0
            await save(jobs)

        async def mix_up(spec: JobSpec) -> SubmitReply:
            reply = await submit(spec)
            if spec.key == make_spec(1).key:
                return reply
            await is_recording.wait()
            (first,) = rig.service.accepted(make_spec(1).key)
            return reply._replace(job=reply.job._replace(job_id=first.job_id, user_data=""))

        replace_method(rig.ledger, "save", save_slowly)
        replace_method(rig.service, "submit", mix_up)
        return rig

    result, rig = run(rig_of, *make_specs(2))

    assert result.counts.of(JobState.SUCCEEDED) == 2
    assert set(paid(rig).values()) == {1}


def test_a_job_is_not_cancelled_because_its_answer_was_mixed_up(tmp_path: Path) -> None:
    """A later start finds it in the list, under another id than the ledger has."""

    async def main() -> tuple[RunResult, Rig]:
        weather = Weather(job_s=60, concurrency=1, oddities=Oddities(mix_ups=1.0))
        rig = Rig(tmp_path / "1", weather=weather, rate_per_s=5)
        lose_answers(rig, ServerFault(ApiAnswer(500)), 1)
        rig.after(0.5, lambda: rig.stop(_signal()))
        await rig.run(make_specs(3))
        weather.oddities = Oddities()
        again = Rig(tmp_path / "2", store=rig.store, service=rig.service)
        return await again.run(make_specs(4)), again

    result, rig = run_virtual(main())

    assert result.counts.of(JobState.SUCCEEDED) == 4
    assert set(paid(rig).values()) == {1}
    assert rig.service.calls["cancel"] == 0


def test_two_answers_that_were_swapped_are_put_right(tmp_path: Path) -> None:
    def rig_of() -> Rig:
        rig = Rig(tmp_path, settings=QUICK)
        right = rig.service.submit
        replies: list[SubmitReply] = []

        async def changed(spec: JobSpec) -> SubmitReply:
            reply = await right(spec)
            replies.append(reply._replace(job=reply.job._replace(user_data="")))
            if len(replies) == 1:
                await rig.clock.sleep(5)
                return replies[1]
            return replies[0] if len(replies) == 2 else reply

        replace_method(rig.service, "submit", changed)
        return rig

    result, rig = run(rig_of, *make_specs(4))

    assert result.counts.of(JobState.SUCCEEDED) == 4
    made = {job.spec.key: job.job_id for job in rig.service.jobs.values()}
    assert {row["key"]: row["job_id"] for row in rig.rows()} == made
    assert set(paid(rig).values()) == {1}


# --- the way to the end


def _spoil_query(rig: Rig, spoil: Callable[[Sequence[str]], OrchestratorError | None]) -> None:
    right = rig.service.query

    async def changed(place: Place, job_ids: Sequence[str]) -> QueryReply:
        rig.service.calls["query"] += 1
        if (error := spoil(job_ids)) is not None:
            raise error
        return await right(place, job_ids)

    replace_method(rig.service, "query", changed)


@pytest.mark.parametrize(
    "error",
    [
        Rejected(ApiAnswer(400, "InvalidArgument", "no")),
        NotFound(ApiAnswer(404, "ResourceNotFound", "no")),
        ProtocolError("not XML"),
    ],
    ids=["refused", "404", "unreadable"],
)
def test_a_query_that_one_job_spoils_hinders_no_other_job(
    tmp_path: Path, error: OrchestratorError
) -> None:
    def rig_of() -> Rig:
        rig = Rig(tmp_path)
        bad = f"j{3:032x}"
        _spoil_query(rig, lambda ids: error if bad in ids else None)
        return rig

    result, rig = run(rig_of, *make_specs(20), deadline_s=4000.0)

    assert result.counts.of(JobState.SUCCEEDED) == 19
    assert result.counts.of(JobState.UNFINISHED) == 1
    assert of_result(result) is ExitCode.UNFINISHED
    assert rig.service.calls["query"] < 400


def test_a_service_whose_answers_nothing_can_read_is_waited_for(tmp_path: Path) -> None:
    def rig_of() -> Rig:
        rig = Rig(tmp_path)
        _spoil_query(
            rig, lambda _: ProtocolError("not XML") if rig.clock.monotonic() < 3600 else None
        )
        return rig

    result, rig = run(rig_of, *make_specs(20))

    assert result.counts.of(JobState.SUCCEEDED) == 20
    assert "get no answer" in notices(rig)


def test_an_unknown_state_means_not_ended_for_that_job_alone(tmp_path: Path) -> None:
    def rig_of() -> Rig:
        rig = Rig(tmp_path)
        bad = f"j{3:032x}"

        def odd(job: RemoteJob) -> RemoteJob:
            if job.job_id != bad or rig.clock.monotonic() > 600:
                return job
            return job._replace(state=RemoteState.UNKNOWN, state_word="Auditing")

        answer_with(rig, odd)
        return rig

    result, rig = run(rig_of, *make_specs(20))

    assert result.counts.of(JobState.SUCCEEDED) == 20
    assert notices(rig).count("'Auditing'") == 1


# --- stems


def _result(files: tuple[RemoteFile, ...] | None) -> Callable[[RemoteJob], RemoteJob]:
    def change(job: RemoteJob) -> RemoteJob:
        return job._replace(files=files or ())

    return change


@pytest.mark.parametrize(
    "files",
    [
        (),
        (RemoteFile("stems/1/voice.mp3"),),
        (RemoteFile("elsewhere/voice.mp3"), RemoteFile("elsewhere/background.mp3")),
    ],
    ids=["no result", "one of two", "other names"],
)
def test_stems_that_the_answer_does_not_name_are_looked_for(
    tmp_path: Path, files: tuple[RemoteFile, ...]
) -> None:
    def rig_of() -> Rig:
        rig = Rig(tmp_path)
        answer_with(rig, _result(files))
        return rig

    result, rig = run(rig_of, make_spec(1))

    assert result.counts.of(JobState.SUCCEEDED) == 1
    (row,) = rig.rows()
    assert [(file["stem"], file["verified"]) for file in row["files"]] == [
        ("voice", True),
        ("background", True),
    ]
    assert (row["code"], row["message"]) == ("", "")


def _head_with(
    rig: Rig, change: Callable[[str, ObjectHead | None], ObjectHead | OrchestratorError | None]
) -> None:
    right = rig.service.head

    async def changed(place: Place, key: str) -> ObjectHead | None:
        found = change(key, await right(place, key))
        if isinstance(found, OrchestratorError):
            raise found
        return found

    replace_method(rig.service, "head", changed)


@pytest.mark.parametrize(("late_s", "state"), [(19.0, "succeeded"), (25.0, "failed")])
def test_a_stem_may_be_late_for_as_long_as_the_page_says(
    tmp_path: Path, late_s: float, state: str
) -> None:
    def rig_of() -> Rig:
        return Rig(tmp_path, weather=Weather(job_s=1, oddities=Oddities(late_stems_s=late_s)))

    _, rig = run(rig_of, make_spec(1))

    assert [row["state"] for row in rig.rows()] == [state]


def test_a_404_by_a_gateway_is_looked_through(tmp_path: Path) -> None:
    def rig_of() -> Rig:
        rig = Rig(tmp_path)
        bare = UnprovenAnswer(ApiAnswer(404))
        heads = iter(range(100))
        _head_with(rig, lambda _, found: bare if next(heads) < 7 else found)
        return rig

    result, rig = run(rig_of, make_spec(1))

    assert result.counts.of(JobState.SUCCEEDED) == 1
    assert all(file["verified"] for file in rig.rows()[0]["files"])


def test_stems_that_cannot_be_checked_are_not_verified_and_not_missing(tmp_path: Path) -> None:
    def rig_of() -> Rig:
        rig = Rig(tmp_path)
        bare = UnprovenAnswer(ApiAnswer(404), "HTTP 404 from a proxy")
        _head_with(rig, lambda _, __: bare)
        return rig

    result, rig = run(rig_of, make_spec(1))

    assert result.counts.of(JobState.SUCCEEDED) == 1
    (row,) = rig.rows()
    assert not any(file["verified"] for file in row["files"])
    assert "could not be checked (HTTP 404 from a proxy)" in row["message"]


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (ObjectHead(0), "is empty"),
        (ObjectHead(5, modified_at=1000.0), "is older than the job"),
        (ObjectHead(5, etag="f" * 32), "has another MD5"),
    ],
    ids=["empty", "older", "other content"],
)
def test_verified_means_that_it_is_what_the_job_wrote(
    tmp_path: Path, head: ObjectHead, why: str
) -> None:
    def rig_of() -> Rig:
        rig = Rig(tmp_path)
        _head_with(rig, lambda key, found: head if "voice" in key else found)
        return rig

    result, rig = run(rig_of, make_spec(1))

    assert result.counts.of(JobState.SUCCEEDED) == 1
    (row,) = rig.rows()
    assert [file["verified"] for file in row["files"]] == [False, True]
    assert row["message"] == f"Not verified: the voice {why}{_rest(why)}."


def _rest(why: str) -> str:
    return " than the service reported" if "MD5" in why else ""


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_retry_looks_for_missing_stems_before_it_pays_again(
    tmp_path: Path, comes_back: bool
) -> None:
    async def main() -> tuple[RunResult, RunResult, Rig]:
        patient = RunnerSettings(stem_wait_s=60)
        rig = Rig(tmp_path / "1", settings=patient)
        is_hidden = [True]
        _head_with(rig, lambda _, found: None if is_hidden[0] else found)
        first = await rig.run([make_spec(1)])
        is_hidden[0] = not comes_back
        if not comes_back:
            rig.after(90, lambda: is_hidden.__setitem__(0, False))
        again = Rig(tmp_path / "2", settings=patient, store=rig.store, service=rig.service)
        return first, await again.run([make_spec(1)], retry=FAILED), again

    first, second, rig = run_virtual(main())

    assert first.counts.of(JobState.FAILED) == 1
    assert second.counts.of(JobState.SUCCEEDED) == 1
    assert rig.service.calls["submit"] == (1 if comes_back else 2)


def test_verify_done_queries_the_old_job_first(tmp_path: Path) -> None:
    async def main() -> tuple[RunResult, Rig]:
        rig = Rig(tmp_path / "1")
        await rig.run(make_specs(3))
        hidden = ["stems/1/voice.mp3"]
        _head_with(rig, lambda key, found: None if key in hidden else found)
        rig.after(2, hidden.clear)
        again = Rig(tmp_path / "2", store=rig.store, service=rig.service)
        return await again.run(make_specs(3), verify_done=True), again

    result, rig = run_virtual(main())

    assert (result.counts.of(JobState.SUCCEEDED), result.counts.skipped) == (1, 2)
    assert rig.service.calls["submit"] == 3


def test_verify_done_refuses_to_make_a_whole_library_again(tmp_path: Path) -> None:
    async def main() -> tuple[RunResult, RunResult, Rig]:
        rig = Rig(tmp_path / "1")
        await rig.run(make_specs(30))
        rig.service.objects.clear()
        again = Rig(tmp_path / "2", store=rig.store, service=rig.service)
        refused = await again.run(make_specs(30), verify_done=True)
        asked = Rig(tmp_path / "3", store=rig.store, service=rig.service)
        every = {JobState.FAILED, JobState.CANCELLED}
        return refused, await asked.run(make_specs(30), verify_done=True, retry=every), asked

    refused, asked, rig = run_virtual(main())

    assert of_result(refused) is ExitCode.USAGE
    assert "30 of 30 finished jobs" in str(refused.error)
    assert asked.counts.of(JobState.SUCCEEDED) == 30
    assert rig.service.calls["submit"] == 60


# --- what stops what

OTHER = "films-1250000000"


def elsewhere(number: int) -> JobSpec:
    spec = make_spec(number)
    return replace(spec, media=replace(spec.media, bucket=OTHER))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BucketRefused(ApiAnswer(403, "AccessDenied")), ExitCode.CREDENTIALS),
        (BucketRefused(ApiAnswer(402, "PaymentRequired")), ExitCode.CREDENTIALS),
        (BucketUnknown(ApiAnswer(404, "NoSuchBucket")), ExitCode.USAGE),
    ],
)
def test_a_refused_bucket_stops_after_one_job_and_others_continue(
    tmp_path: Path, error: OrchestratorError, code: ExitCode
) -> None:
    async def main() -> tuple[RunResult, RunResult, Rig]:
        rig = Rig(tmp_path / "1", settings=RunnerSettings(connections=1, window=5))
        right, is_refused = rig.service.submit, [True]
        refused: list[str] = []

        async def changed(spec: JobSpec) -> SubmitReply:
            if spec.media.bucket == OTHER and is_refused[0]:
                refused.append(spec.key)
                raise error
            return await right(spec)

        replace_method(rig.service, "submit", changed)
        specs = [elsewhere(number) if number % 2 else make_spec(number) for number in range(60)]
        first = await rig.run(specs)
        assert len(refused) == 1
        is_refused[0] = False
        again = Rig(tmp_path / "1", store=rig.store, service=rig.service)
        return first, await again.run(specs), again

    first, second, rig = run_virtual(main())

    assert first.counts.of(JobState.SUCCEEDED) == 30
    assert first.counts.of(JobState.PLANNED) == 30
    assert of_result(first) is code
    assert second.counts.of(JobState.SUCCEEDED) == 60
    assert set(paid(rig).values()) == {1}
    assert {row["attempts"] for row in rig.rows()} == {1}


def test_a_bucket_that_can_no_longer_be_queried_does_not_hold_up_the_run(tmp_path: Path) -> None:
    async def main() -> tuple[RunResult, Rig]:
        rig = Rig(tmp_path, weather=Weather(job_s=60))
        right = rig.service.query

        async def changed(place: Place, job_ids: Sequence[str]) -> QueryReply:
            if place.bucket == OTHER and rig.clock.monotonic() > 20:
                raise BucketRefused(ApiAnswer(403, "AccessDenied"))
            return await right(place, job_ids)

        replace_method(rig.service, "query", changed)
        return await rig.run([*make_specs(5), *(elsewhere(number) for number in range(6, 9))]), rig

    result, rig = run_virtual(main())

    assert result.counts.of(JobState.SUCCEEDED) == 5
    assert of_result(result) is ExitCode.CREDENTIALS
    assert not result.is_over
    assert OTHER in notices(rig)


def _signal() -> Any:
    from orchestrator.errors import Interruption

    return Interruption("signal")


def _copy(store: MemoryStore) -> MemoryStore:
    import copy

    return copy.deepcopy(store)


# --- requests of a process that died


async def die_while_sending(folder: Path, *, accept: bool) -> Rig:
    """Send three jobs and die before an answer comes."""
    rig = Rig(folder / "first")
    right = rig.service.submit

    async def unanswered(spec: JobSpec) -> SubmitReply:
        if accept:
            await right(spec)
        await asyncio.Event().wait()
        raise AssertionError

    replace_method(rig.service, "submit", unanswered)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await rig.run(make_specs(3))
    replace_method(rig.service, "submit", right)
    return rig


@pytest.mark.parametrize("accept", [False, True], ids=["did not arrive", "arrived"])
@pytest.mark.parametrize("is_exact", [False, True], ids=["a list that may lag", "an exact list"])
def test_what_a_dead_process_sent_is_paid_for_once(
    tmp_path: Path, *, accept: bool, is_exact: bool
) -> None:
    """Only a list that is known to be exact proves at once that the requests did not arrive."""

    async def main() -> tuple[RunResult, Rig, float]:
        before = await die_while_sending(tmp_path, accept=accept)
        settings = RunnerSettings(list_is_exact=is_exact)
        rig = Rig(
            tmp_path / "second", settings=settings, store=before.store, service=before.service
        )
        first: list[float] = []
        right = rig.service.submit

        async def noted(spec: JobSpec) -> SubmitReply:
            first.append(rig.clock.monotonic() - began_at)
            return await right(spec)

        replace_method(rig.service, "submit", noted)
        began_at = rig.clock.monotonic()
        result = await rig.run(make_specs(3))
        return result, rig, first[0] if first else 0.0

    result, rig, first_s = run_virtual(main())

    assert result.counts.of(JobState.SUCCEEDED) == 3
    assert set(paid(rig).values()) == {1}
    if accept:
        assert first_s == 0.0, "they were found"
    elif is_exact:
        assert first_s < 2
    else:
        assert first_s > 120, "nothing shows yet that the list works"

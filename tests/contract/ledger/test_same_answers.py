"""The ledgers in SQLite, in PostgreSQL and in memory answer any calls alike."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.domain.job import Job, StemFile
from orchestrator.domain.spec import JobKey, JobSpec, Origin, Place, Stem
from orchestrator.domain.states import TERMINAL, JobState, Step, is_legal
from orchestrator.errors import OrchestratorError
from orchestrator.ledger import open_ledger
from orchestrator.testing.builders import make_holder, make_spec
from orchestrator.testing.memory_ledger import MemoryLedger, MemoryStore
from tests.answers import plain
from tests.connection import connection

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from orchestrator.domain.ports import Ledger
    from orchestrator.domain.run import Run
    from orchestrator.ledger.sql_ledger import SqlLedger
    from orchestrator.ledger.unit_of_work import UnitOfWork
    from tests.postgres_server import PostgresServer

T0 = 1_795_309_200.0
KEYS = 12

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
instants = st.integers(0, 4_000_000_000_000_000).map(lambda value: value / 1_000_000)
levels = st.integers(0, 2)
shares = st.sampled_from(["", "films"])
PLACES = [Place("a-1250000000", "ap-guangzhou"), Place("b-1250000000", "ap-guangzhou")]


def spec_at(number: int, level: int, group: str, line: int) -> JobSpec:
    bucket, region = PLACES[number % len(PLACES)]
    return make_spec(
        number,
        level=level,
        group=group,
        origin=Origin("l.csv", line, "inputs[0]"),
        media=replace(make_spec(number).media, bucket=bucket, region=region),
    )


specs = st.builds(
    spec_at,
    st.integers(1, KEYS),
    levels,
    shares,
    st.integers(1, 3),
)
states = st.frozensets(st.sampled_from(JobState), max_size=4)
numbers = st.integers(1, KEYS)
held = st.frozensets(numbers, max_size=4)
changes = st.fixed_dictionaries(
    {},
    optional={
        "attempts": st.integers(0, 9),
        "job_id": texts,
        "past_job_ids": st.lists(texts, max_size=2).map(tuple),
        "queue_id": texts,
        "request_id": texts,
        "adopted": st.booleans(),
        "code": texts,
        "message": texts,
        "not_before": st.sampled_from([0.0, T0, T0 + 5]) | instants,
        "intent_at": st.none() | instants,
        "submitted_at": st.none() | instants,
        "started_at": st.none() | instants,
        "finished_at": st.none() | instants,
        "media_duration_s": st.none() | instants,
        "files": st.lists(
            st.builds(
                StemFile,
                st.sampled_from(Stem),
                texts,
                texts,
                st.none() | st.integers(0, 2**53),
                st.booleans(),
            ),
            max_size=2,
        ).map(tuple),
    },
)


async def stop_syncing(ledger: SqlLedger) -> None:
    """Leave the transaction that all work is in: the pragma has no effect inside it."""

    def work(unit: UnitOfWork) -> None:
        for text in ("COMMIT", "PRAGMA synchronous = OFF", "BEGIN"):
            connection(unit).execute(text).close()

    await ledger._writer.submit(work, writes=False)


@pytest.fixture(autouse=True, scope="module")
def _server(postgres: PostgresServer) -> None:
    SameAnswers.server = postgres


class SameAnswers(RuleBasedStateMachine):
    """Makes the same calls on all ledgers."""

    server: ClassVar[PostgresServer]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.store = MemoryStore()
        self.url = self.server.url()
        self.all: list[Ledger] = []
        self.run: Run | None = None
        self.open()

    def open(self) -> None:
        in_sqlite = open_ledger(Path(self.folder.name) / "ledger.db")
        # Only answers are compared here; hundreds of syncs would take most of the time.
        self.loop.run_until_complete(stop_syncing(cast("SqlLedger", in_sqlite)))
        self.all = [MemoryLedger(self.store), in_sqlite, open_ledger(self.url)]
        self.each(lambda ledger: ledger.acquire(make_holder()))

    def each(self, call: Callable[[Ledger], Coroutine[Any, Any, Any]]) -> Any:
        """Return the answer of all, or the error that all raise."""

        async def ask(ledger: Ledger) -> Any:
            try:
                return await call(ledger)
            except OrchestratorError as error:
                return error

        in_memory, in_sqlite, in_postgres = (
            self.loop.run_until_complete(ask(ledger)) for ledger in self.all
        )
        assert plain(in_memory) == plain(in_sqlite)
        assert plain(in_memory) == plain(in_postgres)
        return in_sqlite

    @property
    def here(self) -> Run:
        assert self.run is not None
        return self.run

    @initialize()
    def begin(self) -> None:
        self.run = self.each(lambda ledger: ledger.begin_run("n", T0, "{run}"))

    @rule(stops=st.booleans())
    def begin_again(self, stops: bool) -> None:
        if stops:
            self.each(lambda ledger: ledger.close())
            self.open()
        self.begin()

    @rule(offered=st.lists(specs, max_size=8), retry=states)
    def add(self, offered: list[JobSpec], retry: frozenset[JobState]) -> None:
        self.each(lambda ledger: ledger.add(self.here, offered, retry))

    @rule(
        data=st.data(),
        wanted=st.lists(numbers, min_size=1, max_size=3, unique=True),
        stale=st.integers(0, 9),
    )
    def save(self, data: st.DataObject, wanted: list[int], stale: int) -> None:
        """Legal steps and random fields, sometimes with a wrong saved state."""
        keys = [make_spec(number).key for number in wanted]
        found: dict[JobKey, Job] = self.each(lambda ledger: ledger.find(keys))
        steps = {
            key: data.draw(st.sampled_from([step for step in Step if is_legal(job.state, step)]))
            for key, job in found.items()
            if job.state
        }
        fields = {key: data.draw(changes) for key in found}

        async def save(ledger: Ledger) -> list[Job]:
            jobs = list((await ledger.find(list(found))).values())
            for job in jobs:
                job.step(steps[job.spec.key])
                for name, value in fields[job.spec.key].items():
                    setattr(job, name, value)
            if stale == 0 and jobs:
                jobs[-1].saved_state = (
                    JobState.SUBMITTING
                    if jobs[-1].saved_state is JobState.RUNNING
                    else JobState.RUNNING
                )
            await ledger.save(jobs)
            return jobs

        self.each(save)

    @rule(
        wanted=st.lists(numbers, min_size=1, max_size=4),
        attempts=st.integers(0, 9),
        at=instants,
        blindly=st.booleans(),
    )
    def intend(self, wanted: list[int], attempts: int, at: float, blindly: bool) -> None:
        """Record intents; if ``blindly``, also of jobs that must not be sent."""
        keys = [make_spec(number).key for number in wanted]

        async def intend(ledger: Ledger) -> list[Job]:
            found = await ledger.find(keys)
            jobs = [
                found[key]
                for key in keys
                if key in found and (blindly or found[key].state is JobState.PLANNED)
            ]
            for job in jobs:
                job.state, job.attempts, job.intent_at = JobState.SUBMITTING, attempts, at
            await ledger.intend(jobs)
            return jobs

        self.each(intend)

    @rule(
        number=numbers, remote=st.sampled_from([Step.SUCCEED, Step.FAIL, Step.CANCEL, Step.GIVE_UP])
    )
    def finish(self, number: int, remote: Step) -> None:
        """Walk planned jobs to an end, so that random walks reach it often enough."""

        async def finish(ledger: Ledger) -> list[Job]:
            jobs = [
                job
                for job in (await ledger.find([make_spec(number).key])).values()
                if job.state is JobState.PLANNED
            ]
            for job in jobs:
                for step in (Step.SEND, Step.ACCEPT, remote):
                    job.step(step)
                    await ledger.save([job])
            return jobs

        self.each(finish)

    @rule()
    def drop_unseen(self) -> None:
        self.each(lambda ledger: ledger.drop_unseen(self.here, T0 + 50))

    @rule(keep=st.booleans(), limit=st.integers(1, 5))
    def settle_leftovers(self, keep: bool, limit: int) -> None:
        visits: list[int] = self.each(lambda ledger: ledger.unseen_visits(self.here))
        if keep:
            self.each(lambda ledger: ledger.drop_unseen(self.here, T0 + 50, visits[:1]))
        else:
            self.each(lambda ledger: ledger.take_unseen(self.here, visits[1:], limit))
        self.each(lambda ledger: ledger.leave_unseen(self.here))

    @rule(wanted=held, besides=st.frozensets(st.integers(1, 6), max_size=3))
    def cancel_left(self, wanted: frozenset[int], besides: frozenset[int]) -> None:
        self.each(lambda ledger: ledger.cancel_left(wanted, T0 + 50, besides))

    @rule(offered=st.lists(specs, max_size=4))
    def visit_with_less(self, offered: list[JobSpec]) -> None:
        """Resume with a shorter manifest."""
        self.begin()
        self.each(lambda ledger: ledger.add(self.here, offered))
        self.drop_unseen()

    @rule()
    def end(self) -> None:
        if self.each(lambda ledger: ledger.end_run(self.here, T0 + 60)) is None:
            self.begin()

    @rule()
    def end_all(self) -> None:
        """Finish all open jobs, so that some runs end."""

        async def finish(ledger: Ledger) -> int:
            jobs = await ledger.in_states(set(JobState) - TERMINAL)
            ways = {
                JobState.PLANNED: (Step.CANCEL,),
                JobState.SUBMITTING: (Step.REJECT,),
                JobState.IN_DOUBT: (Step.ADOPT, Step.SUCCEED),
                JobState.SUBMITTED: (Step.SUCCEED,),
                JobState.RUNNING: (Step.FAIL,),
            }
            for job in jobs:
                for step in ways[job.state]:
                    job.step(step)
            await ledger.save(jobs)
            return len(jobs)

        self.each(finish)
        self.end()

    @rule(
        level=levels,
        share=st.sampled_from(["films", "inputs[0]"]),
        limit=st.integers(1, 5),
        without=held,
        later=st.sampled_from([-1, 0, 5]),
        closed=st.sets(st.sampled_from(PLACES)),
    )
    def ready(
        self,
        level: int,
        share: str,
        limit: int,
        without: frozenset[int],
        later: int,
        closed: set[Place],
    ) -> None:
        self.each(
            lambda ledger: ledger.ready(self.here, level, share, limit, without, T0 + later, closed)
        )
        self.each(lambda ledger: ledger.next_ready_at(self.here, without, closed))

    @rule(wanted=states, after=st.integers(0, KEYS), limit=st.integers(1, 5))
    def in_states(self, wanted: frozenset[JobState], after: int, limit: int) -> None:
        self.each(lambda ledger: ledger.in_states(wanted, after, limit))

    @rule(wanted=st.lists(specs, max_size=4), other=st.booleans())
    def same_object(self, wanted: list[JobSpec], other: bool) -> None:
        asked = [
            JobSpec(
                JobKey(f"{spec.key}-x" if other else spec.key),
                spec.media,
                spec.operation,
                spec.output,
            )
            for spec in wanted
        ]
        self.each(lambda ledger: ledger.same_object(asked))

    @precondition(lambda self: self.run is not None)
    @invariant()
    def nothing_is_lost_and_rows_are_one_to_a_job(self) -> None:
        counts = self.each(lambda ledger: ledger.counts(self.here))
        rows = self.each(lambda ledger: ledger.rows(self.here))
        assert len({job.id for job in rows}) == len(rows)
        assert [job.row for job in rows] == list(range(1, len(rows) + 1))
        assert counts.of(*TERMINAL) + counts.skipped <= len(rows)

    def teardown(self) -> None:
        self.each(lambda ledger: ledger.close())
        self.loop.close()
        self.folder.cleanup()


SameAnswers.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestSameAnswers = pytest.mark.slow(SameAnswers.TestCase)

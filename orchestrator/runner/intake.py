"""Where jobs come in: from the manifest as it is expanded, and from the ledger, where an earlier visit left them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from orchestrator.domain.events import JobsPlanned, Noticed, PlanFinished
from orchestrator.domain.states import REMOTE, TERMINAL, JobState, Step
from orchestrator.runner.verifier import lost_stems

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence

    from orchestrator.domain.job import Job
    from orchestrator.domain.run import Run
    from orchestrator.domain.spec import JobSpec
    from orchestrator.runner.ports import Parts


class Intake:
    """Makes specs jobs of the run, and takes up what was under way.

    Args:
        parts: The ports.
        run: The present run.
        retry: States of jobs of earlier runs that are asked for again.
        verify_done: Look whether the stems of jobs that are done are still there, and make again those that are not.
        is_whole: The feed is the whole manifest: what it does not name has left it.
        record: Saves jobs; returns when they are durable.
        expect: Told before jobs are read from the ledger.
        until_wanted: Returns when more jobs are wanted.
        on_jobs: Takes jobs of the manifest, whatever their state.
        on_under_way: Takes jobs that are, or may be, at the service already.
        on_dropped: Told when jobs that left the manifest were cancelled.
    """

    def __init__(
        self,
        parts: Parts,
        run: Run,
        *,
        retry: Collection[JobState],
        verify_done: bool,
        is_whole: bool,
        record: Callable[[Sequence[Job]], Awaitable[None]],
        expect: Callable[[], None],
        until_wanted: Callable[[], Awaitable[None]],
        on_jobs: Callable[[Sequence[Job]], None],
        on_under_way: Callable[[Job], None],
        on_dropped: Callable[[], Awaitable[None]],
    ) -> None:
        self._parts = parts
        self._run = run
        self._retry = retry
        self._verify_done = verify_done
        self._is_whole = is_whole
        self._record = record
        self._expect = expect
        self._until_wanted = until_wanted
        self._on_jobs = on_jobs
        self._on_under_way = on_under_way
        self._on_dropped = on_dropped
        self._told: set[int] = set()  # jobs that were under way, and are counted
        self.kept_back = 0
        """Jobs that should be asked for again, but ended in this run, before or just now: their row is written."""

    async def resume(self) -> None:
        """Take up what was under way when the last visit ended, however it ended."""
        after_id = 0
        while jobs := await self._parts.ledger.in_states(
            {JobState.SUBMITTING, JobState.IN_DOUBT, *REMOTE}, after_id
        ):
            after_id = jobs[-1].id
            lost = [job for job in jobs if job.state is JobState.SUBMITTING]
            for job in lost:
                job.step(Step.LOSE_ANSWER)
                job.message = "The run ended between the request and the record of its answer."
            if lost:
                await self._record(lost)
            self._told.update(job.id for job in jobs)
            self._parts.sink.emit(JobsPlanned(open=len(jobs)))
            for job in jobs:
                self._on_under_way(job)

    async def take(self, feed: AsyncGenerator[list[JobSpec]]) -> None:
        """Make the specs of the manifest jobs of the run, as they come, to the last.

        Raises:
            OrchestratorError: If a source is faulty or cannot be read, or the ledger cannot be written.
        """
        total = 0
        async with contextlib.aclosing(feed):
            async for specs in feed:
                await self._until_wanted()
                self._expect()
                jobs = await self._add(specs)
                total += len(jobs)
                self._on_jobs(jobs)
                # What was under way may have ended by now: it was counted as it stood.
                self._parts.sink.emit(
                    _tally(
                        [job for job in jobs if job.id not in self._told] if self._told else jobs
                    )
                )
        self._parts.sink.emit(PlanFinished(total, await self.drop()))
        if self.kept_back:
            text = f"{self.kept_back} jobs that ended in run {self._run.id} are asked for again in a run of their own, once it has ended"
            self._parts.sink.emit(Noticed(text))

    async def drop(self) -> int:
        """Cancel the planned jobs that the manifest does not name any more, if all of it was read; says how many."""
        dropped = (
            await self._parts.ledger.drop_unseen(self._run, self._parts.clock.now())
            if self._is_whole
            else 0
        )
        if dropped:
            await self._on_dropped()
        return dropped

    async def _add(self, specs: list[JobSpec]) -> list[Job]:
        if not self._verify_done:
            return await self._join(specs, self._retry)
        gone = await lost_stems(
            self._parts.ledger, self._parts.store, specs, self._parts.settings.heads
        )
        again = [spec for spec in specs if spec.key in gone]
        rest = [spec for spec in specs if spec.key not in gone]
        jobs = await self._join(again, {JobState.SUCCEEDED, *self._retry}) if again else []
        return [*jobs, *await self._join(rest, self._retry)]

    async def _join(self, specs: list[JobSpec], retry: Collection[JobState]) -> list[Job]:
        jobs = await self._parts.ledger.add(self._run, specs, retry)
        self.kept_back += sum(job.state in retry for job in jobs)
        return jobs


def _tally(jobs: Sequence[Job]) -> JobsPlanned:
    new = sum([job.state is JobState.PLANNED for job in jobs])
    if new == len(jobs):
        return JobsPlanned(new=new)
    done = sum(job.state is JobState.SUCCEEDED for job in jobs)
    ended = sum(job.state in TERMINAL for job in jobs) - done
    return JobsPlanned(new=new, open=len(jobs) - new - done - ended, done=done, ended=ended)

"""Entry of jobs: from the manifest as it is expanded, and from the ledger."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.domain.events import JobsPlanned, JobTakenUp, Noticed, PlanFinished
from orchestrator.domain.states import REMOTE, TERMINAL, JobState, Step
from orchestrator.domain.wording import counted
from orchestrator.errors import ConfigError
from orchestrator.runner.leftovers import MANIFESTS, VisitLog, kept_text
from orchestrator.runner.verifying.existing import ExistingStems
from orchestrator.runner.verifying.verifier import lost_stems

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Sequence

    from orchestrator.domain.job import Job
    from orchestrator.domain.run import Run
    from orchestrator.domain.spec import JobSpec
    from orchestrator.runner.ports import Ports
    from orchestrator.runner.routing import Routing
    from orchestrator.runner.settings import RunnerOptions
    from orchestrator.runner.settling.survey import Survey
    from orchestrator.runner.submitting.dispatcher import Dispatcher

ALREADY_THERE = "Its stems were in their bucket before a job was sent for them."
_AT_ONCE = contextlib.nullcontext()
_MANY = 10
_MOST_GONE = 0.2
"""``--verify-done`` refuses to make many stems again, and more than this share of all."""


class Intake:
    """Makes specs jobs of the run, and resumes jobs that an earlier process left open.

    Args:
        ports: The ports.
        run: The present run.
        options: What is retried, verified, and whether the manifest is read as a whole.
        routing: Where jobs go.
        dispatcher: Says when more jobs are wanted.
        survey: Finds jobs that the account has had done already.
    """

    def __init__(
        self,
        ports: Ports,
        run: Run,
        options: RunnerOptions,
        routing: Routing,
        dispatcher: Dispatcher,
        survey: Survey,
    ) -> None:
        self._ledger = ports.ledger
        self._store = ports.store
        self._clock = ports.clock
        self._sink = ports.sink
        self._settings = ports.settings
        self._run = run
        self._options = options
        self._routing = routing
        self._dispatcher = dispatcher
        self._survey = survey
        self.existing = ExistingStems(
            ports.ledger,
            ports.store,
            ports.look_limiter,
            ports.settings,
            ports.clock,
            lambda text: ports.sink.emit(Noticed(text)),
        )
        self._resumed: set[int] = set()  # jobs found open in the ledger, and counted
        self._checked = self._gone = 0  # finished jobs whose stems were looked for, or are missing
        self._visits = VisitLog()
        self.kept_back = 0
        """Jobs to be retried that ended in this very run: their row is written."""

    async def resume(self) -> None:
        """Take up the jobs that were open when the last process ended, however it ended."""
        states = {JobState.SUBMITTING, JobState.IN_DOUBT, *REMOTE}
        after_id = 0
        while jobs := await self._ledger.in_states(states, after_id):
            after_id = jobs[-1].id
            lost = [job for job in jobs if job.state is JobState.SUBMITTING]
            for job in lost:
                job.step(Step.LOSE_ANSWER)
                job.message = "The run ended between the request and the record of its answer."
            if lost:
                await self._routing.save(lost)
            self._resumed.update(job.id for job in jobs)
            self._sink.emit(JobsPlanned(open=len(jobs)))
            now = self._clock.now()
            for job in jobs:
                self._sink.emit(_taken_up(job, now))
                self._routing.take_up(job)

    async def take(self, feed: AsyncGenerator[list[JobSpec]]) -> None:
        """Make the specs of the manifest jobs of the run, to the last.

        Raises:
            OrchestratorError: If a source is faulty or cannot be read, or the ledger cannot be
                written.
        """
        await self._note_manifest()
        total = 0
        async with contextlib.aclosing(feed):
            async for specs in feed:
                is_guarded = (
                    self._options.skip_existing
                    or self._survey.may_adopt(specs)
                    or _has_refused(specs)
                )
                add = functools.partial(self._add, specs)
                total += await self._bring(add, is_guarded=is_guarded)
        taken, dropped = await self.settle_leftovers()
        if self._options.is_whole:
            self._survey.complete()
        left = (await self._ledger.counts(self._run)).left if self._options.is_whole else 0
        self._sink.emit(PlanFinished(total, dropped, taken, left))
        self._dispatcher.plan_ended()
        self.existing.remark()
        if left:
            others = self._of_others(await self._ledger.unseen_visits(self._run))
            self._sink.emit(Noticed(kept_text(left, others.values())))
        if self.kept_back:
            jobs_text = counted(self.kept_back, "job")
            text = f"{jobs_text} that ended in run {self._run.id} will be retried in a new run"
            self._sink.emit(Noticed(text))

    async def _bring(
        self, read: Callable[[], Awaitable[list[Job]]], *, is_guarded: bool = True
    ) -> int:
        """Take jobs from the ledger, and adopt those that the service has already.

        Args:
            read: Makes jobs part of the run.
            is_guarded: Some may have to be adopted: none may be sent until that is done.

        Returns:
            Their number.
        """
        backlog = self._dispatcher.backlog
        await self._dispatcher.until_wanted()
        backlog.expect()
        async with backlog.unfetched if is_guarded else _AT_ONCE:
            added = await read()
            refused = _refused(added)
            if refused:
                added = [job for job in added if job.id not in refused]
            await self._survey.look(added)
            jobs = self._routing.named(added)
            await self._survey.adopt(jobs)
            if self._options.skip_existing:
                await self._skip_existing([job for job in jobs if job.state is JobState.PLANNED])
            self._routing.take_in(jobs)
            if refused:
                self._sink.emit(JobsPlanned(refused=len(refused)))
                await self._routing.refuse_planned(list(refused.values()))
        backlog.has_arrived()
        # Resumed jobs may have ended since; they were counted as they stood.
        resumed = self._resumed
        self._sink.emit(_tally([job for job in jobs if job.id not in resumed] if resumed else jobs))
        return len(jobs) + len(refused)

    async def _skip_existing(self, jobs: Sequence[Job]) -> None:
        """Count the planned jobs as done whose stems are all in their bucket."""
        stems = await self.existing.find([job.spec for job in jobs])
        found = [job for job in jobs if job.spec.key in stems]
        for job in found:
            job.step(Step.FIND_DONE)
            job.skipped = True
            job.files = stems[job.spec.key]
            job.message = ALREADY_THERE
            job.finished_at = self._clock.now()
        if found:
            await self._routing.save(found)

    # --- leftovers

    async def settle_leftovers(self) -> tuple[int, int]:
        """Treat planned jobs that the manifest no longer names as it says, if all of it was read.

        Those of another manifest that shares the ledger are kept.

        Returns:
            How many are sent in this run, and how many were cancelled.
        """
        if not self._options.is_whole:
            return 0, 0
        ledger, run, taken, dropped = self._ledger, self._run, 0, 0
        own = await self._own_visits()
        if own and self._options.leftovers == "finish":
            while number := await self._bring(functools.partial(ledger.take_unseen, run, own)):
                taken += number
        elif own and self._options.leftovers == "drop":
            dropped = await ledger.drop_unseen(run, self._clock.now(), own)
            await self._routing.catch_up()
        await ledger.leave_unseen(run)
        return taken, dropped

    async def _note_manifest(self) -> None:
        """Record which manifest this start of the run is of."""
        self._visits = VisitLog.read(await self._ledger.recall(MANIFESTS))
        if self._visits.note(self._run.visit, self._options.manifest):
            await self._ledger.remember(MANIFESTS, self._visits.encoded())

    async def _own_visits(self) -> list[int]:
        visits = await self._ledger.unseen_visits(self._run)
        others = self._of_others(visits)
        return [visit for visit in visits if visit not in others]

    def _of_others(self, visits: Iterable[int]) -> dict[int, str]:
        return self._visits.of_others(visits, self._options.manifest, self._options.exists)

    async def _add(self, specs: list[JobSpec]) -> list[Job]:
        retry = self._options.retry
        if not self._options.verify_done:
            return await self._join(specs, retry)
        gone, done = await lost_stems(self._ledger, self._store, specs, self._settings, self._clock)
        self._refuse_to_redo_most(len(gone), done)
        again = [spec for spec in specs if spec.key in gone]
        rest = [spec for spec in specs if spec.key not in gone]
        jobs = await self._join(again, {JobState.SUCCEEDED, *retry}) if again else []
        return [*jobs, *await self._join(rest, retry)]

    def _refuse_to_redo_most(self, gone: int, done: int) -> None:
        """Stop before a wrong bucket or key makes a library be paid for a second time.

        Raises:
            ConfigError: If many of the finished jobs lack stems, and not all are to be retried.
        """
        self._checked += done
        self._gone += gone
        is_many = self._gone >= _MANY and self._gone > _MOST_GONE * self._checked
        if is_many and JobState.CANCELLED not in self._options.retry:
            raise ConfigError(
                f"The stems of {self._gone:,} of {self._checked:,} finished jobs are missing. A "
                "wrong bucket or lifecycle rule can be the reason, so they are not made again. To "
                "pay for them again, run with --verify-done --retry all."
            )

    async def _join(self, specs: list[JobSpec], retry: Collection[JobState]) -> list[Job]:
        jobs = await self._ledger.add(self._run, specs, retry)
        if _has_refused(specs):
            why = {spec.key: spec.refusal for spec in specs}
            for job in jobs:
                if job.spec.is_refused:  # the ledger does not keep the reason in the spec
                    job.spec = replace(job.spec, refusal=why[job.spec.key])
        self.kept_back += sum(job.state in retry or job.was_dropped for job in jobs)
        return jobs


def _has_refused(specs: Iterable[JobSpec]) -> bool:
    return any(spec.refusal is not None for spec in specs)


def _refused(jobs: Iterable[Job]) -> dict[int, Job]:
    """Return the jobs that are planned and cannot be requested, by id."""
    return {job.id: job for job in jobs if job.state is JobState.PLANNED and job.spec.is_refused}


def _taken_up(job: Job, now: float) -> JobTakenUp:
    media = job.spec.media
    since = job.started_at if job.state is JobState.RUNNING else job.submitted_at
    for_s = 0.0 if since is None else max(now - since, 0.0)
    return JobTakenUp(job.spec.key, media.key, job.state, media.expected_s, for_s)


def _tally(jobs: Sequence[Job]) -> JobsPlanned:
    lengths = [job.spec.media.expected_s for job in jobs if job.state is JobState.PLANNED]
    new, known = len(lengths), [length_s for length_s in lengths if length_s is not None]
    sized, media_s = len(known), sum(known)
    if new == len(jobs):
        return JobsPlanned(new=new, sized=sized, media_s=media_s)
    done = sum(job.state is JobState.SUCCEEDED for job in jobs)
    ended = sum(job.state in TERMINAL for job in jobs) - done
    is_open = len(jobs) - new - done - ended
    return JobsPlanned(new, is_open, done, ended, sized=sized, media_s=media_s)

"""One dispatcher owns the ready queue *and* the submit limiter: first a permit, then the best job.

Tasks never queue on the limiter; that is where priority is lost.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson

from orchestrator.domain.events import CanaryChosen, CanaryPassed, JobSending
from orchestrator.domain.remote import JobFilter
from orchestrator.domain.states import Step
from orchestrator.domain.wording import counted
from orchestrator.errors import Interruption, LedgerDisplaced, OrchestratorError, ProtocolError
from orchestrator.runner.submitting.backlog import Backlog
from orchestrator.runner.submitting.canary import names_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.domain.job import Job
    from orchestrator.domain.run import Run
    from orchestrator.domain.spec import Place
    from orchestrator.runner.budget import Budget
    from orchestrator.runner.ports import Ports
    from orchestrator.runner.shutdown import Shutdown
    from orchestrator.runner.submitting.canary import Canary
    from orchestrator.runner.submitting.gate import Gate
    from orchestrator.runner.submitting.submitter import Submitter

_GATHER_S = 0.005
"""Time that a free connection waits for others: intents recorded together share one sync."""
_PACE_S = 0.01
"""Time between two looks while reading ahead must wait."""
_PRESSED_S = 0.1
"""Time for which this machine counts as the limit, after half of all connections filled up ..."""
_PRESSED_FROM = 16
"""... unless half of them is fewer than these: a few connections fill up in any case."""
_CANARY = "canary"
"""Name under which the ledger keeps the run and the keys of the last canary."""


class Dispatcher:
    """Decides which job is sent next, and when; records the intent; hands the job to the submitter.

    Args:
        ports: The ports.
        run: The present run.
        gate: Says if jobs may leave now.
        submitter: Sends jobs.
        budget: Says what may be spent.
        shutdown: Stops the run when the budget is spent, or the canary has failed.
        canary: Jobs that must succeed before the others are sent.
    """

    def __init__(
        self,
        ports: Ports,
        run: Run,
        gate: Gate,
        submitter: Submitter,
        budget: Budget,
        shutdown: Shutdown,
        canary: Canary,
    ) -> None:
        self._ledger = ports.ledger
        self._service = ports.service
        self._limiter = ports.submit_limiter
        self._clock = ports.clock
        self._settings = ports.settings
        self._sink = ports.sink
        self._gate = gate
        self._submitter = submitter
        self._budget = budget
        self._shutdown = shutdown
        self._run = run
        self.canary = canary
        self.backlog = Backlog(ports, run)
        """Jobs that wait to be sent."""
        self.in_flight = 0
        """Jobs that hold a slot."""
        self._gather_until: float | None = None
        self._pressed_until = 0.0
        self._soon_free = 0  # connections that will be free once the next intents are recorded
        self._place: Place | None = None  # a bucket to probe
        self._stopping = False
        self._handed_on = asyncio.Event()  # no job is between its intent and the submitter
        self._handed_on.set()

    # --- jobs that come and go

    def add(self, jobs: Iterable[Job]) -> None:
        """Take planned jobs that may be sent; known ones are skipped."""
        if self.canary.is_running:
            jobs = [job for job in jobs if not self._is_for_canary(job)]
        self.backlog.add(jobs)
        self._gate.wake()

    def _is_for_canary(self, job: Job) -> bool:
        """Hand a job to the canary if it belongs there; return False if it does not."""
        if self.backlog.knows(job) or not self.canary.wants(job):
            return False
        self.backlog.keep(job)
        self.canary.offer(job)
        return True

    def occupy(self, job: Job) -> bool:
        """Count a job that is at the service already; return False if it is known."""
        if not self.backlog.hold(job):
            return False
        self.in_flight += 1
        self.canary.occupied(job)
        return True

    def give_back(self, job: Job) -> None:
        """Take back a job that is planned again; its slot is free."""
        self.in_flight -= 1
        if self.canary.wants(job):
            self.backlog.keep(job)
            self.canary.offer(job)
        else:
            self.backlog.give_back(job)
        self._gate.wake()

    def release(self, job: Job) -> None:
        """Forget a job that is planned again until it is added once more; its slot is free."""
        self.in_flight -= 1
        self.backlog.forget(job)
        self.canary.released(job)
        self._gate.wake()

    def ended(self, job: Job) -> None:
        """Forget a job that has ended; its slot is free."""
        self.in_flight -= 1
        self.backlog.finish(job)
        if self.canary.ended(job):
            self._decide_canary()
        self._gate.wake()

    def let_go(self) -> None:
        """Free the slot of a job that the run no longer waits for; it stays known."""
        self.in_flight -= 1
        self._gate.wake()

    def hold_again(self) -> None:
        """Take a slot for a job that was let go."""
        self.in_flight += 1

    def close_bucket(self, place: Place, error: OrchestratorError) -> None:
        """Send no more jobs of a bucket: the service refuses them all.

        A canary cannot be decided without them, so the run stops while there is one.
        """
        self.backlog.close_bucket(place)
        if self.canary.is_running:
            self._shutdown.fatal(error)
        self._gate.wake()

    def plan_ended(self) -> None:
        """Note that the manifest was read to its end."""
        self.canary.plan_ended()
        self._gate.wake()

    @property
    def waiting(self) -> int:
        """Jobs that wait in memory."""
        return self.backlog.in_memory + self.canary.waiting

    @property
    def is_empty(self) -> bool:
        """True if nothing waits to be sent, in memory or in the ledger."""
        return self.backlog.is_empty and not self.canary.waiting

    async def until_wanted(self) -> None:
        """Wait while jobs leave as fast as this machine can send and enough are at hand.

        Reading on would only slow the sending down.
        """
        while self._clock.monotonic() < self._pressed_until and self.backlog.is_well_stocked:
            await self._clock.sleep(_PACE_S)

    async def stop(self) -> None:
        """Take no more jobs; return when those that were taken are with the submitter."""
        self._stopping = True
        self._gate.wake()
        await self._handed_on.wait()

    def waits_for(self) -> list[str]:
        """Return what keeps the jobs that are not sent yet, in words."""
        if self.is_empty or self._stopping:
            return []
        if closed := self._gate.waits_for():
            return closed
        if self.in_flight >= self._settings.in_flight:
            return [f"a free slot: {counted(self.in_flight, 'job')} in flight (limits.in_flight)"]
        if not self._ready:
            waiting = self.canary if self.canary.is_running else self.backlog
            if (due_s := waiting.next_due_in_s()) is not None:
                return [f"the next try of a job, in {due_s:.0f} s"]
            return ["the canary, before more is sent"] if self.canary.is_running else []
        return [f"the rate limit: {self._limiter.rate_per_s:g} submits/s"]

    # --- the canary

    async def restore_canary(self) -> None:
        """Continue a canary of this run that was interrupted before it was decided."""
        if self.canary.size and self._run.resumed:
            saved = orjson.loads(await self._ledger.recall(_CANARY) or b"{}")
            if saved.get("run") == self._run.id:
                self.canary.restore((await self._ledger.find(saved["keys"])).values())

    async def _choose_canary(self) -> None:
        chosen, rest = self.canary.choose()
        if chosen:
            saved = {"run": self._run.id, "keys": list(self.canary.keys)}
            await self._ledger.remember(_CANARY, orjson.dumps(saved))
            self._sink.emit(CanaryChosen(names_of(chosen)))
        for job in rest:
            self.backlog.place(job)

    def _taken_out(self) -> Job:
        job = self.backlog.pop()
        self.backlog.forget(job)
        return job

    def _decide_canary(self) -> None:
        if self.canary.reason:
            self._shutdown.stop(Interruption("canary", self.canary.reason))
        else:
            self._sink.emit(CanaryPassed(self.canary.size))

    def give_up_canary(self) -> None:
        """Stop the run, because the outcome of the canary cannot be known."""
        self.canary.fail("a job of it stays in doubt, because the service does not show its jobs")
        self._decide_canary()

    # --- the loop

    async def run(self) -> None:
        """Send jobs until stopped."""
        while not self._stopping:
            await self._until_sendable()
            if self._stopping:
                return
            await self._limiter.acquire()
            # A job that came due during the wait for the permit has its turn, and a pause that
            # began then counts.
            await self.backlog.refill()
            batch = [] if self._gate.pause_left_s() else self._take()
            if batch:
                await self._send(batch)

    async def _send(self, batch: list[Job]) -> None:
        self._gate.breaker.sent()
        self._handed_on.clear()
        room = self._submitter.room
        try:
            await self._ledger.intend(batch)
        except LedgerDisplaced as error:
            # These jobs stay planned. Answers on their way can still be recorded.
            self._shutdown.fatal(error)
            self._stopping = True
            self._handed_on.set()
            return
        self._place = batch[-1].spec.media.place
        self._note_turnover(self._submitter.room - room)
        for job in batch:
            spec = job.spec
            media = spec.media
            self._sink.emit(
                JobSending(spec.key, media.key, spec.level, job.attempts, media.expected_s)
            )
            self._submitter.put(job)
        self._handed_on.set()

    def _take(self) -> list[Job]:
        """Take the best jobs: as many as have a permit, a slot and a connection."""
        batch: list[Job] = []
        room = self._submitter.room + self._soon_free
        slots = self._settings.in_flight - self.in_flight
        limit = min(room, slots, self._gate.breaker.at_most)
        now = self._clock.now()
        while len(batch) < limit and self._ready and not self._stopping:
            if batch and not self._limiter.try_acquire():
                break
            job = self._pop()
            if self.backlog.is_closed(job):
                self.backlog.forget(job)
                continue
            if not self._is_affordable(job):
                self._put_back(job)
                break
            job.step(Step.SEND)
            job.attempts += 1
            job.intent_at = now
            batch.append(job)
            if self.backlog.has_run_dry(job):
                break
        self.in_flight += len(batch)
        if len(batch) == room and room >= max(self._settings.connections // 2, _PRESSED_FROM):
            self._pressed_until = self._clock.monotonic() + _PRESSED_S
        return batch

    @property
    def _ready(self) -> int:
        """Jobs that may go now."""
        return self.canary.ready() if self.canary.is_running else len(self.backlog)

    def _pop(self) -> Job:
        if not self.canary.is_running:
            return self.backlog.pop()
        job = self.canary.pop()
        self.backlog.let_go(job)
        return job

    def _put_back(self, job: Job) -> None:
        if self.canary.is_running:
            self.backlog.keep(job)
            self.canary.offer(job)
        else:
            self.backlog.put_back(job)

    def _is_affordable(self, job: Job) -> bool:
        refusal = self._budget.refusal(job)
        if refusal is not None:
            self._shutdown.stop(Interruption("budget", refusal))
            return False
        self._budget.reserve(job)
        return True

    def _note_turnover(self, freed: int) -> None:
        """Expect as many free connections after the next intents as became free during these.

        Without jobs ready for them they would wait for the disk. Only where the service answers
        that fast: a job must not wait long for its connection, because a better one may come.
        """
        most = self._settings.connections // 2
        self._soon_free = min(freed, most) if freed >= _PRESSED_FROM else 0

    async def _until_sendable(self) -> None:
        """Wait for a job to send, a slot and a connection for it, and an open gate."""
        gate = self._gate
        while not self._stopping:
            gate.forget_wake()
            await self.backlog.refill()
            if self.canary.lacks_jobs and len(self.backlog):
                self.add([self._taken_out() for _ in range(len(self.backlog))])
            if self.canary.must_choose():
                await self._choose_canary()
            if gate.breaker.is_open:
                await self._wait_for_service()
                continue
            gate.announce_recovery()
            pause_s = gate.pause_left_s()
            room = self._submitter.room + self._soon_free
            has_slot = self.in_flight < self._settings.in_flight and gate.breaker.at_most > 0
            if self._ready and has_slot and room > 0 and pause_s <= 0:
                if await self._has_gathered(room):
                    return
                continue
            self._shutdown.changed.set()
            waiting = self.canary if self.canary.is_running else self.backlog
            due_s = waiting.next_due_in_s()
            waits = [wait_s for wait_s in (pause_s or None, due_s) if wait_s is not None]
            await gate.wait(min(waits, default=None))

    async def _has_gathered(self, room: int) -> bool:
        """Return True if enough connections are free, or the free ones have waited long enough."""
        now = self._clock.monotonic()
        until = self._gather_until or now + _GATHER_S
        if room >= min(self._settings.connections // 2, self._ready) or now >= until:
            self._gather_until = None
            return True
        self._gather_until = until
        await self._gate.wait(until - now)
        return False

    async def _wait_for_service(self) -> None:
        """Probe the service until it answers, instead of sending jobs that get no answer."""
        gate, breaker = self._gate, self._gate.breaker
        gate.announce_outage()
        while breaker.is_open and not self._is_stopping():
            deadline = self._clock.monotonic() + breaker.next_probe_in_s()
            while not self._is_stopping() and (left_s := deadline - self._clock.monotonic()) > 0:
                await gate.wait(left_s)
                gate.forget_wake()
            if not self._is_stopping() and await self._probe():
                breaker.probed()

    def _is_stopping(self) -> bool:
        # A method, because the type checker takes an attribute for unchanged across an await.
        return self._stopping

    async def _probe(self) -> bool:
        """Ask the service for something that costs nothing; return True if it answered."""
        if self._place is None:
            return True
        try:
            await self._service.list_jobs(self._place, JobFilter(size=1))
        except OrchestratorError as error:
            # A page from a proxy or gateway is not an answer of the service.
            return not (error.retryable or isinstance(error, ProtocolError))
        return True

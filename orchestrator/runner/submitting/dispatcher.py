"""One dispatcher owns the ready queue *and* the submit limiter: a permit first, then the best job of that moment.

Tasks never queue on the limiter; that is where priority dies. What waits is kept by ``backlog``.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from orchestrator.domain.events import JobSending, SubmitPaused, SubmitResumed
from orchestrator.domain.states import Step
from orchestrator.runner.submitting.backlog import Backlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from orchestrator.domain.job import Job
    from orchestrator.domain.run import Run
    from orchestrator.runner.ports import Parts
    from orchestrator.runner.submitting.circuit_breaker import Breaker


_GATHER_S = 0.005  # how long free connections wait for company: intents that are recorded together share one sync
_PACE_S = 0.01  # how often those who want to read on look again
_PRESSED_S = 0.1  # so long after half of all connections were filled at once it is this machine that bounds the sending ...
_PRESSED_FROM = (
    16  # ... unless that half is fewer than these: a few connections are filled whatever bounds it
)


class Dispatcher:
    """Decides which job is sent next, and when; records the intent; hands the job on.

    Args:
        parts: The ports.
        run: The present run.
        breaker: While it is open, only ``probe`` talks to the service.
        intend: Records that jobs are about to be sent; returns when that is durable.
        room: How many more jobs ``send`` takes now.
        send: Takes a job whose intent is durable.
        probe: Asks the service for something harmless; true if it answered.
        on_quiet: Told when there is nothing to send for the moment.
        may_send: Last word before a job is taken (budgets); false stops the taking.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        run: Run,
        breaker: Breaker,
        intend: Callable[[Sequence[Job]], Awaitable[None]],
        room: Callable[[], int],
        send: Callable[[Job], None],
        probe: Callable[[], Awaitable[bool]],
        may_send: Callable[[Job], bool],
        on_quiet: Callable[[], None],
    ) -> None:
        self._limiter = parts.submit_limiter
        self._breaker = breaker
        self._clock = parts.clock
        self._settings = parts.settings
        self._sink = parts.sink
        self._intend = intend
        self._room = room
        self._send = send
        self._probe = probe
        self._may_send = may_send
        self._on_quiet = on_quiet

        self.backlog = Backlog(parts, run)
        """What waits to be sent."""
        self._in_flight = 0
        self._gather_until: float | None = None
        self._pressed_until = 0.0
        self._soon_free = (
            0  # connections that will be free by the time that the next intents are recorded
        )
        self._paused_until = 0.0
        self._is_paused = False  # somebody asked for silence, and that was told
        self._is_down = False  # the service does not answer, and that was told
        self._wake = asyncio.Event()
        self._stopping = False
        self._handed_on = asyncio.Event()  # no job is between its intent and the submitter
        self._handed_on.set()

    # --- what others tell it

    def add(self, jobs: Iterable[Job]) -> None:
        """Planned jobs that may be sent; those that it knows are passed over."""
        self.backlog.add(jobs)
        self._wake.set()

    def occupy(self, job: Job) -> bool:
        """Count a job that is at the service already; false if it is known."""
        if not self.backlog.hold(job):
            return False
        self._in_flight += 1
        return True

    def give_back(self, job: Job) -> None:
        """A job that it sent is planned again; its slot is free."""
        self._in_flight -= 1
        self.backlog.give_back(job)
        self._wake.set()

    def release(self, job: Job) -> None:
        """A job that it sent is planned again, and must not be sent unless it is brought anew; its slot is free."""
        self._in_flight -= 1
        self.backlog.forget(job)
        self._wake.set()

    def ended(self, job: Job) -> None:
        """A job has ended; its slot is free."""
        self._in_flight -= 1
        self.backlog.let_go(job)
        self._wake.set()

    def pause(self, delay_s: float, reason: str) -> None:
        """Send nothing for ``delay_s`` seconds."""
        until = self._clock.monotonic() + delay_s
        if until > self._paused_until:
            self._paused_until = until
            self._is_paused = True
            self._sink.emit(SubmitPaused(reason, delay_s))
            self._wake.set()

    async def until_wanted(self) -> None:
        """Wait while jobs are sent as fast as this machine can and enough are at hand: to read on would only slow the sending down."""
        while self._clock.monotonic() < self._pressed_until and self.backlog.is_well_stocked:
            await self._clock.sleep(_PACE_S)

    def nudge(self) -> None:
        """Something changed elsewhere (room, a budget): look again."""
        self._wake.set()

    async def stop(self) -> None:
        """Take no further job; returns when those that were taken are handed on."""
        self._stopping = True
        self._wake.set()
        await self._handed_on.wait()

    @property
    def in_flight(self) -> int:
        """Jobs that hold a slot."""
        return self._in_flight

    # --- the loop

    async def run(self) -> None:
        """Send jobs until told to stop."""
        while not self._stopping:
            await self._until_sendable()
            if self._stopping:
                return
            await self._limiter.acquire()
            # What came due while it waited for the permit has its turn too; and what was told meanwhile counts.
            await self.backlog.refill()
            batch = [] if self._pause_left_s() else self._take()
            if batch:
                self._breaker.sent()
                self._handed_on.clear()
                room = self._room()
                await self._intend(batch)
                self._note_turnover(self._room() - room)
                for job in batch:
                    self._sink.emit(
                        JobSending(job.spec.key, job.spec.media.key, job.spec.level, job.attempts)
                    )
                    self._send(job)
                self._handed_on.set()

    def _take(self) -> list[Job]:
        """The best jobs of this moment, as many as have a permit, a slot and a connection."""
        batch: list[Job] = []
        room = self._room() + self._soon_free
        limit = min(room, self._settings.in_flight - self._in_flight, self._breaker.at_most)
        now = self._clock.now()
        while len(batch) < limit and self.backlog and not self._stopping:
            if batch and not self._limiter.try_acquire():
                break
            job = self.backlog.pop()
            if not self._may_send(job):
                self.backlog.put_back(job)
                break
            job.step(Step.SEND)
            job.attempts += 1
            job.intent_at = now
            batch.append(job)
            if self.backlog.has_run_dry(job):
                break
        self._in_flight += len(batch)
        if len(batch) == room and room >= max(self._settings.connections // 2, _PRESSED_FROM):
            self._pressed_until = self._clock.monotonic() + _PRESSED_S
        return batch

    def _note_turnover(self, freed: int) -> None:
        """So many connections became free while intents were recorded, and will again: without jobs for them they would wait for the disk.

        Only where the service answers that fast: a job must not wait long for its connection, for meanwhile a better one may come.
        """
        self._soon_free = (
            min(freed, self._settings.connections // 2) if freed >= _PRESSED_FROM else 0
        )

    async def _until_sendable(self) -> None:
        """Wait until there is a job to send, a slot and a connection for it, and no reason to be silent."""
        while not self._stopping:
            self._wake.clear()
            await self.backlog.refill()
            if self._breaker.is_open:
                await self._wait_for_service()
                continue
            self._tell_if_up()
            pause_s = self._pause_left_s()
            room = self._room() + self._soon_free
            has_place = (
                self._in_flight < self._settings.in_flight
                and room > 0
                and self._breaker.at_most > 0
            )
            if len(self.backlog) and has_place and pause_s <= 0:
                if await self._has_gathered(room):
                    return
                continue
            self._on_quiet()
            waits = [
                wait_s
                for wait_s in (pause_s or None, self.backlog.next_due_in_s())
                if wait_s is not None
            ]
            await self._wait(min(waits, default=None))

    def _pause_left_s(self) -> float:
        """How much longer somebody wants silence; tells when that is over."""
        left_s = max(self._paused_until - self._clock.monotonic(), 0.0)
        if self._is_paused and not left_s:
            self._is_paused = False
            self._sink.emit(SubmitResumed("the pause is over"))
        return left_s

    async def _has_gathered(self, room: int) -> bool:
        """Whether enough connections are free to send the next jobs together, or those that are have waited long enough."""
        now = self._clock.monotonic()
        until = self._gather_until or now + _GATHER_S
        if room >= min(self._settings.connections // 2, len(self.backlog)) or now >= until:
            self._gather_until = None
            return True
        self._gather_until = until
        await self._wait(until - now)
        return False

    async def _wait(self, delay_s: float | None) -> None:
        """Wait for news, or for ``delay_s`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if delay_s is None else max(delay_s, 0.001)):
                await self._wake.wait()

    def _is_stopped(self) -> bool:
        return self._stopping

    async def _wait_for_service(self) -> None:
        """The service is down: ask for something harmless now and then, instead of sending jobs into the dark."""
        if not self._is_down:
            self._is_down = True
            reason = f"the service does not answer; asking now and then until it does ({self._breaker.reason})"
            self._sink.emit(SubmitPaused(reason, None))
        while self._breaker.is_open and not self._is_stopped():
            deadline = self._clock.monotonic() + self._breaker.next_probe_in_s()
            while not self._is_stopped() and (left_s := deadline - self._clock.monotonic()) > 0:
                await self._wait(left_s)
                self._wake.clear()
            if not self._is_stopped() and await self._probe():
                self._breaker.probed()

    def _tell_if_up(self) -> None:
        if self._is_down and self._breaker.is_closed:
            self._is_down = False
            self._sink.emit(SubmitResumed("the service answers again"))

"""One dispatcher owns the ready queue *and* the submit limiter: a permit first, then the best job of that moment.

Tasks never queue on the limiter; that is where priority dies. The ready queue holds a window of each lane (level and share); what does
not fit stays in the ledger, and is fetched when the lane runs low. So memory does not grow with the plan, and a job of a higher level
that is found late still overtakes everything that waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from orchestrator.events import JobSending, SubmitPaused, SubmitResumed
from orchestrator.schedule import LaneKey, ReadyQueue, lane_of
from orchestrator.states import Step

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from orchestrator.model import Job, Run
    from orchestrator.ports import Parts
    from orchestrator.retry import Breaker


_LANES_IN_FULL = 10  # so many full windows are kept in memory; with more lanes than that each keeps less ...
_LEAST_PER_LANE = 8  # ... but never less than this: the shares are fair only among jobs that are at hand
_GATHER_S = 0.005  # how long free connections wait for company: intents that are recorded together share one sync
_PACE_S = 0.01
_PRESSED_S = 0.1  # so long after half of all connections were filled at once it is this machine that bounds the sending
_ANY_TIME_S = 10 * 366 * 86400.0  # beyond any instant that a job waits for


class Dispatcher:
    """Decides which job is sent next, and when; records the intent; hands the job on.

    Args:
        parts: The ports.
        run: The present run.
        breaker: While it is open, only ``probe`` talks to the service.
        record: Saves jobs; returns when they are durable.
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
        record: Callable[[Sequence[Job]], Awaitable[None]],
        room: Callable[[], int],
        send: Callable[[Job], None],
        probe: Callable[[], Awaitable[bool]],
        may_send: Callable[[Job], bool],
        on_quiet: Callable[[], None],
    ) -> None:
        self._ledger = parts.ledger
        self._run = run
        self._limiter = parts.submit_limiter
        self._breaker = breaker
        self._clock = parts.clock
        self._settings = parts.settings
        self._sink = parts.sink
        self._record = record
        self._room = room
        self._send = send
        self._probe = probe
        self._may_send = may_send
        self._on_quiet = on_quiet

        self._queue = ReadyQueue(parts.settings.age_after)
        self._delayed: list[tuple[float, int, Job]] = []  # by the monotonic instant at which they are due
        self._held: set[int] = set()  # ids of every job that is in memory, wherever
        self._is_expecting = False
        self._left: set[int] = set()  # ids of jobs that were in memory and left it since expect() was called
        self._spilled: dict[LaneKey, None] = {}  # lanes with jobs that are in the ledger only; a set that keeps its order
        self._later: dict[LaneKey, float] = {}  # lanes whose next job in the ledger is due at a monotonic instant
        self._is_fetching = False
        self._in_flight = 0
        self._gather_until: float | None = None
        self._pressed_until = 0.0
        self._paused_until = 0.0
        self._is_paused = False  # somebody asked for silence, and that was told
        self._is_down = False  # the service does not answer, and that was told
        self._wake = asyncio.Event()
        self._stopping = False
        self._handed_on = asyncio.Event()  # no job is between its intent and the submitter
        self._handed_on.set()

    # --- what others tell it

    def expect(self) -> None:
        """Jobs will be read from the ledger, and brought by :meth:`add` or :meth:`occupy`: what happens to them meanwhile counts."""
        self._left.clear()
        self._is_expecting = True

    def has_arrived(self) -> None:
        """What was expected has been brought: nothing need be remembered any more."""
        self._left.clear()
        self._is_expecting = False

    def add(self, jobs: Iterable[Job]) -> None:
        """Planned jobs that may be sent; those that it has, or had since :meth:`expect`, are passed over."""
        for job in jobs:
            if job.id not in self._held and job.id not in self._left:
                self._place(job)
        self._wake.set()

    def occupy(self, job: Job) -> bool:
        """Count a job that is at the service already; false if it has it, or had it since :meth:`expect`."""
        if job.id in self._held or job.id in self._left:
            return False
        self._held.add(job.id)
        self._in_flight += 1
        return True

    def give_back(self, job: Job) -> None:
        """A job that it sent is planned again; its slot is free."""
        self._leave(job)
        self._place(job)
        self._wake.set()

    def release(self, job: Job) -> None:
        """A job that it sent is planned again, and must not be sent unless it is brought anew; its slot is free."""
        self._in_flight -= 1
        self._held.discard(job.id)
        self._wake.set()

    def ended(self, job: Job) -> None:
        """A job has ended; its slot is free."""
        self._leave(job)
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
        while self._clock.monotonic() < self._pressed_until and (len(self._queue) > self._settings.window // 2 or self._spilled):
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

    @property
    def waiting(self) -> int:
        """Jobs in memory that are not sent yet."""
        return len(self._queue) + len(self._delayed)

    @property
    def is_idle(self) -> bool:
        """Nothing waits to be sent, here or in the ledger."""
        return not (self.waiting or self._spilled or self._later or self._is_fetching)

    # --- the loop

    async def run(self) -> None:
        """Send jobs until told to stop."""
        while not self._stopping:
            await self._until_sendable()
            if self._stopping:
                return
            await self._limiter.acquire()
            # What came due while it waited for the permit has its turn too.
            self._release_due()
            await self._refill()
            batch = self._take()
            if batch:
                self._breaker.sent()
                self._handed_on.clear()
                await self._record(batch)
                for job in batch:
                    self._sink.emit(JobSending(job.spec.key, job.spec.media.key, job.spec.level, job.attempts))
                    self._send(job)
                self._handed_on.set()

    def _take(self) -> list[Job]:
        """The best jobs of this moment, as many as have a permit, a slot and a connection."""
        batch: list[Job] = []
        room = self._room()
        limit = min(room, self._settings.in_flight - self._in_flight, self._breaker.at_most)
        now = self._clock.now()
        while len(batch) < limit and self._queue and not self._stopping:
            if batch and not self._limiter.try_acquire():
                break
            job = self._queue.pop()
            if not self._may_send(job):
                self._queue.push(job)
                break
            job.step(Step.SEND)
            job.attempts += 1
            job.intent_at = now
            batch.append(job)
            if self._has_run_dry(lane_of(job)):
                break
        self._in_flight += len(batch)
        if len(batch) == room and room >= self._settings.connections // 2:
            self._pressed_until = self._clock.monotonic() + _PRESSED_S
        return batch

    async def _until_sendable(self) -> None:
        """Wait until there is a job to send, a slot and a connection for it, and no reason to be silent."""
        while not self._stopping:
            self._wake.clear()
            self._release_due()
            await self._refill()
            if self._breaker.is_open:
                await self._wait_for_service()
                continue
            self._tell_if_up()
            pause_s = self._pause_left_s()
            room = self._room()
            has_place = self._in_flight < self._settings.in_flight and room > 0 and self._breaker.at_most > 0
            if len(self._queue) and has_place and pause_s <= 0:
                if await self._has_gathered(room):
                    return
                continue
            self._on_quiet()
            waits = [wait_s for wait_s in (pause_s or None, self._next_due_in_s()) if wait_s is not None]
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
        if room >= min(self._settings.connections // 2, len(self._queue)) or now >= until:
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

    # --- what waits

    def _leave(self, job: Job) -> None:
        self._in_flight -= 1
        self._held.discard(job.id)
        if self._is_expecting:
            self._left.add(job.id)

    def _place(self, job: Job) -> None:
        lane = lane_of(job)
        # No backoff is longer than the cap: an instant beyond it was told by a clock that was set back since.
        wait_s = min(job.not_before - self._clock.now(), self._settings.cap_s)
        if wait_s > 0:
            self._delay(job, lane, self._clock.monotonic() + wait_s)
        elif lane in self._spilled or not self._room_in(lane):
            # What waits in the ledger comes first by seq: once a lane has spilled, it is fed from the ledger only.
            self._spilled[lane] = None
        else:
            self._held.add(job.id)
            self._queue.push(job)

    def _delay(self, job: Job, lane: LaneKey, due: float) -> None:
        if len(self._delayed) < self._settings.window * 4:
            self._held.add(job.id)
            heappush(self._delayed, (due, job.id, job))
        else:
            self._later[lane] = min(self._later.get(lane, due), due)

    def _has_run_dry(self, lane: LaneKey) -> bool:
        """The next jobs of this lane must be fetched first: without them the batch would go on with those of a lower level."""
        return lane in self._spilled and not self._queue.size_of(lane)

    def _room_in(self, lane: LaneKey) -> int:
        """How many more jobs of a lane are kept in memory."""
        size = self._queue.size_of(lane)
        free = self._settings.window * _LANES_IN_FULL - len(self._queue)
        return max(min(self._settings.window - size, max(free, _LEAST_PER_LANE - size)), 0)

    def _release_due(self) -> None:
        now = self._clock.monotonic()
        while self._delayed and self._delayed[0][0] <= now:
            job = heappop(self._delayed)[2]
            # It was counted against memory already: it goes straight to the queue.
            self._queue.push(job)
        for lane in [lane for lane, due in self._later.items() if due <= now]:
            del self._later[lane]
            self._spilled[lane] = None

    def _next_due_in_s(self) -> float | None:
        due = [*self._later.values(), *([self._delayed[0][0]] if self._delayed else [])]
        return min(due) - self._clock.monotonic() if due else None

    async def _refill(self) -> None:
        """Fetch more of the lanes that ran low: half of what they may hold is used up."""
        for lane in [lane for lane in self._spilled if self._room_in(lane) >= max(self._queue.size_of(lane), 1)]:
            self._spilled.pop(lane, None)  # before the await: what is added meanwhile may spill again
            self._is_fetching = True
            await self._fetch(lane, self._room_in(lane))
            self._is_fetching = False

    async def _fetch(self, lane: LaneKey, room: int) -> None:
        ready = await self._ledger.ready(self._run, lane.level, lane.share, room, self._held, self._clock.now())
        for job in ready:
            if job.id not in self._held:
                self._held.add(job.id)
                self._queue.push(job)
        if len(ready) >= room:
            self._spilled[lane] = None
        elif await self._ledger.next_ready_at(self._run, self._held) is not None:
            await self._fetch_waiting(lane)

    async def _fetch_waiting(self, lane: LaneKey) -> None:
        """What is left of a lane in the ledger is not due yet: take it into memory, as far as there is room for what waits."""
        room = max(self._settings.window * 4 - len(self._delayed), 0) + 1  # one more, to know whether there are more
        any_time = self._clock.now() + _ANY_TIME_S
        for job in await self._ledger.ready(self._run, lane.level, lane.share, room, self._held, any_time):
            if job.id not in self._held:
                self._place(job)

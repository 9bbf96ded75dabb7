"""One attempt: the durable intent is there, the request leaves, the answer is recorded before its slot is free.

A POST is never repeated here. What its answer proves decides what follows: accepted; refused (no job exists); not sent; or *in doubt*,
which is settled by looking (``settle``), not by sending.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from orchestrator.domain.events import JobAccepted, JobInDoubt, JobReturned
from orchestrator.domain.remote import SubmitReply
from orchestrator.domain.states import Step
from orchestrator.errors import (
    ApiError,
    AuthRejected,
    ClockSkewed,
    ConfigError,
    ConnectFailed,
    CredentialsExpired,
    CredentialsMissing,
    InternalDefect,
    OrchestratorError,
    ProtocolError,
    QueueUnavailable,
    RefusedForNow,
    Rejected,
    SendInDoubt,
    ServerFault,
    Throttled,
)
from orchestrator.runner.retry import backoff_s, decide

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Sequence

    from orchestrator.domain.job import Job
    from orchestrator.runner.ports import Parts
    from orchestrator.runner.settings import EngineSettings
    from orchestrator.runner.submitting.circuit_breaker import Breaker


_GATHER_S = 0.003  # how long an answer waits for others that are due, to be recorded with them
_STALE_INTENT_S = 60.0
"""A job leaves within seconds of its record. If the wall clock says otherwise it was set, or corrected, in between: then the record names
a wrong time, and a job whose answer is lost would be looked for in the wrong hours, not found, and paid for twice."""


class _Withdrawn(ConnectFailed):
    """It was called back before it was sent."""


class Verdict(Enum):
    """Where a job goes after an attempt."""

    ACCEPTED = "accepted"
    RETURNED = "returned"
    REJECTED = "rejected"
    IN_DOUBT = "in_doubt"


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What an answer means for its job; ``delay_s`` is the wait of a job that was returned."""

    verdict: Verdict
    reason: str = ""
    delay_s: float = 0.0


_ACCEPTED = Conclusion(Verdict.ACCEPTED)
Answer = SubmitReply | OrchestratorError


def conclude(
    job: Job, answer: Answer, settings: EngineSettings, now: float, rng: random.Random
) -> Conclusion:
    """Take the step that the answer proves, and say where the job goes. Changes ``job``; does nothing else."""
    match answer:
        case SubmitReply():
            _accept(job, answer, now)
            return _ACCEPTED
        case ConnectFailed():
            return _return(job, Step.NOT_SENT, answer, backoff_s(settings, 1, rng), now)
        case Throttled():
            return _return(job, Step.REFUSED, answer, backoff_s(settings, 1, rng), now)
        case RefusedForNow() if (
            decision := decide(settings, job.attempts, now, rng)
        ).again_at is not None:
            job.step(Step.REFUSED)
            job.not_before = decision.again_at
            return Conclusion(Verdict.RETURNED, str(answer), decision.again_at - now)
        case ClockSkewed() | CredentialsExpired() | AuthRejected() | CredentialsMissing():
            # The client has corrected its clock, or fetched fresh credentials, where it could: no reason to wait. Where it could not,
            # the run stops: it is no fault of the job.
            return _return(job, Step.REFUSED, answer, 0.0, now)
        case Rejected() | RefusedForNow() | ConfigError():
            job.step(Step.REJECT)
            job.finished_at = now
            _note(job, answer)
            return Conclusion(Verdict.REJECTED, str(answer))
        case SendInDoubt() | ServerFault() | ProtocolError() | OrchestratorError():
            job.step(Step.LOSE_ANSWER)
            _note(job, answer)
            return Conclusion(Verdict.IN_DOUBT, str(answer))


def _accept(job: Job, reply: SubmitReply, now: float) -> None:
    job.step(Step.ACCEPT)
    job.job_id = reply.job.job_id
    job.queue_id = reply.job.queue_id
    job.request_id = reply.request_id
    job.adopted = False
    job.code = job.message = ""
    job.submitted_at = now
    job.started_at = job.finished_at = None


def _return(
    job: Job, step: Step, error: OrchestratorError, delay_s: float, now: float
) -> Conclusion:
    job.step(step)
    job.attempts -= 1  # it proves that no job came of it: not an attempt
    job.not_before = now + delay_s if delay_s else 0.0
    return Conclusion(Verdict.RETURNED, str(error), delay_s)


def _note(job: Job, error: OrchestratorError) -> None:
    job.message = str(error)
    job.code = type(error).__name__
    if isinstance(error, ApiError):
        job.code = error.answer.code or job.code
        job.message = error.answer.message or job.message
        job.request_id = error.answer.request_id


class Submitter:
    """Sends jobs over a fixed number of connections and records the answers, many per commit.

    Args:
        parts: The ports.
        breaker: Told about answers and silence.
        record: Saves jobs; returns when they are durable.
        on_accepted: Takes accepted jobs.
        on_returned: Takes jobs that are planned again.
        on_in_doubt: Takes jobs whose answer is not known.
        on_ended: Takes rejected jobs.
        on_room: Told when a connection is free again.
        on_pause: Asks for silence: seconds, reason.
        on_fatal: Asks for the end of the run: no other job could do better.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        breaker: Breaker,
        record: Callable[[Sequence[Job]], Awaitable[None]],
        on_accepted: Callable[[Job], None],
        on_returned: Callable[[Job], None],
        on_in_doubt: Callable[[Job], None],
        on_ended: Callable[[Job], None],
        on_room: Callable[[], None],
        on_pause: Callable[[float, str], None],
        on_fatal: Callable[[OrchestratorError], None],
    ) -> None:
        self._service = parts.service
        self._limiter = parts.submit_limiter
        self._breaker = breaker
        self._clock = parts.clock
        self._settings = parts.settings
        self._rng = parts.rng
        self._sink = parts.sink
        self._record = record
        self._route = {
            Verdict.ACCEPTED: on_accepted,
            Verdict.RETURNED: on_returned,
            Verdict.IN_DOUBT: on_in_doubt,
            Verdict.REJECTED: on_ended,
        }
        self._on_room = on_room
        self._on_pause = on_pause
        self._on_fatal = on_fatal
        self._outbox: deque[Job] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()  # senders that wait for a job
        self._answers: list[tuple[Job, Answer]] = []
        self._answered = asyncio.Event()
        self._unanswered = 0  # jobs taken that have no answer yet
        self._pending = 0  # jobs taken whose answer is not recorded yet
        self._all_recorded = asyncio.Event()
        self._all_recorded.set()
        self._repaired: dict[
            int, type[OrchestratorError]
        ] = {}  # by job id, the refusal that was followed by a correction
        self.sent = 0
        """POSTs that left, or may have."""

    @property
    def room(self) -> int:
        """How many more jobs it takes now: one for each free connection, so that a permit is never spent on a job that then waits.

        Answers that are not recorded yet count too, beyond a few rounds of them: the ledger may be slower than the service.
        """
        connections = self._settings.connections
        return min(connections - self._unanswered, 4 * connections - self._pending)

    def put(self, job: Job) -> None:
        """Take a job whose intent is durable."""
        self._pending += 1
        self._unanswered += 1
        self._all_recorded.clear()
        self._outbox.append(job)
        while self._idle:
            sender = self._idle.popleft()
            if not sender.done():  # else it was cancelled
                sender.set_result(None)
                return

    async def send_loop(self) -> None:
        """Send one job after the other; run as many of these as there may be connections."""
        loop = asyncio.get_running_loop()
        while True:
            while not self._outbox:
                self._idle.append(called := loop.create_future())
                await called
            job = self._outbox.popleft()
            self._take_answer(job, await self._send(job))

    async def _send(self, job: Job) -> Answer:
        if abs(self._clock.now() - (job.intent_at or 0.0)) > _STALE_INTENT_S:
            return _Withdrawn("called back, because the clock was set just before it was sent")
        self.sent += 1
        try:
            return await self._service.submit(job.spec)
        except OrchestratorError as error:
            return error
        except Exception as error:  # noqa: BLE001 - nobody knows what has left: the job is in doubt, and the run ends in order
            return InternalDefect(error)

    async def record_loop(self) -> None:
        """Record answers, all that there are at a time, and pass the jobs on."""
        while True:
            await self._answered.wait()
            if self._unanswered and len(self._answers) < self._settings.connections // 2:
                await self._clock.sleep(_GATHER_S)
            self._answered.clear()
            batch, self._answers = self._answers, []
            await self._settle_batch(batch)

    async def drain(self) -> None:
        """Call back what has not left, wait for what has, and return when everything is recorded."""
        while self._outbox:
            self._take_answer(self._outbox.popleft(), _Withdrawn())
        await self._all_recorded.wait()

    def _take_answer(self, job: Job, answer: Answer) -> None:
        self._answers.append((job, answer))
        self._unanswered -= 1
        self._answered.set()
        # Not for each one: who waits for the first free connection gathers others for a while, and half of them are enough.
        busy, half = self._unanswered, self._settings.connections // 2
        if busy <= half or busy >= self._settings.connections - 1:
            self._on_room()

    async def _settle_batch(self, batch: list[tuple[Job, Answer]]) -> None:
        now = self._clock.now()
        concluded = [
            (job, answer, conclude(job, answer, self._settings, now, self._rng))
            for job, answer in batch
        ]
        await self._record([job for job, _, _ in concluded])
        self._pending -= len(batch)
        if not self._pending:
            self._all_recorded.set()
        for job, answer, conclusion in concluded:
            self._feed_back(job, answer)
            self._tell(job, conclusion)
            self._route[conclusion.verdict](job)
        self._on_room()  # what waited for the ledger, or for this answer

    def _feed_back(self, job: Job, answer: Answer) -> None:
        """Tell limiter, breaker and run what the answer says about the service."""
        refused_before = self._repaired.pop(job.id, None)
        match answer:
            case SubmitReply():  # first, for it is what nearly all are
                self._breaker.succeeded()
                self._limiter.accepted()
            case _Withdrawn():
                self._breaker.withdrawn()
            case QueueUnavailable():
                self._breaker.succeeded()
                self._limiter.throttled()  # once per burst; the silence is the dispatcher's
                delay_s = answer.retry_after_s or backoff_s(
                    self._settings, 8, self._rng, self._settings.initial_s
                )
                self._on_pause(delay_s, str(answer))
            case Throttled():
                self._breaker.succeeded()
                self._limiter.throttled(answer.retry_after_s)
            case ClockSkewed() | CredentialsExpired():
                self._breaker.succeeded()
                if refused_before is type(answer):
                    self._on_fatal(answer)  # the correction did not help
                self._repaired[job.id] = type(answer)
            case AuthRejected() | CredentialsMissing() | InternalDefect():
                self._on_fatal(answer)
            case ConnectFailed() | SendInDoubt() | ServerFault():
                self._breaker.failed(str(answer))
            case _:
                self._breaker.succeeded()

    def _tell(self, job: Job, conclusion: Conclusion) -> None:
        key, name = job.spec.key, job.spec.media.key
        match conclusion.verdict:
            case Verdict.ACCEPTED:
                self._sink.emit(JobAccepted(key, name, job.job_id))
            case Verdict.RETURNED:
                self._sink.emit(JobReturned(key, name, conclusion.reason, conclusion.delay_s))
            case Verdict.IN_DOUBT:
                self._sink.emit(JobInDoubt(key, name, conclusion.reason))
            case Verdict.REJECTED:
                pass  # told as ended

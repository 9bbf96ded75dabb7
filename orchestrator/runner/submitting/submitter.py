"""One attempt: send a job whose intent is durable, and record the answer before its slot is free.

A POST is never repeated here. The answer proves what follows: the job was accepted, was refused (no
job exists), was not sent, or is *in doubt*. A job in doubt is settled by looking, not by sending.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.domain.events import JobAccepted, JobInDoubt, JobReturned, SubmitThrottled
from orchestrator.domain.remote import SubmitReply
from orchestrator.domain.states import JobState, Step
from orchestrator.domain.wording import counted
from orchestrator.errors import (
    ApiError,
    AuthRejected,
    BucketRefused,
    CertificateRefused,
    ClockSkewed,
    ConfigError,
    ConnectFailed,
    CredentialsExpired,
    CredentialsMissing,
    InternalDefect,
    OrchestratorError,
    ProtocolError,
    ProxyRefused,
    QueueUnavailable,
    RefusedForNow,
    Rejected,
    SendInDoubt,
    ServerFault,
    Throttled,
    TunnelRefused,
    UnprovenAnswer,
)
from orchestrator.runner.retry import backoff_s, decide

if TYPE_CHECKING:
    import random

    from orchestrator.domain.job import Job
    from orchestrator.runner.ports import Ports
    from orchestrator.runner.routing import Routing
    from orchestrator.runner.settings import RunnerSettings
    from orchestrator.runner.shutdown import Shutdown
    from orchestrator.runner.submitting.gate import Gate

_GATHER_S = 0.003
"""Time that an answer waits for others that are due, to be recorded with them."""
_STALE_INTENT_S = 60.0
"""A job leaves within seconds of its intent. If the wall clock says otherwise, it was set in
between. The intent then names a wrong time: a job whose answer is lost would be looked for in the
wrong hours, not found, and paid for twice."""


class _Withdrawn(ConnectFailed):
    """It was called back before it was sent."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """Reason to announce, and the wait of a job that is planned again."""

    reason: str = ""
    delay_s: float = 0.0


_ACCEPTED = Conclusion()

Answer = SubmitReply | OrchestratorError


def conclude(
    job: Job, answer: Answer, settings: RunnerSettings, now: float, rng: random.Random
) -> Conclusion:
    """Take the step that the answer proves. Changes ``job``; does nothing else.

    That no job was created is proven by what the vendor wrote, and by nothing else.
    """
    match answer:
        case SubmitReply() if answer.job.job_id in job.past_job_ids:
            job.step(Step.LOSE_ANSWER)
            job.code = "AnswerMixedUp"
            job.message = f"The service answered {answer.job.job_id}, which is an earlier job."
            return Conclusion(job.message)
        case SubmitReply():
            _accept(job, answer, now)
            return _ACCEPTED
        case ApiError() if not answer.answer.is_vendors:
            job.step(Step.LOSE_ANSWER)
            _note(job, answer)
        case ConnectFailed():
            return _return(job, Step.NOT_SENT, answer, backoff_s(settings, 1, rng), now)
        case Throttled():
            return _return(job, Step.REFUSED, answer, backoff_s(settings, 1, rng), now)
        case RefusedForNow() if (
            decision := decide(settings, job.attempts, now, rng)
        ).again_at is not None:
            job.step(Step.REFUSED)
            job.not_before = decision.again_at
            return Conclusion(str(answer), decision.again_at - now)
        case (
            ClockSkewed()
            | CredentialsExpired()
            | AuthRejected()
            | CredentialsMissing()
            | BucketRefused()
        ):
            # Where it could, the client has corrected its clock or fetched fresh credentials, so
            # the job need not wait. Where it could not, the run or the bucket stops; the job is not
            # at fault.
            return _return(job, Step.REFUSED, answer, 0.0, now)
        case Rejected() | RefusedForNow() | ConfigError():
            job.step(Step.REJECT)
            job.finished_at = now
            _note(job, answer)
        case SendInDoubt() | ServerFault() | ProtocolError() | OrchestratorError():
            job.step(Step.LOSE_ANSWER)
            _note(job, answer)
    return Conclusion(str(answer))


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
    job.attempts -= 1  # it proves that no job was created: not an attempt
    job.not_before = now + delay_s if delay_s else 0.0
    return Conclusion(str(error), delay_s)


def _note(job: Job, error: OrchestratorError) -> None:
    job.message = str(error)
    job.code = type(error).__name__
    if isinstance(error, ApiError):
        job.code = error.answer.code or job.code
        job.message = error.answer.message or job.message
        job.request_id = error.answer.request_id


class Submitter:
    """Sends jobs over a fixed number of connections; records the answers, many per commit.

    Args:
        ports: The ports.
        routing: Where jobs go.
        gate: Learns from answers and from their absence; woken when a connection is free.
        shutdown: Stops the run when no other job could do better.
    """

    def __init__(self, ports: Ports, routing: Routing, gate: Gate, shutdown: Shutdown) -> None:
        self._service = ports.service
        self._limiter = ports.submit_limiter
        self._clock = ports.clock
        self._settings = ports.settings
        self._rng = ports.rng
        self._sink = ports.sink
        self._routing = routing
        self._gate = gate
        self._shutdown = shutdown
        self._outbox: deque[Job] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()  # senders that wait for a job
        self._answers: list[tuple[Job, Answer]] = []
        self._answered = asyncio.Event()
        self._unanswered = 0  # jobs taken that have no answer yet
        self._pending = 0  # jobs taken whose answer is not recorded yet
        self._all_recorded = asyncio.Event()
        self._all_recorded.set()
        # By job id, the refusal after which clock or credentials were corrected.
        self._repaired: dict[int, type[OrchestratorError]] = {}
        self.sent = 0
        """POSTs that left, or may have."""

    @property
    def room(self) -> int:
        """Number of jobs it can take now: one per free connection, so that no permit is wasted.

        Beyond a few rounds of them, answers that are not recorded yet count too: the ledger may be
        slower than the service.
        """
        connections = self._settings.connections
        return min(connections - self._unanswered, 4 * connections - self._pending)

    @property
    def pending(self) -> int:
        """Number of jobs whose answer is not recorded yet."""
        return self._pending

    def waits_for(self) -> list[str]:
        """Return which answers are missing, in words."""
        if not self._pending:
            return []
        return [f"the answer to {counted(self._pending, 'submit')} (it may take until the timeout)"]

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
        """Send one job after the other; run one of these per connection."""
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
        except Exception as error:  # noqa: BLE001 - nothing is known of what left: job in doubt
            return InternalDefect(error)

    async def record_loop(self) -> None:
        """Record answers, all that there are at a time, and pass the jobs on."""
        while True:
            await self._answered.wait()
            if self._unanswered and len(self._answers) < self._settings.connections // 2:
                await self._clock.sleep(_GATHER_S)
            self._answered.clear()
            batch, self._answers = self._answers, []
            await self._record(batch)

    async def drain(self) -> None:
        """Call back what has not left, wait for what has; return when everything is recorded."""
        while self._outbox:
            self._take_answer(self._outbox.popleft(), _Withdrawn())
        await self._all_recorded.wait()

    def _take_answer(self, job: Job, answer: Answer) -> None:
        self._answers.append((job, answer))
        self._unanswered -= 1
        self._answered.set()
        # Not for each answer: the dispatcher gathers free connections for a while, and half of
        # them are enough.
        busy, half = self._unanswered, self._settings.connections // 2
        if busy <= half or busy >= self._settings.connections - 1:
            self._gate.wake()

    async def _record(self, batch: list[tuple[Job, Answer]]) -> None:
        now = self._clock.now()
        concluded = [
            (job, answer, conclude(job, answer, self._settings, now, self._rng))
            for job, answer in batch
        ]
        await self._routing.save([job for job, _, _ in concluded])
        self._pending -= len(batch)
        if not self._pending:
            self._all_recorded.set()
        for job, answer, conclusion in concluded:
            self._learn(job, answer)
            self._announce(job, conclusion)
            self._routing.route(job)
        self._gate.wake()  # for what waited for the ledger, or for this answer

    def _learn(self, job: Job, answer: Answer) -> None:
        """Pass on what the answer says about the service: to limiter, breaker and run."""
        breaker = self._gate.breaker
        repaired = self._repaired.pop(job.id, None)
        match answer:
            case SubmitReply():  # first, because it is the usual answer
                breaker.succeeded()
                self._limiter.accepted()
            case _Withdrawn():
                breaker.withdrawn()
            case QueueUnavailable():
                breaker.succeeded()
                self._limiter.throttled()  # once per burst; the pause is the gate's
                initial_s = self._settings.initial_s
                delay_s = answer.retry_after_s or backoff_s(self._settings, 8, self._rng, initial_s)
                self._gate.pause(delay_s, str(answer))
            case Throttled():
                breaker.succeeded()
                self._limiter.throttled(answer.retry_after_s)
                self._sink.emit(SubmitThrottled())
                self._gate.asked_to_wait(answer.retry_after_s, str(answer))
            case ClockSkewed() | CredentialsExpired():
                breaker.succeeded()
                if repaired is type(answer):
                    self._shutdown.fatal(answer)  # the correction did not help
                self._repaired[job.id] = type(answer)
            case (
                AuthRejected()
                | ProxyRefused()
                | CredentialsMissing()
                | CertificateRefused()
                | TunnelRefused()
                | InternalDefect()
            ):
                self._shutdown.fatal(answer)
            case BucketRefused():
                breaker.succeeded()
                self._routing.close_bucket(job.spec.media.place, answer)
            case ConnectFailed() | SendInDoubt() | ServerFault() | UnprovenAnswer():
                breaker.failed(str(answer))
            case _:
                breaker.succeeded()

    def _announce(self, job: Job, conclusion: Conclusion) -> None:
        key, name = job.spec.key, job.spec.media.key
        match job.state:
            case JobState.SUBMITTED:
                self._sink.emit(JobAccepted(key, name, job.job_id))
            case JobState.PLANNED:
                self._sink.emit(JobReturned(key, name, conclusion.reason, conclusion.delay_s))
            case JobState.IN_DOUBT:
                self._sink.emit(JobInDoubt(key, name, conclusion.reason))
            case _:
                pass  # a rejected job is announced as ended

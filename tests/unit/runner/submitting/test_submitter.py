"""Conclusions from the answer to a submit: proof, next state, attempts and delay."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.domain.remote import RemoteJob, RemoteState, SubmitReply
from orchestrator.domain.states import JobState
from orchestrator.errors import (
    ApiAnswer,
    ApiError,
    AuthRejected,
    BucketRefused,
    ClockSkewed,
    ConfigError,
    ConnectFailed,
    CredentialsExpired,
    NotFound,
    OrchestratorError,
    ProtocolError,
    QueueUnavailable,
    RefusedForNow,
    Rejected,
    ReplyTimeout,
    SendInDoubt,
    ServerFault,
    Throttled,
    TunnelRefused,
)
from orchestrator.runner.settings import RunnerSettings
from orchestrator.runner.submitting.submitter import Conclusion, conclude
from orchestrator.testing.builders import make_job

if TYPE_CHECKING:
    from orchestrator.domain.job import Job

NOW = 1_795_309_200.0
SETTINGS = RunnerSettings(attempts=3, initial_s=1, cap_s=8)
ANSWER = ApiAnswer(400, "SomeCode", "some message", "req-1", "trace-1")


def sent(attempts: int = 1, **changes: Any) -> Job:
    return make_job(1, state=JobState.SUBMITTING, attempts=attempts, intent_at=NOW - 1, **changes)


def judge(job: Job, answer: SubmitReply | OrchestratorError) -> Conclusion:
    return conclude(job, answer, SETTINGS, NOW, random.Random(5))


def test_an_answer_with_a_job_id_is_an_accepted_job() -> None:
    job = sent(code="SlowDown", message="from an attempt before")

    found = judge(job, SubmitReply(RemoteJob("j1", RemoteState.SUBMITTED, queue_id="p1"), "req-1"))

    assert found == Conclusion()
    assert (job.state, job.job_id, job.queue_id, job.request_id) == (
        JobState.SUBMITTED,
        "j1",
        "p1",
        "req-1",
    )
    assert (job.submitted_at, job.attempts, job.code, job.message, job.adopted) == (
        NOW,
        1,
        "",
        "",
        False,
    )


@pytest.mark.parametrize(
    "error",
    [
        ConnectFailed(),
        TunnelRefused("a password is needed"),
        Throttled(ANSWER, retry_after_s=2),
        QueueUnavailable(ANSWER),
        ClockSkewed(ANSWER),
        CredentialsExpired(ANSWER),
        AuthRejected(ANSWER),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_proof_that_no_job_exists_gives_the_attempt_back(error: OrchestratorError) -> None:
    job = sent(attempts=SETTINGS.attempts)

    found = judge(job, error)

    assert (job.state, job.attempts) == (JobState.PLANNED, SETTINGS.attempts - 1)
    assert found.reason == str(error)


@pytest.mark.parametrize(
    "error",
    [ConnectFailed(), Throttled(ANSWER), QueueUnavailable(ANSWER)],
    ids=lambda error: type(error).__name__,
)
def test_after_a_transient_refusal_the_job_waits_a_little(error: OrchestratorError) -> None:
    job = sent()

    found = judge(job, error)

    assert 0 < found.delay_s <= SETTINGS.initial_s
    assert job.not_before == NOW + found.delay_s


@pytest.mark.parametrize(
    "error",
    [ClockSkewed(ANSWER), CredentialsExpired(ANSWER)],
    ids=lambda error: type(error).__name__,
)
def test_after_a_correction_of_clock_or_credentials_the_job_does_not_wait(
    error: OrchestratorError,
) -> None:
    job = sent()

    assert judge(job, error).delay_s == 0
    assert job.not_before == 0


@pytest.mark.parametrize(
    "error",
    [Rejected(ANSWER), NotFound(ANSWER), ConfigError("cannot be written as XML")],
    ids=lambda error: type(error).__name__,
)
def test_a_permanent_refusal_rejects_the_job_with_the_services_message(
    error: OrchestratorError,
) -> None:
    job = sent()

    judge(job, error)
    assert (job.state, job.finished_at, job.attempts) == (JobState.REJECTED, NOW, 1)
    if isinstance(error, Rejected):
        assert (job.code, job.message, job.request_id) == ("SomeCode", "some message", "req-1")
    else:
        assert (job.code, job.message) == ("ConfigError", "cannot be written as XML")


def test_a_temporary_refusal_is_retried_until_the_attempts_are_used_up() -> None:
    job = sent(attempts=2)
    judge(job, RefusedForNow(ANSWER))
    assert (job.state, job.attempts) == (JobState.PLANNED, 2)
    assert job.not_before >= NOW

    last = sent(attempts=3)
    judge(last, RefusedForNow(ANSWER))
    assert (last.state, last.code) == (JobState.REJECTED, "SomeCode")


@pytest.mark.parametrize(
    "error",
    [
        SendInDoubt(),
        ReplyTimeout(),
        ServerFault(replace(ANSWER, http_status=500)),
        ProtocolError("half an XML", b"<Resp"),
        OrchestratorError("new"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_other_error_leaves_the_job_in_doubt_and_counts_the_attempt(
    error: OrchestratorError,
) -> None:
    job = sent(attempts=2)

    judge(job, error)
    assert (job.state, job.attempts, job.finished_at) == (JobState.IN_DOUBT, 2, None)
    assert job.message
    assert job.code == ("SomeCode" if isinstance(error, ServerFault) else type(error).__name__)


def every_error() -> list[type[OrchestratorError]]:
    found, front = [], [OrchestratorError]
    while front:
        kind = front.pop()
        found.append(kind)
        front += kind.__subclasses__()
    return found


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_no_error_of_the_tree_allows_a_second_post_without_a_proof(
    kind: type[OrchestratorError],
) -> None:
    """An unforeseen error may follow an accepted request, so it must not free the job."""
    error = kind.__new__(kind)
    error.answer = ANSWER  # type: ignore[attr-defined]  # only API errors have it
    Exception.__init__(error, "text")
    job = sent()

    judge(job, error)

    proves_absence = (
        ConnectFailed,
        Throttled,
        ClockSkewed,
        CredentialsExpired,
        AuthRejected,
        BucketRefused,
        Rejected,
        RefusedForNow,
        ConfigError,
    )
    is_proven = job.state in {JobState.PLANNED, JobState.REJECTED}
    assert is_proven == issubclass(kind, proves_absence)
    assert is_proven or job.state is JobState.IN_DOUBT


@pytest.mark.parametrize(
    "kind",
    [kind for kind in every_error() if issubclass(kind, ApiError)],
    ids=lambda kind: kind.__name__,
)
@pytest.mark.parametrize(
    "answer",
    [
        ApiAnswer(400),
        ApiAnswer(400, "", "no"),
        ApiAnswer(400, "Code", request_id="r", is_whole=False),
    ],
)
def test_no_answer_that_the_vendor_did_not_write_frees_the_job(
    kind: type[ApiError], answer: ApiAnswer
) -> None:
    job = sent(attempts=2)

    judge(job, kind(answer))

    assert (job.state, job.attempts) == (JobState.IN_DOUBT, 2)

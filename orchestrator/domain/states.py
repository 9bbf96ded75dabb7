"""The one table of job states. Nothing else decides which state follows which.

``planned -> submitting -> submitted -> running -> succeeded | failed | cancelled``, with three ways
back or out: a request refused before it could be accepted returns to ``planned``; one refused
permanently is ``rejected``; one without a clear answer is ``in_doubt`` until the job is adopted (it
was found) or proven absent (it is planned again).
"""

from __future__ import annotations

from enum import StrEnum

from orchestrator.errors import LedgerMismatch


class JobState(StrEnum):
    """State of a job, in the words of the ledger, the report and ``orchestrator status``."""

    PLANNED = "planned"
    SUBMITTING = "submitting"
    IN_DOUBT = "in_doubt"
    SUBMITTED = "submitted"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    UNFINISHED = "unfinished"


class Step(StrEnum):
    """Event that changes the state of a job."""

    SEND = "send"
    """The intent is recorded; the request leaves next."""
    NOT_SENT = "not_sent"
    """Nothing left this machine."""
    REFUSED = "refused"
    """Refused before it could be accepted (throttled, queue full); no job exists."""
    REJECT = "reject"
    """Refused permanently, by the service or before any request; no job exists."""
    LOSE_ANSWER = "lose_answer"
    """Sent, and the answer is not known."""
    ACCEPT = "accept"
    """The service answered with a job id."""
    ADOPT = "adopt"
    """The job was found at the service by its key."""
    LOSE = "lose"
    """Its remote id is not known for sure: the service does not know the job any more, or the id
    belongs to another job. It is looked for by its key."""
    PROVE_ABSENT = "prove_absent"
    """The job was looked for long enough and does not exist."""
    START = "start"
    """The service runs the job."""
    HOLD = "hold"
    """The service holds the job back (its queue is paused) or put it back in the queue."""
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"
    FIND_DONE = "find_done"
    """All its stems are in their bucket already; nothing is sent."""
    GIVE_UP = "give_up"
    """The service lost the job, or it stalled; it is reported and no longer tracked."""
    RETRY = "retry"
    """Planned again, as a new job at the service."""


TERMINAL: frozenset[JobState] = frozenset(
    {
        JobState.SUCCEEDED,
        JobState.FAILED,
        JobState.CANCELLED,
        JobState.REJECTED,
        JobState.UNFINISHED,
    }
)
"""States that end a job for a run."""

REMOTE: frozenset[JobState] = frozenset({JobState.SUBMITTED, JobState.RUNNING})
"""States of a job that is known to exist at the service and has not ended."""

OPEN: frozenset[JobState] = frozenset(JobState) - TERMINAL
"""States that keep a run open."""

_S, _T = JobState, Step
_TABLE: dict[tuple[JobState, Step], JobState] = {
    (_S.PLANNED, _T.SEND): _S.SUBMITTING,
    (_S.PLANNED, _T.ADOPT): _S.SUBMITTED,  # the account has had it done already
    (_S.PLANNED, _T.FIND_DONE): _S.SUCCEEDED,
    (_S.PLANNED, _T.CANCEL): _S.CANCELLED,
    (_S.PLANNED, _T.FAIL): _S.FAILED,  # proven absent after its last attempt
    (_S.PLANNED, _T.REJECT): _S.REJECTED,  # its row or its names make a request impossible
    (_S.SUBMITTING, _T.NOT_SENT): _S.PLANNED,
    (_S.SUBMITTING, _T.REFUSED): _S.PLANNED,
    (_S.SUBMITTING, _T.REJECT): _S.REJECTED,
    (_S.SUBMITTING, _T.LOSE_ANSWER): _S.IN_DOUBT,
    (_S.SUBMITTING, _T.ACCEPT): _S.SUBMITTED,
    (_S.IN_DOUBT, _T.ADOPT): _S.SUBMITTED,
    (_S.IN_DOUBT, _T.PROVE_ABSENT): _S.PLANNED,
    (_S.SUBMITTED, _T.START): _S.RUNNING,
    (_S.SUBMITTED, _T.LOSE): _S.IN_DOUBT,
    (_S.SUBMITTED, _T.SUCCEED): _S.SUCCEEDED,
    (_S.SUBMITTED, _T.FAIL): _S.FAILED,
    (_S.SUBMITTED, _T.CANCEL): _S.CANCELLED,
    (_S.SUBMITTED, _T.GIVE_UP): _S.UNFINISHED,
    (_S.RUNNING, _T.HOLD): _S.SUBMITTED,
    (_S.RUNNING, _T.LOSE): _S.IN_DOUBT,
    (_S.RUNNING, _T.SUCCEED): _S.SUCCEEDED,
    (_S.RUNNING, _T.FAIL): _S.FAILED,
    (_S.RUNNING, _T.CANCEL): _S.CANCELLED,
    (_S.RUNNING, _T.GIVE_UP): _S.UNFINISHED,
    # A new run, or a new attempt inside one, may retry jobs that ended without a result ...
    (_S.FAILED, _T.RETRY): _S.PLANNED,
    (_S.REJECTED, _T.RETRY): _S.PLANNED,
    (_S.CANCELLED, _T.RETRY): _S.PLANNED,
    # ... and jobs that succeeded, if their stems were found missing.
    (_S.SUCCEEDED, _T.RETRY): _S.PLANNED,
    # A job that the service called done is queried and verified again before it is paid for again.
    (_S.FAILED, _T.ADOPT): _S.SUBMITTED,
    (_S.SUCCEEDED, _T.ADOPT): _S.SUBMITTED,
    # A job that was given up still has a remote id. It is queried again, and if it is lost, looked
    # for; it is never sent again without that.
    (_S.UNFINISHED, _T.ADOPT): _S.SUBMITTED,
    (_S.UNFINISHED, _T.RETRY): _S.PLANNED,
}


def after(state: JobState, step: Step) -> JobState:
    """Return the state that follows ``state`` by ``step``.

    Raises:
        LedgerMismatch: If the step is not legal in that state.
    """
    try:
        return _TABLE[state, step]
    except KeyError:
        raise LedgerMismatch(
            f"A job that is {state} cannot {step}. This is a defect of orchestrator: "
            "please report it with the ledger."
        ) from None


def is_legal(state: JobState, step: Step) -> bool:
    """Return True if the step is legal in that state."""
    return (state, step) in _TABLE


def transitions() -> tuple[tuple[JobState, Step, JobState], ...]:
    """Return the whole table, in reading order, for documentation and tests."""
    return tuple((before, step, then) for (before, step), then in _TABLE.items())

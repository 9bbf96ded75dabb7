"""The one table of job states. Nothing else decides which state follows which.

``planned -> submitting -> submitted -> running -> succeeded | failed | cancelled``, with three ways back or out:
a request that was refused before it could be accepted returns to ``planned``; one refused for good is ``rejected``;
one without a clear answer is ``in_doubt`` until it is adopted (the job was found) or proven absent (it is planned again).
"""

from __future__ import annotations

from enum import StrEnum

from orchestrator.errors import LedgerMismatch


class JobState(StrEnum):
    """Where a job stands. The words are those of the ledger, the report and ``orchestrator status``."""

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
    """What happens to a job."""

    SEND = "send"
    """The intent is recorded; the request leaves next."""
    NOT_SENT = "not_sent"
    """Nothing left this machine (connect failure)."""
    REFUSED = "refused"
    """Refused before it could be accepted (throttled, queue full, credentials): no job exists, it may be sent again."""
    REJECT = "reject"
    """Refused for good: no job exists."""
    LOSE_ANSWER = "lose_answer"
    """Sent, and the answer is not known."""
    ACCEPT = "accept"
    """The service answered with a job id."""
    ADOPT = "adopt"
    """The job was found at the service by its key."""
    LOSE = "lose"
    """The service does not know a job that it had accepted: it is looked for by its key, because the user wants it."""
    PROVE_ABSENT = "prove_absent"
    """The job was looked for, long enough, and does not exist."""
    START = "start"
    """The service runs the job."""
    HOLD = "hold"
    """The service holds the job back (its queue is paused) or put it back in the queue."""
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"
    GIVE_UP = "give_up"
    """The service lost the job, or it stood still beyond the bound: reported, no longer waited for."""
    RETRY = "retry"
    """Asked for again, as a new job at the service."""


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
    (_S.PLANNED, _T.CANCEL): _S.CANCELLED,
    (_S.PLANNED, _T.FAIL): _S.FAILED,  # proven absent after its last attempt
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
    (_S.RUNNING, _T.SUCCEED): _S.SUCCEEDED,
    (_S.RUNNING, _T.FAIL): _S.FAILED,
    (_S.RUNNING, _T.CANCEL): _S.CANCELLED,
    (_S.RUNNING, _T.GIVE_UP): _S.UNFINISHED,
    # A new run, or a new attempt inside one, may ask again for what ended without a result ...
    (_S.FAILED, _T.RETRY): _S.PLANNED,
    (_S.REJECTED, _T.RETRY): _S.PLANNED,
    (_S.CANCELLED, _T.RETRY): _S.PLANNED,
    # ... and for what succeeded, when its outputs were found missing.
    (_S.SUCCEEDED, _T.RETRY): _S.PLANNED,
    # A job that was given up still has an id: it is looked at again, and if it is lost looked for; never sent again unseen.
    (_S.UNFINISHED, _T.ADOPT): _S.SUBMITTED,
    (_S.UNFINISHED, _T.RETRY): _S.PLANNED,
}


def after(state: JobState, step: Step) -> JobState:
    """The state that follows ``state`` by ``step``.

    Raises:
        LedgerMismatch: If the step is not legal in that state.
    """
    try:
        return _TABLE[state, step]
    except KeyError:
        message = f"A job that is {state} cannot {step}. This is a defect of orchestrator: please report it with the ledger."
        raise LedgerMismatch(message) from None


def is_legal(state: JobState, step: Step) -> bool:
    """Whether ``after(state, step)`` has an answer."""
    return (state, step) in _TABLE


def transitions() -> tuple[tuple[JobState, Step, JobState], ...]:
    """The whole table, in reading order, for documentation and tests."""
    return tuple((before, step, then) for (before, step), then in _TABLE.items())

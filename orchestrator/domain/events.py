"""Events of a run, as values: progress, logs and tests receive the same ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.domain.spec import JobKey
    from orchestrator.domain.states import JobState


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened."""


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """The run started or was resumed."""

    run: str
    report: str
    resumed: bool


@dataclass(frozen=True, slots=True)
class JobsPlanned(Event):
    """More jobs of the manifest are known.

    Attributes:
        new: New to the ledger.
        open: Open from an earlier run.
        done: Succeeded in an earlier run.
        ended: Ended otherwise in an earlier run.
        refused: Cannot be requested; the end of each follows.
        sized: New ones whose length is known or can be expected.
        media_s: Sum of these lengths.
    """

    new: int = 0
    open: int = 0
    done: int = 0
    ended: int = 0
    refused: int = 0
    sized: int = 0
    media_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PlanFinished(Event):
    """The whole manifest was expanded.

    Attributes:
        total: Jobs that it names.
        dropped: Jobs of earlier runs that it no longer names, cancelled now.
        taken: Such jobs that this run sends.
        left: Such jobs that were kept as they are.
    """

    total: int
    dropped: int = 0
    taken: int = 0
    left: int = 0


@dataclass(frozen=True, slots=True)
class CanaryChosen(Event):
    """These objects are sent first; nothing else is sent until their jobs have succeeded."""

    objects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CanaryPassed(Event):
    """The canary has succeeded; the rest is sent."""

    jobs: int


@dataclass(frozen=True, slots=True)
class JobEvent(Event):
    """Something happened to one job."""

    key: JobKey
    object: str


@dataclass(frozen=True, slots=True)
class JobTakenUp(JobEvent):
    """It was left open by an earlier process, and is tracked or looked up.

    Attributes:
        state: Its state.
        media_s: Length of its sound, as known or expected.
        for_s: How long it has been in that state, as far as known.
    """

    state: JobState
    media_s: float | None = None
    for_s: float = 0.0


@dataclass(frozen=True, slots=True)
class JobSending(JobEvent):
    """Its intent is durable; the request leaves.

    Attributes:
        level: Its level.
        attempt: Number of the attempt.
        media_s: Length of its sound, as known or expected.
    """

    level: int
    attempt: int
    media_s: float | None = None


@dataclass(frozen=True, slots=True)
class JobAccepted(JobEvent):
    """The service took it."""

    job_id: str


@dataclass(frozen=True, slots=True)
class JobReturned(JobEvent):
    """It was refused before it could be accepted, or not sent, and waits for its next try."""

    reason: str
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class JobInDoubt(JobEvent):
    """It was sent and the answer is unknown; it will be looked up."""

    reason: str


@dataclass(frozen=True, slots=True)
class JobAdopted(JobEvent):
    """It was found at the service by its key."""

    job_id: str


@dataclass(frozen=True, slots=True)
class JobProvenAbsent(JobEvent):
    """It was looked for and does not exist; it will be resent."""

    looks: int


@dataclass(frozen=True, slots=True)
class JobMoved(JobEvent):
    """The service started it, or holds it back."""

    state: JobState


@dataclass(frozen=True, slots=True)
class JobProgressed(JobEvent):
    """The service says how much of it is done, from 0 to 1."""

    part: float


@dataclass(frozen=True, slots=True)
class JobRetried(JobEvent):
    """It failed for a passing reason and is retried as a new job."""

    code: str
    attempt: int


@dataclass(frozen=True, slots=True)
class JobEnded(JobEvent):
    """It ended, and its row is in the report.

    Attributes:
        state: Its last state.
        code: Error code, or empty.
        message: Reason, or empty.
        took_s: Time since it was submitted.
        ran_s: Time that it ran, by the service's clock.
        output_s: Sound in its stems; two stems of a minute are two.
    """

    state: JobState
    code: str = ""
    message: str = ""
    took_s: float | None = None
    ran_s: float | None = None
    output_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SubmitPaused(Event):
    """Sending has paused, for a reason."""

    reason: str
    until_s: float | None = None


@dataclass(frozen=True, slots=True)
class SubmitResumed(Event):
    """Sending has resumed, for a reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class SubmitThrottled(Event):
    """The service refused a submit because they came too fast."""


@dataclass(frozen=True, slots=True)
class RateChanged(Event):
    """The submit rate was adapted."""

    rate_per_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Stopping(Event):
    """The run was asked to stop, or must."""

    reason: str


@dataclass(frozen=True, slots=True)
class Waiting(Event):
    """Nothing has moved for a minute.

    Attributes:
        reasons: What the run waits for.
    """

    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Noticed(Event):
    """A notice for the user that stops nothing."""

    text: str


@dataclass(frozen=True, slots=True)
class PageOpened(Event):
    """The run shows itself at an address.

    Attributes:
        url: Address of the page.
        is_known: The user can know it before: no port was picked, and no token was drawn.
    """

    url: str
    is_known: bool


@dataclass(frozen=True, slots=True)
class Complaint(Event):
    """The command ends with this error message."""

    text: str

"""One plain line per event, for output without a progress display and for log files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain import events as ev
from orchestrator.domain.states import JobState
from orchestrator.domain.wording import counted

if TYPE_CHECKING:
    from typing import TextIO

    from orchestrator.domain.events import Event

_SOON_S = 0.05  # less would be written as 0.0 s


def sentence(event: Event) -> str | None:
    """Return the event in words, or None if it needs no line."""
    match event:
        case ev.RunStarted():
            verb = "resuming" if event.resumed else "starting"
            return f"{verb} run {event.run}, report {event.report}"
        case ev.PlanFinished():
            return _plan_sentence(event)
        case (
            ev.JobsPlanned()
            | ev.JobTakenUp()
            | ev.JobSending()
            | ev.JobProgressed()
            | ev.SubmitThrottled()
        ):
            return None
        case ev.JobEnded():
            took = f" after {event.took_s:.1f} s" if event.took_s is not None else ""
            why = ""
            if event.state is not JobState.SUCCEEDED:
                why = f": {event.code}: {event.message}".rstrip(": ")
            return f"{event.state:<10} {event.object}{took}{why}"
        case ev.JobEvent():
            return _job_sentence(event)
        case _:
            return _run_sentence(event)


def _plan_sentence(event: ev.PlanFinished) -> str:
    parts = [f"planned {counted(event.total, 'job')}"]
    if event.taken:
        parts.append(f"{event.taken:,} left by earlier runs sent too")
    if event.dropped:
        parts.append(f"{event.dropped:,} left the manifest")
    if event.left:
        parts.append(f"{event.left:,} left by earlier runs kept")
    return ", ".join(parts)


def _job_sentence(event: ev.JobEvent) -> str:
    match event:
        case ev.JobAccepted():
            return f"{'submitted':<10} {event.object} as {event.job_id}"
        case ev.JobReturned():
            when = f"in {event.retry_in_s:.1f} s" if event.retry_in_s >= _SOON_S else "soon"
            return f"{'waiting':<10} {event.object}: {event.reason.removesuffix('.')}; again {when}"
        case ev.JobInDoubt():
            return f"{'in doubt':<10} {event.object}: {event.reason}; looking it up"
        case ev.JobAdopted():
            return f"{'adopted':<10} {event.object}: found at the service as {event.job_id}"
        case ev.JobProvenAbsent():
            looks = counted(event.looks, "look")
            return f"{'absent':<10} {event.object}: not at the service after {looks}; may be resent"
        case ev.JobMoved():
            return f"{event.state:<10} {event.object}"
        case ev.JobRetried():
            return f"{'retrying':<10} {event.object}: {event.code}, attempt {event.attempt} failed"
        case _:
            return f"{type(event).__name__} {event.object}"


def _run_sentence(event: Event) -> str:
    match event:
        case ev.SubmitPaused():
            until = f" for {event.until_s:.0f} s" if event.until_s else ""
            return f"paused{until}: {event.reason}"
        case ev.SubmitResumed():
            return f"{event.reason}; sending resumes"
        case ev.RateChanged():
            return f"rate now {event.rate_per_s:.1f} jobs/s: {event.reason}"
        case ev.CanaryChosen():
            return f"canary: {', '.join(event.objects)} must succeed before the rest is sent"
        case ev.CanaryPassed():
            return f"canary passed: {counted(event.jobs, 'job')} succeeded; sending the rest"
        case ev.Stopping():
            return f"stopping: {event.reason}"
        case ev.Waiting():
            return f"waiting for {'; '.join(event.reasons)}"
        case ev.Noticed() | ev.Complaint():
            return event.text
        case _:
            return type(event).__name__


class LineSink:
    """Writes each event as a line.

    Args:
        stream: The destination, usually standard error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_stopping = False

    def emit(self, event: Event) -> None:
        """Write one event."""
        if isinstance(event, ev.RunStarted | ev.Stopping):
            self._is_stopping = isinstance(event, ev.Stopping)
        if self._is_stopping and isinstance(event, ev.JobReturned):
            return  # the run has no next try for it; the summary counts it as planned
        text = sentence(event)
        if text is not None:
            self._stream.write(f"orchestrator: {text}\n")
            self._stream.flush()

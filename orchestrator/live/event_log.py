"""Events as a log: one plain line each, or one JSON object each."""

from __future__ import annotations

import json
import logging
import threading
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from orchestrator.domain import events as ev
from orchestrator.domain.states import JobState
from orchestrator.domain.wording import counted, one_line
from orchestrator.live.sinks import Closing, Ticker
from orchestrator.live.snapshot import counts_text, pace_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self, TextIO

    from orchestrator.domain.events import Event
    from orchestrator.domain.ports import Clock, EventSink
    from orchestrator.domain.spec import JobKey
    from orchestrator.live.snapshot import Snapshot
    from orchestrator.live.tally import Tally


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
        case ev.PageOpened():
            return f"Live page: {event.url}"
        case _:
            return type(event).__name__


class NeededSink:
    """Writes only what a user cannot do without, however little is to be written.

    Args:
        write: Writes a line.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def emit(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, ev.PageOpened) and not event.is_known:
            self._write(_run_sentence(event))


class Lines:
    """Chooses which events are worth a line, and words it.

    Failures, doubts and notices always are. The steps of jobs that go well are counted, and get a
    line only if asked for.

    Args:
        is_verbose: Write a line for each step of each job.
    """

    def __init__(self, *, is_verbose: bool = False) -> None:
        self._is_verbose = is_verbose
        self._is_stopping = False
        self._in_doubt: set[JobKey] = set()

    def of(self, event: Event) -> str | None:
        """Return the line for an event, or None."""
        if isinstance(event, ev.RunStarted | ev.Stopping):
            self._is_stopping = isinstance(event, ev.Stopping)
        if self._is_stopping and isinstance(event, ev.JobReturned):
            return None  # the run has no next try for it; the summary counts it as planned
        is_worth = not isinstance(event, ev.JobEvent) or self._is_notable(event)
        text = sentence(event) if is_worth or self._is_verbose else None
        return None if text is None else one_line(text)

    def _is_notable(self, event: ev.JobEvent) -> bool:
        """Return True if a step of a job needs a line even among a million."""
        was_in_doubt = event.key in self._in_doubt
        self._in_doubt.discard(event.key)
        match event:
            case ev.JobInDoubt():
                self._in_doubt.add(event.key)
                return True
            case ev.JobAdopted() | ev.JobProvenAbsent():
                return was_in_doubt
            case ev.JobEnded():
                return event.state is not JobState.SUCCEEDED
            case ev.JobRetried():
                return True
            case _:
                return False


class LineSink(Closing):
    """Writes events as lines, and the counts at an interval, where there is no display.

    Use it as a context manager; without one, no counts are written.

    Args:
        stream: The destination, usually standard error.
        tally: Counts of the run; it receives the events here. None for no counts.
        stats_s: Time between two lines of counts; 0 for none.
        is_verbose: Write a line for each step of each job.
    """

    def __init__(
        self,
        stream: TextIO,
        tally: Tally | None = None,
        *,
        stats_s: float = 0.0,
        is_verbose: bool = False,
    ) -> None:
        self._stream = stream
        self._tally = tally
        self._lines = Lines(is_verbose=is_verbose)
        self._writing = threading.Lock()
        self._ticker = Ticker(stats_s, self.write_counts) if stats_s and tally else None

    def __enter__(self) -> Self:
        """Begin to write counts."""
        if self._ticker is not None:
            self._ticker.start()
        return self

    def close(self) -> None:
        """Write no more counts."""
        if self._ticker is not None:
            self._ticker.stop()

    def emit(self, event: Event) -> None:
        """Write one event, if it is worth a line."""
        if self._ticker is not None:
            self._ticker.check()
        if self._tally is not None:
            self._tally.emit(event)
        line = self._lines.of(event)
        if line is not None:
            self._write(line)

    def write_counts(self) -> None:
        """Write the counts, once the run has begun."""
        if self._tally is None:
            return
        snapshot = self._tally.snapshot()
        if snapshot.run:
            self._write(counts_line(snapshot))

    def _write(self, line: str) -> None:
        with self._writing:
            self._stream.write(f"orchestrator: {line}\n")
            self._stream.flush()


def counts_line(snapshot: Snapshot) -> str:
    """Return time and counts of a run as one line."""
    at = datetime.fromtimestamp(snapshot.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    texts = [counts_text(snapshot), pace_text(snapshot)]
    return f"{at} {'; '.join(text for text in texts if text)}"


class JsonLogSink:
    """Writes each event as a JSON object: its fields, its name as ``event``, and ``timestamp``.

    Args:
        stream: The destination, usually standard error.
        clock: Time, for ``timestamp`` (ISO 8601 in UTC).
    """

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock

    def emit(self, event: Event) -> None:
        """Write one event."""
        now = datetime.fromtimestamp(self._clock.now(), UTC).isoformat(timespec="microseconds")
        content = {**asdict(event), "event": _name(event), "timestamp": now.replace("+00:00", "Z")}
        # ASCII with escapes, whatever the encoding of the stream: object names may be anything.
        self._stream.write(json.dumps(content) + "\n")
        self._stream.flush()


def _name(event: Event) -> str:
    """Return ``job_ended`` for ``JobEnded``."""
    name = type(event).__name__
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")


class _Bridge(logging.Handler):
    def __init__(self, sink: EventSink) -> None:
        super().__init__(logging.WARNING)
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on as a notice."""
        self._sink.emit(ev.Noticed(record.getMessage()))


@contextmanager
def warnings_as_events(sink: EventSink) -> Iterator[None]:
    """Pass the warnings of this package to a sink while this is open."""
    logger = logging.getLogger("orchestrator")
    bridge = _Bridge(sink)
    logger.addHandler(bridge)
    try:
        yield
    finally:
        logger.removeHandler(bridge)

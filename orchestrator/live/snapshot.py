"""A run at one moment, for displays in this process and in others: as values and in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

from orchestrator.domain.states import JobState


class Stage(StrEnum):
    """Part of a run's jobs that a bar shows as one segment."""

    DONE = "done"
    RUNNING = "running"
    QUEUED = "queued"
    """At the service, or on the way there, and not seen to run."""
    WAITING = "waiting"
    IN_DOUBT = "in doubt"
    FAILED = "failed"


STAGES = {
    JobState.SUCCEEDED: Stage.DONE,
    JobState.RUNNING: Stage.RUNNING,
    JobState.SUBMITTED: Stage.QUEUED,
    JobState.SUBMITTING: Stage.QUEUED,
    JobState.PLANNED: Stage.WAITING,
    JobState.IN_DOUBT: Stage.IN_DOUBT,
    JobState.FAILED: Stage.FAILED,
    JobState.REJECTED: Stage.FAILED,
    JobState.CANCELLED: Stage.FAILED,
    JobState.UNFINISHED: Stage.FAILED,
}
"""Stage of the jobs in each state."""


@dataclass(frozen=True, slots=True)
class FileNow:
    """A file that is worked on.

    Attributes:
        object: Its name.
        for_s: Time since it began to run; or was sent, if it is not seen to run.
        part: Part that is done, or None if nothing is known.
        is_said: The service said so; otherwise it is expected from the run times of others.
        is_running: It is seen to run.
    """

    object: str
    for_s: float
    part: float | None = None
    is_said: bool = False
    is_running: bool = True


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run at one moment.

    Attributes:
        run: Id of the run; empty before it began.
        at: Wall time.
        elapsed_s: Time since this process began to work on it.
        jobs: Number of jobs in each stage, without those that were done before.
        work: The same by the length of their media, as parts of one; what is done of the jobs that
            run counts as done.
        is_planned: The whole manifest was read, so that the number of jobs is final.
        done_before: Jobs that had ended before.
        rate_per_s: Jobs that ended per second, over the last minute.
        eta_s: Seconds until the last job ends, or None if that cannot be said.
        cost: Cost of the finished jobs.
        currency: Its currency; empty if nothing is charged.
        files: Files that are worked on, the oldest first, up to a number.
        more_files: Number of the others.
        waits_for: What the run waits for, in words.
        is_stopping: It sends nothing more.
    """

    run: str = ""
    at: float = 0.0
    elapsed_s: float = 0.0
    jobs: dict[str, int] = field(default_factory=dict)
    work: dict[str, float] = field(default_factory=dict)
    is_planned: bool = False
    done_before: int = 0
    rate_per_s: float = 0.0
    eta_s: float | None = None
    cost: float = 0.0
    currency: str = ""
    files: tuple[FileNow, ...] = ()
    more_files: int = 0
    waits_for: tuple[str, ...] = ()
    is_stopping: bool = False

    @property
    def total(self) -> int:
        """Number of jobs."""
        return sum(self.jobs.values())

    @property
    def ended(self) -> int:
        """Number of jobs that have ended."""
        return self.jobs.get(Stage.DONE, 0) + self.jobs.get(Stage.FAILED, 0)

    def later(self, now: float) -> Snapshot:
        """Return what it shows at a later time if nothing else has happened."""
        age_s = max(now - self.at, 0.0)
        return replace(
            self,
            at=now,
            elapsed_s=self.elapsed_s + age_s,
            eta_s=None if self.eta_s is None else max(self.eta_s - age_s, 0.0),
            files=tuple(replace(file, for_s=file.for_s + age_s) for file in self.files),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the content, ready for JSON."""
        return asdict(self)

    @staticmethod
    def of(content: dict[str, Any]) -> Snapshot:
        """Return the snapshot that ``as_dict`` made, perhaps in another version."""
        known = _known(Snapshot, content)
        known["files"] = tuple(
            FileNow(**_known(FileNow, each)) for each in content.get("files", ())
        )
        known["waits_for"] = tuple(content.get("waits_for", ()))
        return Snapshot(**known)


def _known(kind: type, content: dict[str, Any]) -> dict[str, Any]:
    """Return the values of the fields that a class has."""
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in content.items() if name in names}


def duration_text(seconds: float) -> str:
    """Return ``0:05``, ``1:02:03`` or ``2 days, 1:02:03``."""
    text = str(timedelta(seconds=int(seconds)))
    return (
        text.removeprefix("0:").removeprefix("0")
        if text.startswith("0:0")
        else (text.removeprefix("0:"))
    )


def left_text(seconds: float) -> str:
    """Return a time left as roughly as it is known: ``40 s``, ``7 min``, ``2 h 10 min``."""
    if seconds < 90:
        return f"{max(round(seconds / 5) * 5, 5)} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        hours, minutes = divmod(round(minutes / 5) * 5, 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{round(minutes / 60 / 24, 1):g} days"


def counts_text(snapshot: Snapshot) -> str:
    """Return the number of jobs in each stage that has any."""
    total = f"{snapshot.total:,}" if snapshot.is_planned else f"{snapshot.total:,}+"
    parts = [f"{snapshot.ended:,} of {total}"]
    shown = (Stage.FAILED, Stage.IN_DOUBT, Stage.RUNNING, Stage.QUEUED, Stage.WAITING)
    parts += [
        f"{snapshot.jobs[stage]:,} {stage.value}" for stage in shown if snapshot.jobs.get(stage)
    ]
    if snapshot.done_before:
        parts.append(f"{snapshot.done_before:,} done before")
    return ", ".join(parts)


def pace_text(snapshot: Snapshot) -> str:
    """Return rate, time left and cost, as far as they mean something."""
    parts = []
    if snapshot.rate_per_s:
        per_s = snapshot.rate_per_s
        parts.append(f"{per_s:,.1f} jobs/s" if per_s >= 1 else f"{60 * per_s:,.1f} jobs/min")
    if snapshot.is_stopping:
        parts.append("stopping")
    elif snapshot.eta_s is not None:
        parts.append(f"about {left_text(snapshot.eta_s)} left")
    if snapshot.currency:
        parts.append(f"cost {snapshot.cost:,.2f} {snapshot.currency}")
    return ", ".join(parts)

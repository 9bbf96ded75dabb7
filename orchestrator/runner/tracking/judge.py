"""Judge what an answer means for one job: which step it takes, and whether its stems are due.

Only the job itself changes: its state, code and times. Saving and handing on are the tracker's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain.events import JobMoved, JobProgressed, JobRetried, Noticed
from orchestrator.domain.job import LOST_BY_SERVICE, STEM_MISSING
from orchestrator.domain.remote import RemoteJob, RemoteState
from orchestrator.domain.spec import is_key_of_another, key_of_user_data
from orchestrator.domain.states import REMOTE, JobState, Step
from orchestrator.errors import OrchestratorError, Rejected
from orchestrator.runner.retry import decide

if TYPE_CHECKING:
    from orchestrator.domain.job import Job
    from orchestrator.runner.ports import Ports
    from orchestrator.runner.tracking.poll_policy import PollPolicy
    from orchestrator.runner.tracking.tracked_jobs import Tracked

_LOST_AFTER = 4
"""Queries in a row that must miss an accepted job before it counts as lost ..."""
_LOST_AFTER_S = 60.0
"""... and how long they must have missed it."""
_REFUSED_FOR_S = 600.0
"""Time for which the service must refuse to say how a job stands before it is given up."""
_STALL_S = 86400.0
"""Time that a job may stay submitted or running before it is reported as unfinished. A day, because
a paused queue or a long backlog is not a fault."""
_REPORT_AFTER = 3
"""Refusals in a row that are reported; one or two are nothing unusual."""


class Judge:
    """Applies answers of the service to jobs, one at a time.

    Args:
        ports: The ports.
        policy: Learns from each job that ended how long jobs run.
    """

    def __init__(self, ports: Ports, policy: PollPolicy) -> None:
        self._clock = ports.clock
        self._settings = ports.settings
        self._rng = ports.rng
        self._sink = ports.sink
        self._is_transient = ports.is_transient
        self._policy = policy
        self._instead: dict[int, RemoteJob] = {}  # by job: what follows if it fails
        self._notices: set[str] = set()
        self._pause_announced = False
        self.is_paused = False
        """The service holds its queue back, as far as the last answer showed."""

    def follow_instead(self, job: Job, remote: RemoteJob | None) -> None:
        """Note the job that follows if the present attempt of ``job`` fails; None: no job."""
        if remote is None:
            self._instead.pop(job.id, None)
        else:
            self._instead[job.id] = remote

    def adopt_other(self, job: Job) -> bool:
        """Adopt another job with the key of a planned one, if one was found."""
        if job.state is not JobState.PLANNED or job.id not in self._instead:
            return False
        job.adopt(self._instead.pop(job.id))
        return True

    def judge(self, tracked: Tracked, remote: RemoteJob | None) -> RemoteJob | None:
        """Take the step that an answer means; return the answer if it calls the job done."""
        job = tracked.job
        if remote is None:
            is_done = self._miss(tracked)
            return RemoteJob(job.job_id, RemoteState.SUCCEEDED) if is_done else None
        if (why := _contradiction(job, remote)) is not None:
            doubt(job, why)
            return None
        return remote if self._see(tracked, remote) else None

    def refuse(self, tracked: Tracked, error: OrchestratorError, answered_at: float) -> bool:
        """Note that the service does not say how a job stands; return True if it was given up.

        Args:
            tracked: The job, which was queried alone.
            error: The refusal, or why the answer cannot be read.
            answered_at: When a query of any job was last answered, by the monotonic clock.
        """
        now = self._clock.monotonic()
        tracked.refused_since = tracked.refused_since if tracked.refusals else now
        tracked.refusals += 1
        job = tracked.job
        if tracked.refusals == _REPORT_AFTER:
            name = f"{job.spec.media.key!r} ({job.job_id})"
            self._notice(f"The service does not say how the job of {name} stands: {error}")
        # An unreadable answer proves nothing about the job, unless answers about others are read.
        is_alone = isinstance(error, Rejected) or answered_at > tracked.refused_since
        refused_s = now - tracked.refused_since
        if not is_alone or tracked.refusals < _LOST_AFTER or refused_s < _REFUSED_FOR_S:
            return False
        text = f"The service has not said for {refused_s / 60:.0f} minutes how it stands: {error}"
        _give_up(job, "StateUnknown", text)
        return True

    def _see(self, tracked: Tracked, remote: RemoteJob) -> bool:
        """Take the step that the answer means; return True if the service calls the job done."""
        job = tracked.job
        tracked.missed = 0
        if job.code == LOST_BY_SERVICE:  # as an earlier run found
            job.code = job.message = ""
        self.is_paused = remote.state is RemoteState.PAUSED
        job.started_at = remote.started_at or job.started_at
        job.media_duration_s = remote.media_duration_s or job.media_duration_s
        match remote.state:
            case RemoteState.SUBMITTED | RemoteState.PAUSED:
                self._hold(job, remote.state)
            case RemoteState.RUNNING:
                if job.state is JobState.SUBMITTED:
                    self._move(job, Step.START)
                if remote.progress is not None:
                    key, name = job.spec.key, job.spec.media.key
                    self._sink.emit(JobProgressed(key, name, remote.progress))
                if tracked.began_at is None:
                    now = self._clock.now()
                    tracked.begin(None if remote.started_at is None else now - remote.started_at)
            case RemoteState.SUCCEEDED:
                job.finished_at = remote.ended_at or self._clock.now()
                self._policy.learn(tracked)
                return True
            case RemoteState.UNKNOWN:
                word = remote.state_word
                self._notice(f"The service calls the state of jobs {word!r}: taken as not ended")
            case RemoteState.FAILED | RemoteState.CANCELLED:
                self._end(tracked, remote)
        self._watch_stall(tracked)
        return False

    def _end(self, tracked: Tracked, remote: RemoteJob) -> None:
        """End a job that failed or was cancelled, or follow another one with its key."""
        job = tracked.job
        other = self._instead.pop(job.id, None)
        if other is not None:
            job.step(Step.LOSE)
            job.forget_attempt()
            job.adopt(other)
        elif remote.state is RemoteState.FAILED:
            self._fail(tracked, remote)
        else:
            job.step(Step.CANCEL)
            job.finished_at = remote.ended_at or self._clock.now()
            job.code = remote.code
            job.message = remote.message or "The job was cancelled at the service."

    def _hold(self, job: Job, state: RemoteState) -> None:
        if job.state is JobState.RUNNING:
            self._move(job, Step.HOLD)
        if state is RemoteState.PAUSED and not self._pause_announced:
            self._pause_announced = True
            text = "The service's queue is paused: its jobs wait until the queue is resumed."
            self._sink.emit(Noticed(text))

    def _move(self, job: Job, step: Step) -> None:
        job.step(step)
        self._sink.emit(JobMoved(job.spec.key, job.spec.media.key, job.state))

    def _fail(self, tracked: Tracked, remote: RemoteJob) -> None:
        """End the job, or plan it again if its failure is transient and attempts are left."""
        job = tracked.job
        job.step(Step.FAIL)
        now = self._clock.now()
        job.finished_at = remote.ended_at or now
        self._policy.learn(tracked)
        job.code, job.message = remote.code, remote.message
        decision = decide(self._settings, job.attempts, now, self._rng)
        if decision.again_at is None or not self._is_transient(remote.code):
            return
        job.step(Step.RETRY)
        job.forget_attempt()
        job.not_before = decision.again_at
        self._sink.emit(JobRetried(job.spec.key, job.spec.media.key, remote.code, job.attempts))

    def _miss(self, tracked: Tracked) -> bool:
        """Note that the service does not know the job: once may be lag, for long it was lost.

        Returns:
            True if it was called done before, so that only its stems are left to look for.
        """
        now = self._clock.monotonic()
        if not tracked.missed:
            tracked.missed_since = now
        tracked.missed += 1
        missed_s = now - tracked.missed_since
        if tracked.missed < _LOST_AFTER or missed_s < _LOST_AFTER_S:
            return False
        job = tracked.job
        if job.code == STEM_MISSING:
            return True  # its record is gone, its stems may be there
        if job.code == LOST_BY_SERVICE and job.state is JobState.SUBMITTED:
            job.step(Step.LOSE)
            return False
        message = (
            f"The service accepted the job as {job.job_id} and does not know it any more "
            f"({tracked.missed} queries in {missed_s:.0f} s). It may have been paid for, so it is "
            "not sent again automatically. With --retry failed the run looks for it again, and "
            "resends it if it does not exist."
        )
        _give_up(job, LOST_BY_SERVICE, message)
        return False

    def _watch_stall(self, tracked: Tracked) -> None:
        job = tracked.job
        if job.state not in REMOTE:
            return
        moved_at = job.started_at if job.state is JobState.RUNNING else job.submitted_at
        stalled_s = self._clock.now() - moved_at if moved_at is not None else 0.0
        if not tracked.is_from_before:
            # The wall clock may have been set.
            stalled_s = min(stalled_s, self._clock.monotonic() - tracked.since)
        if stalled_s > _STALL_S:
            message = (
                f"The job has been {job.state} for {stalled_s / 3600:.1f} hours; "
                "it is no longer tracked."
            )
            _give_up(job, "Stalled", message)

    def _notice(self, text: str) -> None:
        if text not in self._notices:
            self._notices.add(text)
            self._sink.emit(Noticed(text))


def doubt(job: Job, why: str) -> None:
    """Put a job in doubt whose answer is that of another job."""
    job.step(Step.LOSE)
    job.job_id = ""
    job.code, job.message = "AnswerMixedUp", why
    job.submitted_at = job.started_at = None


def _give_up(job: Job, code: str, message: str) -> None:
    job.step(Step.GIVE_UP)
    job.code, job.message = code, message
    job.finished_at = None


def _contradiction(job: Job, remote: RemoteJob) -> str | None:
    """Return why an answer under the id of ``job`` is about another job; None if it is not."""
    found = key_of_user_data(remote.user_data)
    if found == job.spec.key:
        return None
    if is_key_of_another(found, job.spec.key):
        return f"The service's job {remote.job_id} carries the key of another job, {found}."
    if not remote.is_about(job.spec.media.key):
        return f"The service's job {remote.job_id} is about {remote.input_object!r}."
    return None

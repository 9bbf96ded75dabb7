"""A job spec being carried out, as the ledger records it.

Instants are seconds since the epoch (UTC); ``_s`` are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.domain.states import JobState, Step, after

if TYPE_CHECKING:
    from orchestrator.domain.remote import RemoteJob
    from orchestrator.domain.spec import JobSpec, Stem

LOST_BY_SERVICE = "LostByService"
"""Code of a job that the service had accepted and no longer knows. It stays on a job that is
queried again on request: if it is missed once more, it is looked for by its key, and sent again if
it does not exist."""
STEM_MISSING = "StemMissing"
"""Code of a job that the service called done, and whose stems the storage does not have. It stays
on a job that is queried and verified again on request: if a stem is missing once more, the job is
sent again."""
LEFT = "It is no longer in the manifest."
"""Message of a job that was cancelled unsent because the manifest no longer named it."""


@dataclass(frozen=True, slots=True)
class StemFile:
    """One stem of a finished job.

    Attributes:
        stem: The stem.
        object: Its object key.
        md5: Lowercase hex, or empty if the service gave none.
        size_bytes: Size found in the bucket, or None if it was not found.
        verified: True if it was seen in the bucket.
    """

    stem: Stem
    object: str
    md5: str = ""
    size_bytes: int | None = None
    verified: bool = False


@dataclass(slots=True, eq=False)
class Job:
    """A spec being carried out: the ledger's record of it, in memory.

    ``state`` changes only through :meth:`step`. Changes are durable once ``Ledger.save`` returned.

    Attributes:
        id: Number in the ledger.
        spec: The spec.
        state: Present state.
        saved_state: State in the ledger; set by the ledger.
        seq: Place in the order of the manifest.
        attempts: POSTs that may have reached the service.
        job_id: Remote job id of the present attempt, or empty.
        past_job_ids: Remote job ids of earlier attempts, which must never be adopted again.
        queue_id: Remote queue id, as answered.
        request_id: Request id of the last answer to a submit.
        adopted: Found at the service by its key instead of answered.
        code: Error code if it failed or was rejected; else empty.
        message: The same in words.
        not_before: Earliest instant of the next submit, or of the next look while in doubt.
        intent_at: When the present attempt's intent was recorded.
        submitted_at: When the service accepted it.
        started_at: When the service began to run it.
        finished_at: When it ended.
        media_duration_s: Duration as probed by the service.
        files: Stems of a job that succeeded.
        run_no: Number of the run that it belongs to.
        row: Number of its row in that run's report, from 1, set by the ledger; 0 while it has none.
        skipped: Its row says that it was done in an earlier run.
    """

    id: int
    spec: JobSpec
    state: JobState = JobState.PLANNED
    saved_state: JobState = JobState.PLANNED
    seq: int = 0
    attempts: int = 0
    job_id: str = ""
    past_job_ids: tuple[str, ...] = ()
    queue_id: str = ""
    request_id: str = ""
    adopted: bool = False
    code: str = ""
    message: str = ""
    not_before: float = 0.0
    intent_at: float | None = None
    submitted_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    media_duration_s: float | None = None
    files: tuple[StemFile, ...] = ()
    run_no: int = 0
    row: int = 0
    skipped: bool = False

    @property
    def was_dropped(self) -> bool:
        """True if it was cancelled only because the manifest no longer named it."""
        return self.state is JobState.CANCELLED and self.message == LEFT

    def step(self, step: Step) -> None:
        """Take a step to the next state.

        Raises:
            LedgerMismatch: If the step is not legal in the present state.
        """
        self.state = after(self.state, step)

    def adopt(self, remote: RemoteJob) -> None:
        """Take a job at the service as this job's present attempt.

        Raises:
            LedgerMismatch: If that is not legal in the present state.
        """
        self.step(Step.ADOPT)
        self.job_id = remote.job_id
        self.queue_id = remote.queue_id
        self.adopted = True
        self.code = self.message = ""
        self.submitted_at = remote.created_at or self.intent_at
        self.started_at = self.finished_at = None

    def plan_again(self) -> None:
        """Forget everything about the attempts of a job that is planned again for a new run."""
        self.forget_attempt()
        self.queue_id = self.request_id = self.code = self.message = ""
        self.attempts = 0
        self.adopted = False
        self.intent_at = self.media_duration_s = None
        self.files = ()

    def forget_attempt(self) -> None:
        """Move the remote id of the present attempt to the earlier ones, with all it reported."""
        if self.job_id:
            self.past_job_ids = (*self.past_job_ids, self.job_id)
        self.job_id = ""
        self.submitted_at = self.started_at = self.finished_at = None

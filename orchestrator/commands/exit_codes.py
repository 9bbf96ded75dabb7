"""Exit codes: one table, and one place that chooses from it."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from orchestrator import errors
from orchestrator.domain.states import OPEN, JobState

if TYPE_CHECKING:
    from orchestrator.runner.result import RunResult


class ExitCode(IntEnum):
    """Exit code of the command, for the shell, cron and scripts."""

    OK = 0
    """All succeeded, or nothing to do."""
    JOBS_FAILED = 1
    """Some jobs failed, were rejected or cancelled."""
    USAGE = 2
    """Usage, manifest or configuration."""
    CREDENTIALS = 3
    """Credentials or permission."""
    LEDGER = 4
    """Ledger or disk."""
    LOCKED = 5
    """Another run holds this ledger."""
    STOPPED = 6
    """Stopped by a budget, deadline or canary."""
    UNFINISHED = 7
    """Jobs left unfinished or in doubt."""
    INTERRUPTED = 130
    """Interrupted; run again to resume."""


# The first match counts: special errors come before general ones.
_BY_ERROR: tuple[tuple[type[BaseException], ExitCode], ...] = (
    (errors.CredentialsMissing, ExitCode.CREDENTIALS),
    (errors.AuthRejected, ExitCode.CREDENTIALS),
    (errors.ProxyRefused, ExitCode.CREDENTIALS),
    (errors.BucketUnknown, ExitCode.USAGE),
    (errors.BucketRefused, ExitCode.CREDENTIALS),
    (errors.CredentialsExpired, ExitCode.CREDENTIALS),
    (errors.CertificateRefused, ExitCode.CREDENTIALS),
    (errors.TunnelRefused, ExitCode.CREDENTIALS),
    (errors.ClockSkewed, ExitCode.CREDENTIALS),
    (errors.LedgerLocked, ExitCode.LOCKED),
    (errors.LedgerError, ExitCode.LEDGER),
    (errors.ReportError, ExitCode.LEDGER),
    (errors.DiskFull, ExitCode.LEDGER),
    (errors.ConfigError, ExitCode.USAGE),
    (errors.EngineMissing, ExitCode.USAGE),
    (errors.NotFound, ExitCode.USAGE),
    (errors.TransportError, ExitCode.UNFINISHED),
    (errors.OrchestratorError, ExitCode.UNFINISHED),
    (KeyboardInterrupt, ExitCode.INTERRUPTED),
)


def of_error(error: BaseException) -> ExitCode:
    """Return the exit code for an error that ended a command."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.JOBS_FAILED)


def of_result(result: RunResult) -> ExitCode:
    """Return the exit code for a run."""
    if result.error is not None:
        return of_error(result.error)
    if result.cut_short is not None:
        return ExitCode.INTERRUPTED if result.cut_short.kind == "signal" else ExitCode.STOPPED
    if result.counts.of(JobState.UNFINISHED, *OPEN):
        return ExitCode.UNFINISHED
    if result.counts.of(JobState.FAILED, JobState.REJECTED, JobState.CANCELLED):
        return ExitCode.JOBS_FAILED
    return ExitCode.OK

"""The one exception tree.

The possible reactions to an error are attributes, set where the error is understood (in
``client``), never a test on its text::

    OrchestratorError
    |-- ConfigError
    |   |-- CredentialsMissing
    |   |-- ManifestError
    |   `-- PlanError
    |-- TransportError
    |   |-- ConnectFailed
    |   |   |-- CertificateRefused
    |   |   `-- TunnelRefused
    |   |-- SendInDoubt
    |   `-- ReplyTimeout
    |-- ApiError
    |   |-- Throttled
    |   |-- QueueUnavailable
    |   |-- ServerFault
    |   |-- RefusedForNow
    |   |-- ClockSkewed
    |   |-- CredentialsExpired
    |   |-- AuthRejected
    |   |-- ProxyRefused
    |   |-- BucketRefused
    |   |   `-- BucketUnknown
    |   |-- UnprovenAnswer
    |   |-- Rejected
    |   `-- NotFound
    |-- ProtocolError
    |   `-- EndlessListing
    |-- LedgerError
    |   |-- LedgerLocked
    |   |   `-- LocalRootLocked
    |   |-- LedgerCorrupt
    |   |-- LedgerFull
    |   |-- LedgerDisplaced
    |   `-- LedgerMismatch
    |-- ReportError
    |-- EngineMissing
    |-- DiskFull
    `-- InternalDefect
"""

from __future__ import annotations

from dataclasses import dataclass, field


class OrchestratorError(Exception):
    """An error of orchestrator."""

    retryable: bool = False
    """True if the same call may be tried again later."""
    fatal: bool = False
    """True if the run must stop, because no other job could do better."""
    retry_after_s: float | None = None
    """Shortest pause that the service asked for, in seconds."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])


class ConfigError(OrchestratorError):
    """The command, its environment or its configuration cannot be used as given."""

    fatal = True


class CredentialsMissing(ConfigError):
    """No key pair was found; the message says what to set."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake in the user's input, and its place.

    Attributes:
        message: The mistake, with the offending value, the allowed values and the next step.
        file: File name as the user gave it; empty for the command line.
        line: Line, from 1; 0 when the fault has no line.
        column: Column, from 1; 0 when the fault has no column.
        path: Place in the document, for example ``inputs[3].level``.
        hint: The nearest valid word, or empty.
    """

    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    path: str = ""
    hint: str = ""

    def __str__(self) -> str:
        """Return ``file:line:column: path: message. Did you mean "hint"?``, as far as known."""
        where = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        text = ": ".join(part for part in (where, self.path, self.message) if part)
        return f'{text} Did you mean "{self.hint}"?' if self.hint else text


class ManifestError(ConfigError):
    """The manifest has faults."""

    def __init__(self, faults: list[Fault] | tuple[Fault, ...], *, omitted: int = 0) -> None:
        self.faults = tuple(faults)
        self.omitted = omitted
        lines = [str(fault) for fault in self.faults]
        if omitted:
            lines.append(f"... and {omitted} more")
        super().__init__("\n".join(lines))


class PlanError(ManifestError):
    """The manifest is well formed, but its jobs contradict each other."""


class TransportError(OrchestratorError):
    """The service could not be reached, or gave no answer."""

    retryable = True


class ConnectFailed(TransportError):
    """No connection was made: nothing was sent."""


class CertificateRefused(ConnectFailed):
    """The service's certificate cannot be verified: nothing was sent."""

    retryable = False
    fatal = True


class TunnelRefused(ConnectFailed):
    """A proxy opens no way to the service, because it needs a password: nothing was sent."""

    retryable = False
    fatal = True


class SendInDoubt(TransportError):
    """The request may have reached the service, but no answer came that could be understood."""


class ReplyTimeout(SendInDoubt):
    """The service did not answer in time."""


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """Facts of an error answer, for messages, the report and support requests.

    Attributes:
        http_status: HTTP status of the answer.
        code: The vendor's error code, or empty if the body named none.
        message: The vendor's text, bounded in length.
        request_id: The vendor's id of the request, or empty.
        trace_id: The vendor's trace id, or empty.
        is_whole: The answer was read to its end.
    """

    http_status: int = 0
    code: str = ""
    message: str = ""
    request_id: str = ""
    trace_id: str = ""
    is_whole: bool = True

    @property
    def is_vendors(self) -> bool:
        """True if the vendor wrote it: it is whole, and names a code or the vendor's request id."""
        return self.is_whole and bool(self.code or self.request_id)


class ApiError(OrchestratorError):
    """The service answered with an error."""

    def __init__(
        self, answer: ApiAnswer, message: str | None = None, *, retry_after_s: float | None = None
    ) -> None:
        self.answer = answer
        self.retry_after_s = retry_after_s
        code = answer.code or f"HTTP {answer.http_status}"
        super().__init__(message or f"{code}: {answer.message or 'no message'}")


class Throttled(ApiError):
    """The service asked to slow down; the request was not accepted."""

    retryable = True


class QueueUnavailable(Throttled):
    """The service's queue is full or paused; the request was not accepted."""


class ServerFault(ApiError):
    """The service failed (5xx). It is not known if it did the work."""

    retryable = True


class RefusedForNow(ApiError):
    """The service refused the request for a passing reason that lies in this one object.

    No job exists, and the request may succeed later.
    """

    retryable = True


class ClockSkewed(ApiError):
    """The service refused the request because the clocks differ.

    Attributes:
        server_time: The service's clock, seconds since the epoch, or None if unknown.
    """

    retryable = True

    def __init__(
        self, answer: ApiAnswer, message: str | None = None, *, server_time: float | None = None
    ) -> None:
        super().__init__(answer, message)
        self.server_time = server_time


class CredentialsExpired(ApiError):
    """The temporary credentials have expired; set new ones."""

    retryable = True


class AuthRejected(ApiError):
    """The credentials were refused, or lack a permission."""

    fatal = True


class ProxyRefused(ApiError):
    """A proxy answered instead of the service, because it needs a password.

    It does not prove that the service got nothing.
    """

    fatal = True


class BucketRefused(ApiError):
    """The service refuses every request for this bucket; other buckets are not concerned.

    It is not enabled, not paid for, not permitted, or does not exist.
    """


class BucketUnknown(BucketRefused):
    """The bucket does not exist in this region."""


class UnprovenAnswer(ApiError):
    """An error answer that the service did not write, or that was cut off; it proves nothing.

    A proxy, a gateway or a captive portal wrote it. The request may have been passed on before.
    """

    retryable = True


class Rejected(ApiError):
    """The service refused the request permanently; no job exists."""


class NotFound(Rejected):
    """The object, job, queue or template does not exist."""


class ProtocolError(OrchestratorError):
    """The service's answer could not be understood.

    Attributes:
        raw: The first bytes of the answer, for a bug report.
    """

    def __init__(self, message: str, raw: bytes = b"") -> None:
        super().__init__(message)
        self.raw = raw[:2000]


class EndlessListing(ProtocolError):
    """The listing is stuck: the service returned the same page twice."""


class LedgerError(OrchestratorError):
    """The ledger cannot be read or written."""

    fatal = True


class LedgerLocked(LedgerError):
    """Another run holds this ledger."""


class LocalRootLocked(LedgerLocked):
    """Another local service works on this root."""


class LedgerCorrupt(LedgerError):
    """The ledger file is damaged or of another kind."""


class LedgerFull(LedgerError):
    """The ledger's disk is full."""


class LedgerDisplaced(LedgerError):
    """The ledger file was moved, removed, replaced or linked; the run stops in order."""


class LedgerMismatch(LedgerError):
    """The ledger disagrees with this run: an illegal step was refused."""


class ReportError(OrchestratorError):
    """The report file cannot be written or continued."""

    fatal = True


class EngineMissing(OrchestratorError):
    """The separation engine or its weights are not installed on this machine."""


class DiskFull(OrchestratorError):
    """The disk of the local service is full."""

    fatal = True


class InternalDefect(OrchestratorError):
    """A defect of orchestrator; its cause is the unexpected error."""

    fatal = True

    def __init__(self, cause: BaseException) -> None:
        super().__init__(
            f"{type(cause).__name__}: {cause}. This is a defect of orchestrator. "
            "The ledger is intact; run again to resume."
        )
        self.__cause__ = cause


@dataclass(frozen=True, slots=True)
class Interruption:
    """Reason why a run stopped before its jobs had ended.

    Attributes:
        kind: ``signal``, ``budget``, ``deadline``, ``window``, ``canary`` or ``error``.
        reason: The reason in words.
    """

    kind: str
    reason: str = field(default="")

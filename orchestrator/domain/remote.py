"""The service's answers, translated once: jobs as it sees them, and the objects of a bucket.

Instants are seconds since the epoch (UTC). ``RemoteJob`` and ``SubmitReply`` are named tuples: one
of each is made per request, and a frozen dataclass takes five times as long to make.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import unquote

LONGEST_MEDIA_S = 30 * 86400.0
"""Longest duration that is believed."""


def plausible_duration_s(seconds: float) -> float | None:
    """Return a duration that may be true, else None: it counts in a budget."""
    return seconds if math.isfinite(seconds) and 0 <= seconds <= LONGEST_MEDIA_S else None


class RemoteState(StrEnum):
    """The vendor's ``State``, in our words."""

    SUBMITTED = "submitted"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    """A word that no page lists. It proves nothing; above all not that the job has ended."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file that a finished job wrote; ``md5`` is lowercase hex, empty if unknown."""

    object: str
    md5: str = ""


class RemoteJob(NamedTuple):
    """One ``JobsDetail``: the service's view of one job.

    Attributes:
        job_id: Remote job id, opaque.
        state: Its state.
        code: Error code; empty unless the job failed.
        message: Error text of a job that failed, or notes about one that succeeded.
        queue_id: Remote queue id.
        created_at: When the service accepted it, or None.
        started_at: When it began to run, or None.
        ended_at: When it ended, or None.
        input_object: Key of the input.
        user_data: ``UserData`` as echoed.
        files: Files that it wrote, in the service's order, which does not say which stem is which.
        media_duration_s: Duration of the result as probed by the service, or None.
        state_word: ``State`` as the service wrote it, if it is unknown.
        progress: Part that is done, from 0 to 1, or None if the service does not say.
    """

    job_id: str
    state: RemoteState
    code: str = ""
    message: str = ""
    queue_id: str = ""
    created_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    input_object: str = ""
    user_data: str = ""
    files: tuple[RemoteFile, ...] = ()
    media_duration_s: float | None = None
    state_word: str = ""
    progress: float | None = None

    @property
    def is_lost(self) -> bool:
        """True if it gave no stems and costs nothing: it may be sent again."""
        return self.state in {RemoteState.FAILED, RemoteState.CANCELLED}

    def is_about(self, key: str) -> bool:
        """Return True if its input may be the object ``key``: echoes may be encoded, or missing."""
        return not self.input_object or _plain(self.input_object) == _plain(key)


def _plain(key: str) -> str:
    return unquote(key).lstrip("/")


class SubmitReply(NamedTuple):
    """An accepted job and the id of the request that created it."""

    job: RemoteJob
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class QueryReply:
    """Answer to a query: the jobs that exist and the ids that do not.

    Jobs without an id are left out: they cannot be anyone's.
    """

    jobs: tuple[RemoteJob, ...] = ()
    missing: tuple[str, ...] = ()
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Filter of a job list; an empty value or None does not filter.

    Attributes:
        queue_id: Remote queue to read.
        input_object: Exact input key.
        states: Wanted states.
        created_from: Earliest creation time.
        created_to: Latest creation time.
        oldest_first: Order by creation time.
        size: Page size, 1 to 100.
    """

    queue_id: str = ""
    input_object: str = ""
    states: tuple[RemoteState, ...] = ()
    created_from: float | None = None
    created_to: float | None = None
    oldest_first: bool = False
    size: int = 100


@dataclass(frozen=True, slots=True)
class JobPage:
    """One page of listed jobs; ``next_token`` is empty on the last page."""

    jobs: tuple[RemoteJob, ...] = ()
    next_token: str = ""


@dataclass(frozen=True, slots=True)
class ObjectHead:
    """Answer to a HEAD.

    Attributes:
        size_bytes: Size.
        etag: ETag without quotes.
        content_type: Media type.
        modified_at: Time of the last modification, or None.
        crc64: CRC-64/ECMA as decimal text, or empty.
    """

    size_bytes: int
    etag: str = ""
    content_type: str = ""
    modified_at: float | None = None
    crc64: str = ""


@dataclass(frozen=True, slots=True)
class BucketFacts:
    """Answer about a bucket.

    Attributes:
        server_time: The service's clock, seconds since the epoch, or None.
        request_id: The service's id of the request; empty if something else answered.
    """

    server_time: float | None
    request_id: str


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One object of a listing; ETag without quotes."""

    key: str
    size_bytes: int = 0
    etag: str = ""
    modified_at: float | None = None


class SkipReason(StrEnum):
    """Reason why a file in the folder of a bucket is not an object."""

    LINK = "symbolic link"
    SPECIAL = "device, pipe or socket"
    NOT_UTF_8 = "name that is not UTF-8"
    IMPOSSIBLE = "name that no request can carry"
    UNREADABLE = "file or folder that cannot be read"
    OTHER = "file that is not media"
    HIDDEN = "hidden file or folder"
    STEMS = "folder with stems of an earlier run"


class SkippedFile(NamedTuple):
    """A file in the folder of a bucket that is not an object.

    Attributes:
        name: Its name as a key, bytes that are not UTF-8 escaped.
        reason: The reason.
    """

    name: str
    reason: SkipReason


@dataclass(frozen=True, slots=True)
class ObjectPage:
    """One page of a bucket listing; ``next_marker`` is empty on the last page.

    ``skipped`` has the files that are not objects, where the listing is of a folder.
    """

    objects: tuple[ListedObject, ...] = ()
    next_marker: str = ""
    skipped: tuple[SkippedFile, ...] = ()

"""Answers of the job API, as values.

Sources: submit page 1045/73370, query page 1045/73113, list page "DescribeMediaJobs".
``JobsDetail`` is read as 0..n everywhere, whatever a page says. Unknown nodes are ignored; ``-``
and an empty element mean "not yet".
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING

from orchestrator.client.wire.xml import parse, text_of
from orchestrator.domain.remote import (
    JobPage,
    QueryReply,
    RemoteFile,
    RemoteJob,
    RemoteState,
    SubmitReply,
    plausible_duration_s,
)
from orchestrator.errors import ProtocolError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_STATES: dict[str, RemoteState] = {
    "Submitted": RemoteState.SUBMITTED,
    "Running": RemoteState.RUNNING,
    "Success": RemoteState.SUCCEEDED,
    "Failed": RemoteState.FAILED,
    "Pause": RemoteState.PAUSED,
    "Cancel": RemoteState.CANCELLED,
}
_PLAIN_LEAVES = [
    (f"<{name}>", f"</{name}>", len(name) + 2, 0)
    for name in ("JobId", "QueueId", "CreationTime", "UserData")
]
# The zone of a time without an offset: every time in the vendor's samples is +0800.
_BEIJING = timezone(timedelta(hours=8))
_NO_TIME = frozenset({"", "-"})
_YEAR_2100 = 4_102_444_800.0


def submit_reply(raw: bytes, request_id: str = "") -> SubmitReply:
    """Return the accepted job.

    Raises:
        ProtocolError: If the answer does not name exactly one job; it may exist all the same.
    """
    try:
        job = _plain_job(raw)
    except UnicodeDecodeError:
        job = None  # reading it as a tree finds the fault
    if job is not None:
        return SubmitReply(job, request_id)
    jobs = jobs_of(_response(raw))
    if len(jobs) != 1:
        raise ProtocolError(f"The answer to a submit names {len(jobs)} jobs instead of one.", raw)
    return SubmitReply(jobs[0], request_id)


def _plain_job(raw: bytes) -> RemoteJob | None:
    """Return the job of an ordinary submit answer, or None if anything about it is special.

    Building a tree takes a quarter of the time of a whole request. Without comments and CDATA
    (``<!``), entities (``&``) and attributes, the value of a leaf is the text between its tags. The
    right beginning and end and a single job id exclude other surprises. A test compares the result
    with the tree. A job that is only submitted has neither started nor ended.
    """
    text = raw.decode()
    if (
        "&" in text
        or "\r" in text
        or "<!" in text
        or text.find("<Response>", 0, 80) < 0
        or not text.rstrip().endswith("</Response>")
    ):
        return None
    if "<State>Submitted</State>" not in text or text.count("<JobId>") != 1:
        return None
    found, end = [], 0
    input_at = text.find("<Input>")
    for start_tag, end_tag, size, after in (*_PLAIN_LEAVES, ("<Object>", "</Object>", 8, input_at)):
        start = text.find(start_tag, after) + size
        end = text.find("<", start)
        if start < size or not text.startswith(end_tag, end):
            return None
        found.append(text[start:end])
    job_id, queue_id, created, user_data, key = found
    job_id, queue_id = job_id.strip(), queue_id.strip()
    if (
        not job_id
        or not input_at < end < text.find("</Input>", input_at)
        or not "".join(found).isprintable()
    ):
        return None
    return RemoteJob(
        job_id,
        RemoteState.SUBMITTED,
        "",
        "",
        queue_id,
        instant(created),
        None,
        None,
        key,
        user_data,
    )


def query_reply(raw: bytes, request_id: str = "") -> QueryReply:
    """Return the jobs that exist and the ids that do not.

    ``NonExistJobIds`` occurs 0..n times, each with one id or several joined by commas.

    Raises:
        ProtocolError: If the answer cannot be read.
    """
    root = _response(raw)
    missing = [
        job_id.strip()
        for node in root.iter("NonExistJobIds")
        for job_id in (node.text or "").split(",")
    ]
    return QueryReply(tuple(jobs_of(root)), tuple(filter(None, missing)), request_id)


def job_page(raw: bytes) -> JobPage:
    """Return one page of jobs; a token that is missing, empty or ``-`` ends the listing.

    Raises:
        ProtocolError: If the answer cannot be read.
    """
    root = _response(raw)
    cursor = text_of(root, "NextToken").strip()
    return JobPage(tuple(jobs_of(root)), "" if cursor == "-" else cursor)


def queue_ids(raw: bytes) -> list[str]:
    """Return the ids of a list of queues.

    Raises:
        ProtocolError: If the answer cannot be read.
    """
    nodes = _response(raw).findall("QueueList")
    return [queue_id for node in nodes if (queue_id := text_of(node, "QueueId").strip())]


def jobs_of(root: Element) -> list[RemoteJob]:
    """Return every ``JobsDetail`` with an id directly below ``root``."""
    jobs = [_job(detail) for detail in root if detail.tag == "JobsDetail"]
    return [job for job in jobs if job.job_id]


def _response(raw: bytes) -> Element:
    root = parse(raw, is_lenient=True)
    if root.tag != "Response":
        raise ProtocolError(f"The service answered <{root.tag[:100]}> instead of <Response>.", raw)
    return root


def _job(detail: Element) -> RemoteJob:
    """Read one ``JobsDetail``, however odd: what cannot be read concerns this job alone.

    ``Code`` counts only for a failed job; the samples say "Success" otherwise. ``Message`` counts
    for every job that has ended: the local service notes there what it did with unusual input.
    """
    nodes = {node.tag: node for node in detail}
    leaf = {name: node.text or "" for name, node in nodes.items()}
    word = leaf.get("State", "").strip()
    state = _STATES.get(word, RemoteState.UNKNOWN)
    operation = nodes.get("Operation")
    failed = state is RemoteState.FAILED
    return RemoteJob(
        job_id=leaf.get("JobId", "").strip(),
        state=state,
        code=leaf.get("Code", "").strip() if failed else "",
        message=_message(leaf.get("Message", ""), state),
        queue_id=leaf.get("QueueId", "").strip(),
        created_at=instant(leaf.get("CreationTime", "")),
        started_at=instant(leaf.get("StartTime", "")),
        ended_at=instant(leaf.get("EndTime", "")),
        input_object=text_of(nodes.get("Input"), "Object"),
        user_data=text_of(operation, "UserData"),
        files=_files(operation),
        media_duration_s=_duration(operation),
        state_word=word[:100] if state is RemoteState.UNKNOWN else "",
        progress=_progress(leaf.get("Progress", "")),
    )


def _progress(text: str) -> float | None:
    """Return ``Progress``, which counts from 0 to 100; None if it is missing or implausible."""
    text = text.strip()
    if not (text.isascii() and text.isdecimal() and len(text) <= len("100")):
        return None
    return int(text) / 100 if int(text) <= 100 else None


def _message(text: str, state: RemoteState) -> str:
    """Return the message of a job that has ended; a bare word on success ("Success") is none."""
    text = text.strip()[:2000]
    if state is RemoteState.SUCCEEDED:
        return text if " " in text else ""
    return text if state is RemoteState.FAILED else ""


def _files(operation: Element | None) -> tuple[RemoteFile, ...]:
    """Return the files of ``MediaResult``, not of ``Output``, which may hold a pattern.

    A key is ``ObjectName``, or ``ObjectPrefix`` + ``ObjectName``: both readings are returned, for
    the requested names to choose from. A file may be named in ``Md5Info`` only, which belongs to
    the file of the same name wherever it occurs. A leading slash is not part of a key.
    """
    files: dict[str, str] = {}
    for output in operation.findall("MediaResult/OutputFile") if operation is not None else ():
        prefix = text_of(output, "ObjectPrefix").strip()
        md5s = {
            text_of(info, "ObjectName").strip(): text_of(info, "Md5").strip().lower()
            for info in output.iter("Md5Info")
        }
        named = [(node.text or "").strip() for node in output.findall("ObjectName")]
        for name in filter(None, dict.fromkeys([*named, *md5s])):
            for key in dict.fromkeys((prefix + name, name)):
                md5 = md5s.get(name) or md5s.get(key, "")
                files[key.lstrip("/")] = md5 or files.get(key.lstrip("/"), "")
    return tuple(RemoteFile(key, md5) for key, md5 in files.items())


def _duration(operation: Element | None) -> float | None:
    """Return the length of the result in seconds, as probed by the service."""
    text = text_of(operation.find("MediaInfo/Format"), "Duration") if operation is not None else ""
    try:
        return plausible_duration_s(float(text)) if text else None
    except ValueError:
        return None


@lru_cache(maxsize=256)  # the jobs of one second have the same times
def instant(text: str) -> float | None:
    """Return the seconds since the epoch of a time in any of the vendor's forms.

    The middle is ``T`` or a space, the end ``+0800`` or ``Z``. None for "not yet", and for invalid
    text: an odd time stamp must not make a paid job unreadable.
    """
    text = text.strip()
    if text in _NO_TIME:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    seconds = (when if when.tzinfo else when.replace(tzinfo=_BEIJING)).timestamp()
    # Year 1 and year 9999 are ways to write "not yet".
    return seconds if 0 < seconds < _YEAR_2100 else None

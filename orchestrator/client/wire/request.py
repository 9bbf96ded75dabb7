"""Requests as values, unsigned and ready to send, and the answer to one, unread."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from orchestrator.client.wire.hosts import Api, host
from orchestrator.client.wire.signature import authorization, url_encode
from orchestrator.domain.remote import RemoteState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.client.wire.signature import SigningKey
    from orchestrator.domain.remote import JobFilter
    from orchestrator.domain.spec import Place

MAX_IDS = 10
"""Most job ids of one query (page 1045/73113)."""
MAX_LIST_SIZE = 100
"""Largest page of a job listing."""

JOB_TYPE = "VoiceSeparate"
"""The vendor's ``Tag`` of the jobs that this program makes."""
_BEIJING = timezone(timedelta(hours=8))  # every time in the vendor's samples is +0800

STATE_WORDS: dict[RemoteState, str] = {
    RemoteState.SUBMITTED: "Submitted",
    RemoteState.RUNNING: "Running",
    RemoteState.SUCCEEDED: "Success",
    RemoteState.FAILED: "Failed",
    RemoteState.PAUSED: "Pause",
    RemoteState.CANCELLED: "Cancel",
}
"""The vendor's words for the states of a job."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, before it is signed.

    Attributes:
        api: The API.
        place: The bucket; it becomes the host name.
        method: HTTP method.
        path: Decoded path, with its leading slash.
        params: Decoded query parameters, in the order of the wire.
        headers: Lowercase names and values, all of them signed; without host, token and
            authorization.
        body: Content, or empty.
    """

    api: Api
    place: Place
    method: str
    path: str
    params: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class PreparedRequest(NamedTuple):
    """A signed request.

    Attributes:
        method: HTTP method.
        url: URL, percent-encoded; it must not be encoded again.
        headers: Values by name.
        body: Content, or empty.
    """

    method: str
    url: str
    headers: dict[str, str]
    body: bytes = b""

    def __repr__(self) -> str:
        """Show method and URL only: authorization and token are among the headers."""
        return f"PreparedRequest({self.method} {self.url})"


class Answer(NamedTuple):
    """An answer; header names are looked up without regard to case.

    Attributes:
        status: HTTP status.
        headers: Headers.
        body: The whole body; empty if it was cut off.
        is_whole: False if the connection was lost in the body of an error.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    is_whole: bool = True

    @property
    def is_success(self) -> bool:
        """True for a status of 2xx."""
        return 200 <= self.status < 300


def prepare(request: Request, key: SigningKey, base_url: str | None = None) -> PreparedRequest:
    """Sign a request and give it its address.

    Args:
        request: The request.
        key: Key of the present period.
        base_url: URL to send it to instead of the vendor's https host, for example
            ``http://127.0.0.1:8080``. The signed ``Host`` stays the vendor's.
    """
    name = host(request.api, request.place)
    headers = {"host": name, **request.headers}
    if key.token:
        headers[request.api.token_header] = key.token
    headers["authorization"] = authorization(
        key, request.method, request.path, request.params, headers
    )
    url = f"{base_url or 'https://' + name}{quote(request.path, safe='/-_.~,')}"
    if request.params:
        url = f"{url}?{'&'.join([_pair(name, value) for name, value in request.params.items()])}"
    return PreparedRequest(request.method, url, headers, request.body)


def _pair(name: str, value: str) -> str:
    """Encode one query parameter as the pages do: ``?cancel`` has no equals sign."""
    return f"{url_encode(name)}={url_encode(value)}" if value else url_encode(name)


# --- jobs -----------------------------------------------------------------------------------------


def query_request(place: Place, job_ids: Sequence[str]) -> Request:
    """``GET /jobs/<id>,<id>...``, one to ten ids of one bucket.

    Raises:
        ValueError: If there are none, or more than ten.
    """
    if not 1 <= len(job_ids) <= MAX_IDS:
        raise ValueError(f"A query takes 1 to {MAX_IDS} job ids, not {len(job_ids)}.")
    return Request(Api.CI, place, "GET", f"/jobs/{','.join(job_ids)}")


def list_request(place: Place, wanted: JobFilter, next_token: str = "") -> Request:
    """``GET /jobs?...``: one page. Parameters that do not filter are left out.

    Raises:
        ValueError: If the page size is not 1 to 100.
    """
    if not 1 <= wanted.size <= MAX_LIST_SIZE:
        raise ValueError(f"A page of jobs has 1 to {MAX_LIST_SIZE} entries, not {wanted.size}.")
    params = {
        "queueId": wanted.queue_id,
        "tag": JOB_TYPE,
        "orderByTime": "Asc" if wanted.oldest_first else "Desc",
        "nextToken": next_token,
        "size": str(wanted.size),
        "states": ",".join(STATE_WORDS[state] for state in wanted.states),
        "startCreationTime": wire_time(wanted.created_from),
        "endCreationTime": wire_time(wanted.created_to),
        "inputObject": wanted.input_object,
    }
    return Request(
        Api.CI, place, "GET", "/jobs", {name: value for name, value in params.items() if value}
    )


def queues_request(place: Place, path: str) -> Request:
    """``GET /queue`` or ``GET /asrqueue``: the queues of a bucket.

    Pages "media-queue" and 1045/73366. There are few: one page is enough.
    """
    return Request(Api.CI, place, "GET", path, {"pageNumber": "1", "pageSize": "100"})


def cancel_request(place: Place, job_id: str) -> Request:
    """``PUT /jobs/<id>?cancel``, without a body."""
    return Request(Api.CI, place, "PUT", f"/jobs/{job_id}", {"cancel": ""}, {"content-length": "0"})


def wire_time(instant: float | None) -> str:
    """Format an instant as the API does (``2024-05-01T10:00:00+0800``); empty for None."""
    return (
        ""
        if instant is None
        else datetime.fromtimestamp(int(instant), _BEIJING).strftime("%Y-%m-%dT%H:%M:%S%z")
    )


# --- objects --------------------------------------------------------------------------------------


def head_request(place: Place, key: str) -> Request:
    """``HEAD /<key>``."""
    return Request(Api.COS, place, "HEAD", f"/{key}")


def head_bucket_request(place: Place) -> Request:
    """``HEAD /``."""
    return Request(Api.COS, place, "HEAD", "/")


def list_objects_request(
    place: Place, prefix: str, marker: str = "", max_keys: int = 1000
) -> Request:
    """``GET /``: one page of keys, url-encoded because XML cannot carry every character."""
    params = {"prefix": prefix, "marker": marker, "max-keys": str(max_keys), "encoding-type": "url"}
    return Request(
        Api.COS, place, "GET", "/", {name: value for name, value in params.items() if value}
    )

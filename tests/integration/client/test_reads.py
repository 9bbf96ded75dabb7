"""Queries, lists, cancelling and objects over real sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.client.credentials import Static
from orchestrator.client.endpoint import Endpoint, Timeouts
from orchestrator.client.service import CloudService
from orchestrator.client.wire.signature import Credentials
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.remote import JobFilter, ListedObject, ObjectHead, RemoteState
from orchestrator.domain.spec import Place
from orchestrator.errors import (
    BucketRefused,
    ConnectFailed,
    ProtocolError,
    Rejected,
    Throttled,
    TunnelRefused,
    UnprovenAnswer,
)

if TYPE_CHECKING:
    from tests.integration.client.conftest import Connect, Wire

PLACE = Place("examplebucket-1250000000", "ap-chongqing")
JOBS = b"""<Response><JobsDetail><JobId>j1</JobId><State>Running</State></JobsDetail>
<JobsDetail><JobId>j2</JobId><State>Success</State></JobsDetail><NonExistJobIds>j3</NonExistJobIds><NextToken>n2</NextToken></Response>"""
LISTING = b"""<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
<NextMarker>in/b%20c</NextMarker>
<Contents><Key>in/b%20c</Key><Size>3</Size><ETag>"e"</ETag></Contents></ListBucketResult>"""


async def test_a_query_returns_jobs_and_missing_ids(wire: Wire, service: CloudService) -> None:
    wire.answers = [wire.http("200 OK", JOBS, x_ci_request_id="r")]

    reply = await service.query(PLACE, ["j1", "j2", "j3"])

    assert [(job.job_id, job.state) for job in reply.jobs] == [
        ("j1", RemoteState.RUNNING),
        ("j2", RemoteState.SUCCEEDED),
    ]
    assert (reply.missing, reply.request_id) == (("j3",), "r")
    assert wire.received[0].target == "/jobs/j1,j2,j3"


async def test_a_list_returns_a_page_and_the_token_of_the_next(
    wire: Wire, service: CloudService
) -> None:
    wire.answers = [wire.http("200 OK", JOBS)]

    page = await service.list_jobs(PLACE, JobFilter(states=(RemoteState.RUNNING,), size=10), "n1")

    assert (len(page.jobs), page.next_token) == (2, "n2")
    assert (
        wire.received[0].target
        == "/jobs?tag=VoiceSeparate&orderByTime=Desc&nextToken=n1&size=10&states=Running"
    )


async def test_a_job_is_cancelled_by_an_empty_put(wire: Wire, service: CloudService) -> None:
    wire.answers = [
        wire.http("200 OK"),
        wire.error("400 Bad Request", "InvalidArgument", "The job provided can not be modified"),
    ]

    await service.cancel(PLACE, "j1")
    with pytest.raises(Rejected, match="can not be modified"):
        await service.cancel(PLACE, "j1")

    assert (wire.received[0].method, wire.received[0].target) == ("PUT", "/jobs/j1?cancel")
    assert wire.received[0].headers["content-length"] == "0"
    assert "content-type" not in wire.received[0].headers


async def test_a_head_returns_the_properties_of_an_object_or_none(
    wire: Wire, service: CloudService
) -> None:
    wire.answers = [
        (
            b'HTTP/1.1 200 OK\r\nContent-Length: 219263\r\nETag: "e"\r\n'
            b"Content-Type: audio/mpeg\r\nx-cos-hash-crc64ecma: 7\r\n\r\n"
        ),
        b"HTTP/1.1 404 Not Found\r\nx-cos-request-id: r1\r\nContent-Length: 300\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 300\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nx-cos-request-id: r1\r\n\r\n",
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
    ]

    assert await service.head(PLACE, "a") == ObjectHead(219263, "e", "audio/mpeg", None, "7")
    assert await service.head(PLACE, "a") is None
    with pytest.raises(UnprovenAnswer):
        await service.head(PLACE, "a")
    with pytest.raises(BucketRefused):
        await service.head(PLACE, "a")
    with pytest.raises(Throttled):
        await service.head(PLACE, "a")
    assert {request.headers["host"] for request in wire.received} == {
        "examplebucket-1250000000.cos.ap-chongqing.myqcloud.com"
    }
    assert wire.received[0].headers["x-cos-security-token"] == "the-session-token"


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("音乐/a b+c(1).mp3", "/%E9%9F%B3%E4%B9%90/a%20b%2Bc%281%29.mp3"),
        ("a//b/../c/./d", "/a//b/../c/./d"),
        ("a?b#c%2F&d=e", "/a%3Fb%23c%252F%26d%3De"),
        ("/leading", "//leading"),
    ],
)
async def test_keys_reach_the_wire_unchanged(
    wire: Wire, service: CloudService, key: str, target: str
) -> None:
    """Nothing collapses slashes or dots, or encodes twice: the signature would not fit."""
    wire.answers = [wire.http("200 OK")]

    await service.head(PLACE, key)

    assert wire.received[0].target == target


async def test_a_bucket_is_listed_by_pages(wire: Wire, service: CloudService) -> None:
    wire.answers = [wire.http("200 OK", LISTING)]

    page = await service.list_objects(PLACE, "in/", "in/a", 1)

    assert (page.objects, page.next_marker) == ((ListedObject("in/b c", 3, "e"),), "in/b c")
    assert wire.received[0].target == "/?prefix=in%2F&marker=in%2Fa&max-keys=1&encoding-type=url"


@pytest.mark.parametrize("body", [b"", b"<html/>", b"<!DOCTYPE x><Response/>"])
async def test_an_unreadable_answer_is_a_protocol_error(
    wire: Wire, service: CloudService, body: bytes
) -> None:
    wire.answers = [wire.http("200 OK", body)]

    with pytest.raises(ProtocolError):
        await service.query(PLACE, ["j1"])
    with pytest.raises(ProtocolError):
        await service.list_jobs(PLACE, JobFilter())
    with pytest.raises(ProtocolError):
        await service.list_objects(PLACE, "")


async def test_a_read_on_a_kept_connection_that_dies_is_repeated_unlike_a_post(
    wire: Wire, service: CloudService
) -> None:
    """Idempotent methods are repeated by aiohttp; another test shows that POST is not."""
    wire.answers = [wire.http("200 OK", JOBS), None, wire.http("200 OK", JOBS)]

    await service.query(PLACE, ["j1"])
    reply = await service.query(PLACE, ["j1"])

    assert len(reply.jobs) == 2
    assert len(wire.received) == 3


class Impatient(SystemClock):
    """Clock that records sleeps instead of sleeping."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def sleep(self, delay_s: float) -> None:
        self.asked.append(delay_s)


async def test_a_read_whose_connection_cannot_be_made_is_tried_three_times_and_a_submit_once(
    connect: Connect, spec: object
) -> None:
    clock = Impatient()
    credentials = Static(Credentials("AKID", "s"))
    async with CloudService(
        Endpoint("http://127.0.0.1:1", "http://127.0.0.1:1"),
        credentials,
        clock,
        timeouts=Timeouts(1, 2),
    ) as service:
        with pytest.raises(ConnectFailed):
            await service.query(PLACE, ["j1"])
        assert len(clock.asked) == 2
        with pytest.raises(ConnectFailed):
            await service.submit(spec)  # type: ignore[arg-type]  # the fixture's job
        assert len(clock.asked) == 2


async def test_an_error_answer_is_not_tried_again(wire: Wire, service: CloudService) -> None:
    wire.answers = [wire.error("500 Internal Server Error", "InternalError")]

    with pytest.raises(Exception, match="InternalError"):
        await service.query(PLACE, ["j1"])

    assert len(wire.received) == 1


async def test_the_environments_proxy_is_used_but_never_for_this_machine(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, secrets: tuple[str, ...]
) -> None:
    """The vendor is reached through CONNECT; if the proxy refuses, nothing was sent."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, wire.url)
    monkeypatch.setenv("no_proxy", "")
    wire.answers = [wire.http("407 Proxy Authentication Required"), wire.http("200 OK", JOBS)]
    credentials = Static(Credentials("AKID", *secrets[:2]))

    async with CloudService(Endpoint(), credentials, Impatient()) as vendor:
        with pytest.raises(TunnelRefused, match="HTTPS_PROXY") as caught:
            await vendor.cancel(PLACE, "j1")
    async with CloudService(Endpoint(wire.url, wire.url), credentials, Impatient()) as local:
        await local.query(PLACE, ["j1"])

    assert (wire.received[0].method, wire.received[0].target) == (
        "CONNECT",
        "examplebucket-1250000000.ci.ap-chongqing.myqcloud.com:443",
    )
    assert "authorization" not in wire.received[0].headers
    assert "x-ci-security-token" not in wire.received[0].headers
    assert wire.received[1].target == "/jobs/j1"
    assert caught.value.__cause__ is None

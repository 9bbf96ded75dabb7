"""Every end of one POST, over real sockets: its proof, and that it was one POST."""

from __future__ import annotations

import asyncio
import logging
import socket
import traceback
from typing import TYPE_CHECKING, NoReturn

import pytest

from orchestrator.client.endpoint import Timeouts
from orchestrator.domain.remote import RemoteState
from orchestrator.errors import (
    ApiError,
    AuthRejected,
    BucketRefused,
    BucketUnknown,
    ClockSkewed,
    ConnectFailed,
    CredentialsExpired,
    NotFound,
    OrchestratorError,
    ProtocolError,
    QueueUnavailable,
    RefusedForNow,
    Rejected,
    ReplyTimeout,
    SendInDoubt,
    ServerFault,
    Throttled,
    UnprovenAnswer,
)

if TYPE_CHECKING:
    from orchestrator.client.service import CloudService
    from orchestrator.domain.spec import JobSpec
    from tests.integration.client.conftest import Connect, Wire


async def hang(writer: asyncio.StreamWriter) -> None:
    """Say nothing until the client closes the connection."""
    await writer.wait_closed()


async def test_an_accepted_job_is_answered_with_its_id_and_the_request_id(
    wire: Wire, service: CloudService, spec: JobSpec
) -> None:
    wire.answers = [wire.accepted]

    reply = await service.submit(spec)

    assert (reply.job.job_id, reply.job.state, reply.job.user_data, reply.request_id) == (
        "j1",
        RemoteState.SUBMITTED,
        "v1.key",
        "req-1",
    )
    request = wire.received[0]
    assert (request.method, request.target) == ("POST", "/jobs")
    assert request.headers["host"] == "examplebucket-1250000000.ci.ap-chongqing.myqcloud.com"
    assert request.headers["content-type"] == "application/xml"
    assert request.headers["x-ci-security-token"] == "the-session-token"
    assert "accept-encoding" in request.headers
    assert (
        "q-header-list=content-length;content-type;host;x-ci-security-token"
        in request.headers["authorization"]
    )


REFUSALS: list[tuple[str, str, type[ApiError]]] = [
    ("400 Bad Request", "InvalidArgument", Rejected),
    ("400 Bad Request", "ResourceNotFound", NotFound),
    ("400 Bad Request", "ResourceDownloadFailed", RefusedForNow),
    ("401 Unauthorized", "SecretidNotExist", AuthRejected),
    ("401 Unauthorized", "SignatureExpired", AuthRejected),
    ("403 Forbidden", "AccessDenied", BucketRefused),
    ("404 Not Found", "NoSuchBucket", BucketUnknown),
    ("403 Forbidden", "QueueSaturated", QueueUnavailable),
    ("403 Forbidden", "QueuePaused", QueueUnavailable),
    ("404 Not Found", "QueueNotFound", NotFound),
    ("429 Too Many Requests", "SlowDown", Throttled),
    ("503 Service Unavailable", "SlowDown", Throttled),
    ("500 Internal Server Error", "InternalError", ServerFault),
    ("503 Service Unavailable", "ServiceUnavailable", ServerFault),
]


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    REFUSALS,
    ids=[f"{status[:3]}-{code}" for status, code, _ in REFUSALS],
)
async def test_an_error_answer_is_raised_by_its_code_after_one_post(
    wire: Wire,
    service: CloudService,
    spec: JobSpec,
    status: str,
    code: str,
    expected: type[ApiError],
) -> None:
    wire.answers = [wire.error(status, code, x_ci_request_id="req-7")]

    with pytest.raises(ApiError) as caught:
        await service.submit(spec)

    assert type(caught.value) is expected
    assert (caught.value.answer.code, caught.value.answer.request_id) == (code, "req-7")
    assert len(wire.received) == 1


async def test_retry_after_is_passed_on(wire: Wire, service: CloudService, spec: JobSpec) -> None:
    wire.answers = [
        wire.error("429 Too Many Requests", "SlowDown", Retry_After="7"),
        wire.error("429 Too Many Requests", "SlowDown"),
    ]

    for expected in (7.0, None):
        with pytest.raises(Throttled) as caught:
            await service.submit(spec)
        assert caught.value.retry_after_s == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>OK</html>",
        b"<Response/>",
        b"<Response><JobsDetail><JobId>j1</JobId>",
        b"<Response><JobsDetail><State>Submitted</State></JobsDetail></Response>",
        b"<Error><Code>InternalError</Code></Error>",
        b"\x00\xff" * 1000,
    ],
    ids=["empty", "html", "no job", "cut", "no id", "error", "bytes"],
)
async def test_a_success_that_names_no_job_is_in_doubt(
    wire: Wire, service: CloudService, spec: JobSpec, body: bytes
) -> None:
    wire.answers = [wire.http("200 OK", body)]

    with pytest.raises(SendInDoubt, match=r"song\.mp3.*was sent") as caught:
        await service.submit(spec)

    assert isinstance(caught.value.__cause__, ProtocolError)
    assert len(wire.received) == 1


async def test_the_answer_to_another_jobs_request_leaves_this_one_in_doubt(
    wire: Wire, service: CloudService, spec: JobSpec
) -> None:
    """With its id, that job would be tracked twice, and this one, which is paid for, never."""
    wire.answers = [wire.accepted.replace(b"v1.key", b"v1.yek")]

    with pytest.raises(SendInDoubt, match=r"v1\.yek, which is another job"):
        await service.submit(spec)

    assert len(wire.received) == 1


@pytest.mark.parametrize("user_data", [b"", b"v1.k", b"v1.key and more", b"batch=42"])
async def test_a_service_that_changes_user_data_is_believed_about_its_job(
    wire: Wire, service: CloudService, spec: JobSpec, user_data: bytes
) -> None:
    """A list would not find such a job by its key: a job in doubt would be paid for twice."""
    wire.answers = [
        wire.http("200 OK", wire.accepted.partition(b"\r\n\r\n")[2].replace(b"v1.key", user_data))
    ]

    assert (await service.submit(spec)).job.job_id == "j1"


async def test_an_answer_that_is_too_large_is_in_doubt_and_not_read_to_its_end(
    wire: Wire, service: CloudService, spec: JobSpec
) -> None:
    sent = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while sent < 1_000_000_000:
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    wire.answers = [flood]

    with pytest.raises(SendInDoubt, match="larger than"):
        await service.submit(spec)
    assert sent < 50_000_000


async def close_at_once(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
    )
    writer.transport.abort()


async def close_in_the_head(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    await writer.drain()
    writer.close()


async def close_in_the_body(writer: asyncio.StreamWriter) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n<Response><JobsDetail><JobId>j1</JobId>"
    )
    await writer.drain()
    writer.close()


async def close_in_a_chunk(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n<Resp\r\n9\r\non")
    await writer.drain()
    writer.close()


async def close_without_a_length(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n<Response><JobsDetail><JobId>j1</JobId>")
    await writer.drain()
    writer.close()


async def nonsense(writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example.com ESMTP\r\n\r\n")
    await writer.drain()


LOST = [
    close_at_once,
    reset,
    close_in_the_head,
    close_in_the_body,
    close_in_a_chunk,
    close_without_a_length,
    nonsense,
]


@pytest.mark.parametrize("end", LOST, ids=lambda end: end.__name__)
async def test_a_connection_lost_after_the_request_leaves_it_in_doubt_after_one_post(
    wire: Wire, service: CloudService, spec: JobSpec, end: object
) -> None:
    """Neither aiohttp nor our code sends it again."""
    wire.answers = [end]  # type: ignore[list-item]  # one of the functions above

    with pytest.raises(SendInDoubt) as caught:
        await service.submit(spec)

    assert type(caught.value) is SendInDoubt
    assert [request.method for request in wire.received] == ["POST"]
    assert wire.connections == 1


@pytest.mark.parametrize("end", [close_at_once, reset, None], ids=["close", "reset", "eof"])
async def test_a_post_on_a_kept_connection_that_closes_is_not_repeated(
    wire: Wire, service: CloudService, spec: JobSpec, end: object
) -> None:
    """Idempotent methods are repeated here: a connection of the pool turns out to be dead."""
    wire.answers = [wire.accepted, end]  # type: ignore[list-item]  # one of the functions above

    await service.submit(spec)
    with pytest.raises(SendInDoubt):
        await service.submit(spec)

    assert [request.method for request in wire.received] == ["POST", "POST"]
    assert wire.connections == 1


async def half_an_answer(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n<Response>")
    await hang(writer)


@pytest.mark.parametrize(
    "silence", [hang, half_an_answer], ids=["before the answer", "in the answer"]
)
async def test_silence_is_a_reply_timeout_after_exactly_one_post(
    wire: Wire, hasty: CloudService, spec: JobSpec, silence: object
) -> None:
    wire.answers = [silence]  # type: ignore[list-item]  # one of the functions above

    with pytest.raises(ReplyTimeout, match="no whole answer in time"):
        await hasty.submit(spec)

    assert len(wire.received) == 1


async def test_an_answer_that_never_ends_is_cut_off_at_the_total(
    wire: Wire, hasty: CloudService, spec: JobSpec
) -> None:
    async def trickle(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)  # noqa: TID251 - a slow server is what is tested

    wire.answers = [trickle]

    with pytest.raises(ReplyTimeout):
        await hasty.submit(spec)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("400 Bad Request", UnprovenAnswer),
        ("403 Forbidden", UnprovenAnswer),
        ("429 Too Many Requests", Throttled),
        ("500 Internal Server Error", ServerFault),
    ],
)
async def test_an_error_whose_body_is_lost_proves_nothing_about_the_job(
    wire: Wire, service: CloudService, spec: JobSpec, status: str, kind: type[ApiError]
) -> None:
    async def cut(writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status}\r\nx-ci-request-id: r1\r\nContent-Length: 500\r\n\r\n"
        writer.write(head.encode() + b"<Error>")
        await writer.drain()
        writer.close()

    wire.answers = [cut]

    with pytest.raises(kind) as caught:
        await service.submit(spec)

    assert not caught.value.answer.is_vendors


@pytest.mark.parametrize(
    "status",
    [
        "301 Moved Permanently",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ],
)
async def test_a_redirect_is_not_followed_and_is_a_refusal_only_of_the_vendor(
    wire: Wire, service: CloudService, spec: JobSpec, status: str
) -> None:
    there = f"{wire.url}/elsewhere"
    wire.answers = [wire.http(status, Location=there, x_ci_request_id="r1")]
    with pytest.raises(BucketUnknown, match=r"elsewhere.*not followed"):
        await service.submit(spec)

    wire.answers = [wire.http(status, b"<html>Log in</html>", Location=there)]
    with pytest.raises(UnprovenAnswer, match=r"proxy or gateway.*leads to.*elsewhere"):
        await service.submit(spec)

    assert [request.target for request in wire.received] == ["/jobs"] * 2


@pytest.mark.parametrize(
    "status",
    [
        "400 Bad Request", "401 Unauthorized", "403 Forbidden", "404 Not Found", "408 Timeout",
        "409 Conflict", "429 Too Many Requests", "451 Legal", "499 Closed",
    ],
)  # fmt: skip
async def test_a_refusal_by_something_on_the_way_leaves_the_job_in_doubt(
    wire: Wire, service: CloudService, spec: JobSpec, status: str
) -> None:
    wire.answers = [wire.http(status, b"<html>Go away</html>", x_request_id="r1")]

    with pytest.raises(ApiError) as caught:
        await service.submit(spec)

    assert not caught.value.answer.is_vendors
    assert len(wire.received) == 1


async def test_a_refused_connection_means_that_nothing_was_sent(
    connect: Connect, spec: JobSpec
) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound, but not listening
        async with connect(f"http://127.0.0.1:{reserved.getsockname()[1]}") as service:
            with pytest.raises(ConnectFailed, match="nothing was sent"):
                await service.submit(spec)


async def test_a_name_that_does_not_resolve_means_that_nothing_was_sent(
    connect: Connect, spec: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # no question may leave this machine
    async with connect("http://ci.invalid") as service:
        with pytest.raises(ConnectFailed, match="Name or service not known"):
            await service.submit(spec)


async def test_a_server_that_speaks_no_tls_means_that_nothing_was_sent(
    wire: Wire, connect: Connect, spec: JobSpec
) -> None:
    async with connect(wire.url.replace("http:", "https:")) as service:
        with pytest.raises(ConnectFailed):
            await service.submit(spec)

    assert wire.received == []


async def test_no_free_connection_in_time_means_that_nothing_was_sent(
    wire: Wire, connect: Connect, spec: JobSpec
) -> None:
    wire.answers = [hang]
    async with connect(
        wire.url, connections=1, timeouts=Timeouts(connect_s=0.1, total_s=2.0)
    ) as service:
        first = asyncio.ensure_future(service.submit(spec))
        await wire.arrived.wait()
        with pytest.raises(ConnectFailed):
            await service.submit(spec)
        assert len(wire.received) == 1
        first.cancel()
        await asyncio.wait([first])


async def test_a_connection_that_is_not_made_in_time_means_that_nothing_was_sent(
    connect: Connect, spec: JobSpec
) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = deaf.getsockname()
        fillers = []
        for _ in range(4):  # fill the queue of unaccepted connections: the next one has to wait
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            fillers.append(filler)
        try:
            async with connect(
                f"http://127.0.0.1:{address[1]}",
                timeouts=Timeouts(connect_s=0.2, total_s=2.0),
            ) as service:
                with pytest.raises(ConnectFailed, match="Timeout"):
                    await service.submit(spec)
        finally:
            for filler in fillers:
                filler.close()


async def test_connections_are_kept_and_shared(wire: Wire, connect: Connect, spec: JobSpec) -> None:
    wire.answers = [wire.accepted]
    async with connect(wire.url, connections=3) as service:
        for _ in range(5):
            await asyncio.gather(*(service.submit(spec) for _ in range(10)))

    assert len(wire.received) == 50
    assert wire.connections <= 3


async def test_a_cancelled_submit_gives_its_connection_back(
    wire: Wire, connect: Connect, spec: JobSpec
) -> None:
    wire.answers = [hang, wire.accepted]
    async with connect(wire.url, connections=1) as service:
        task = asyncio.ensure_future(service.submit(spec))
        await wire.arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert (await service.submit(spec)).job.job_id == "j1"


async def test_a_clock_that_differs_is_corrected_by_the_answers_date_for_the_next_request(
    wire: Wire, service: CloudService, spec: JobSpec
) -> None:
    wire.answers = [
        wire.error("401 Unauthorized", "SignatureExpired", Date="Wed, 01 May 2024 02:00:00 GMT"),
        wire.accepted,
    ]

    with pytest.raises(ClockSkewed):
        await service.submit(spec)
    await service.submit(spec)

    assert service.clock_offset_s < 0
    assert "q-sign-time=17145287" in wire.received[1].headers["authorization"]
    assert len(wire.received) == 2


async def test_an_expired_key_that_cannot_be_renewed_stops_the_run(
    wire: Wire, service: CloudService, spec: JobSpec
) -> None:
    wire.answers = [wire.error("400 Bad Request", "ExpiredToken")]

    with pytest.raises(AuthRejected, match="temporary key has expired") as caught:
        await service.submit(spec)
    assert not isinstance(caught.value, CredentialsExpired)


@pytest.mark.parametrize(
    "end",
    [*LOST, hang, "refused", "tls", "auth", "garbage"],
    ids=lambda end: getattr(end, "__name__", end),
)
async def test_no_failure_shows_a_secret(
    wire: Wire,
    connect: Connect,
    spec: JobSpec,
    secrets: tuple[str, ...],
    caplog: pytest.LogCaptureFixture,
    end: object,
) -> None:
    """Neither the error, nor its chain of causes, nor any log line at any level."""
    caplog.set_level(logging.DEBUG)
    named = {
        "auth": wire.error("401 Unauthorized", "SignatureDoesNotMatch"),
        "garbage": wire.http("200 OK", b"?"),
    }
    wire.answers = [named.get(end) if isinstance(end, str) else end]  # type: ignore[list-item]  # one of the functions above
    url = {"refused": "http://127.0.0.1:1", "tls": wire.url.replace("http:", "https:")}.get(
        str(end), wire.url
    )
    async with connect(url, timeouts=Timeouts(0.35, 0.4)) as service:
        with pytest.raises(OrchestratorError) as caught:
            await service.submit(spec)

    chain: list[BaseException] = [caught.value]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and not chain[
        -1
    ].__suppress_context__:
        chain.append(cause)
    shown = "".join(
        [
            *traceback.format_exception(caught.value),
            *map(repr, chain),
            caplog.text,
            repr(service),
            *map(repr, vars(caught.value).values()),
        ]
    )
    for secret in secrets:
        assert secret not in shown

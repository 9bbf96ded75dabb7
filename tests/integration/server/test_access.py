"""Permissions, and answers to hostile and broken requests."""

from __future__ import annotations

import asyncio
import base64
import gc
import gzip
import hashlib
import logging
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from aiohttp.web_protocol import RequestHandler
from yarl import URL

from orchestrator.domain.clock import SystemClock
from orchestrator.server.http.key_pairs import Grant, KeyPair

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.server.conftest import Bench, Benches

CI = "media-1250000000.ci.ap-chongqing.myqcloud.com"
COS = "media-1250000000.cos.ap-chongqing.myqcloud.com"


@pytest.mark.parametrize(
    ("authorization", "ci", "cos"),
    [
        ("", (401, "MissingAuthorization"), (403, "AccessDenied")),
        ("nonsense", (401, "InvalidAuthorization"), (401, "InvalidAuthorization")),
        ("q-sign-algorithm=md5", (401, "InvalidAuthorization"), (401, "InvalidAuthorization")),
    ],
)
async def test_unsigned_and_malformed_requests_have_different_codes(
    bench: Bench, authorization: str, ci: tuple[int, str], cos: tuple[int, str]
) -> None:
    jobs = await bench.raw("GET", "/jobs", authorization=authorization)
    objects = await bench.raw("GET", "/", host=COS, authorization=authorization)

    assert (jobs.status, ci[1] in jobs.text) == (ci[0], True)
    assert (objects.status, cos[1] in objects.text) == (cos[0], True)


async def test_unknown_keys_have_their_own_code_on_each_side(bench: Bench) -> None:
    other = KeyPair("AKIDOTHER", "x")

    jobs = await bench.raw("GET", "/jobs", keys=other)
    objects = await bench.raw("GET", "/", host=COS, keys=other)

    assert (jobs.status, "SecretidNotExist" in jobs.text) == (401, True)
    assert (objects.status, "InvalidAccessKeyId" in objects.text) == (403, True)


async def test_expired_and_future_signatures_are_answered_with_the_servers_time(
    bench: Bench,
) -> None:
    now = int(SystemClock().now())

    over = await bench.raw("GET", "/jobs", window=(now - 100, now - 10))
    over_cos = await bench.raw("GET", "/", host=COS, window=(now - 100, now - 10))
    early = await bench.raw("GET", "/jobs", window=(now + 5000, now + 6000))

    assert (over.status, "<Code>SignatureExpired</Code>" in over.text) == (401, True)
    assert (over_cos.status, "<Message>Request has expired</Message>" in over_cos.text) == (
        403,
        True,
    )
    assert (early.status, "<Code>RequestTimeTooSkewed</Code>" in early.text) == (403, True)
    for answer in (over, over_cos, early):
        assert "<ServerTime>" in answer.text


async def test_a_signature_may_be_in_the_query(bench: Bench) -> None:
    now = int(SystemClock().now())
    text = bench.sign(
        "GET", "/jobs", {}, {"host": CI}, keys=bench.keys, start=now - 60, end=now + 60
    )
    query = "&".join(
        f"{name}={quote(value, safe='')}"
        for name, _, value in (part.partition("=") for part in text.split("&"))
    )
    url = f"{bench.service.url}/jobs?{query}"

    async with bench.http.get(URL(url, encoded=True), headers={"Host": CI}) as good:
        assert good.status == 200
    async with bench.http.get(
        URL(url.replace("q-signature=", "q-signature=0"), encoded=True), headers={"Host": CI}
    ) as bad:
        assert bad.status == 401


async def test_temporary_keys_need_their_token_in_either_header(start: Benches) -> None:
    keys = KeyPair("AKIDTEMP", "secret", "token-1")
    bench = await start(credentials=(keys,))

    without = await bench.raw("GET", "/jobs", keys=keys)
    unsigned = await bench.raw("GET", "/jobs", keys=keys, token="token-1")
    signed = await bench.raw("GET", "/jobs", keys=keys, headers={"x-cos-security-token": "token-1"})
    wrong = await bench.raw("GET", "/jobs", keys=keys, headers={"x-cos-security-token": "token-2"})

    assert [answer.status for answer in (without, unsigned, signed, wrong)] == [401, 200, 200, 401]


async def test_key_pairs_may_be_bound_to_buckets_and_to_reading(
    start: Benches, job_body: Callable[..., str]
) -> None:
    full = KeyPair("AKIDFULL", "a")
    reader = KeyPair("AKIDREAD", "b", grants=(Grant("media-*", write=False),))
    inside = KeyPair("AKIDIN", "c", grants=(Grant("media-*"), Grant("*", read=False, write=False)))
    bench = await start(credentials=(full, reader, inside))
    await bench.raw("PUT", "/a", host=COS, body=b"x", keys=full)

    may_read = await bench.raw("GET", "/a", host=COS, keys=reader)
    may_not_write = await bench.raw("PUT", "/a", host=COS, body=b"y", keys=reader)
    may_not_submit = await bench.raw("POST", "/jobs", body=job_body(), keys=reader)
    elsewhere = job_body().replace("<Bucket>media-1250000000", "<Bucket>other-1250000000")
    may_not_target = await bench.raw("POST", "/jobs", body=elsewhere, keys=inside)
    may_not_list = await bench.raw("GET", "/", host=COS.replace("media", "other"), keys=inside)

    assert may_read.body == b"x"
    assert (may_not_write.status, "AccessDenied" in may_not_write.text) == (403, True)
    assert (may_not_submit.status, "AccessDenied" in may_not_submit.text) == (401, True)
    assert "WriteTargetBucketDenied" in may_not_target.text
    assert may_not_list.status == 403


async def test_bodies_are_bounded_and_their_md5_is_checked(
    start: Benches, job_body: Callable[..., str]
) -> None:
    bench = await start(max_body_bytes=2000, max_object_bytes=1000)
    wrong = base64.b64encode(hashlib.md5(b"other", usedforsecurity=False).digest()).decode()

    large = await bench.raw("POST", "/jobs", body="x" * 2001)
    mismatch = await bench.raw("POST", "/jobs", body=job_body(), headers={"Content-MD5": wrong})
    huge = await bench.raw("PUT", "/a", host=COS, body=b"x" * 1001)

    assert (large.status, "InvalidContent" in large.text) == (413, True)
    assert (mismatch.status, "InvalidContent" in mismatch.text) == (400, True)
    assert (huge.status, "EntityTooLarge" in huge.text) == (400, True)
    assert not (bench.root / "media-1250000000" / "a").exists()


async def test_a_compressed_body_is_not_unpacked(
    bench: Bench, job_body: Callable[..., str]
) -> None:
    answer = await bench.raw(
        "POST", "/jobs", body=gzip.compress(b" " * 10_000_000), headers={"Content-Encoding": "gzip"}
    )

    assert (answer.status, "InvalidContent" in answer.text) == (400, True)


async def test_hosts_that_name_no_bucket_are_refused(bench: Bench) -> None:
    plain = await bench.raw("GET", "/jobs", host="127.0.0.1:1")
    region_only = await bench.raw("GET", "/jobs", host="ci.ap-chongqing.myqcloud.com")
    evil = await bench.raw("GET", "/", host="..cos.ap-chongqing.myqcloud.com")

    assert (plain.status, "InvalidHost" in plain.text) == (400, True)
    assert (region_only.status, "InvalidHost" in region_only.text) == (400, True)
    assert evil.status in {400, 404}


async def test_unknown_calls_and_methods_are_refused(bench: Bench) -> None:
    assert (await bench.raw("GET", "/nonsense")).status == 404
    assert (await bench.raw("DELETE", "/jobs/j1")).status == 405
    assert (await bench.raw("POST", "/queue")).status == 405
    assert (await bench.raw("PATCH", "/a", host=COS)).status == 405


async def exchange(bench: Bench, data: bytes, *, wait_s: float = 10) -> bytes:
    """Send raw bytes, and read until the service closes the connection."""
    port = int(bench.service.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        await writer.drain()
        async with asyncio.timeout(wait_s):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00" * 10 + b"\r\n\r\n",
    ],
)
async def test_bytes_that_are_not_http_get_an_error_and_the_service_continues(
    bench: Bench, data: bytes
) -> None:
    answer = await exchange(bench, data)

    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    assert b"Traceback" not in answer
    assert (await bench.raw("GET", "/jobs")).status == 200


async def test_closed_connections_are_not_kept_in_memory(bench: Bench) -> None:
    """A timer that still runs would keep each of them for the time of an idle connection."""
    url = URL(bench.service.url)

    async def connect(number: int) -> None:
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write([b"", b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"][number % 3])
        writer.write_eof()
        await reader.read()
        writer.close()
        await writer.wait_closed()

    async def few_are_left() -> bool:
        gc.collect()
        return sum(isinstance(thing, RequestHandler) for thing in gc.get_objects()) < 5

    await asyncio.gather(*(connect(number) for number in range(60)))
    await bench.until(few_are_left, limit_s=10)


async def test_silent_connections_and_half_headers_are_closed(start: Benches) -> None:
    bench = await start(idle_timeout_s=0.2)

    assert await exchange(bench, b"", wait_s=5) == b""
    assert await exchange(bench, b"GET / HTTP/1.1\r\nHo", wait_s=5) == b""


async def test_a_body_that_stalls_is_answered_with_an_error(start: Benches) -> None:
    bench = await start(read_timeout_s=0.2)
    now = int(SystemClock().now())
    head = bench.sign(
        "PUT", "/slow", {}, {"host": COS}, keys=bench.keys, start=now - 60, end=now + 60
    )

    answer = await exchange(
        bench,
        (
            f"PUT /slow HTTP/1.1\r\nHost: {COS}\r\nAuthorization: {head}\r\n"
            "Content-Length: 100\r\n\r\nabc"
        ).encode(),
    )

    assert b"RequestTimeout" in answer
    assert not (bench.root / "media-1250000000" / "slow").exists()
    assert list((bench.root / ".service" / "tmp").iterdir()) == []


async def test_a_body_without_a_length_is_refused(bench: Bench) -> None:
    now = int(SystemClock().now())
    head = bench.sign(
        "POST", "/jobs", {}, {"host": CI}, keys=bench.keys, start=now - 60, end=now + 60
    )

    answer = await exchange(
        bench,
        (
            f"POST /jobs HTTP/1.1\r\nHost: {CI}\r\nAuthorization: {head}\r\n"
            "Connection: close\r\n\r\n"
        ).encode(),
    )

    assert answer.startswith(b"HTTP/1.1 411")
    assert b"MissingContentLength" in answer


@pytest.mark.parametrize(("path", "invited"), [("/a", True), ("/../a", False)])
async def test_a_client_that_expects_100_continue_gets_it_unless_the_request_is_wrong(
    bench: Bench, path: str, invited: bool
) -> None:
    now = int(SystemClock().now())
    head = bench.sign("PUT", path, {}, {"host": COS}, keys=bench.keys, start=now - 60, end=now + 60)
    lines = [
        f"PUT {path} HTTP/1.1",
        f"Host: {COS}",
        f"Authorization: {head}",
        "Content-Length: 3",
        "Expect: 100-continue",
        "Connection: close",
    ]
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", int(bench.service.url.rpartition(":")[2])
    )
    writer.write("\r\n".join([*lines, "", ""]).encode())
    async with asyncio.timeout(10):
        first = await reader.readline()
        writer.write(b"abc")
        rest = await reader.read()
    writer.close()

    assert first.startswith(b"HTTP/1.1 100" if invited else b"HTTP/1.1 400")
    assert (b"HTTP/1.1 200 OK" in rest) == invited


async def test_no_secret_is_logged(
    start: Benches, caplog: pytest.LogCaptureFixture, job_body: Callable[..., str]
) -> None:
    caplog.set_level(logging.DEBUG)
    keys = KeyPair("AKIDTEMP", "very-secret-key", "very-secret-token")
    bench = await start(credentials=(keys,))
    await bench.raw("POST", "/jobs", body=job_body(), keys=keys, token="very-secret-token")
    await bench.raw("GET", "/jobs", keys=keys, token="wrong")

    ours = [
        record.getMessage() for record in caplog.records if record.name.startswith("orchestrator")
    ]
    assert ours
    assert not any("very-secret" in line or "q-signature" in line for line in ours)


async def test_a_service_that_other_machines_can_reach_logs_a_warning(
    start: Benches, caplog: pytest.LogCaptureFixture
) -> None:
    await start(host="0.0.0.0")

    assert any(
        record.levelno >= logging.WARNING and "BEYOND THIS MACHINE" in record.getMessage()
        for record in caplog.records
    )

"""Ways to reach the service: as a proxy, by local names, with a signed link, by https."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from orchestrator.domain.clock import SystemClock
from orchestrator.errors import ConfigError
from orchestrator.server.certificates import given, made_for
from tests.integration.server.test_access import exchange

if TYPE_CHECKING:
    from tests.integration.server.conftest import Bench, Benches

BUCKET = "media-1250000000"
COS = f"{BUCKET}.cos.ap-chongqing.myqcloud.com"


def signed(bench: Bench, host: str = COS, path: str = "/a") -> str:
    now = int(SystemClock().now())
    return bench.sign(
        "GET", path, {}, {"host": host}, keys=bench.keys, start=now - 60, end=now + 60
    )


def request(bench: Bench, target: str, *, host: str, signed_host: str = COS) -> bytes:
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {host}",
        f"Authorization: {signed(bench, signed_host)}",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize("scheme", ["http", "HTTP", "https"])
async def test_a_request_target_may_be_a_whole_address_whose_host_counts(
    bench: Bench, scheme: str
) -> None:
    await bench.raw("PUT", "/a", host=COS, body=b"sound")

    answer = await exchange(bench, request(bench, f"{scheme}://{COS}/a", host="other.example"))

    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"sound")


@pytest.mark.parametrize(
    "target", ["ftp://x/a", "http://", "http://user@x/a", "a", "*", "http:/x", "//x/a"]
)
async def test_any_other_request_target_is_refused(bench: Bench, target: str) -> None:
    answer = await exchange(bench, request(bench, target, host=COS))

    assert re.match(rb"HTTP/1.[01] 4", answer), answer


async def test_the_python_client_works_through_the_proxy_setting(bench: Bench) -> None:
    sdk = bench.sdk(IP=None, Port=None, Proxies={"http": bench.service.url})

    await bench.call(sdk.put_object, Bucket=BUCKET, Key="a ü", Body=b"x")
    listed = await bench.call(sdk.list_objects, Bucket=BUCKET)

    assert [row["Key"] for row in listed["Contents"]] == ["a ü"]


@pytest.mark.parametrize(
    "host",
    [f"{BUCKET}.localhost", f"{BUCKET}.localhost:8080", f"{BUCKET}.cos.ap-beijing.localhost:80"],
)
async def test_a_local_name_may_begin_with_the_bucket(bench: Bench, host: str) -> None:
    await bench.raw("PUT", "/a", host=COS, body=b"sound")

    answer = await bench.raw("GET", "/a", host=host)

    assert answer.body == b"sound"


async def test_the_python_client_works_with_a_local_name(bench: Bench) -> None:
    proxies = {"http": bench.service.url}  # in place of a name server that knows the name
    sdk = bench.sdk(IP=None, Port=None, Endpoint="localhost:8080", Proxies=proxies)

    await bench.call(sdk.put_object, Bucket=BUCKET, Key="a", Body=b"x")

    assert (bench.root / BUCKET / "a").read_bytes() == b"x"


async def test_a_link_may_have_the_signature_as_one_parameter(bench: Bench) -> None:
    await bench.raw("PUT", "/a", host=COS, body=b"sound")
    link = f"{bench.service.url}/a?sign={quote(signed(bench), safe='')}"

    async with bench.http.get(URL(link, encoded=True), headers={"Host": COS}) as good:
        content = await good.read()
    async with bench.http.get(URL(f"{link}0", encoded=True), headers={"Host": COS}) as bad:
        status = bad.status

    assert content == b"sound"
    assert status == 403


async def test_a_link_of_the_python_client_works(bench: Bench) -> None:
    await bench.raw("PUT", "/a", host=COS, body=b"sound")
    sdk = bench.sdk(IP=None, Port=None)
    link = sdk.get_presigned_url(Bucket=BUCKET, Key="a", Method="GET")
    local = re.sub("^http://[^/]*", bench.service.url, link)

    async with bench.http.get(URL(local, encoded=True), headers={"Host": COS}) as answer:
        assert await answer.read() == b"sound"


@pytest.mark.parametrize(
    ("authorization", "query"),
    [
        ("AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/s3/aws4_request", {}),
        ("AWS AKID:c2lnbmF0dXJl", {}),
        ("", {"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Signature": "0"}),
        ("", {"AWSAccessKeyId": "AKID", "Signature": "0"}),
    ],
)
async def test_a_signature_of_aws_is_refused_with_what_is_missing(
    bench: Bench, authorization: str, query: dict[str, str]
) -> None:
    answer = await bench.raw("GET", "/a", host=COS, params=query, authorization=authorization)

    assert answer.status == 501
    assert "q-sign-algorithm" in answer.text


async def test_an_incomplete_signature_is_refused_with_what_is_missing(bench: Bench) -> None:
    text = signed(bench).replace("&q-header-list=host", "")

    answer = await bench.raw("GET", "/a", host=COS, authorization=text)

    assert "lacks q-header-list" in answer.text


# --- bytes that are not HTTP


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
        b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nAuthorization: q-signature=topsecret\r\n\x01: y\r\n\r\n",
    ],
)
async def test_bytes_that_are_not_http_make_one_line_in_the_log(
    bench: Bench, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = await exchange(bench, data)

    lines = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert re.match(rb"HTTP/1.[01] 400", answer)
    assert len(lines) == 1
    assert "not a valid HTTP request" in lines[0].getMessage()
    assert len(lines[0].getMessage().splitlines()) == 1
    assert not any(record.exc_info for record in caplog.records)
    assert "topsecret" not in caplog.text


def _mutant(dice: random.Random, seed: bytes) -> bytes:
    """Return a valid request with some of its bytes changed, removed, doubled or cut."""
    data = bytearray(seed)
    for _ in range(dice.randrange(1, 6)):
        place = dice.randrange(len(data) or 1)
        match dice.randrange(5):
            case 0:
                data[place : place + 1] = bytes([dice.randrange(256)])
            case 1:
                del data[place : place + dice.randrange(20)]
            case 2:
                data[place:place] = data[place : place + dice.randrange(40)]
            case 3:
                data[place:place] = dice.randbytes(dice.randrange(30))
            case _:
                del data[place:]
    return bytes(data)


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc counts open files")
async def test_random_bytes_leave_no_traceback_no_open_file_and_no_changed_object(
    start: Benches, caplog: pytest.LogCaptureFixture
) -> None:
    bench = await start(idle_timeout_s=0.3, read_timeout_s=0.3)
    await bench.raw("PUT", "/a", host=COS, body=b"sound")
    seeds = [
        request(bench, "/a", host=COS),
        request(bench, f"http://{COS}/a", host=COS),
        request(bench, "/?uploads", host=COS),
        request(bench, "/jobs", host=f"{BUCKET}.ci.ap-beijing.myqcloud.com"),
        b"PUT /a HTTP/1.1\r\nHost: " + COS.encode() + b"\r\nContent-Length: 5\r\n\r\n12345",
        b"POST /jobs HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ]
    dice = random.Random(int(os.environ.get("ORCH_SEED", "5")))
    before = _open_files()

    async def send(data: bytes) -> None:
        try:
            await exchange(bench, data)
        except ConnectionError:
            return

    for _ in range(12):
        await asyncio.gather(*(send(_mutant(dice, dice.choice(seeds))) for _ in range(25)))

    assert not any(record.exc_info for record in caplog.records), caplog.text
    assert "Traceback" not in caplog.text
    await bench.until(lambda: _is_quiet(before))
    assert (await bench.raw("GET", "/a", host=COS)).body == b"sound"
    assert [path.name for path in (bench.root / BUCKET).iterdir()] == ["a"]


async def _is_quiet(before: int) -> bool:
    return _open_files() <= before + 2  # the loop may keep some of its own


# --- https


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """Folder for the certificate of a root."""
    return tmp_path / "tls-root"


async def test_a_made_certificate_serves_the_local_and_the_vendors_names(
    start: Benches, authority: Path
) -> None:
    files = made_for(authority, "127.0.0.1", "ap-chongqing")
    bench = await start(tls=files)
    trusting = ssl.create_default_context(cafile=str(files.authority))
    port = URL(bench.service.url).port

    assert bench.service.url.startswith("https://")
    for name in ("localhost", "127.0.0.1", COS, f"{BUCKET}.ci.ap-chongqing.localhost"):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=trusting, server_hostname=name
        )
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 4")
        writer.close()
        await writer.wait_closed()
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await bench.http.get(bench.service.url)


async def test_the_python_client_works_by_https(
    start: Benches, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = made_for(authority, "127.0.0.1", "ap-chongqing")
    bench = await start(tls=files, bucket=BUCKET)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(files.authority))
    domain = bench.service.url.removeprefix("https://")
    sdk = bench.sdk(IP=None, Port=None, Scheme="https", Domain=domain)

    await bench.call(sdk.put_object, Bucket=BUCKET, Key="a", Body=b"x")

    assert (bench.root / BUCKET / "a").read_bytes() == b"x"


def test_a_certificate_is_made_once_and_again_for_other_names(authority: Path) -> None:
    first = made_for(authority, "127.0.0.1", "ap-beijing").chain.read_bytes()
    again = made_for(authority, "127.0.0.1", "ap-beijing")
    same = again.chain.read_bytes()
    other = made_for(authority, "192.0.2.1", "ap-beijing").chain.read_bytes()

    assert first == same
    assert other != first
    assert again.key.stat().st_mode & 0o077 == 0
    pem = authority.rglob("*.pem")
    assert [path.name for path in pem if b"PRIVATE" in path.read_bytes()] == ["key.pem"]


async def test_a_given_certificate_that_cannot_be_used_is_one_clear_error(
    start: Benches, tmp_path: Path
) -> None:
    (tmp_path / "cert.pem").write_text("nothing")

    with pytest.raises(ConfigError, match=r"cert\.pem .* cannot be used"):
        await start(tls=given(tmp_path / "cert.pem", None))
    with pytest.raises(ConfigError, match=r"gone\.pem .* cannot be used: No such file"):
        await start(tls=given(tmp_path / "gone.pem", None))


async def test_bytes_without_tls_leave_an_https_service_running(
    start: Benches, authority: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = made_for(authority, "127.0.0.1", "ap-chongqing")
    bench = await start(tls=files)

    await exchange(bench, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

    assert not any(record.exc_info for record in caplog.records)
    trusting = ssl.create_default_context(cafile=str(files.authority))
    async with bench.http.get(bench.service.url, ssl=trusting) as answer:
        assert answer.status == 403

"""The object calls: ranges, conditions, sums, existing folders of media, and invalid keys."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import re
from typing import TYPE_CHECKING

import pytest

from orchestrator.server.storage.metadata import Sums

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.server.conftest import Answer, Bench, Benches

HOST = "media-1250000000.cos.ap-chongqing.myqcloud.com"
BUCKET = "media-1250000000"


async def put(bench: Bench, key: str, content: bytes, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await bench.raw("PUT", f"/{key}", host=HOST, body=content, headers=named)


async def test_put_head_and_get_return_the_sums(bench: Bench) -> None:
    content = os.urandom(300_000)
    stored = await put(bench, "a.mp3", content, Content_Type="audio/mpeg")
    head = await bench.raw("HEAD", "/a.mp3", host=HOST)
    got = await bench.raw("GET", "/a.mp3", host=HOST)

    sums = Sums()
    sums.add(content)
    etag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
    for answer in (stored, head, got):
        assert answer.headers["ETag"] == etag
        assert answer.headers["x-cos-hash-crc64ecma"] == sums.crc64
        assert answer.headers["Server"] == "tencent-cos"
    assert got.body == content
    assert head.body == b""
    assert head.headers["Content-Length"] == "300000"
    assert head.headers["Content-Type"] == "audio/mpeg"
    assert re.fullmatch(
        r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", head.headers["Last-Modified"]
    )


@pytest.mark.parametrize(
    ("header", "status", "body", "span"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=0-", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=3-1", 200, b"0123456789", None),
        ("bytes=0-1,4-5", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
    ],
)
async def test_a_single_range_is_honoured(
    bench: Bench, header: str, status: int, body: bytes | None, span: str | None
) -> None:
    await put(bench, "a", b"0123456789")

    answer = await bench.raw("GET", "/a", host=HOST, headers={"Range": header})

    assert answer.status == status
    assert answer.headers.get("Content-Range") == span
    assert answer.body == body if body is not None else b"InvalidRange" in answer.body


async def test_conditions_answer_304_and_412(bench: Bench) -> None:
    await put(bench, "a", b"x")
    etag = f'"{hashlib.md5(b"x", usedforsecurity=False).hexdigest()}"'

    async def status(**headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return (await bench.raw("GET", "/a", host=HOST, headers=named)).status

    assert await status(If_Match=etag) == 200
    assert await status(If_Match='"other"') == 412
    assert await status(If_None_Match=etag) == 304
    assert await status(If_None_Match='"other"') == 200
    assert await status(If_Modified_Since="Fri, 01 Jan 2100 00:00:00 GMT") == 304
    assert await status(If_Modified_Since="Sat, 01 Jan 2000 00:00:00 GMT") == 200
    assert await status(If_Unmodified_Since="Sat, 01 Jan 2000 00:00:00 GMT") == 412


async def test_a_body_that_does_not_match_its_md5_is_not_stored(bench: Bench) -> None:
    good = base64.b64encode(hashlib.md5(b"new", usedforsecurity=False).digest()).decode()
    await put(bench, "a", b"old")

    bad = await put(bench, "a", b"newer", Content_MD5=good)
    broken = await put(bench, "a", b"new", Content_MD5="xyz")
    kept = (bench.root / BUCKET / "a").read_bytes()
    stored = await put(bench, "a", b"new", Content_MD5=good)

    assert (bad.status, "BadDigest" in bad.text) == (400, True)
    assert (broken.status, "InvalidDigest" in broken.text) == (400, True)
    assert kept == b"old"
    assert stored.status == 200
    assert list((bench.root / ".service" / "tmp").iterdir()) == []


async def test_metadata_and_encodings_come_back_as_they_were_sent(bench: Bench) -> None:
    headers = {
        "Content-Encoding": "gzip",
        "Cache-Control": "no-cache",
        "x-cos-meta-artist": "someone",
        "Content-Type": "text/x-odd",
    }
    await bench.raw("PUT", "/a", host=HOST, body=b"not really gzip", headers=headers)

    head = await bench.raw("HEAD", "/a", host=HOST)
    shown = await bench.raw(
        "GET",
        "/a",
        host=HOST,
        params={"response-content-type": "text/plain", "response-cache-control": "max-age=1"},
    )

    assert {name: head.headers[name] for name in headers} == headers
    assert shown.body == b"not really gzip"
    assert shown.headers["Content-Type"] == "text/plain"
    assert shown.headers["Cache-Control"] == "max-age=1"


async def test_deleting_is_final_and_can_be_repeated(bench: Bench) -> None:
    await put(bench, "dir/a", b"x")

    first = await bench.raw("DELETE", "/dir/a", host=HOST)
    second = await bench.raw("DELETE", "/dir/a", host=HOST)

    assert (first.status, second.status) == (204, 204)
    assert (await bench.raw("HEAD", "/dir/a", host=HOST)).status == 404


async def test_a_folder_of_media_is_served_as_it_is_and_changes_are_noticed(
    start: Benches,
) -> None:
    file = start.root / BUCKET / "album/song.flac"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"one")
    bench = await start()
    md5 = {text: hashlib.md5(text, usedforsecurity=False).hexdigest() for text in (b"one", b"two")}

    before = await bench.raw("GET", "/", host=HOST)
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    after = await bench.raw("GET", "/", host=HOST)

    assert md5[b"one"] in before.text
    assert md5[b"two"] in after.text
    assert (await bench.raw("GET", "/album/song.flac", host=HOST)).body == b"two"


async def test_a_listing_encodes_keys_on_request(bench: Bench) -> None:
    await put(bench, "a&b/ü <c>.mp3", b"x")

    plain = await bench.raw("GET", "/", host=HOST, params={"prefix": "a&b/"})
    encoded = await bench.raw(
        "GET", "/", host=HOST, params={"prefix": "a&b/", "encoding-type": "url"}
    )

    assert "<Key>a&amp;b/ü &lt;c&gt;.mp3</Key>" in plain.text
    assert "<Key>a%26b/%C3%BC%20%3Cc%3E.mp3</Key>" in encoded.text
    assert "<Prefix>a%26b/</Prefix>" in encoded.text
    assert "<EncodingType>url</EncodingType>" in encoded.text
    assert encoded.headers["x-cos-bucket-region"] == "ap-chongqing"


async def test_missing_buckets_and_objects_have_their_own_codes(bench: Bench) -> None:
    missing = await bench.raw("GET", "/", host="other-1250000000.cos.ap-chongqing.myqcloud.com")
    await put(bench, "a", b"x")
    nothing = await bench.raw("GET", "/b", host=HOST)
    under = await bench.raw("GET", "/a/b", host=HOST)
    head = await bench.raw("HEAD", "/b", host=HOST)

    assert (missing.status, "NoSuchBucket" in missing.text) == (404, True)
    assert (nothing.status, "NoSuchKey" in nothing.text) == (404, True)
    assert under.status == 404
    assert (head.status, head.body) == (404, b"")
    assert nothing.headers["x-cos-trace-id"]


async def test_a_name_cannot_be_a_file_and_a_folder(bench: Bench) -> None:
    await put(bench, "a", b"x")
    await put(bench, "d/e", b"x")

    below = await put(bench, "a/b", b"y")
    above = await put(bench, "d", b"y")

    assert (below.status, "PathConflict" in below.text) == (409, True)
    assert (above.status, "PathConflict" in above.text) == (409, True)
    assert (await bench.raw("GET", "/a", host=HOST)).body == b"x"


async def test_folder_markers_can_be_made_and_seen(bench: Bench) -> None:
    made = await put(bench, "new/", b"")

    assert made.status == 200
    assert (await bench.raw("HEAD", "/new/", host=HOST)).status == 200
    assert (await bench.raw("HEAD", "/old/", host=HOST)).status == 404


@pytest.mark.parametrize(
    "wire",
    [
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/a/%2e%2e/%2e%2e/x",
        "/%2fetc/passwd",
        "//etc/passwd",
        "/a%00b",
        "/.service/queue.db",
        "/a/.service/queue.db",
        "/.orchestrator/ledger.db",
        "/%2eservice/credentials.json",
        "/a//b",
        "/%ff",
        "/a%0ab",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "DELETE"])
async def test_keys_that_lead_elsewhere_are_refused_by_every_call(
    bench: Bench, method: str, wire: str
) -> None:
    from urllib.parse import unquote

    (bench.root / BUCKET).mkdir(exist_ok=True)
    answer = await bench.raw(
        method,
        unquote(wire, errors="replace"),
        wire_path=wire,
        host=HOST,
        body=b"x" if method == "PUT" else b"",
    )

    assert answer.status in {400, 403, 404}
    assert not (bench.root.parent / "etc").exists()
    assert not (bench.root / BUCKET / "etc").exists()


async def test_a_link_out_of_the_bucket_is_neither_read_nor_written(
    start: Benches, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"s")
    bucket = start.root / BUCKET
    bucket.mkdir(parents=True)
    (bucket / "door").symlink_to(outside)
    (bucket / "file").symlink_to(outside / "secret")
    bench = await start()

    read = [await bench.raw("GET", f"/{key}", host=HOST) for key in ("door/secret", "file")]
    written = [await put(bench, key, b"x") for key in ("door/new", "file")]
    listed = await bench.raw("GET", "/", host=HOST)

    assert [answer.status for answer in read] == [404, 404]
    assert [answer.status for answer in written] == [403, 403]
    assert "<Key>" not in listed.text
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]
    assert (outside / "secret").read_bytes() == b"s"


async def test_concurrent_puts_of_one_key_leave_one_whole_object(bench: Bench) -> None:
    contents = [bytes([number]) * 200_000 for number in range(8)]

    answers = await asyncio.gather(*(put(bench, "same", content) for content in contents))

    assert {answer.status for answer in answers} == {200}
    stored = (bench.root / BUCKET / "same").read_bytes()
    assert stored in contents
    head = await bench.raw("HEAD", "/same", host=HOST)
    assert head.headers["ETag"].strip('"') == hashlib.md5(stored, usedforsecurity=False).hexdigest()


async def test_an_object_may_be_called_like_a_job_path(bench: Bench) -> None:
    await put(bench, "jobs/song.mp3", b"x")
    await put(bench, "queue/x", b"y")

    assert (await bench.raw("GET", "/jobs/song.mp3", host=HOST)).body == b"x"
    assert (await bench.raw("GET", "/queue/x", host=HOST)).body == b"y"


@pytest.mark.slow
async def test_a_large_folder_is_listed_whole_while_it_grows(start: Benches) -> None:
    count = 3000
    folder = start.root / BUCKET / "in"
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:05d}.mp3").touch()
    bench = await start()
    seen: list[str] = []
    marker = ""
    while True:
        answer = await bench.raw(
            "GET", "/", host=HOST, params={"prefix": "in/", "marker": marker, "max-keys": "700"}
        )
        seen += re.findall("<Key>in/(.*?).mp3</Key>", answer.text)
        (folder / f"{len(seen):05d}-more.mp3").touch()
        if "<IsTruncated>true" not in answer.text:
            break
        marker = re.findall("<NextMarker>(.*?)</NextMarker>", answer.text)[0]

    assert [key for key in seen if len(key) == 5] == [f"{number:05d}" for number in range(count)]
    assert len(seen) == len(set(seen))

"""Multipart uploads, call by call."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from orchestrator.server.faults.script import Faults
from orchestrator.server.service import UPLOAD_RETENTION_S
from orchestrator.server.storage.metadata import Sums

if TYPE_CHECKING:
    from tests.integration.server.conftest import Answer, Bench, Benches

BUCKET = "media-1250000000"
HOST = f"{BUCKET}.cos.ap-chongqing.myqcloud.com"
MB = 1 << 20


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def inner(answer: Answer, name: str) -> list[str]:
    return re.findall(f"<{name}>(.*?)</{name}>", answer.text)


async def started(bench: Bench, key: str = "big.wav", **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await bench.raw("POST", f"/{key}", host=HOST, params={"uploads": ""}, headers=named)
    assert answer.status == 200, answer.text
    return inner(answer, "UploadId")[0]


async def put_part(
    bench: Bench, upload: str, number: int | str, content: bytes, key: str = "big.wav", **more: str
) -> Answer:
    return await bench.raw(
        "PUT",
        f"/{key}",
        host=HOST,
        params={"partNumber": str(number), "uploadId": upload},
        body=content,
        headers={name.replace("_", "-"): value for name, value in more.items()},
    )


async def completed(
    bench: Bench, upload: str, parts: list[tuple[int, str]], key: str = "big.wav"
) -> Answer:
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>" for number, tag in parts
    )
    return await bench.raw(
        "POST",
        f"/{key}",
        host=HOST,
        params={"uploadId": upload},
        body=f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>",
    )


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def test_parts_become_one_object_with_the_vendors_kind_of_etag(bench: Bench) -> None:
    pieces = [os.urandom(MB), os.urandom(MB + 5), b"the rest"]
    upload = await started(bench, Content_Type="audio/x-own", x_cos_meta_artist="someone")

    # out of order, and one of them twice
    answers = {
        number: await put_part(bench, upload, number, content)
        for number, content in ((3, pieces[2]), (1, b"wrong"), (2, pieces[1]), (1, pieces[0]))
    }
    before = await bench.raw("GET", "/", host=HOST)
    tags = [(number, answers[number].headers["ETag"]) for number in (1, 2, 3)]
    done = await completed(bench, upload, tags)
    head = await bench.raw("HEAD", "/big.wav", host=HOST)
    listed = await bench.raw("GET", "/", host=HOST)

    whole = b"".join(pieces)
    sums = Sums()
    sums.add(whole)
    joint = md5(b"".join(bytes.fromhex(md5(piece)) for piece in pieces))
    assert [answers[number].headers["ETag"] for number in (1, 2, 3)] == [
        f'"{md5(piece)}"' for piece in pieces
    ]
    assert "big.wav" not in before.text
    assert done.status == 200
    assert inner(done, "ETag") == [f'"{joint}-3"']
    assert inner(done, "Key") == ["big.wav"]
    assert head.headers["ETag"] == f'"{joint}-3"'
    assert head.headers["x-cos-hash-crc64ecma"] == sums.crc64
    assert head.headers["Content-Type"] == "audio/x-own"
    assert head.headers["x-cos-meta-artist"] == "someone"
    assert inner(listed, "ETag") == [f'"{joint}-3"']
    assert (bench.root / BUCKET / "big.wav").read_bytes() == whole
    assert not [path for path in files_below(bench.root / ".service") if "uploads/" in path]


async def test_a_condition_on_the_etag_of_an_uploaded_object_works(bench: Bench) -> None:
    upload = await started(bench)
    tag = (await put_part(bench, upload, 1, b"x")).headers["ETag"]
    etag = inner(await completed(bench, upload, [(1, tag)]), "ETag")[0]

    same = await bench.raw("GET", "/big.wav", host=HOST, headers={"If-None-Match": etag})
    other = await bench.raw("GET", "/big.wav", host=HOST, headers={"If-Match": '"other-1"'})

    assert (same.status, other.status) == (304, 412)


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([(2, "tag2"), (1, "tag1")], "InvalidPartOrder"),
        ([(1, "tag1"), (1, "tag1")], "InvalidPartOrder"),
        ([(1, "tag1"), (3, "tag3")], "InvalidPart"),
        ([(1, "tag1"), (2, "tag1")], "InvalidPart"),
        ([(1, "tag1"), (2, "tag2"), (9, "tag1")], "InvalidPart"),
        ([(1, "tag1"), (2, "tag2"), (3, "tag3")], "EntityTooSmall"),
        ([], "MalformedXML"),
        ([(1, "")], "MalformedXML"),
    ],
)
async def test_a_wrong_completion_is_refused_and_changes_nothing(
    bench: Bench, parts: list[tuple[int, str]], code: str
) -> None:
    await bench.raw("PUT", "/big.wav", host=HOST, body=b"old")
    upload = await started(bench)
    contents = {1: b"1" * MB, 2: b"small", 3: b"3"}
    tags = {"": ""}
    for number, content in contents.items():
        answer = await put_part(bench, upload, number, content)
        tags[f"tag{number}"] = answer.headers["ETag"]

    refused = await completed(bench, upload, [(number, tags[name]) for number, name in parts])
    kept = (await bench.raw("GET", "/big.wav", host=HOST)).body
    right = await completed(bench, upload, [(1, tags["tag1"]), (2, tags["tag2"])])

    assert (refused.status, inner(refused, "Code")) == (400, [code])
    assert kept == b"old"
    assert right.status == 200
    assert (bench.root / BUCKET / "big.wav").read_bytes() == contents[1] + contents[2]


async def test_an_upload_that_does_not_exist_is_refused_by_every_call(bench: Bench) -> None:
    await bench.raw("PUT", "/big.wav", host=HOST, body=b"old")
    upload = await started(bench)
    aborted = await bench.raw("DELETE", "/big.wav", host=HOST, params={"uploadId": upload})

    answers = []
    for name in (upload, "", "../../x", "0" * 64):
        answers += [
            await put_part(bench, name, 1, b"x"),
            await completed(bench, name, [(1, md5(b"x"))]),
            await bench.raw("GET", "/big.wav", host=HOST, params={"uploadId": name}),
            await bench.raw("DELETE", "/big.wav", host=HOST, params={"uploadId": name}),
        ]

    assert aborted.status == 204
    assert {(answer.status, inner(answer, "Code")[0]) for answer in answers} == {
        (404, "NoSuchUpload")
    }
    assert (bench.root / BUCKET / "big.wav").read_bytes() == b"old"


async def test_an_upload_belongs_to_its_key(bench: Bench) -> None:
    upload = await started(bench, "a")

    other = await put_part(bench, upload, 1, b"x", key="b")

    assert inner(other, "Code") == ["NoSuchUpload"]


@pytest.mark.parametrize("number", ["0", "10001", "-1", "x", ""])
async def test_a_part_has_a_number_from_1_to_10000(bench: Bench, number: str) -> None:
    upload = await started(bench)

    refused = await put_part(bench, upload, number, b"x")

    assert (refused.status, inner(refused, "Code")) == (400, ["InvalidArgument"])
    assert (await put_part(bench, upload, 10_000, b"x")).status == 200


async def test_a_part_that_does_not_match_its_md5_is_not_stored(bench: Bench) -> None:
    upload = await started(bench)
    good = base64.b64encode(hashlib.md5(b"new", usedforsecurity=False).digest()).decode()

    refused = await put_part(bench, upload, 1, b"other", Content_MD5=good)
    listed = await bench.raw("GET", "/big.wav", host=HOST, params={"uploadId": upload})
    left = [path for path in files_below(bench.root / ".service") if "uploads/" in path]
    stored = await put_part(bench, upload, 1, b"new", Content_MD5=good)

    assert inner(refused, "Code") == ["BadDigest"]
    assert inner(listed, "Part") == []
    assert left == []
    assert stored.status == 200


async def test_parts_are_listed_in_pages(bench: Bench) -> None:
    upload = await started(bench, "ü.wav")
    for number in (7, 1, 3):
        await put_part(bench, upload, number, b"x" * number, key="ü.wav")

    async def page(**params: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in params.items()}
        return await bench.raw(
            "GET", "/ü.wav", host=HOST, params={"uploadId": upload, "encoding-type": "url", **named}
        )

    first = await page(max_parts="2")
    rest = await page(max_parts="2", part_number_marker=inner(first, "NextPartNumberMarker")[0])

    assert inner(first, "PartNumber") == ["1", "3"]
    assert inner(first, "Size") == ["1", "3"]
    assert inner(first, "IsTruncated") == ["true"]
    assert inner(first, "Key") == ["%C3%BC.wav"]
    assert inner(rest, "PartNumber") == ["7"]
    assert inner(rest, "IsTruncated") == ["false"]


async def test_open_uploads_are_listed_in_pages_by_prefix_and_delimiter(bench: Bench) -> None:
    ids = {
        (key, turn): await started(bench, key)
        for turn in range(2)
        for key in ("in/b", "in/a", "in/deep/c", "out/d")
    }

    async def page(**params: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in params.items()}
        return await bench.raw("GET", "/", host=HOST, params={"uploads": "", **named})

    seen: list[tuple[str, str]] = []
    common: list[str] = []
    marker: dict[str, str] = {}
    while True:
        answer = await page(prefix="in/", delimiter="/", max_uploads="1", **marker)
        uploads = inner(answer, "Upload")
        seen += [
            (re.findall("<Key>(.*?)<", row)[0], re.findall("<UploadId>(.*?)<", row)[0])
            for row in uploads
        ]
        common += re.findall("<CommonPrefixes><Prefix>(.*?)<", answer.text)
        if inner(answer, "IsTruncated") == ["false"]:
            break
        marker = {
            "key_marker": inner(answer, "NextKeyMarker")[0],
            "upload_id_marker": (inner(answer, "NextUploadIdMarker") or [""])[0],
        }

    assert seen == [(key, ids[key, turn]) for key in ("in/a", "in/b") for turn in range(2)]
    assert common == ["in/deep/"]
    assert len(inner(await page(), "Upload")) == 8
    skipped = await page(key_marker="in/b")
    assert set(inner(skipped, "Key")) == {"in/deep/c", "out/d"}


async def test_uploads_survive_a_restart(start: Benches) -> None:
    async with AsyncExitStack() as stack:
        first = await start(within=stack)
        upload = await started(first)
        one = await put_part(first, upload, 1, b"1" * MB)
    second = await start()

    two = await put_part(second, upload, 2, b"2")
    done = await completed(second, upload, [(1, one.headers["ETag"]), (2, two.headers["ETag"])])

    assert done.status == 200
    assert (second.root / BUCKET / "big.wav").read_bytes() == b"1" * MB + b"2"


async def test_what_a_killed_service_left_is_removed_at_the_next_start(start: Benches) -> None:
    own = start.root / ".service"
    (own / "uploads" / "unknown").mkdir(parents=True)
    (own / "uploads" / "unknown" / "part").write_bytes(b"x")
    (own / "tmp").mkdir()
    (own / "tmp" / "half").write_bytes(b"x")

    await start()

    assert list((own / "uploads").iterdir()) == []
    assert list((own / "tmp").iterdir()) == []


@pytest.fixture
def other_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bucket that seems to be on another file system, and is the root of another service."""
    library = tmp_path / "library"
    for name in ("tmp", "uploads"):
        (library / ".service" / name).mkdir(parents=True)
        (library / ".service" / name / "theirs").mkdir()
    (library / "song").write_bytes(b"media")
    real = Path.stat

    def stat(path: Path, **options: bool) -> os.stat_result:
        found = real(path, **options)
        if os.path.realpath(path) != str(library):
            return found
        return os.stat_result((*found[:2], found.st_dev + 1, *found[3:]))

    monkeypatch.setattr(Path, "stat", stat)
    return library


async def test_parts_of_a_bucket_on_another_disk_wait_there_apart_from_another_service(
    start: Benches, other_disk: Path
) -> None:
    start.root.mkdir()
    (start.root / BUCKET).symlink_to(other_disk)
    async with AsyncExitStack() as stack:
        first = await start(within=stack)
        upload = await started(first)
        tag = (await put_part(first, upload, 1, b"x")).headers["ETag"]
        parts = [path for path in files_below(other_disk) if "uploads/" in path]
        listed = await first.raw("GET", "/", host=HOST)
    second = await start()

    done = await completed(second, upload, [(1, tag)])

    assert len(parts) == 1
    assert inner(listed, "Key") == ["song"]
    assert done.status == 200
    assert files_below(other_disk) == ["big.wav", "song"]
    assert (other_disk / ".service" / "tmp" / "theirs").is_dir()
    assert (other_disk / ".service" / "uploads" / "theirs").is_dir()


async def test_uploads_that_got_no_part_for_days_are_removed(bench: Bench) -> None:
    uploads = bench.service.parts.uploads
    old, used = await started(bench, "old"), await started(bench, "used")
    now = bench.service.clock.now()
    await put_part(bench, old, 1, b"x", key="old")

    kept = uploads.forget_unused_since(now - 1)
    gone = uploads.forget_unused_since(now + UPLOAD_RETENTION_S)
    listed = await bench.raw("GET", "/", host=HOST, params={"uploads": ""})

    assert (kept, gone) == (0, 2)
    assert old not in listed.text
    assert used not in listed.text
    assert list((bench.root / ".service" / "uploads").iterdir()) == []


async def test_a_part_that_was_damaged_on_the_disk_is_not_used(bench: Bench) -> None:
    upload = await started(bench)
    tag = (await put_part(bench, upload, 1, b"sound")).headers["ETag"]
    (part,) = (bench.root / ".service" / "uploads" / upload).iterdir()
    part.write_bytes(b"noise")

    refused = await completed(bench, upload, [(1, tag)])
    again = await put_part(bench, upload, 1, b"sound")
    done = await completed(bench, upload, [(1, again.headers["ETag"])])

    assert inner(refused, "Code") == ["InvalidPart"]
    assert done.status == 200


async def test_completions_at_once_make_one_object_and_have_the_same_answer(bench: Bench) -> None:
    upload = await started(bench)
    content = os.urandom(3 * MB)
    tag = (await put_part(bench, upload, 1, content)).headers["ETag"]

    answers = await asyncio.gather(*(completed(bench, upload, [(1, tag)]) for _ in range(4)))

    assert {(answer.status, answer.text) for answer in answers} == {(200, answers[0].text)}
    assert (bench.root / BUCKET / "big.wav").read_bytes() == content


async def test_a_completion_whose_answer_was_lost_can_be_repeated(start: Benches) -> None:
    lost = {"route": "multipart", "do": "lose_answer", "skip": 2, "times": 1}
    async with AsyncExitStack() as stack:
        bench = await start(within=stack, faults=Faults.parse({"faults": [lost]}))
        upload = await started(bench)
        tag = (await put_part(bench, upload, 1, b"content")).headers["ETag"]
        with pytest.raises(aiohttp.ClientError):
            await completed(bench, upload, [(1, tag)])
        made = (bench.root / BUCKET / "big.wav").stat()
        repeated = await completed(bench, upload, [(1, tag)])
    later = await completed(await start(), upload, [(1, tag.upper())])

    assert repeated.status == 200
    assert inner(repeated, "ETag") == [f'"{md5(bytes.fromhex(md5(b"content")))}-1"']
    for name in ("ETag", "Bucket", "Key"):
        assert inner(later, name) == inner(repeated, name)
    assert later.headers["x-cos-hash-crc64ecma"] == repeated.headers["x-cos-hash-crc64ecma"]
    assert (bench.root / BUCKET / "big.wav").stat() == made


@pytest.mark.parametrize("change", ["parts", "key", "replaced", "deleted", "old"])
async def test_only_the_same_completion_of_the_same_object_can_be_repeated(
    bench: Bench, change: str
) -> None:
    upload = await started(bench)
    tags = [
        (number, (await put_part(bench, upload, number, content)).headers["ETag"])
        for number, content in ((1, b"a" * MB), (2, b"b"))
    ]
    await completed(bench, upload, tags)
    if change == "replaced":
        await bench.raw("PUT", "/big.wav", host=HOST, body=b"a" * MB + b"b")
    if change == "deleted":
        await bench.raw("DELETE", "/big.wav", host=HOST)
    if change == "old":
        now = bench.service.clock.now()
        bench.service.parts.uploads.forget_unused_since(now + UPLOAD_RETENTION_S)

    parts, key = (tags[:1] if change == "parts" else tags), "big.wav"
    refused = await completed(bench, upload, parts, "other" if change == "key" else key)

    assert (refused.status, inner(refused, "Code")) == (404, ["NoSuchUpload"])


async def test_a_complete_upload_takes_no_parts_and_cannot_be_aborted(bench: Bench) -> None:
    upload = await started(bench)
    tag = (await put_part(bench, upload, 1, b"content")).headers["ETag"]
    await completed(bench, upload, [(1, tag)])

    part = await put_part(bench, upload, 1, b"other")
    aborted = await bench.raw("DELETE", "/big.wav", host=HOST, params={"uploadId": upload})
    again = await completed(bench, upload, [(1, tag)])

    assert inner(part, "Code") == inner(aborted, "Code") == ["NoSuchUpload"]
    assert again.status == 200


@pytest.mark.parametrize(
    ("key", "code"),
    [("folder/", "InvalidArgument"), ("a//b", "InvalidObjectName"), ("x" * 851, "KeyTooLong")],
)
async def test_an_upload_of_a_key_that_cannot_be_stored_is_refused_at_its_start(
    bench: Bench, key: str, code: str
) -> None:
    refused = await bench.raw("POST", f"/{key}", host=HOST, params={"uploads": ""})

    assert inner(refused, "Code") == [code]


async def test_an_upload_through_a_link_is_refused(start: Benches, tmp_path: Path) -> None:
    bench = await start()
    (bench.root / BUCKET / "door").symlink_to(tmp_path)

    refused = await bench.raw("POST", "/door/x", host=HOST, params={"uploads": ""})

    assert (refused.status, inner(refused, "Code")) == (403, ["AccessDenied"])


async def test_parts_that_arrive_while_their_upload_is_aborted_leave_nothing(bench: Bench) -> None:
    space = bench.root / ".service" / "uploads"
    seen: set[tuple[int, str]] = set()

    async def put_one(upload: str, number: int) -> None:
        answer = await put_part(bench, upload, number, b"x" * 1000)
        seen.add((answer.status, "".join(inner(answer, "Code"))))

    async def abort(upload: str) -> None:
        answer = await bench.raw("DELETE", "/big.wav", host=HOST, params={"uploadId": upload})
        assert answer.status == 204

    for _ in range(40):
        upload = await started(bench)
        await asyncio.gather(abort(upload), *(put_one(upload, number) for number in range(1, 5)))

    assert seen <= {(200, ""), (404, "NoSuchUpload")}
    assert list(space.iterdir()) == []


async def test_an_upload_is_either_completed_or_aborted(bench: Bench) -> None:
    for _ in range(40):
        upload = await started(bench)
        tag = (await put_part(bench, upload, 1, b"content")).headers["ETag"]
        done, aborted = await asyncio.gather(
            completed(bench, upload, [(1, tag)]),
            bench.raw("DELETE", "/big.wav", host=HOST, params={"uploadId": upload}),
        )

        assert {done.status, aborted.status} in ({200, 404}, {200, 409}, {404, 204}), done.text

"""Copies of objects and of parts, and the deletion of many objects."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from orchestrator.server.http.key_pairs import Grant, KeyPair
from tests.integration.server.test_uploads import (
    BUCKET,
    HOST,
    MB,
    completed,
    inner,
    md5,
    started,
)

if TYPE_CHECKING:
    from tests.integration.server.conftest import Answer, Bench, Benches

OTHER = "archive-1250000000"
SOURCE = f"{HOST}/in/a%20%C3%BC.wav"
FUTURE, PAST = "Fri, 01 Jan 2100 00:00:00 GMT", "Sat, 01 Jan 2000 00:00:00 GMT"


async def copy(bench: Bench, key: str, source: str = SOURCE, **more: str) -> Answer:
    named = {f"x-cos-{name.replace('_', '-')}": value for name, value in more.items()}
    return await bench.raw(
        "PUT", f"/{key}", host=HOST, headers={"x-cos-copy-source": source, **named}
    )


async def stored(bench: Bench, content: bytes = b"sound") -> None:
    headers = {"Content-Type": "audio/x-own", "x-cos-meta-artist": "someone"}
    await bench.raw("PUT", "/in/a ü.wav", host=HOST, body=content, headers=headers)


async def test_a_copy_has_the_content_and_the_metadata_of_its_source(bench: Bench) -> None:
    await stored(bench)

    answer = await copy(bench, "out/b.wav")
    head = await bench.raw("HEAD", "/out/b.wav", host=HOST)

    assert answer.status == 200
    assert inner(answer, "ETag") == [f'"{md5(b"sound")}"']
    assert head.headers["x-cos-meta-artist"] == "someone"
    assert head.headers["Content-Type"] == "audio/x-own"
    assert (bench.root / BUCKET / "out/b.wav").read_bytes() == b"sound"
    assert (bench.root / BUCKET / "in/a ü.wav").read_bytes() == b"sound"


async def test_a_copy_may_come_from_another_bucket(bench: Bench) -> None:
    (bench.root / OTHER).mkdir()
    (bench.root / OTHER / "x").write_bytes(b"old tape")

    answer = await copy(bench, "y", f"{OTHER}.cos.ap-beijing.myqcloud.com/x")

    assert answer.status == 200
    assert (bench.root / BUCKET / "y").read_bytes() == b"old tape"


async def test_metadata_can_be_replaced_in_place(bench: Bench) -> None:
    await stored(bench)

    same = await copy(bench, "in/a ü.wav")
    replaced = await copy(bench, "in/a ü.wav", metadata_directive="Replaced", meta_artist="other")
    head = await bench.raw("HEAD", "/in/a ü.wav", host=HOST)

    assert inner(same, "Code") == ["InvalidRequest"]
    assert replaced.status == 200
    assert head.headers["x-cos-meta-artist"] == "other"
    assert (bench.root / BUCKET / "in/a ü.wav").read_bytes() == b"sound"


@pytest.mark.parametrize(
    ("condition", "value", "status"),
    [
        ("if_match", f'"{md5(b"sound")}"', 200),
        ("if_match", '"other"', 412),
        ("if_none_match", '"other"', 200),
        ("if_none_match", f'"{md5(b"sound")}"', 412),
        ("if_modified_since", PAST, 200),
        ("if_modified_since", FUTURE, 412),
        ("if_unmodified_since", FUTURE, 200),
        ("if_unmodified_since", PAST, 412),
    ],
)
async def test_a_copy_is_made_only_if_its_conditions_hold(
    bench: Bench, condition: str, value: str, status: int
) -> None:
    await stored(bench)

    answer = await copy(bench, "b", **{f"copy_source_{condition}": value})

    assert answer.status == status
    assert (bench.root / BUCKET / "b").exists() == (status == 200)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        (f"{HOST}/gone", "NoSuchKey"),
        ("none-1250000000.cos.ap-beijing.myqcloud.com/a", "NoSuchBucket"),
        (f"{HOST}/in/a%20%C3%BC.wav?versionId=1", "NotImplemented"),
        ("/media/in/a", "InvalidArgument"),
        ("b/c", "InvalidArgument"),
        (f"{HOST}/in/", "InvalidArgument"),
        (f"{HOST}/..%2f..%2fsecret", "InvalidObjectName"),
        (f"{BUCKET}.cos.eu-nowhere.myqcloud.com/in/a", "InvalidRegionName"),
    ],
)
async def test_a_wrong_source_is_refused_and_the_target_is_kept(
    bench: Bench, source: str, code: str
) -> None:
    await stored(bench)
    await bench.raw("PUT", "/b", host=HOST, body=b"old")

    refused = await copy(bench, "b", source)

    assert inner(refused, "Code") == [code]
    assert (bench.root / BUCKET / "b").read_bytes() == b"old"


async def test_a_copy_with_a_body_is_refused(bench: Bench) -> None:
    await stored(bench)

    refused = await bench.raw(
        "PUT", "/b", host=HOST, headers={"x-cos-copy-source": SOURCE}, body=b"lost"
    )

    assert inner(refused, "Code") == ["InvalidRequest"]
    assert not (bench.root / BUCKET / "b").exists()


async def test_the_source_must_be_readable_with_these_keys(start: Benches) -> None:
    keys = KeyPair("AKIDSOMEONE", "secret", grants=(Grant(BUCKET), Grant("*", read=False)))
    bench = await start(credentials=(keys,))
    (bench.root / OTHER).mkdir()
    (bench.root / OTHER / "x").write_bytes(b"private")

    refused = await bench.raw(
        "PUT",
        "/y",
        host=HOST,
        headers={"x-cos-copy-source": f"{OTHER}.cos.ap-beijing.myqcloud.com/x"},
        keys=keys,
    )

    assert (refused.status, inner(refused, "Code")) == (403, ["AccessDenied"])
    assert not (bench.root / BUCKET / "y").exists()


async def test_parts_can_be_copied_from_ranges_of_an_object(bench: Bench) -> None:
    content = os.urandom(MB + 100)
    await stored(bench, content)
    upload = await started(bench)

    async def part(number: int, span: str) -> Answer:
        headers = {"x-cos-copy-source": SOURCE, "x-cos-copy-source-range": span}
        params = {"partNumber": str(number), "uploadId": upload}
        return await bench.raw("PUT", "/big.wav", host=HOST, params=params, headers=headers)

    first = await part(1, f"bytes=0-{MB - 1}")
    second = await part(2, f"bytes={MB}-{MB + 99}")
    whole = await part(3, "")
    beyond = await part(4, f"bytes=0-{MB + 100}")
    wrong = await part(4, "bytes=5-")
    tags = [(1, inner(first, "ETag")[0]), (2, inner(second, "ETag")[0])]
    done = await completed(bench, upload, tags)

    assert inner(whole, "ETag") == [f'"{md5(content)}"']
    assert (beyond.status, wrong.status) == (416, 400)
    assert done.status == 200
    assert (bench.root / BUCKET / "big.wav").read_bytes() == content


# --- many at once


async def delete(bench: Bench, *keys: str, more: str = "", **headers: str) -> Answer:
    objects = "".join(f"<Object><Key>{key}</Key></Object>" for key in keys)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = f"<Delete>{more}{objects}</Delete>"
    return await bench.raw("POST", "/", host=HOST, params={"delete": ""}, body=body, headers=named)


async def test_many_objects_are_deleted_with_one_call(bench: Bench) -> None:
    for key in ("a", "d/b", "keep"):
        await bench.raw("PUT", f"/{key}", host=HOST, body=b"x")

    answer = await delete(bench, "a", "d/b", "gone", "../x")

    assert answer.status == 200
    assert inner(answer, "Deleted") == [f"<Key>{key}</Key>" for key in ("a", "d/b", "gone")]
    assert inner(answer, "Code") == ["InvalidObjectName"]
    assert [path.name for path in (bench.root / BUCKET).iterdir() if path.is_file()] == ["keep"]


async def test_a_quiet_deletion_answers_errors_only(bench: Bench) -> None:
    await bench.raw("PUT", "/a", host=HOST, body=b"x")

    answer = await delete(bench, "a", "b//c", more="<Quiet>true</Quiet>")

    assert inner(answer, "Deleted") == []
    assert inner(answer, "Key") == ["b//c"]
    assert not (bench.root / BUCKET / "a").exists()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("<Delete></Delete>", "MalformedXML"),
        ("<Remove><Object><Key>a</Key></Object></Remove>", "MalformedXML"),
        ("<Delete><Object><Key>a</Key></Object><Object/></Delete>", "MalformedXML"),
        (f"<Delete>{'<Object><Key>a</Key></Object>' * 1001}</Delete>", "MalformedXML"),
        (
            "<Delete><Object><Key>a</Key><VersionId>1</VersionId></Object></Delete>",
            "NotImplemented",
        ),
        ("<Delete><Quiet>maybe</Quiet><Object><Key>a</Key></Object></Delete>", "MalformedXML"),
        ("<Delete><Object><Key>a</Key>", "InvalidContent"),
        ("", "MissingContent"),
    ],
)
async def test_a_wrong_deletion_deletes_nothing(bench: Bench, body: str, code: str) -> None:
    await bench.raw("PUT", "/a", host=HOST, body=b"x")

    refused = await bench.raw("POST", "/", host=HOST, params={"delete": ""}, body=body)

    assert inner(refused, "Code") == [code]
    assert (bench.root / BUCKET / "a").read_bytes() == b"x"


async def test_a_deletion_that_was_damaged_on_its_way_deletes_nothing(bench: Bench) -> None:
    await bench.raw("PUT", "/a", host=HOST, body=b"x")

    refused = await delete(bench, "a", Content_MD5="AAAAAAAAAAAAAAAAAAAAAA==")

    assert inner(refused, "Code") == ["BadDigest"]
    assert (bench.root / BUCKET / "a").exists()


async def test_a_thousand_objects_are_deleted_with_one_call(bench: Bench) -> None:
    folder = bench.root / BUCKET / "in"
    folder.mkdir()
    for number in range(1000):
        (folder / f"{number}.wav").touch()

    answer = await delete(bench, *(f"in/{number}.wav" for number in range(1000)))

    assert len(inner(answer, "Deleted")) == 1000
    assert list(folder.iterdir()) == []


def test_the_source_of_these_tests_is_encoded() -> None:
    assert quote("in/a ü.wav") == SOURCE.removeprefix(f"{HOST}/")

"""Calls that the service does not know: refused, and no file is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.server.conftest import Bench

HOST = "media-1250000000.cos.ap-chongqing.myqcloud.com"
UNKNOWN = (
    *("acl", "cors", "retention", "symlink", "versionId", "versions", "versioning", "uploads"),
    *("uploadId", "ci-process", "tagging", "restore", "append", "lifecycle", "policy", "website"),
    *("replication", "logging", "inventory", "encryption", "delete", "select", "torrent"),
)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_an_unknown_parameter_is_refused_and_touches_nothing(
    bench: Bench, method: str
) -> None:
    await bench.raw("PUT", "/song", host=HOST, body=b"media")

    for name in UNKNOWN:
        for path in ("/song", "/"):
            answer = await bench.raw(method, path, host=HOST, params={name: ""})
            assert answer.status == 501, (name, path)
            assert b"<Code>NotImplemented</Code>" in answer.body

    assert (await bench.raw("GET", "/song", host=HOST)).body == b"media"


async def test_a_folder_with_a_body_is_refused(bench: Bench) -> None:
    answer = await bench.raw("PUT", "/folder/", host=HOST, body=b"lost")

    assert answer.status == 400
    assert (await bench.raw("HEAD", "/folder/", host=HOST)).status == 404


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-cos-forbid-overwrite", "true"),
        ("x-cos-server-side-encryption", "AES256"),
        ("x-cos-acl", "public-read"),
        ("x-cos-storage-class", "ARCHIVE"),
        ("If-None-Match", "*"),
        ("Pic-Operations", "{}"),
    ],
)
async def test_an_unknown_header_of_a_write_is_refused(
    bench: Bench, header: str, value: str
) -> None:
    await bench.raw("PUT", "/song", host=HOST, body=b"media")

    for method in ("PUT", "DELETE"):
        answer = await bench.raw(method, "/song", host=HOST, headers={header: value})
        assert answer.status == 501

    assert (await bench.raw("GET", "/song", host=HOST)).body == b"media"

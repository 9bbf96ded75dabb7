"""The high-level transfers of the vendor's Python client: uploads, downloads and copies."""

from __future__ import annotations

import hashlib
import io
import os
import random
import threading
from typing import TYPE_CHECKING, Any

import pytest
from qcloud_cos import CosClientError, CosServiceError

from orchestrator.server.storage.metadata import Sums

if TYPE_CHECKING:
    from pathlib import Path

    from qcloud_cos import CosS3Client

    from tests.integration.server.conftest import Bench

BUCKET = "media-1250000000"
OTHER = "archive-1250000000"
REGION = "ap-chongqing"
MB = 1 << 20
BY_HAND = not os.environ.get("ORCH_TEST_TOOLS")


def file_of(folder: Path, size: int) -> Path:
    path = folder / "local.wav"
    path.write_bytes(random.Random(size).randbytes(size))
    return path


def crc64(path: Path) -> str:
    sums = Sums()
    sums.add(path.read_bytes())
    return sums.crc64


@pytest.mark.parametrize(
    ("size", "part_mb", "threads"),
    [
        (MB, 1, 5),
        (MB + 1, 1, 5),
        (3 * MB, 1, 1),
        (10 * MB + 17, 1, 8),
        (10 * MB + 17, 5, 3),
        pytest.param(40 * MB + 3, 1, 20, marks=pytest.mark.slow),
        pytest.param(
            200 * MB,
            1,
            10,
            marks=[pytest.mark.slow, pytest.mark.skipif(BY_HAND, reason="set ORCH_TEST_TOOLS=1")],
        ),
    ],
)
async def test_upload_file_and_download_file_work_with_all_sizes_of_parts(
    bench: Bench, tmp_path: Path, size: int, part_mb: int, threads: int
) -> None:
    sdk, source, target = bench.sdk(), file_of(tmp_path, size), tmp_path / "back.wav"

    up = await bench.call(
        sdk.upload_file,
        Bucket=BUCKET,
        Key="in/big ü.wav",
        LocalFilePath=str(source),
        PartSize=part_mb,
        MAXThread=threads,
        EnableMD5=True,
    )
    await bench.call(
        sdk.download_file,
        Bucket=BUCKET,
        Key="in/big ü.wav",
        DestFilePath=str(target),
        PartSize=part_mb,
        MAXThread=threads,
        EnableCRC=True,
    )
    uploads = await bench.call(sdk.list_multipart_uploads, Bucket=BUCKET)

    stored = bench.root / BUCKET / "in/big ü.wav"
    assert up["x-cos-hash-crc64ecma"] == crc64(source)
    assert stored.read_bytes() == source.read_bytes() == target.read_bytes()
    assert "Upload" not in uploads


class _Broken:
    """The client, whose connection breaks after some parts."""

    def __init__(self, sdk: CosS3Client, after: int) -> None:
        self._real = sdk.upload_part
        self._left = after
        self._lock = threading.Lock()
        self.sent = 0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        with self._lock:
            self._left -= 1
            if self._left < 0:
                raise CosClientError("the connection is gone")
            self.sent += 1
        return self._real(*arguments, **options)


async def test_an_upload_that_broke_is_resumed_and_sends_only_what_is_missing(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdk, source = bench.sdk(), file_of(tmp_path, 6 * MB + 5)
    first, second = _Broken(sdk, after=4), _Broken(sdk, after=100)
    upload = {"Bucket": BUCKET, "Key": "a.wav", "LocalFilePath": str(source), "MAXThread": 2}

    monkeypatch.setattr(sdk, "upload_part", first)
    with pytest.raises(CosClientError):
        await bench.call(sdk.upload_file, **upload)
    monkeypatch.setattr(sdk, "upload_part", second)
    await bench.call(sdk.upload_file, **upload)

    assert (first.sent, second.sent) == (4, 3)
    assert (bench.root / BUCKET / "a.wav").read_bytes() == source.read_bytes()


async def test_a_stream_is_uploaded_in_parts(bench: Bench) -> None:
    sdk, content = bench.sdk(), random.Random(1).randbytes(5 * MB)

    await bench.call(
        sdk.upload_file_from_buffer, Bucket=BUCKET, Key="s", Body=io.BytesIO(content), PartSize=1
    )

    assert (bench.root / BUCKET / "s").read_bytes() == content


async def test_a_copy_is_made_with_one_call_and_in_parts(bench: Bench) -> None:
    # This call of the client ignores its IP setting, so the service must be its proxy.
    proxied = {"IP": None, "Port": None, "Proxies": {"http": bench.service.url}}
    sdk = bench.sdk(copy_part_bytes=MB, **proxied)
    content = random.Random(2).randbytes(5 * MB + 1)
    (bench.root / OTHER).mkdir()
    (bench.root / OTHER / "in").mkdir()
    (bench.root / OTHER / "in/a ü.wav").write_bytes(content)
    source = {"Bucket": OTHER, "Key": "in/a ü.wav", "Region": "ap-beijing"}
    near = {**source, "Region": REGION}

    one = await bench.call(sdk.copy, Bucket=BUCKET, Key="one", CopySource=near)
    await bench.call(sdk.copy, Bucket=BUCKET, Key="parts", CopySource=source, PartSize=2)
    changed = await bench.call(
        sdk.copy_object,
        Bucket=BUCKET,
        Key="one",
        CopySource={**near, "Bucket": BUCKET, "Key": "one"},
        CopyStatus="Replaced",
        Metadata={"x-cos-meta-artist": "someone"},
    )
    head = await bench.call(sdk.head_object, Bucket=BUCKET, Key="one")
    in_parts = await bench.call(sdk.head_object, Bucket=BUCKET, Key="parts")

    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    assert one["ETag"] == changed["ETag"] == f'"{md5}"'
    assert head["x-cos-meta-artist"] == "someone"
    assert in_parts["ETag"].endswith('-3"')
    assert (bench.root / BUCKET / "one").read_bytes() == content
    assert (bench.root / BUCKET / "parts").read_bytes() == content


async def test_many_objects_are_deleted_by_the_client(bench: Bench) -> None:
    sdk = bench.sdk()
    for key in ("a", "ö/b", "keep"):
        await bench.call(sdk.put_object, Bucket=BUCKET, Key=key, Body=b"x")

    answer = await bench.call(
        sdk.delete_objects,
        Bucket=BUCKET,
        Delete={"Quiet": "false", "Object": [{"Key": "a"}, {"Key": "ö/b"}]},
    )

    assert [row["Key"] for row in answer["Deleted"]] == ["a", "ö/b"]
    page = await bench.call(sdk.list_objects, Bucket=BUCKET)
    assert [row["Key"] for row in page["Contents"]] == ["keep"]


async def test_a_bucket_must_exist_and_can_be_made(bench: Bench) -> None:
    sdk = bench.sdk()

    with pytest.raises(CosServiceError) as refused:
        await bench.call(sdk.put_object, Bucket=OTHER, Key="a", Body=b"x")
    is_made = (bench.root / OTHER).exists()
    await bench.call(sdk.create_bucket, Bucket=OTHER)
    await bench.call(sdk.put_object, Bucket=OTHER, Key="a", Body=b"x")

    assert refused.value.get_error_code() == "NoSuchBucket"
    assert not is_made
    assert (bench.root / OTHER / "a").read_bytes() == b"x"

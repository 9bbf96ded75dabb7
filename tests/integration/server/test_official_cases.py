"""The cases of the vendor's own test suite of its Python client, against the local service.

Each function here makes the calls of the official case of that name (``ut/test.py`` of
``cos-python-sdk-v5``), with assertions of our own. Cases of data processing other than audio
separation are left out. docs/conformance.md shows the numbers.
"""

from __future__ import annotations

import functools
import io
import random
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import requests
from qcloud_cos import CosServiceError
from qcloud_cos.cos_encryption_client import CosEncryptionClient
from qcloud_cos.crypto import AESProvider

from tests.repository import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qcloud_cos import CosS3Client

    from tests.integration.server.conftest import Bench

BUCKET, OTHER = "media-1250000000", "archive-1250000000"
REGION = "ap-chongqing"
MB = 1 << 20
SPECIAL = "中文" + "→↓←→↖↗↙↘! \"#$%&'()*+,-./0123456789:;<=>@[]^_`{|}~"


@dataclass
class Case:
    """What a case works with."""

    sdk: CosS3Client
    conf: Any
    proxies: dict[str, str]
    folder: Path

    def file(self, size: int) -> str:
        path = self.folder / f"{size}.bin"
        path.write_bytes(random.Random(size).randbytes(size))
        return str(path)

    def put(self, key: str, body: Any = b"T" * 10, **more: Any) -> Any:
        return self.sdk.put_object(Bucket=BUCKET, Key=key, Body=body, **more)

    def read(self, key: str, **more: Any) -> bytes:
        answer = self.sdk.get_object(Bucket=BUCKET, Key=key, **more)
        content: bytes = answer["Body"].get_raw_stream().read()
        return content


def source(key: str, bucket: str = BUCKET) -> dict[str, str]:
    return {"Bucket": bucket, "Key": key, "Region": REGION}


def code_of(act: Callable[[], Any]) -> tuple[int, str]:
    with pytest.raises(CosServiceError) as refused:
        act()
    return refused.value.get_status_code(), refused.value.get_error_code()


def put_get_delete_object_10MB(case: Case) -> None:  # noqa: N802 - the official name
    content = random.Random(1).randbytes(10 * MB)
    case.put("ten", content, CacheControl="no-cache")
    assert case.read("ten") == content
    case.sdk.delete_object(Bucket=BUCKET, Key="ten")
    assert code_of(lambda: case.read("ten")) == (404, "NoSuchKey")


def put_object_speacil_names(case: Case) -> None:
    case.put(SPECIAL, "S" * 1024, CacheControl="no-cache", ContentDisposition="download.txt")


def get_object_special_names(case: Case) -> None:
    case.put(SPECIAL, "S")
    assert case.read(SPECIAL) == b"S"


def delete_object_special_names(case: Case) -> None:
    case.put(SPECIAL, "S")
    case.sdk.delete_object(Bucket=BUCKET, Key=SPECIAL)
    assert not case.sdk.object_exists(BUCKET, SPECIAL)


def put_object_non_exist_bucket(case: Case) -> None:
    act = functools.partial(
        case.sdk.put_object, Bucket="test0xx-1250000000", Key="a", Body="T", CacheControl="no-cache"
    )
    assert code_of(act) == (404, "NoSuchBucket")


def copy_object_diff_bucket(case: Case) -> None:
    case.sdk.put_object(Bucket=OTHER, Key="a", Body=b"old")
    case.sdk.copy_object(Bucket=BUCKET, Key="b", CopySource=source("a", OTHER))
    assert case.read("b") == b"old"


def create_abort_multipart_upload(case: Case) -> None:
    upload = case.sdk.create_multipart_upload(Bucket=BUCKET, Key="multi")["UploadId"]
    case.sdk.abort_multipart_upload(Bucket=BUCKET, Key="multi", UploadId=upload)


def create_complete_multipart_upload(case: Case) -> None:
    upload = case.sdk.create_multipart_upload(Bucket=BUCKET, Key="multi")["UploadId"]
    place = {"Bucket": BUCKET, "Key": "multi", "UploadId": upload}
    tags = [
        case.sdk.upload_part(Body=body, PartNumber=number, **place)["ETag"]
        for number, body in ((1, "A" * MB * 2), (2, "B" * MB))
    ]
    listed = case.sdk.list_parts(**place)
    assert [part["ETag"] for part in listed["Part"]] == tags
    parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
    case.sdk.complete_multipart_upload(MultipartUpload={"Part": parts}, **place)
    assert case.read("multi") == b"A" * MB * 2 + b"B" * MB


def upload_part_copy(case: Case) -> None:
    case.put("from", "A" * MB)
    upload = case.sdk.create_multipart_upload(Bucket=BUCKET, Key="multi")["UploadId"]
    place = {"Bucket": BUCKET, "Key": "multi", "UploadId": upload}
    parts = [
        {
            "PartNumber": number,
            "ETag": case.sdk.upload_part_copy(
                PartNumber=number, CopySource=source("from"), **place
            )["ETag"],
        }
        for number in (1, 2)
    ]
    case.sdk.complete_multipart_upload(MultipartUpload={"Part": parts}, **place)
    assert case.read("multi") == b"A" * MB * 2


def delete_multiple_objects(case: Case) -> None:
    case.put("file1")
    case.put("file2")
    objects = {"Quiet": "false", "Object": [{"Key": "file1"}, {"Key": "file2"}]}
    assert len(case.sdk.delete_objects(Bucket=BUCKET, Delete=objects)["Deleted"]) == 2


def list_objects(case: Case) -> None:
    case.put("中文/a")
    page = case.sdk.list_objects(Bucket=BUCKET, MaxKeys=100, Prefix="中文", Delimiter="/")
    assert [entry["Prefix"] for entry in page["CommonPrefixes"]] == ["中文/"]


def get_presigned_url(case: Case) -> None:
    case.put("中文.txt", b"x")
    link = case.sdk.get_presigned_url(Bucket=BUCKET, Key="中文.txt", Method="GET")
    assert requests.get(link, proxies=case.proxies, timeout=10).content == b"x"


def list_multipart_uploads(case: Case) -> None:
    upload = case.sdk.create_multipart_upload(Bucket=BUCKET, Key="multipartfile.txt")["UploadId"]
    for encoding in ("", "url"):
        page = case.sdk.list_multipart_uploads(
            Bucket=BUCKET, Prefix="multipart", MaxUploads=100, EncodingType=encoding
        )
        assert [entry["UploadId"] for entry in page["Upload"]] == [upload]


def upload_file_from_buffer(case: Case) -> None:
    content = random.Random(2).randbytes(5 * MB)
    case.sdk.upload_file_from_buffer(
        Bucket=BUCKET, Key="buffer", Body=io.BytesIO(content), MaxBufferSize=5, PartSize=1
    )
    assert case.read("buffer") == content


def upload_small_file(case: Case) -> None:
    case.sdk.upload_file(
        Bucket=BUCKET, Key="small", LocalFilePath=case.file(500), CacheControl="no-cache"
    )


def upload_file_multithreading(case: Case) -> None:
    case.sdk.upload_file(
        Bucket=BUCKET, Key="threads", LocalFilePath=case.file(5 * MB), MAXThread=5, EnableMD5=True
    )


def upload_file_with_progress_callback(case: Case) -> None:
    seen: list[int] = []
    case.sdk.upload_file(
        Bucket=BUCKET,
        Key="progress",
        LocalFilePath=case.file(3 * MB),
        progress_callback=lambda done, _: seen.append(done),
    )
    assert max(seen) == 3 * MB


def copy_file_automatically(case: Case) -> None:
    case.put("from", "A" * MB)
    case.sdk.copy(Bucket=BUCKET, Key="copy_10G.txt", CopySource=source("from"), MAXThread=10)
    assert case.read("copy_10G.txt") == b"A" * MB


def upload_empty_file(case: Case) -> None:
    case.sdk.upload_file(Bucket=BUCKET, Key="empty", LocalFilePath=case.file(0))
    assert case.read("empty") == b""


def put_object_enable_md5(case: Case) -> None:
    case.put("md5", "A" * MB, EnableMD5=True)


def put_object_from_local_file(case: Case) -> None:
    case.sdk.put_object_from_local_file(
        Bucket=BUCKET, LocalFilePath=case.file(1000), Key="local", EnableMD5=True
    )


def object_exists(case: Case) -> None:
    case.put("there")
    assert case.sdk.object_exists(Bucket=BUCKET, Key="there")
    assert not case.sdk.object_exists(Bucket=BUCKET, Key="object_not_exists")


def bucket_exists(case: Case) -> None:
    assert case.sdk.bucket_exists(Bucket=BUCKET)
    assert not case.sdk.bucket_exists(Bucket="bucket-not-exists-1250000000")


def put_file_like_object(case: Case) -> None:
    case.put("like", io.BytesIO(b"123456"), EnableMD5=True)


def put_chunked_object(case: Case) -> None:
    case.put("there")
    link = case.sdk.get_presigned_download_url(BUCKET, "there")
    stream = requests.get(link, proxies=case.proxies, timeout=10)
    case.put("chunked", stream)
    assert case.read("chunked") == b"T" * 10


def put_get_gzip_file(case: Case) -> None:
    case.put("gzip", "123456", ContentEncoding="gzip")
    got = case.sdk.get_object(Bucket=BUCKET, Key="gzip")
    got["Body"].get_stream_to_file(str(case.folder / "gzip"))
    assert (case.folder / "gzip").read_bytes() == b"123456"


def download_file(case: Case) -> None:
    content = random.Random(3).randbytes(5 * MB)
    case.put("big", content)
    for options in ({}, {"PartSize": 1, "EnableCRC": True}, {"PartSize": 1, "MAXThread": 2}):
        target = case.folder / "target"
        case.sdk.download_file(BUCKET, "big", str(target), **options)
        assert target.read_bytes() == content


def download_file_disable_temp_file(case: Case) -> None:
    case.put("small", b"x")
    target = case.folder / "target"
    case.sdk.download_file(BUCKET, "small", str(target), DisableTempDestFilePath=True)
    assert target.read_bytes() == b"x"


def aes_client(case: Case) -> None:
    sdk = CosEncryptionClient(case.conf, AESProvider())
    content = "123456" * 1024 + "1"
    sdk.put_object(BUCKET, content, "aes")
    sdk.get_object(BUCKET, "aes")["Body"].get_stream_to_file(str(case.folder / "aes"))
    assert (case.folder / "aes").read_text() == content
    assert case.read("aes") != content.encode()


def get_object_url(case: Case) -> None:
    assert BUCKET in case.sdk.get_object_url(Bucket=BUCKET, Key="a")


def head_bucket_object_not_exist(case: Case) -> None:
    missing = functools.partial(case.sdk.head_bucket, Bucket="nosuchbucket-1250000000")
    assert code_of(missing) == (404, "NoSuchResource")
    gone = functools.partial(case.sdk.head_object, Bucket=BUCKET, Key="nosuchkey")
    assert code_of(gone) == (404, "NoSuchResource")


def update_object_meta(case: Case) -> None:
    case.put("meta")
    case.sdk.update_object_meta(Bucket=BUCKET, Key="meta", Metadata={"x-cos-meta-key1": "value1"})
    head = case.sdk.head_object(Bucket=BUCKET, Key="meta")
    assert head["x-cos-meta-key1"] == "value1"


def check_multipart_upload(case: Case) -> None:
    upload = case.sdk.create_multipart_upload(Bucket=BUCKET, Key="key")["UploadId"]
    place = {"Bucket": BUCKET, "Key": "key", "UploadId": upload}
    case.sdk.upload_part(Body="x" * MB, PartNumber=1, **place)
    (part,) = case.sdk.list_parts(**place)["Part"]
    assert part["Size"] == str(MB)
    case.sdk.abort_multipart_upload(**place)


def ci_get_asr_queue(case: Case) -> None:
    assert case.sdk.ci_get_asr_queue(Bucket=BUCKET)["QueueList"]


def ci_put_asr_queue(case: Case) -> None:
    queue = case.sdk.ci_get_asr_queue(Bucket=BUCKET)["QueueList"][0]["QueueId"]
    notify = {"Type": "Url", "Url": "http://www.demo.com", "Event": "TaskFinish", "State": "On"}
    body = {
        "Name": "asr-queue",
        "QueueID": queue,
        "State": "Active",
        "NotifyConfig": {**notify, "ResultFormat": "JSON"},
    }
    case.sdk.ci_update_asr_queue(
        Bucket=BUCKET, QueueId=queue, Request=body, ContentType="application/xml"
    )


def ci_asr_bucket(case: Case) -> None:
    _, opened = case.sdk.ci_open_asr_bucket(Bucket=BUCKET)
    assert opened["AsrBucket"]["Name"] == BUCKET
    _, closed = case.sdk.ci_close_asr_bucket(Bucket=BUCKET)
    assert closed["BucketName"] == BUCKET


def ci_get_asr_bucket(case: Case) -> None:
    assert case.sdk.ci_get_asr_bucket(Regions=REGION, BucketName=BUCKET)["TotalCount"] == "0"


def ci_get_media_queue(case: Case) -> None:
    assert case.sdk.ci_get_media_queue(Bucket=BUCKET, State="Active")["QueueList"]


def ci_get_media_bucket(case: Case) -> None:
    assert case.sdk.ci_get_media_bucket(Regions=REGION, BucketName=BUCKET)["TotalCount"] == "0"


PASSING = (
    *(put_get_delete_object_10MB, put_object_speacil_names, get_object_special_names),
    *(delete_object_special_names, put_object_non_exist_bucket, copy_object_diff_bucket),
    *(create_abort_multipart_upload, create_complete_multipart_upload, upload_part_copy),
    *(delete_multiple_objects, list_objects, get_presigned_url, list_multipart_uploads),
    *(upload_file_from_buffer, upload_small_file, upload_file_multithreading),
    *(upload_file_with_progress_callback, copy_file_automatically, upload_empty_file),
    *(put_object_enable_md5, put_object_from_local_file, object_exists, bucket_exists),
    *(put_file_like_object, put_chunked_object, put_get_gzip_file, download_file),
    *(download_file_disable_temp_file, aes_client, get_object_url, head_bucket_object_not_exist),
    *(update_object_meta, check_multipart_upload, ci_get_asr_queue, ci_put_asr_queue),
    *(ci_asr_bucket, ci_get_asr_bucket, ci_get_media_queue, ci_get_media_bucket),
)

# Official case: the client's call that it begins with, and its arguments.
RULE = {"Rule": [{"ID": "1"}]}
KEY = {"Bucket": BUCKET, "Key": "there"}
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "put_object_acl": ("put_object_acl", {**KEY, "ACL": "public-read"}),
    "get_object_acl": ("get_object_acl", KEY),
    "create_head_delete_bucket": ("delete_bucket", {"Bucket": OTHER}),
    "put_bucket_acl": ("put_bucket_acl", {"Bucket": BUCKET, "ACL": "private"}),
    "get_bucket_acl_normal": ("get_bucket_acl", {"Bucket": BUCKET}),
    "list_objects_versions": ("list_objects_versions", {"Bucket": BUCKET}),
    "get_bucket_location": ("get_bucket_location", {"Bucket": BUCKET}),
    "put_get_delete_cors": ("put_bucket_cors", {"Bucket": BUCKET, "CORSConfiguration": RULE}),
    "put_get_delete_lifecycle": (
        "put_bucket_lifecycle",
        {"Bucket": BUCKET, "LifecycleConfiguration": RULE},
    ),
    "put_get_versioning": ("put_bucket_versioning", {"Bucket": BUCKET, "Status": "Enabled"}),
    "put_get_delete_replication": ("get_bucket_replication", {"Bucket": BUCKET}),
    "put_get_delete_website": ("get_bucket_website", {"Bucket": BUCKET}),
    "put_get_bucket_logging": ("get_bucket_logging", {"Bucket": BUCKET}),
    "put_get_delete_bucket_policy": ("get_bucket_policy", {"Bucket": BUCKET}),
    "list_bucket_inventory_configrations": (
        "list_bucket_inventory_configurations",
        {"Bucket": BUCKET},
    ),
    "put_get_delete_bucket_tagging": ("get_bucket_tagging", {"Bucket": BUCKET}),
    "put_get_delete_object_tagging": ("get_object_tagging", KEY),
    "put_get_delete_bucket_origin": ("get_bucket_origin", {"Bucket": BUCKET}),
    "put_get_delete_bucket_referer": ("get_bucket_referer", {"Bucket": BUCKET}),
    "put_get_traffic_limit": ("put_object", {**KEY, "Body": b"A", "TrafficLimit": "1048576"}),
    "bucket_encryption": ("get_bucket_encryption", {"Bucket": BUCKET}),
    "upload_with_server_side_encryption": (
        "put_object",
        {**KEY, "Body": b"A", "ServerSideEncryption": "AES256"},
    ),
    "append_object": ("append_object", {**KEY, "Position": 0, "Data": b"A"}),
    "change_object_storage_class": (
        "change_object_storage_class",
        {**KEY, "StorageClass": "STANDARD_IA"},
    ),
    "put_object_with_tagging": ("put_object", {**KEY, "Body": b"A", "Tagging": "a=b"}),
    "put_get_symlink_multiver": (
        "put_symlink",
        {"Bucket": BUCKET, "SymlinkName": "there", "SymlinkTarget": "other"},
    ),
    "get_media_info": ("get_media_info", KEY),
}


@pytest.fixture
def case(bench: Bench, tmp_path: Path) -> Case:
    """A client that uses the service as its proxy, so that it has its usual hosts."""
    (bench.root / OTHER).mkdir()
    (bench.root / BUCKET / "there").write_bytes(b"media")
    proxies = {"http": bench.service.url}
    sdk = bench.sdk(IP=None, Port=None, Proxies=proxies)
    folder = tmp_path / uuid.uuid4().hex
    folder.mkdir()
    return Case(sdk, sdk.get_conf(), proxies, folder)


@pytest.mark.slow
@pytest.mark.parametrize("act", PASSING, ids=lambda act: act.__name__)
async def test_an_official_case_passes(
    bench: Bench, case: Case, act: Callable[[Case], None]
) -> None:
    await bench.call(act, case)


@pytest.mark.parametrize("name", REFUSED)
async def test_an_official_case_of_another_feature_is_refused_and_changes_nothing(
    bench: Bench, case: Case, name: str
) -> None:
    method, arguments = REFUSED[name]

    status, code = await bench.call(
        code_of, functools.partial(getattr(case.sdk, method), **arguments)
    )

    assert (status, code) == (501, "NotImplemented")
    assert (bench.root / BUCKET / "there").read_bytes() == b"media"
    assert (bench.root / OTHER).is_dir()


def test_the_page_counts_these_cases() -> None:
    page = (REPOSITORY / "docs" / "conformance.md").read_text()

    assert re.findall(r"\*\*(\d+)\*\* pass, \*\*(\d+)\*\* are refused", page) == [
        (str(len(PASSING)), str(len(REFUSED)))
    ]

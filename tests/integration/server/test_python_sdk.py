"""The vendor's unmodified Python client works with the local service."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from qcloud_cos import CosServiceError

from orchestrator.server.pace import Pace, Progression

if TYPE_CHECKING:
    from tests.integration.server.conftest import Bench, Benches

BUCKET = "media-1250000000"
REGION = "ap-chongqing"


def job(key: str = "in/a.mp3", **operation: Any) -> dict[str, Any]:
    sound = {
        "AudioMode": "AudioAndBackground",
        "AudioConfig": {"Codec": "mp3", "Samplerate": "44100", "Bitrate": "128", "Channels": "2"},
    }
    output = {
        "Region": REGION,
        "Bucket": BUCKET,
        "Object": "out/${jobid}/b.${ext}",
        "AuObject": "out/${jobid}/v.${Ext}",
    }
    return {
        "Tag": "VoiceSeparate",
        "Input": {"Object": key},
        "Operation": {
            "VoiceSeparate": sound,
            "Output": output,
            "UserData": "k & <x>",
            "JobLevel": "1",
            **operation,
        },
    }


async def test_a_job_is_submitted_queried_and_its_stems_are_there(bench: Bench) -> None:
    sdk = bench.sdk()

    reply = await bench.call(sdk.ci_create_media_jobs, Bucket=BUCKET, Jobs=job())
    submitted = reply["JobsDetail"][0]
    await bench.ended(submitted["JobId"])
    answer = await bench.call(sdk.ci_get_media_jobs, Bucket=BUCKET, JobIDs=submitted["JobId"])

    assert submitted["State"] == "Submitted"
    assert submitted["Code"] == "Success"
    assert submitted["StartTime"] == "-"
    assert submitted["Operation"]["Output"]["AuObject"] == "out/${jobid}/v.${Ext}"
    assert submitted["Operation"]["UserData"] == "k & <x>"
    assert submitted["Operation"]["VoiceSeparate"]["AudioConfig"]["Bitrate"] == "128"
    done = answer["JobsDetail"][0]
    assert done["State"] == "Success"
    files = done["Operation"]["MediaResult"]["OutputFile"]
    job_id = submitted["JobId"]
    assert files["ObjectName"] == [f"out/{job_id}/v.mp3", f"out/{job_id}/b.mp3"]
    for sums in files["Md5Info"]:
        stored = await bench.call(sdk.get_object, Bucket=BUCKET, Key=sums["ObjectName"])
        content = await bench.call(stored["Body"].get_raw_stream().read)
        assert hashlib.md5(content, usedforsecurity=False).hexdigest() == sums["Md5"]


async def test_a_query_separates_known_and_missing_ids(bench: Bench) -> None:
    sdk = bench.sdk()
    ids = [await bench.submit(), await bench.submit()]
    missing = "j" + "f" * 32

    answer = await bench.call(
        sdk.ci_get_media_jobs, Bucket=BUCKET, JobIDs=",".join([*ids, missing])
    )

    assert [found["JobId"] for found in answer["JobsDetail"]] == ids
    assert answer["NonExistJobIds"] == missing


async def test_a_list_pages_through_all_jobs_once(start: Benches) -> None:
    bench = await start(progression=Progression(Pace.HOLD))
    sdk = bench.sdk()
    ids = [await bench.submit() for _ in range(7)]

    seen, token = [], ""
    for _ in range(10):
        page = await bench.call(
            sdk.ci_list_media_jobs,
            Bucket=BUCKET,
            Tag="VoiceSeparate",
            Size=3,
            NextToken=token,
            OrderByTime="Asc",
        )
        seen += [found["JobId"] for found in page["JobsDetail"]]
        token = page.get("NextToken") or ""
        if not token:
            break

    assert seen == ids


async def test_a_list_filters_by_state_time_and_queue(start: Benches) -> None:
    bench = await start(progression=Progression(Pace.HOLD))
    sdk = bench.sdk()
    first = await bench.submit()
    second = await bench.submit()
    await bench.call(sdk.ci_cancel_jobs, Bucket=BUCKET, JobID=second)
    listed = await bench.call(sdk.ci_list_media_jobs, Bucket=BUCKET, Tag="VoiceSeparate")
    queue = listed["JobsDetail"][0]["QueueId"]

    async def ids(**options: Any) -> list[str]:
        page = await bench.call(
            sdk.ci_list_media_jobs, Bucket=BUCKET, Tag="VoiceSeparate", **options
        )
        return [found["JobId"] for found in page.get("JobsDetail", [])]

    assert await ids(States="Submitted") == [first]
    assert await ids(States="Cancel,Failed") == [second]
    assert await ids(QueueId=queue) == [second, first]
    assert await ids(QueueId="p" + "0" * 32) == []
    assert await ids(StartCreationTime="2099-01-01T00:00:00+0800") == []
    assert await ids(
        StartCreationTime="2001-01-01T00:00:00+0800", EndCreationTime="2099-01-01T00:00:00+0800"
    ) == [second, first]


async def test_objects_come_back_unchanged(bench: Bench) -> None:
    sdk = bench.sdk()
    content = bytes(range(256)) * 300
    key = "音乐/a b+c(1).bin"

    put = await bench.call(
        sdk.put_object,
        Bucket=BUCKET,
        Key=key,
        Body=content,
        EnableMD5=True,
        ContentType="audio/x-test",
    )
    head = await bench.call(sdk.head_object, Bucket=BUCKET, Key=key)
    got = await bench.call(sdk.get_object, Bucket=BUCKET, Key=key)
    part = await bench.call(sdk.get_object, Bucket=BUCKET, Key=key, Range="bytes=10-19")

    etag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
    assert put["ETag"] == head["ETag"] == etag
    assert head["Content-Length"] == str(len(content))
    assert head["Content-Type"] == "audio/x-test"
    assert await bench.call(got["Body"].get_raw_stream().read) == content
    assert await bench.call(part["Body"].get_raw_stream().read) == content[10:20]
    assert part["Content-Range"] == f"bytes 10-19/{len(content)}"
    assert (bench.root / BUCKET / key).read_bytes() == content


async def test_the_listing_gives_keys_sizes_and_etags(bench: Bench) -> None:
    sdk = bench.sdk()
    for key in ("in/b.mp3", "in/a.mp3", "in/深/c d.mp3", "other.mp3"):
        await bench.call(sdk.put_object, Bucket=BUCKET, Key=key, Body=b"x" * 5)

    page = await bench.call(sdk.list_objects, Bucket=BUCKET, Prefix="in/", MaxKeys=2)
    rest = await bench.call(
        sdk.list_objects, Bucket=BUCKET, Prefix="in/", Marker=page["NextMarker"]
    )
    grouped = await bench.call(sdk.list_objects, Bucket=BUCKET, Prefix="in/", Delimiter="/")

    assert [entry["Key"] for entry in page["Contents"]] == ["in/a.mp3", "in/b.mp3"]
    assert page["IsTruncated"] == "true"
    assert page["Contents"][0]["Size"] == "5"
    assert (
        page["Contents"][0]["ETag"]
        == f'"{hashlib.md5(b"xxxxx", usedforsecurity=False).hexdigest()}"'
    )
    assert [entry["Key"] for entry in rest["Contents"]] == ["in/深/c d.mp3"]
    assert rest["IsTruncated"] == "false"
    assert [entry["Prefix"] for entry in grouped["CommonPrefixes"]] == ["in/深/"]


async def test_errors_carry_the_vendors_code_and_request_id(bench: Bench) -> None:
    sdk = bench.sdk()
    await bench.call(sdk.put_object, Bucket=BUCKET, Key="a", Body=b"x")

    with pytest.raises(CosServiceError) as missing:
        await bench.call(sdk.get_object, Bucket=BUCKET, Key="nothing")
    with pytest.raises(CosServiceError) as wrong:
        await bench.call(sdk.ci_create_media_jobs, Bucket=BUCKET, Jobs=job(JobLevel="7"))

    assert (missing.value.get_status_code(), missing.value.get_error_code()) == (404, "NoSuchKey")
    assert missing.value.get_resource_location() == "/nothing"
    assert (wrong.value.get_status_code(), wrong.value.get_error_code()) == (400, "InvalidArgument")
    assert "JobLevel" in wrong.value.get_error_msg()
    assert wrong.value.get_request_id()


async def test_a_wrong_secret_is_refused(bench: Bench) -> None:
    sdk = bench.sdk(SecretKey="wrong")

    with pytest.raises(CosServiceError) as jobs:
        await bench.call(sdk.ci_create_media_jobs, Bucket=BUCKET, Jobs=job())
    with pytest.raises(CosServiceError) as objects:
        await bench.call(sdk.list_objects, Bucket=BUCKET)

    assert (jobs.value.get_status_code(), jobs.value.get_error_code()) == (
        401,
        "InvalidAuthorization",
    )
    assert (objects.value.get_status_code(), objects.value.get_error_code()) == (
        403,
        "SignatureDoesNotMatch",
    )


async def test_a_client_that_uses_the_address_as_domain_gets_the_default_bucket(
    start: Benches,
) -> None:
    bench = await start(bucket=BUCKET, region=REGION)
    sdk = bench.sdk(IP=None, Port=None, Domain=bench.service.url.removeprefix("http://"))

    reply = await bench.call(sdk.ci_create_media_jobs, Bucket=BUCKET, Jobs=job())

    assert reply["JobsDetail"][0]["Input"]["BucketId"] == BUCKET

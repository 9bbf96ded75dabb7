"""Templates, queues and activation through the vendor's unmodified Python client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from qcloud_cos import CosServiceError

from orchestrator.server.pace import Pace, Progression

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.server.conftest import Bench, Benches

BUCKET = "media-1250000000"


def template(name: str = "two-stems", **changes: Any) -> dict[str, Any]:
    sound = {"Codec": "mp3", "Samplerate": "44100", "Bitrate": "192", "Channels": "2"}
    return {
        "Tag": "VoiceSeparate",
        "Name": name,
        "AudioMode": "AudioAndBackground",
        "AudioConfig": sound,
        **changes,
    }


async def test_templates_are_made_changed_listed_used_and_removed(
    bench: Bench, job_body: Callable[..., str]
) -> None:
    sdk = bench.sdk()

    made = await bench.call(
        sdk.ci_create_template, Bucket=BUCKET, Template=template("Zwei-Spuren_歌*")
    )
    template_id = made["Template"]["TemplateId"]
    changed = await bench.call(
        sdk.ci_update_template,
        Bucket=BUCKET,
        TemplateId=template_id,
        Template=template("other", AudioMode="IsAudio"),
    )
    await bench.call(sdk.ci_create_template, Bucket=BUCKET, Template=template("third"))
    all_of_them = await bench.call(sdk.ci_get_template, Bucket=BUCKET)
    by_name = await bench.call(sdk.ci_get_template, Bucket=BUCKET, Name="oth")
    by_ids = await bench.call(sdk.ci_get_template, Bucket=BUCKET, Ids=f"{template_id},t1nothing")
    body = job_body().partition("<VoiceSeparate>")
    with_template = (
        body[0]
        + f"<TemplateId>{template_id}</TemplateId>"
        + body[2].partition("</VoiceSeparate>")[2]
    )
    job = await bench.ended(await bench.submit(with_template))
    removed = await bench.call(sdk.ci_delete_template, Bucket=BUCKET, TemplateId=template_id)

    assert made["Template"]["VoiceSeparate"]["AudioConfig"]["Bitrate"] == "192"
    assert made["Template"]["Category"] == "Custom"
    assert template_id.startswith("t1")
    assert changed["Template"]["VoiceSeparate"]["AudioMode"] == "IsAudio"
    assert changed["Template"]["CreateTime"] == made["Template"]["CreateTime"]
    assert all_of_them["TotalCount"] == "2"
    assert [found["Name"] for found in all_of_them["TemplateList"]] == ["other", "third"]
    assert [found["Name"] for found in by_name["TemplateList"]] == ["other"]
    assert by_ids["NonExistTIDs"]["TemplateId"] == "t1nothing"
    assert f"<TemplateId>{template_id}</TemplateId><TemplateName>other</TemplateName>" in job
    assert "out/v.mp3</ObjectName>" in job
    assert "out/b.mp3</ObjectName>" not in job
    assert removed["TemplateId"] == template_id
    with pytest.raises(CosServiceError) as gone:
        await bench.call(sdk.ci_delete_template, Bucket=BUCKET, TemplateId=template_id)
    assert gone.value.get_error_code() == "TemplateNotFound"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Name": "a b"}, "InvalidArgument"),
        ({"Name": "x" * 65}, "InvalidArgument"),
        ({"AudioMode": ""}, "InvalidArgument"),
        ({"Tag": "Transcode"}, "InvalidArgument"),
        ({"AudioConfig": {"Codec": "mp3", "Samplerate": "96000"}}, "InvalidArgument"),
        ({"Name": "taken"}, "TemplateNameDuplicate"),
    ],
)
async def test_wrong_templates_are_refused(bench: Bench, change: dict[str, Any], code: str) -> None:
    sdk = bench.sdk()
    await bench.call(sdk.ci_create_template, Bucket=BUCKET, Template=template("taken"))

    with pytest.raises(CosServiceError) as refused:
        await bench.call(
            sdk.ci_create_template, Bucket=BUCKET, Template=template(name="new") | change
        )

    assert refused.value.get_error_code() == code


async def test_queues_are_listed_paused_and_resumed(start: Benches) -> None:
    bench = await start(progression=Progression(Pace.HOLD))
    sdk = bench.sdk()
    job_id = await bench.submit()
    shown = await bench.call(sdk.ci_get_asr_queue, Bucket=BUCKET)
    queue = shown["QueueList"][0]

    def change(state: str) -> dict[str, Any]:
        return {"Name": "mine", "State": state, "NotifyConfig": {"State": "Off"}}

    paused = await bench.call(
        sdk.ci_update_asr_queue, Bucket=BUCKET, QueueId=queue["QueueId"], Request=change("Paused")
    )
    listed = await bench.call(sdk.ci_get_asr_queue, Bucket=BUCKET, State="Paused")
    held = await bench.job(job_id)
    await bench.call(
        sdk.ci_update_asr_queue, Bucket=BUCKET, QueueId=queue["QueueId"], Request=change("Active")
    )
    media = await bench.call(sdk.ci_get_media_queue, Bucket=BUCKET)

    assert queue["State"] == "Active"
    assert queue["MaxSize"] == "10000"
    assert queue["NotifyConfig"]["State"] == "Off"
    assert paused["Queue"][0]["State"] == "Paused"
    assert paused["Queue"][0]["Name"] == "mine"
    assert [found["QueueId"] for found in listed["QueueList"]] == [queue["QueueId"]]
    assert "<State>Pause</State>" in held
    assert "<State>Submitted</State>" in await bench.job(job_id)
    assert media["QueueList"][0]["QueueId"] != queue["QueueId"]
    assert media["QueueList"][0]["Category"] == "Transcoding"


@pytest.mark.parametrize(
    "notify",
    [
        {"State": "Maybe"},
        {"State": "On", "Event": "Lunch", "Type": "Url", "Url": "http://a.example"},
        {"State": "On", "Event": "TaskFinish", "Type": "Url", "Url": "http://10.0.0.1/"},
        {"State": "On", "Event": "TaskFinish", "Type": "Url", "Url": "http://[fd00::1]/"},
        {"State": "On", "Event": "TaskFinish", "Type": "Url"},
        {"State": "On", "Event": "TaskFinish", "Type": "TDMQ", "MqRegion": "mars"},
        {
            "State": "On",
            "Event": "TaskFinish",
            "Type": "Url",
            "Url": "http://a.example",
            "ResultFormat": "YAML",
        },
    ],
)
async def test_wrong_queue_settings_are_refused(bench: Bench, notify: dict[str, str]) -> None:
    sdk = bench.sdk()
    queue = (await bench.call(sdk.ci_get_asr_queue, Bucket=BUCKET))["QueueList"][0]["QueueId"]
    request = {"Name": "mine", "State": "Active", "NotifyConfig": notify}

    with pytest.raises(CosServiceError) as refused:
        await bench.call(sdk.ci_update_asr_queue, Bucket=BUCKET, QueueId=queue, Request=request)

    assert refused.value.get_error_code() == "InvalidArgument"


async def test_an_unknown_queue_is_named(bench: Bench) -> None:
    sdk = bench.sdk()
    missing = "p" + "0" * 32

    shown = await bench.call(sdk.ci_get_asr_queue, Bucket=BUCKET, QueueIds=missing)
    with pytest.raises(CosServiceError) as refused:
        await bench.call(
            sdk.ci_update_asr_queue,
            Bucket=BUCKET,
            QueueId=missing,
            Request={"Name": "a", "State": "Active", "NotifyConfig": {"State": "Off"}},
        )

    assert shown["NonExistPIDs"] == missing
    assert refused.value.get_error_code() == "QueueNotFound"


async def test_enabled_buckets_are_listed(start: Benches) -> None:
    bench = await start(bucket=BUCKET)
    sdk = bench.sdk()

    _, opened = await bench.call(sdk.ci_open_asr_bucket, Bucket=BUCKET)
    shown = await bench.call(sdk.ci_get_asr_bucket, Regions="All", BucketName="med")
    none = await bench.call(sdk.ci_get_media_bucket, Regions="All", BucketName="med")

    assert opened["AsrBucket"]["BucketId"] == BUCKET
    assert shown["TotalCount"] == "1"
    assert shown["AsrBucketList"][0]["Name"] == BUCKET
    assert none["TotalCount"] == "0"

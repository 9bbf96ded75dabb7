"""The job calls of the reference, shown by raw requests that no client library would send."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from orchestrator.server.pace import Pace, Progression
from orchestrator.server.settings import MissingInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.server.conftest import Bench, Benches

HOLD = Progression(Pace.HOLD)


def states(text: str) -> list[str]:
    return re.findall("<State>(.*?)</State>", text)


async def test_a_submit_answers_in_the_vendors_shape(
    bench: Bench, job_body: Callable[..., str]
) -> None:
    answer = await bench.raw(
        "POST", "/jobs", body=job_body(level=2, inside="<UserData>key own data</UserData>")
    )

    detail = ET.fromstring(answer.text).find("JobsDetail")  # noqa: S314 - our own service's answer
    assert detail is not None
    assert re.fullmatch("j[0-9a-f]{32}", detail.findtext("JobId") or "")
    assert re.fullmatch("p[0-9a-f]{32}", detail.findtext("QueueId") or "")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+0800", detail.findtext("CreationTime") or ""
    )
    assert (detail.findtext("StartTime"), detail.findtext("EndTime")) == ("-", "-")
    assert (detail.findtext("State"), detail.findtext("Tag"), detail.findtext("Code")) == (
        "Submitted",
        "VoiceSeparate",
        "Success",
    )
    assert detail.findtext("Input/BucketId") == "media-1250000000"
    assert detail.findtext("Operation/JobLevel") == "2"
    assert detail.findtext("Operation/UserData") == "key own data"
    assert detail.findtext("Operation/Output/AuObject") == "out/v.${ext}"
    assert answer.headers["Server"] == "tencent-ci"
    assert answer.headers["Content-Type"] == "application/xml"
    assert answer.headers["x-ci-request-id"]
    assert answer.headers["x-cos-request-id"]
    assert "x-ci-trace-id" not in answer.headers


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda text: text.replace("VoiceSeparate</Tag>", "Transcode</Tag>"), "InvalidArgument"),
        (lambda text: text.replace("in/a.mp3", ""), "InvalidArgument"),
        (lambda text: text.replace("in/a.mp3", "../x"), "InvalidArgument"),
        (lambda text: text.replace("<Region>ap-chongqing</Region>", ""), "InvalidArgument"),
        (
            lambda text: text.replace("<Bucket>media-1250000000</Bucket>", "<Bucket>..</Bucket>"),
            "InvalidArgument",
        ),
        (
            lambda text: text.replace("out/b.${ext}", "").replace("out/v.${ext}", ""),
            "InvalidArgument",
        ),
        (lambda text: text.replace("out/b.${ext}", "out/v.${ext}"), "InvalidArgument"),
        (lambda text: text.replace("out/v.${ext}", "/etc/passwd"), "InvalidArgument"),
        (lambda text: text.replace("out/v.${ext}", ".service/queue.db"), "InvalidArgument"),
        (lambda text: text.replace("AudioAndBackground", "Karaoke"), "InvalidArgument"),
        (lambda text: text.replace("<Codec>mp3</Codec>", "<Codec>ogg</Codec>"), "InvalidArgument"),
        (
            lambda text: text.replace(
                "<Codec>mp3</Codec>", "<Codec>mp3</Codec><Samplerate>8000</Samplerate>"
            ),
            "InvalidArgument",
        ),
        (lambda text: text.replace("<Codec>mp3</Codec>", "<Codec>amr</Codec>"), "InvalidArgument"),
        (
            lambda text: text.replace("<Codec>mp3</Codec>", "<Bitrate>5</Bitrate>"),
            "InvalidArgument",
        ),
        (
            lambda text: text.replace("<Codec>mp3</Codec>", "<Channels>x</Channels>"),
            "InvalidArgument",
        ),
        (
            lambda text: text.replace("</Operation>", "<JobLevel>3</JobLevel></Operation>"),
            "InvalidArgument",
        ),
        (
            lambda text: text.replace(
                "</Operation>", f"<UserData>{'x' * 1025}</UserData></Operation>"
            ),
            "InvalidArgument",
        ),
        (
            lambda text: text.replace("</Operation>", "<UserData>é</UserData></Operation>"),
            "InvalidArgument",
        ),
        (
            lambda text: text.replace(
                "</Operation>", "<TemplateId>t1nothing</TemplateId></Operation>"
            ),
            "TemplateNotFound",
        ),
        (
            lambda text: text.replace("</Request>", "<QueueId>pnothing</QueueId></Request>"),
            "QueueNotFound",
        ),
        (
            lambda text: text.replace("</Request>", "<CallBackType>TDMQ</CallBackType></Request>"),
            "InvalidArgument",
        ),
        (
            lambda text: text.replace(
                "</Request>", "<CallBackType>Pigeon</CallBackType></Request>"
            ),
            "InvalidArgument",
        ),
        (
            lambda text: text.replace(
                "</Request>", "<CallBackFormat>YAML</CallBackFormat></Request>"
            ),
            "InvalidArgument",
        ),
        (
            lambda text: text.replace("</Request>", "<CallBack>ftp://x</CallBack></Request>"),
            "InvalidArgument",
        ),
        (lambda text: re.sub("<VoiceSeparate>.*</VoiceSeparate>", "", text), "InvalidArgument"),
        (lambda text: re.sub("<Operation>.*</Operation>", "", text), "InvalidArgument"),
        (lambda text: text.replace("Request>", "Query>"), "InvalidContent"),
        (lambda text: text[:-5], "InvalidContent"),
        (lambda text: text[:0], "MissingContent"),
    ],
)
async def test_a_wrong_submit_is_refused_and_makes_no_job(
    bench: Bench, job_body: Callable[..., str], change: Callable[[str], str], code: str
) -> None:
    answer = await bench.raw("POST", "/jobs", body=change(job_body()))

    assert answer.status == 400
    assert f"<Code>{code}</Code>" in answer.text
    assert "<Resource>/jobs</Resource>" in answer.text
    assert answer.headers["x-ci-trace-id"]
    assert (await bench.raw("GET", "/jobs")).text.endswith("<Response></Response>")


async def test_empty_and_unknown_nodes_count_as_absent(
    bench: Bench, job_body: Callable[..., str]
) -> None:
    body = job_body(
        extra="<BucketName>x</BucketName><QueueId/><CallBack></CallBack>",
        inside="<TemplateId/><UserData/><JobLevel/>",
    )
    body = body.replace(
        "<Codec>mp3</Codec>", "<Codec>MP3</Codec><Samplerate></Samplerate><Bitrate/><Channels/>"
    )

    answer = await bench.raw("POST", "/jobs", body=body)

    assert answer.status == 200, answer.text


async def test_one_stem_modes_write_one_stem_although_two_are_named(
    bench: Bench, job_body: Callable[..., str]
) -> None:
    job_id = await bench.submit(job_body().replace("AudioAndBackground", "IsAudio"))

    text = await bench.ended(job_id)

    assert re.findall(
        "<ObjectName>(.*?)</ObjectName>",
        text.partition("<ObjectPrefix")[0].rpartition("</Md5Info>")[2],
    ) == ["out/v.mp3"]
    assert (bench.root / "media-1250000000/out/v.mp3").exists()
    assert not (bench.root / "media-1250000000/out/b.mp3").exists()


async def test_several_operations_make_one_job_each(
    bench: Bench, job_body: Callable[..., str]
) -> None:
    body = job_body().replace("<Tag>VoiceSeparate</Tag>", "")
    operation = re.search("<Operation>.*</Operation>", body)
    assert operation
    tagged = operation[0].replace("<Operation>", "<Operation><Tag>VoiceSeparate</Tag>")
    many = [tagged.replace("out/", f"out{number}/") for number in range(7)]

    good = await bench.raw("POST", "/jobs", body=body.replace(operation[0], "".join(many[:6])))
    mixed = await bench.raw(
        "POST", "/jobs", body=body.replace(operation[0], many[0] + many[1].replace("mp3", "ogg"))
    )
    seven = await bench.raw("POST", "/jobs", body=body.replace(operation[0], "".join(many)))

    assert good.text.count("<JobsDetail>") == 6
    assert good.text.count("<Operation><Tag>VoiceSeparate</Tag>") == 6
    assert (mixed.status, seven.status) == (400, 400)
    assert (await bench.raw("GET", "/jobs", params={"size": "100"})).text.count("<JobId>") == 6


async def test_jobs_start_by_level_then_age(start: Benches, job_body: Callable[..., str]) -> None:
    bench = await start(progression=HOLD, max_concurrent=1)
    levels = [0, 1, 2, 0, 2, 1]
    ids = [await bench.submit(job_body(level=level)) for level in levels]
    parts = bench.service.parts
    order: list[str] = []
    real = parts.scheduler._on_end

    async def record(row: object) -> None:
        order.append(row.job_id)  # type: ignore[attr-defined]
        await real(row)  # type: ignore[arg-type]

    parts.scheduler._on_end = record
    parts.scheduler.progression = Progression(Pace.IMMEDIATE)
    parts.scheduler.wake()
    for job_id in ids:
        await bench.ended(job_id)

    assert order == [ids[number] for number in (2, 4, 1, 5, 0, 3)]


async def test_polls_advance_a_job_step_by_step(start: Benches) -> None:
    bench = await start(progression=Progression(Pace.POLLS, start_after=2, finish_after=2))
    job_id = await bench.submit()

    seen = [states(await bench.job(job_id))[0] for _ in range(6)]

    assert seen == ["Submitted", "Submitted", "Running", "Running", "Success", "Success"]


async def test_seconds_let_a_job_wait_run_and_end(start: Benches) -> None:
    bench = await start(
        progression=Progression(Pace.SECONDS, start_after=0.3, finish_after=0.3, media_s=12)
    )
    job_id = await bench.submit()
    first = states(await bench.job(job_id))

    async def running() -> bool:
        return states(await bench.job(job_id)) == ["Running"]

    await bench.until(running)
    text = await bench.ended(job_id)

    assert first == ["Submitted"]
    assert "<Duration>12.000000</Duration>" in text


async def test_only_waiting_jobs_can_be_cancelled_in_every_wire_form(start: Benches) -> None:
    bench = await start(progression=HOLD)
    ids = [await bench.submit() for _ in range(4)]

    forms = [
        await bench.raw("PUT", f"/jobs/{ids[0]}", params={"cancel": ""}),
        await bench.raw("PUT", f"/jobs/{ids[1]}", params={"cancel": "true"}),
        await bench.raw("PUT", f"/jobs/{ids[2]}"),
    ]
    again = await bench.raw("PUT", f"/jobs/{ids[0]}", params={"cancel": ""})
    bench.service.parts.scheduler.progression = Progression(Pace.IMMEDIATE)
    bench.service.parts.scheduler.wake()
    await bench.ended(ids[3])
    late = await bench.raw("PUT", f"/jobs/{ids[3]}", params={"cancel": ""})
    unknown = await bench.raw("PUT", f"/jobs/j{'0' * 32}", params={"cancel": ""})

    assert [(form.status, form.body) for form in [*forms, again]] == [(200, b"")] * 4
    assert states(await bench.job(",".join(ids))) == ["Cancel", "Cancel", "Cancel", "Success"]
    assert (late.status, unknown.status) == (400, 400)
    assert "can not be modified" in late.text
    assert "ResourceNotFound" in unknown.text


async def test_a_query_takes_one_to_ten_ids_in_both_wire_forms(bench: Bench) -> None:
    ids = [await bench.submit() for _ in range(11)]

    ten = await bench.raw("GET", f"/jobs/{','.join(ids[:10])}")
    encoded = await bench.raw(
        "GET", f"/jobs/{ids[0]},{ids[1]}", wire_path=f"/jobs/{ids[0]}%2C{ids[1]}"
    )
    eleven = await bench.raw("GET", f"/jobs/{','.join(ids)}")

    assert ten.text.count("<JobsDetail>") == 10
    assert encoded.text.count("<JobsDetail>") == 2
    assert "NonExistJobIds" not in ten.text
    assert (eleven.status, "InvalidArgument" in eleven.text) == (400, True)


async def test_jobs_of_another_bucket_do_not_exist_for_this_one(bench: Bench) -> None:
    job_id = await bench.submit()
    other = "other-1250000000.ci.ap-chongqing.myqcloud.com"

    seen = await bench.raw("GET", f"/jobs/{job_id}", host=other)
    cancelled = await bench.raw("PUT", f"/jobs/{job_id}", host=other, params={"cancel": ""})

    assert f"<NonExistJobIds>{job_id}</NonExistJobIds>" in seen.text
    assert cancelled.status == 400


async def test_a_list_finds_jobs_by_their_input(
    start: Benches, job_body: Callable[..., str]
) -> None:
    bench = await start(progression=HOLD)
    await bench.submit(job_body("in/a.mp3"))
    wanted = await bench.submit(job_body("in/b c.mp3"))

    found = await bench.raw(
        "GET", "/jobs", params={"tag": "VoiceSeparate", "inputObject": "in/b c.mp3"}
    )

    assert re.findall("<JobId>(.*?)</JobId>", found.text) == [wanted]


@pytest.mark.parametrize(
    "params",
    [
        {"size": "0"},
        {"size": "101"},
        {"size": "x"},
        {"orderByTime": "Up"},
        {"states": "Done"},
        {"nextToken": "???"},
        {"startCreationTime": "yesterday"},
    ],
)
async def test_wrong_list_parameters_are_refused(bench: Bench, params: dict[str, str]) -> None:
    answer = await bench.raw("GET", "/jobs", params=params)

    assert (answer.status, "<Code>InvalidArgument</Code>" in answer.text) == (400, True)


async def test_a_missing_input_fails_later_or_at_once_by_setting(start: Benches) -> None:
    later = await start(missing_input=MissingInput.FAIL)
    text = await later.ended(await later.submit())

    assert "<State>Failed</State>" in text
    assert "<Code>ResourceNotFound</Code>" in text
    assert "in/a.mp3" in text


@pytest.mark.parametrize("voice", ["a.mp3", "link.mp3"])
async def test_a_job_never_replaces_its_input_also_through_another_bucket(
    start: Benches, job_body: Callable[..., str], voice: str
) -> None:
    folder = start.root / "media-1250000000/in"
    folder.mkdir(parents=True)
    (folder / "a.mp3").write_bytes(b"mine")
    (folder / "link.mp3").hardlink_to(folder / "a.mp3")
    bench = await start(buckets={"stems": folder})
    body = job_body(voice=voice).replace(
        "<Bucket>media-1250000000</Bucket>", "<Bucket>stems</Bucket>"
    )

    text = await bench.ended(await bench.submit(body))

    assert "<State>Failed</State>" in text
    assert "<Code>InvalidArgument</Code>" in text
    assert "is the file of the input" in text
    assert (folder / "a.mp3").read_bytes() == b"mine"
    assert sorted(path.name for path in folder.iterdir()) == ["a.mp3", "link.mp3"]


async def test_a_missing_input_is_refused_at_submit_if_set_so(
    start: Benches, job_body: Callable[..., str]
) -> None:
    bench = await start(missing_input=MissingInput.REFUSE)

    answer = await bench.raw("POST", "/jobs", body=job_body())

    assert (answer.status, "<Code>ResourceNotFound</Code>" in answer.text) == (400, True)


async def test_a_full_queue_and_a_paused_one_refuse_jobs(
    start: Benches, job_body: Callable[..., str]
) -> None:
    bench = await start(progression=HOLD, queue_max_size=2)
    first = await bench.submit()
    job_id = await bench.submit()
    full = await bench.raw("POST", "/jobs", body=job_body())
    queue = re.findall("<QueueId>(.*?)</QueueId>", await bench.job(job_id))[0]
    update = (
        "<Request><Name>mine</Name><State>{}</State>"
        "<NotifyConfig><State>Off</State></NotifyConfig></Request>"
    )

    paused = await bench.raw("PUT", f"/asrqueue/{queue}", body=update.format("Paused"))
    held = states(await bench.job(job_id))
    refused = await bench.raw("POST", "/jobs", body=job_body())
    await bench.raw("PUT", f"/jobs/{job_id}", params={"cancel": ""})
    cancelled = states(await bench.job(f"{first},{job_id}"))
    await bench.raw("PUT", f"/asrqueue/{queue}", body=update.format("Active"))
    released = states(await bench.job(f"{first},{job_id}"))
    listed = await bench.raw("GET", "/jobs", params={"orderByTime": "Asc"})

    assert (full.status, "QueueSaturated" in full.text) == (403, True)
    assert "<State>Paused</State>" in paused.text
    assert held == ["Pause"]
    assert cancelled == ["Pause", "Cancel"]
    assert released == ["Submitted", "Cancel"]
    assert (refused.status, "QueuePaused" in refused.text) == (403, True)
    assert states(listed.text) == ["Submitted", "Cancel"]


async def test_services_must_be_enabled_first_if_set_so(
    start: Benches, job_body: Callable[..., str]
) -> None:
    bench = await start(activation_required=True)

    before = await bench.raw("POST", "/jobs", body=job_body())
    enabled = await bench.raw("POST", "/asrbucket")
    after = await bench.raw("POST", "/jobs", body=job_body())
    again = await bench.raw("POST", "/asrbucket")
    listed = await bench.raw("GET", "/asrbucket", host="ci.ap-chongqing.myqcloud.com")
    removed = await bench.raw("DELETE", "/asrbucket")
    gone = await bench.raw("POST", "/jobs", body=job_body())

    assert "MediaBucketUnBinded" in before.text
    assert "<AsrBucket><BucketId>media-1250000000</BucketId>" in enabled.text
    assert after.status == 200
    assert (again.status, "MediaBucketAlreadyBinded" in again.text) == (403, True)
    assert "<AsrBucketList><BucketId>media-1250000000</BucketId>" in listed.text
    assert removed.status == 200
    assert "<BucketName>media-1250000000</BucketName>" in removed.text
    assert "MediaBucketUnBinded" in gone.text


async def test_a_full_disk_refuses_jobs_and_loses_none(
    start: Benches, monkeypatch: pytest.MonkeyPatch, job_body: Callable[..., str]
) -> None:
    monkeypatch.setattr("orchestrator.server.jobs.scheduler.STORAGE_RETRY_S", 0.02)
    bench = await start(progression=HOLD)
    job_id = await bench.submit()
    database = bench.service.parts.store._database
    writer = database._writer
    writer.execute("PRAGMA max_page_count = 1")  # SQLite's own "database or disk is full"
    large = job_body(inside=f"<UserData>{'x' * 1000}</UserData>")
    refused = await bench.raw("POST", "/jobs", body=large)
    while refused.status == 200:  # until the existing pages are full
        refused = await bench.raw("POST", "/jobs", body=large)
    scheduler = bench.service.parts.scheduler
    scheduler.progression = Progression(Pace.IMMEDIATE)
    scheduler.wake()
    writer.execute("PRAGMA max_page_count = 1073741823")

    again = await bench.raw("POST", "/jobs", body=large)

    assert again.status == 200
    assert (
        refused.status,
        "<Code>InternalError</Code>" in refused.text,
        "full" in refused.text,
    ) == (500, True, True)
    assert "<State>Success</State>" in await bench.ended(job_id)


async def test_jobs_are_deleted_after_the_retention_time(start: Benches) -> None:
    bench = await start()
    job_id = await bench.submit()
    await bench.ended(job_id)

    await bench.service.parts.store.forget_ended_before(bench.service.clock.now() + 1)

    assert f"<NonExistJobIds>{job_id}</NonExistJobIds>" in await bench.job(job_id)

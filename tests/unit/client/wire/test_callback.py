"""A callback body means the same in XML and in JSON, with the vendor's collapse rules."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.client.wire.callback import MAX_CALLBACK_BYTES, callback_jobs
from orchestrator.domain.remote import RemoteFile, RemoteJob, RemoteState
from orchestrator.errors import ProtocolError

XML = b"""<Response><EventName>TaskFinish</EventName><JobsDetail><Code>Success</Code>
<CreationTime>2024-05-01T10:00:00+0800</CreationTime><EndTime>2024-05-01T10:00:06+0800</EndTime>
<Input><BucketId>b-1</BucketId><Object>in/song.mp3</Object><Region>ap-chongqing</Region></Input><JobId>j1</JobId><Message/>
<Operation><MediaInfo><Format><Duration>13.5</Duration></Format></MediaInfo>
<MediaResult><OutputFile><Md5Info><Md5>0011</Md5><ObjectName>v.mp3</ObjectName></Md5Info>
<Md5Info><Md5>2233</Md5><ObjectName>b.mp3</ObjectName></Md5Info>
<ObjectName>v.mp3</ObjectName><ObjectName>b.mp3</ObjectName><ObjectPrefix/></OutputFile></MediaResult>
<UserData>v1.key</UserData></Operation>
<QueueId>p1</QueueId><StartTime>2024-05-01T10:00:01+0800</StartTime><State>Success</State><Tag>VoiceSeparate</Tag></JobsDetail></Response>"""

JOB = {
    "Code": "Success",
    "CreationTime": "2024-05-01T10:00:00+0800",
    "StartTime": "2024-05-01T10:00:01+0800",
    "EndTime": "2024-05-01T10:00:06+0800",
    "JobId": "j1",
    "QueueId": "p1",
    "State": "Success",
    "Tag": "VoiceSeparate",
    "Input": {"BucketId": "b-1", "Object": "in/song.mp3", "Region": "ap-chongqing"},
    "Operation": {
        "MediaInfo": {
            "Format": {"Duration": "13.5"},
            "Stream": {"Audio": [{"Index": "0"}, {"Index": "0"}]},
        },
        "MediaResult": {
            "OutputFile": {
                "ObjectName": ["v.mp3", "b.mp3"],
                "Md5Info": [
                    {"Md5": "0011", "ObjectName": "v.mp3"},
                    {"Md5": "2233", "ObjectName": "b.mp3"},
                ],
            }
        },
        "UserData": "v1.key",
    },
}

EXPECTED = RemoteJob(
    job_id="j1",
    state=RemoteState.SUCCEEDED,
    queue_id="p1",
    created_at=1714528800.0,
    started_at=1714528801.0,
    ended_at=1714528806.0,
    input_object="in/song.mp3",
    user_data="v1.key",
    files=(RemoteFile("v.mp3", "0011"), RemoteFile("b.mp3", "2233")),
    media_duration_s=13.5,
)


def test_xml_and_json_callbacks_agree() -> None:
    assert callback_jobs(XML) == (EXPECTED,)
    assert callback_jobs(orjson.dumps({"EventName": "TaskFinish", "JobsDetail": [JOB]})) == (
        EXPECTED,
    )


def test_a_single_job_may_be_a_bare_object() -> None:
    assert callback_jobs(b" \n" + orjson.dumps({"JobsDetail": JOB})) == (EXPECTED,)


def test_a_single_file_may_be_bare_values() -> None:
    one = {
        "MediaResult": {
            "OutputFile": {"ObjectName": "v.mp3", "Md5Info": {"Md5": "0011", "ObjectName": "v.mp3"}}
        },
        "UserData": "v1.key",
    }

    assert (RemoteFile("v.mp3", "0011"),) == callback_jobs(
        orjson.dumps({"JobsDetail": [{**JOB, "Operation": one}]})
    )[0].files


def test_odd_jobs_are_read_as_far_as_they_go() -> None:
    assert callback_jobs(b'{"JobsDetail": "x"}') == ()
    (job,) = callback_jobs(b'{"JobsDetail": {"JobId": "j", "State": "Odd"}}')
    assert (job.job_id, job.state) == ("j", RemoteState.UNKNOWN)


def test_several_jobs_and_none_are_possible() -> None:
    assert len(callback_jobs(orjson.dumps({"JobsDetail": [JOB, JOB]}))) == 2
    assert (
        callback_jobs(b'{"EventName": "WorkflowFinish", "WorkflowExecution": {"RunId": "i1"}}')
        == ()
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"<Request/>",
        b'{"a":' * 1000 + b"1" + b"}" * 1000,
        b"{" + b" " * MAX_CALLBACK_BYTES + b"}",
    ],
    ids=["empty", "cut", "array", "root", "deep", "large"],
)
def test_anything_else_is_a_protocol_error(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        callback_jobs(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["JobsDetail", "JobId", "State", "Operation", "x"]), inner, max_size=3
        )
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["JobsDetail", "EventName"]), JSON, max_size=2))
def test_no_json_raises_anything_else(data: dict[str, object]) -> None:
    try:
        callback_jobs(orjson.dumps(data))
    except ProtocolError:
        return

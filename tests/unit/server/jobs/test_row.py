"""Stored jobs keep their form, so that an existing root keeps working."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.spec import AudioConfig, AudioMode
from orchestrator.server.http import xml
from orchestrator.server.jobs.row import (
    COLUMNS,
    JobRequest,
    JobRow,
    State,
    element_of,
    load_request,
)
from orchestrator.server.jobs.sound import Sound

# As the first release wrote it: keys without a value are missing.
INLINE = (
    b'{"output":{"Region":"ap-chongqing","Bucket":"media-1250000000","Object":"out/b.${ext}",'
    b'"AuObject":"out/v.${ext}"},"names":{"voice":"out/v.${ext}","background":"out/b.${ext}"},'
    b'"inline":{"AudioMode":"AudioAndBackground","AudioConfig":{"Codec":"mp3"}},'
    b'"mode":"AudioAndBackground","audio":{"codec":"mp3","samplerate":null,"bitrate":null,'
    b'"channels":null},"user_data":"key","callback":{"CallBack":"http://a.example"},"multi":true}'
)
TEMPLATE = (
    b'{"output":{"Region":"r","Bucket":"b-1","AuObject":"v"},"names":{"voice":"v"},'
    b'"template_id":"t1","template_name":"mine","mode":"IsAudio","audio":{"codec":null,'
    b'"samplerate":44100,"bitrate":null,"channels":2}}'
)


def test_a_row_of_the_first_release_is_read() -> None:
    stored = {
        "seq": 7,
        "job_id": "j1",
        "bucket": "media-1250000000",
        "region": "ap-chongqing",
        "queue_id": "p1",
        "tag": "VoiceSeparate",
        "state": "Failed",
        "level": 1,
        "input_object": "in/a.mp3",
        "code": "ResourceNotFound",
        "message": "gone",
        "created_at": 1.5,
        "started_at": 2.5,
        "ended_at": 3.5,
        "starts": 1,
        "request": INLINE,
        "result": None,
    }

    row = JobRow.load([stored[name] for name in COLUMNS.split(", ")])

    assert set(COLUMNS.split(", ")) == set(stored)
    assert row.request == JobRequest(
        output={
            "Region": "ap-chongqing",
            "Bucket": "media-1250000000",
            "Object": "out/b.${ext}",
            "AuObject": "out/v.${ext}",
        },
        names={"voice": "out/v.${ext}", "background": "out/b.${ext}"},
        sound=Sound(
            AudioMode.AUDIO_AND_BACKGROUND,
            AudioConfig(codec="mp3"),
            {"AudioMode": "AudioAndBackground", "AudioConfig": {"Codec": "mp3"}},
        ),
        user_data="key",
        callback={"CallBack": "http://a.example"},
        multi=True,
    )
    assert (row.seq, row.state, row.level, row.starts) == (7, State.FAILED, 1, 1)
    assert (row.created_at, row.started_at, row.ended_at) == (1.5, 2.5, 3.5)
    assert (row.code, row.message, row.result) == ("ResourceNotFound", "gone", None)


@pytest.mark.parametrize("raw", [INLINE, TEMPLATE])
def test_the_stored_form_is_that_of_the_first_release(raw: bytes) -> None:
    request = load_request(raw)

    assert request.dump() == raw
    assert orjson.loads(replace(request, user_data="").dump()).get("user_data") is None


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
ROWS = st.builds(
    JobRow,
    job_id=st.just("j1"),
    bucket=st.just("media-1"),
    region=st.just("ap-chongqing"),
    queue_id=st.just("p1"),
    level=st.integers(0, 2),
    input_object=TEXT.filter(bool),
    created_at=st.floats(0, 1e9),
    state=st.sampled_from(State),
    code=st.sampled_from(["Success", "InternalError"]),
    message=TEXT,
    started_at=st.none() | st.floats(0, 1e9),
    ended_at=st.none() | st.floats(0, 1e9),
    result=st.none() | st.just({"media_info": {"Format": None}, "media_result": None}),
    request=st.builds(
        JobRequest,
        output=st.dictionaries(st.sampled_from(["Region", "Object", "AuObject"]), TEXT, min_size=1),
        names=st.just({"voice": "v"}),
        template_id=st.sampled_from(["", "t1"]),
        sound=st.sampled_from([{}, {"AudioMode": "IsAudio", "AudioConfig": None}]).map(
            lambda echo: Sound(AudioMode.IS_AUDIO, AudioConfig(), echo)
        ),
        user_data=TEXT,
        multi=st.booleans(),
    ),
)


@given(row=ROWS)
def test_the_element_of_a_job_is_that_of_its_tree(row: JobRow) -> None:
    result = None if row.result is None else orjson.dumps(row.result)
    stored = {"request": row.request.dump(), "state": row.state.value, "result": result}
    values = tuple(stored.get(name, getattr(row, name)) for name in COLUMNS.split(", "))

    assert row.element() == xml.element("JobsDetail", row.detail())
    assert element_of(values) == row.element()

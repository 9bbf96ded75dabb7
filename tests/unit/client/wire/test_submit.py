"""A job spec becomes well-formed XML with exactly its content."""

from __future__ import annotations

from dataclasses import replace

import pytest
from defusedxml.ElementTree import fromstring
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.client.wire.submit import submit_body, unsendable
from orchestrator.domain.spec import (
    AudioConfig,
    AudioMode,
    Callback,
    JobKey,
    JobSpec,
    MediaObject,
    Operation,
    Origin,
    Output,
)
from orchestrator.errors import Rejected

SPEC = JobSpec(
    key=JobKey("v1.key"),
    media=MediaObject("media-1250000000", "ap-chongqing", "incoming/song.mp3"),
    operation=Operation(
        audio_mode=AudioMode.AUDIO_AND_BACKGROUND, audio=AudioConfig("mp3", 44100, 192, 2)
    ),
    output=Output(
        "media-1250000000",
        "ap-chongqing",
        voice="stems/voice.${ext}",
        background="stems/background.${ext}",
    ),
    level=1,
    user_data="song",
    origin=Origin("nightly.yaml", 12, "inputs[0]"),
)

# What XML 1.0 can carry, section 2.2.
TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=["\ufffe", "\uffff"]).filter(
        lambda c: c >= " " or c in "\t\n\r"
    ),
    min_size=1,
)


def test_an_inline_job_is_written_as_the_submit_page_shows_it() -> None:
    assert submit_body(SPEC) == (
        b"<Request><Tag>VoiceSeparate</Tag><Input><Object>incoming/song.mp3</Object></Input><Operation>"
        b"<VoiceSeparate><AudioMode>AudioAndBackground</AudioMode><AudioConfig><Codec>mp3</Codec><Samplerate>44100</Samplerate>"
        b"<Bitrate>192</Bitrate><Channels>2</Channels></AudioConfig></VoiceSeparate>"
        b"<Output><Region>ap-chongqing</Region><Bucket>media-1250000000</Bucket><Object>stems/background.${ext}</Object>"
        b"<AuObject>stems/voice.${ext}</AuObject></Output><UserData>v1.key song</UserData>"
        b"<JobLevel>1</JobLevel></Operation></Request>"
    )


def test_a_template_job_with_queue_and_callback_is_written_as_the_submit_page_shows_it() -> None:
    spec = replace(
        SPEC,
        operation=Operation(template_id="t1aaaa"),
        user_data="",
        queue_id="p1234",
        callback=Callback(url="https://hooks.example.com/ci?a=1&b=2", format="JSON", type="Url"),
    )

    assert submit_body(spec) == (
        b"<Request><Tag>VoiceSeparate</Tag><Input><Object>incoming/song.mp3</Object></Input><Operation><TemplateId>t1aaaa</TemplateId>"
        b"<Output><Region>ap-chongqing</Region><Bucket>media-1250000000</Bucket><Object>stems/background.${ext}</Object>"
        b"<AuObject>stems/voice.${ext}</AuObject></Output><UserData>v1.key</UserData><JobLevel>1</JobLevel></Operation>"
        b"<QueueId>p1234</QueueId><CallBack>https://hooks.example.com/ci?a=1&amp;b=2</CallBack><CallBackFormat>JSON</CallBackFormat>"
        b"<CallBackType>Url</CallBackType></Request>"
    )


def test_a_queue_is_named_without_any_callback() -> None:
    root = fromstring(submit_body(replace(SPEC, queue_id="p1")))

    assert [node.tag for node in root] == ["Tag", "Input", "Operation", "QueueId"]
    assert root.findtext("QueueId") == "p1"


def test_four_stems_and_a_message_queue_are_written_with_their_nodes() -> None:
    spec = replace(
        SPEC,
        operation=Operation(audio_mode=AudioMode.MUSIC_MODE, audio=AudioConfig("wav")),
        output=Output("out-1250000000", "ap-beijing", "v.wav", "o.wav", "b.wav", "d.wav"),
        callback=Callback(type="TDMQ", mq_region="bj", mq_mode="Queue", mq_name="ci-results"),
    )
    root = fromstring(submit_body(spec))

    output = {node.tag: node.text for node in root.findall("Operation/Output/*")}
    queue = {node.tag: node.text for node in root.findall("CallBackMqConfig/*")}

    assert output == {
        "Region": "ap-beijing",
        "Bucket": "out-1250000000",
        "Object": "o.wav",
        "AuObject": "v.wav",
        "BassObject": "b.wav",
        "DrumObject": "d.wav",
    }
    assert queue == {"MqRegion": "bj", "MqMode": "Queue", "MqName": "ci-results"}
    assert root.findtext("Operation/VoiceSeparate/AudioMode") == "MusicMode"
    assert [node.tag for node in root.findall("Operation/VoiceSeparate/AudioConfig/*")] == ["Codec"]
    assert root.find("CallBack") is None


def test_what_the_spec_leaves_open_is_left_out() -> None:
    spec = replace(
        SPEC,
        operation=Operation(audio_mode=AudioMode.IS_AUDIO),
        output=Output("b-1", "r", voice="v"),
        user_data="",
    )
    root = fromstring(submit_body(spec))

    assert [node.tag for node in root.findall("Operation/VoiceSeparate/*")] == ["AudioMode"]
    assert [node.tag for node in root.findall("Operation/Output/*")] == [
        "Region",
        "Bucket",
        "AuObject",
    ]
    assert [node.tag for node in root] == ["Tag", "Input", "Operation"]


@given(key=TEXT, voice=TEXT, user_data=TEXT, url=TEXT)
def test_every_text_that_xml_can_carry_arrives_unchanged(
    key: str, voice: str, user_data: str, url: str
) -> None:
    """An independent parser reads the same text, with line ends, brackets and ampersands."""
    spec = replace(
        SPEC,
        media=replace(SPEC.media, key=key),
        output=replace(SPEC.output, voice=voice),
        user_data=user_data,
        callback=Callback(url=url),
    )
    root = fromstring(submit_body(spec))

    assert key == root.findtext("Input/Object")
    assert voice == root.findtext("Operation/Output/AuObject")
    assert f"v1.key {user_data}" == root.findtext("Operation/UserData")
    assert url == root.findtext("CallBack")


@given(
    before=TEXT,
    bad=st.sampled_from("\x00\x01\x08\x0b\x0c\x1b\x1f\ud800\udfff\ufffe\uffff"),
    after=TEXT,
)
def test_a_character_that_xml_cannot_carry_is_refused_with_its_place(
    before: str, bad: str, after: str
) -> None:
    spec = replace(SPEC, media=replace(SPEC.media, key=before + bad + after))

    place = rf"U\+{ord(bad):04X} at position {len(before) + 1} "
    with pytest.raises(Rejected, match=f"{place}.*nothing was sent.*nightly.yaml:12"):
        submit_body(spec)
    assert unsendable(before + bad)
    assert unsendable(before) == ""


@pytest.mark.parametrize("place", ["user_data", "voice", "url", "queue_id", "template_id"])
def test_a_bad_character_is_refused_in_every_field(place: str) -> None:
    bad = "a\x00b"
    specs = {
        "user_data": replace(SPEC, user_data=bad),
        "voice": replace(SPEC, output=replace(SPEC.output, voice=bad)),
        "url": replace(SPEC, callback=Callback(url=bad)),
        "queue_id": replace(SPEC, queue_id=bad),
        "template_id": replace(SPEC, operation=Operation(template_id=bad)),
    }

    with pytest.raises(Rejected, match=r"U\+0000"):
        submit_body(specs[place])


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (Operation(), "either a template id or inline parameters"),
        (Operation("t1a", AudioMode.IS_AUDIO), "not both"),
    ],
    ids=["neither", "both"],
)
def test_a_job_has_either_a_template_or_inline_parameters(operation: Operation, words: str) -> None:
    with pytest.raises(Rejected, match=words):
        submit_body(replace(SPEC, operation=operation))


@given(st.text())
def test_no_text_makes_a_malformed_body(text: str) -> None:
    """The result is well formed or refused, whatever the spec contains."""
    assume(text)
    try:
        body = submit_body(replace(SPEC, media=replace(SPEC.media, key=text), user_data=text))
    except Rejected:
        assert unsendable(text)
        return

    assert text == fromstring(body).findtext("Input/Object")

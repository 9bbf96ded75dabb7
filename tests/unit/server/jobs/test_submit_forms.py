"""A body is read the same, whichever bodies were read before it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.spec import AudioConfig, AudioMode
from orchestrator.server.http.errors import Refusal
from orchestrator.server.jobs.sound import Sound
from orchestrator.server.jobs.submit_forms import MAX_BODY, MAX_FORMS, FormDraft, Reader
from orchestrator.server.jobs.submit_request import Template

SOUND = Sound(AudioMode.IS_AUDIO, AudioConfig(), {"AudioMode": "IsAudio", "AudioConfig": None})
PLACE = ("b-1", "ap-beijing", "p" + "0" * 32)


def unknown(template_id: str) -> Template:
    raise Refusal("TemplateNotFound", template_id)


def body(
    key: str = "in/a.mp3",
    *,
    voice: str = "<AuObject>out/v.mp3</AuObject>",
    background: str = "<Object>out/b.mp3</Object>",
    mode: str = "AudioAndBackground",
    own: str = "<UserData>key own</UserData>",
    after: str = "",
) -> str:
    return (
        f"<Request><Tag>VoiceSeparate</Tag><Input><Object>{key}</Object></Input>\n<Operation>"
        f"<VoiceSeparate><AudioMode>{mode}</AudioMode><AudioConfig><Codec>mp3</Codec>"
        "</AudioConfig></VoiceSeparate><Output><Region>ap-beijing</Region><Bucket>b-1</Bucket>"
        f"{background}\n  {voice}\n</Output>{own}</Operation>{after}</Request>"
    )


def seen(reader: Reader, text: str) -> Any:
    """Return what is stored and shown of the jobs of a body, or the refusal."""
    try:
        queue_id, drafts = reader.read(text.encode())
    except Refusal as refused:
        return refused.code, refused.message
    return queue_id, [
        (draft.key, draft.output_bucket, draft.job("j1", PLACE, 1.5)) for draft in drafts
    ]


def twice(reader: Reader, text: str) -> None:
    """Read a body as often as it takes to recognise others like it."""
    for _ in range(2):
        reader.read(text.encode())


def has_form(reader: Reader, text: str) -> bool:
    """Return True if a body is recognised."""
    return isinstance(reader.read(text.encode())[1][0], FormDraft)


TEXTS = st.sampled_from(
    [
        *("in/b.mp3", "out/v.mp3", "out/b.mp3", "歌/曲.mp3", "100%.mp3", "%s", "a b", " a", "a "),
        *("", " ", "../x", "a//b", "a/", "/a", ".service/x", "o/${jobid}.${ext}", "a.${EXT}"),
        *("&amp;", "a&#65;", "a>b", "]]>", 'a"b', "a\\b", "a\tb", "a\x01b", "a\x7fb", "\ue000"),
        *("a\u200bb", "x" * 64, "x" * 300, "x" * 1200, "\U0001f600", "<!-- c -->a", "a<b/>"),
        *("<![CDATA[a]]>", "</Object>a<Object>"),
    ]
)
ELEMENTS = st.sampled_from(["<{0}>{1}</{0}>"] * 5 + ["", "<{0}>{1}</{0}>" * 2, "<{0}>{1}</Object>"])
CHANGES = st.one_of(
    st.tuples(st.just("key"), TEXTS),
    *(
        st.tuples(st.just(name), st.builds(str.format, ELEMENTS, st.just(node), TEXTS))
        for name, node in (("voice", "AuObject"), ("background", "Object"), ("own", "UserData"))
    ),
    st.tuples(st.just("mode"), st.sampled_from(["IsAudio", "MusicMode"])),
    st.tuples(
        st.just("after"),
        st.sampled_from(
            [
                *("<QueueId>p1</QueueId>", "<CallBack>http://a.example/%s</CallBack>", "tail"),
                *("<Other><Object>x</Object></Other>", "<CallBack>http://\ue000</CallBack>"),
            ]
        ),
    ),
)
BODIES = st.lists(CHANGES, max_size=2).map(lambda changes: body(**dict(changes)))


@settings(max_examples=300)
@given(texts=st.lists(BODIES, min_size=1, max_size=8))
def test_a_body_is_read_the_same_after_any_others(texts: list[str]) -> None:
    reader = Reader(unknown)

    for text in [body(), body(), *texts, *texts, *texts]:
        assert seen(reader, text) == seen(Reader(unknown), text)


def test_names_that_are_equal_once_they_are_filled_are_refused() -> None:
    reader = Reader(unknown)
    twice(reader, body())

    with pytest.raises(Refusal, match="same object"):
        reader.read(
            body(
                voice="<AuObject>out/a.${EXT}</AuObject>", background="<Object>out/a.mp3</Object>"
            ).encode()
        )


@pytest.mark.parametrize(
    "text",
    [
        body(own="<UserData>&#120;</UserData><Other><UserData>x</UserData></Other>"),
        body(own="<Other><UserData>x</UserData></Other><UserData>x<b/></UserData>"),
        body(own="<UserData><![CDATA[x]]></UserData><Other><UserData>x</UserData></Other>"),
        body(own="<UserData/>x<Other><UserData>x</UserData></Other>"),
        body(own="<!-- <UserData>x</UserData> --><UserData>x<b/></UserData>"),
    ],
)
def test_a_text_that_only_looks_like_another_is_not_taken_for_it(text: str) -> None:
    reader = Reader(unknown)
    twice(reader, text)
    other = text.replace("<UserData>x</", "<UserData>y</")

    assert other != text
    assert seen(reader, other) == seen(Reader(unknown), other)


def test_jobs_with_a_template_keep_it() -> None:
    reader = Reader(lambda name: Template(name, f"of {name}", SOUND))
    text = re.sub("<VoiceSeparate>.*</VoiceSeparate>", "<TemplateId>t1</TemplateId>", body())

    for _ in range(3):
        _, (draft,) = reader.read(text.encode())
        assert b'"template_id":"t1"' in draft.job("j1", PLACE, 1.5).rest[-1]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"own": ""},
        {"voice": ""},
        {"voice": "<AuObject>o/${jobid}/v.${ext}</AuObject>"},
        {"after": "<CallBack>http://a.example/100%</CallBack>"},
        {"mode": "IsAudio"},
    ],
)
def test_bodies_that_differ_only_in_names_have_a_form(changes: dict[str, str]) -> None:
    reader = Reader(unknown)

    assert not has_form(reader, body(**changes))
    assert not has_form(reader, body("in/second.mp3", **changes))
    assert has_form(reader, body("in/third.mp3", **changes))


def test_the_tags_of_a_body_with_a_form_must_match() -> None:
    reader = Reader(unknown)
    twice(reader, body())

    with pytest.raises(Refusal) as refused:
        reader.read(body(voice="<Object>out/v.mp3</AuObject>").encode())

    assert refused.value.code == "InvalidContent"


def test_the_number_of_forms_is_bounded() -> None:
    reader = Reader(unknown)
    texts = [body(after=f"<QueueId>p{number}</QueueId>") for number in range(MAX_FORMS + 1)]

    for text in texts:
        twice(reader, text)

    assert has_form(reader, texts[-1])
    assert not has_form(reader, texts[0])


def test_bodies_that_are_never_recognised_leave_the_forms_of_others() -> None:
    reader = Reader(unknown)
    twice(reader, body(own=""))

    for number in range(3 * MAX_FORMS):
        reader.read(body(f'say "{number}".mp3').encode())

    assert has_form(reader, body(own=""))


def test_a_large_body_has_no_form() -> None:
    reader, large = Reader(unknown), body(after=" " * MAX_BODY)

    twice(reader, large)

    assert not has_form(reader, large)

"""Any submit becomes valid drafts or a refusal with a code of the vendor."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.spec import AudioConfig
from orchestrator.server.http import xml
from orchestrator.server.http.errors import CI_STATUS, Refusal
from orchestrator.server.jobs.submit_request import Draft, Parser, Template, expand
from orchestrator.server.storage import keys

BODY = """<Request><Tag>VoiceSeparate</Tag><QueueId>p1</QueueId>
<Input><BucketId>b-1</BucketId><Object>in/a.mp3</Object></Input>
<Operation><VoiceSeparate><AudioMode>AudioAndBackground</AudioMode><AudioConfig><Codec>mp3</Codec><Samplerate>44100</Samplerate>
<Bitrate>128</Bitrate><Channels>2</Channels></AudioConfig></VoiceSeparate><Output><Region>ap-beijing</Region><Bucket>b-1</Bucket>
<Object>o/${jobid}/b.${ext}</Object><AuObject>o/${JobId}/v.${Ext}</AuObject></Output><UserData>k</UserData><JobLevel>1</JobLevel></Operation>
<CallBack>http://a.example</CallBack><CallBackFormat>JSON</CallBackFormat><CallBackType>Url</CallBackType></Request>"""


def unknown(template_id: str) -> Template:
    raise Refusal("TemplateNotFound", template_id)


def read(body: str) -> tuple[str, list[Draft]]:
    return Parser(unknown).parse(xml.read(body.encode()))


def test_a_full_request_is_parsed() -> None:
    queue_id, (draft,) = read(BODY)

    assert (draft.key, queue_id, draft.level, draft.output_bucket) == ("in/a.mp3", "p1", 1, "b-1")
    assert draft.request.sound.audio == AudioConfig("mp3", 44100, 128, 2)
    assert draft.request.callback == {
        "CallBack": "http://a.example",
        "CallBackFormat": "JSON",
        "CallBackType": "Url",
    }
    assert expand(draft.request, "j7") == {"voice": "o/j7/v.mp3", "background": "o/j7/b.mp3"}


TOKENS = re.findall(r"<[^>]*>|[^<]+", BODY)
WORDS = st.sampled_from(
    [
        *TOKENS,
        "",
        "no",
        "TDMQ",
        "MusicMode",
        "../x",
        "a//b",
        "${ext}",
        "&amp;",
        "\U0001f600",
        "9" * 30,
        "-1",
        "<Operation/>",
    ]
)


@settings(max_examples=300)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(TOKENS) - 1), WORDS | st.text(max_size=5)),
        min_size=1,
        max_size=4,
    )
)
def test_any_changed_request_gives_safe_drafts_or_a_documented_refusal(
    changes: list[tuple[int, str]],
) -> None:
    tokens = list(TOKENS)
    for position, word in changes:
        tokens[position] = word
    code: Any = "InvalidArgument"
    try:
        _, drafts = read("".join(tokens))
    except Refusal as refused:
        code, drafts = refused.code, []

    assert code in CI_STATUS
    for draft in drafts:
        names = expand(draft.request, "j" + "0" * 32)
        assert names
        assert not any(keys.fault_of(name) for name in names.values())
        assert 0 <= draft.level <= 2


@pytest.mark.parametrize(
    "inside", ["<Operation/>" * 2, "<Operation><Tag>VoiceSeparate</Tag></Operation>" * 7, ""]
)
def test_the_number_of_operations_is_bounded(inside: str) -> None:
    with pytest.raises(Refusal, match="Operation"):
        read(f"<Request><Input><Object>a</Object></Input>{inside}</Request>")

"""Replies are read as the pages, the samples and the SDKs say, wherever these differ."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.client.wire.reply import (
    _plain_job,
    instant,
    job_page,
    jobs_of,
    query_reply,
    submit_reply,
)
from orchestrator.client.wire.xml import parse
from orchestrator.domain.remote import RemoteFile, RemoteJob, RemoteState
from orchestrator.errors import ProtocolError

SUBMITTED = """<Response>
  <JobsDetail>
    <Code>Success</Code>
    <Message/>
    <JobId>j0123</JobId>
    <State>Submitted</State>
    <CreationTime>2024-05-01T10:00:00+0800</CreationTime>
    <StartTime>-</StartTime>
    <EndTime>-</EndTime>
    <QueueId>p0123</QueueId>
    <Tag>VoiceSeparate</Tag>
    <Input><BucketId>b-1250000000</BucketId><Object>in &amp; out/a.mp3</Object>
      <Region>ap-chongqing</Region></Input>
    <Operation>
      <Output><Region>ap-chongqing</Region><Bucket>b-1250000000</Bucket><Object>s/${jobid}.${ext}</Object></Output>
      <UserData>v1.key my data</UserData><JobLevel>0</JobLevel>
    </Operation>
    <SomethingNew><Deep/></SomethingNew>
  </JobsDetail>
</Response>"""

FINISHED = """<Response>
  <JobsDetail>
    <JobId>j1</JobId><State>Success</State><Code>Success</Code><Message>done</Message>
    <CreationTime>2024-05-01T10:00:00+0800</CreationTime>
    <StartTime>2024-05-01 10:00:01+0800</StartTime>
    <EndTime>2024-05-01T10:00:06+0800</EndTime><Input><Bucket>b-1250000000</Bucket><Object>a.mp3</Object></Input>
    <Operation>
      <MediaInfo><Format><Duration>13.688163</Duration></Format>
        <Stream><Audio><Duration>1.0</Duration></Audio><Audio><Duration>2.0</Duration></Audio></Stream></MediaInfo>
      <MediaResult><OutputFile>
        <Md5Info><Md5>FFEEDD</Md5><ObjectName>background.mp3</ObjectName></Md5Info>
        <Md5Info><Md5>001122</Md5><ObjectName>voice.mp3</ObjectName></Md5Info>
        <ObjectName>voice.mp3</ObjectName><ObjectName>background.mp3</ObjectName><ObjectPrefix>stems/</ObjectPrefix>
      </OutputFile></MediaResult>
      <Output><Object>misleading.mp3</Object></Output>
      <UserData>v1.key</UserData>
    </Operation>
  </JobsDetail>
  <NonExistJobIds>j2, j3</NonExistJobIds>
  <NonExistJobIds>j4</NonExistJobIds>
  <NonExistJobIds/>
</Response>"""


def test_an_accepted_job_is_read() -> None:
    reply = submit_reply(SUBMITTED.encode(), "req-1")

    assert reply.request_id == "req-1"
    assert (
        RemoteJob(
            job_id="j0123",
            state=RemoteState.SUBMITTED,
            queue_id="p0123",
            created_at=1714528800.0,
            input_object="in & out/a.mp3",
            user_data="v1.key my data",
        )
        == reply.job
    )


def test_a_finished_job_is_read_from_its_media_result_and_md5s_are_matched_by_name() -> None:
    reply = query_reply(FINISHED.encode())
    job = reply.jobs[0]

    assert (
        RemoteFile("stems/voice.mp3", "001122"),
        RemoteFile("voice.mp3", "001122"),
        RemoteFile("stems/background.mp3", "ffeedd"),
        RemoteFile("background.mp3", "ffeedd"),
    ) == job.files
    assert job.media_duration_s == 13.688163
    assert (job.created_at, job.started_at, job.ended_at) == (
        1714528800.0,
        1714528801.0,
        1714528806.0,
    )
    assert (job.code, job.message) == ("", "")
    assert job.input_object == "a.mp3"


def test_the_message_of_a_finished_job_is_kept_if_it_is_a_sentence() -> None:
    """A bare word such as "Success" says no more than the state."""
    note = "1 hole in the time stamps became silence."
    for text, kept in ((note, note), ("Success", ""), ("", ""), (" done ", "")):
        answer = FINISHED.replace("<Message>done</Message>", f"<Message>{text}</Message>")
        assert query_reply(answer.encode()).jobs[0].message == kept


def test_ids_that_do_not_exist_are_read_from_any_number_of_elements_and_commas() -> None:
    assert query_reply(FINISHED.encode()).missing == ("j2", "j3", "j4")
    assert query_reply(SUBMITTED.encode()).missing == ()


def test_a_failed_jobs_code_and_message_are_kept() -> None:
    raw = (
        SUBMITTED.replace("Submitted", "Failed")
        .replace("<Code>Success", "<Code> ResourceNotSupported ")
        .replace("<Message/>", "<Message>no audio</Message>")
    )
    job = submit_reply(raw.encode()).job

    assert (job.code, job.message) == ("ResourceNotSupported", "no audio")


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("Submitted", RemoteState.SUBMITTED),
        ("Running", RemoteState.RUNNING),
        ("Success", RemoteState.SUCCEEDED),
        ("Failed", RemoteState.FAILED),
        ("Pause", RemoteState.PAUSED),
        ("Cancel", RemoteState.CANCELLED),
    ],
)
def test_every_documented_state_is_known(word: str, state: RemoteState) -> None:
    assert state == submit_reply(SUBMITTED.replace("Submitted", word).encode()).job.state


@pytest.mark.parametrize("word", ["", "submitted", "Paused", "Auditing"])
def test_an_unknown_state_is_kept_as_such_and_hides_no_other_job(word: str) -> None:
    odd = SUBMITTED.replace("Submitted", word).replace("j0123", "j9")
    both = odd.removesuffix("</Response>") + SUBMITTED.removeprefix("<Response>")

    first, second = query_reply(both.encode()).jobs
    assert (first.job_id, first.state, first.state_word) == ("j9", RemoteState.UNKNOWN, word)
    assert (second.job_id, second.state, second.state_word) == ("j0123", RemoteState.SUBMITTED, "")


def test_a_job_without_an_id_is_left_out_of_a_list_and_is_no_answer_to_a_submit() -> None:
    nameless = SUBMITTED.replace("<JobId>j0123</JobId>", "<JobId/>")
    both = nameless.removesuffix("</Response>") + SUBMITTED.removeprefix("<Response>")

    assert [job.job_id for job in job_page(both.encode()).jobs] == ["j0123"]
    with pytest.raises(ProtocolError, match="names 0 jobs"):
        submit_reply(nameless.encode())


@pytest.mark.parametrize(
    "odd", ["\x01", "\x0b", "\x1f", "&#1;", "&#x1F;", "&#65535;", "&#xD800;", "\ufffe"]
)
def test_characters_that_xml_forbids_are_removed(odd: str) -> None:
    raw = SUBMITTED.replace("my data", f"my{odd} data").replace(
        "<Message/>", f"<Message>{odd}</Message>"
    )

    (job,) = job_page(raw.encode()).jobs
    assert job.user_data == "v1.key my data"


@pytest.mark.parametrize(
    "reference", ["&#9;", "&#10;", "&#xD;", "&#65;", "&#x41;", "&#55295;", "&#57344;"]
)
def test_other_references_are_kept(reference: str) -> None:
    raw = SUBMITTED.replace("my data", f"my{reference}data")

    (job,) = job_page(raw.encode()).jobs
    assert len(job.user_data) == len("v1.key my data")


def _finished(media_result: str) -> str:
    begin, end = FINISHED.index("<MediaResult>"), FINISHED.index("</MediaResult>")
    return FINISHED[:begin] + media_result + FINISHED[end + len("</MediaResult>") :]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("<ObjectName>s/v.mp3</ObjectName>", {"s/v.mp3": ""}),
        ("<ObjectName>/s/v.mp3</ObjectName>", {"s/v.mp3": ""}),
        (
            "<ObjectPrefix>s/</ObjectPrefix><ObjectName>s/v.mp3</ObjectName>",
            {"s/s/v.mp3": "", "s/v.mp3": ""},
        ),
        (
            "<Md5Info><ObjectName>s/v.mp3</ObjectName><Md5>AB</Md5></Md5Info>",
            {"s/v.mp3": "ab"},
        ),
        (
            (
                "<ObjectPrefix>s/</ObjectPrefix><ObjectName>v.mp3</ObjectName>"
                "<Md5Info><ObjectName>s/v.mp3</ObjectName><Md5>AB</Md5></Md5Info>"
            ),
            {"s/v.mp3": "ab", "v.mp3": "", "s/s/v.mp3": "ab"},
        ),
        ("<ObjectPrefix/><ObjectName/>", {}),
    ],
)
def test_files_are_read_in_every_way_that_the_service_may_name_them(
    output: str, expected: dict[str, str]
) -> None:
    raw = _finished(f"<MediaResult><OutputFile>{output}</OutputFile></MediaResult>")

    (job,) = query_reply(raw.encode()).jobs
    assert {file.object: file.md5 for file in job.files} == expected


def test_a_finished_job_without_a_result_names_no_file() -> None:
    assert query_reply(_finished("").encode()).jobs[0].files == ()


@pytest.mark.parametrize(
    ("text", "part"),
    [("0", 0.0), (" 45 ", 0.45), ("100", 1.0)]
    + [(text, None) for text in ("", "101", "-1", "4.5", "NaN", "99999999999", "٤٥")],
)
def test_progress_is_a_percentage_or_unknown(text: str, part: float | None) -> None:
    detail = f"<JobId>j1</JobId><State>Running</State><Progress>{text}</Progress>"

    (job,) = jobs_of(parse(f"<R><JobsDetail>{detail}</JobsDetail></R>".encode()))

    assert job.progress == part


@pytest.mark.parametrize("text", ["NaN", "inf", "-1", "1e308", "2592001", "many"])
def test_an_implausible_duration_is_unknown(text: str) -> None:
    raw = FINISHED.replace("13.688163", text)

    assert query_reply(raw.encode()).jobs[0].media_duration_s is None


@pytest.mark.parametrize("count", [0, 2])
def test_a_submit_answer_names_exactly_one_job(count: int) -> None:
    detail = SUBMITTED.removeprefix("<Response>").removesuffix("</Response>")

    with pytest.raises(ProtocolError, match=f"names {count} jobs"):
        submit_reply(f"<Response>{detail * count}</Response>".encode())


def test_a_page_gives_its_jobs_and_the_next_token() -> None:
    page = job_page(
        SUBMITTED.replace("</Response>", "<NextToken>225508</NextToken></Response>").encode()
    )

    assert page.next_token == "225508"
    assert [job.job_id for job in page.jobs] == ["j0123"]


@pytest.mark.parametrize(
    "token", ["", "<NextToken/>", "<NextToken>-</NextToken>", "<NextToken> </NextToken>"]
)
def test_a_token_that_is_missing_empty_or_a_hyphen_ends_the_listing(token: str) -> None:
    page = job_page(f"<Response>{token}</Response>".encode())

    assert (page.jobs, page.next_token) == ((), "")


def test_one_stem_without_md5_is_read_as_one_file() -> None:
    file = "<OutputFile><Md5Info/><ObjectName>v.mp3</ObjectName></OutputFile>"
    raw = (
        "<Response><JobsDetail><JobId>j</JobId><State>Success</State>"
        f"<Operation><MediaResult>{file}</MediaResult></Operation></JobsDetail></Response>"
    )

    assert (RemoteFile("v.mp3"),) == query_reply(raw.encode()).jobs[0].files


def test_an_odd_duration_or_time_does_not_make_a_paid_job_unreadable() -> None:
    raw = FINISHED.replace("13.688163", "n/a").replace("2024-05-01T10:00:06+0800", "tomorrow")
    job = query_reply(raw.encode()).jobs[0]

    assert (job.media_duration_s, job.ended_at) == (None, None)
    assert job.state == RemoteState.SUCCEEDED


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-01T10:00:00+0800", 1714528800.0),
        ("2024-05-01 10:00:00+0800", 1714528800.0),
        ("2024-05-01T10:00:00+08:00", 1714528800.0),
        ("2024-05-01T02:00:00.000Z", 1714528800.0),
        ("2024-05-01T10:00:00", 1714528800.0),
        (" 2024-05-01T10:00:00+0800 ", 1714528800.0),
        ("-", None),
        ("", None),
        ("soon", None),
        ("0001-01-01T00:00:00+0800", None),
    ],
)
def test_times_are_read_in_every_form_that_the_samples_show(
    text: str, expected: float | None
) -> None:
    assert expected == instant(text)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>busy</html>",
        b"<Response>",
        b"\xff\xfe",
        b"{}",
        b"<Error><Code>x</Code></Error>",
        SUBMITTED.encode()[:300],
    ],
)
def test_anything_else_is_a_protocol_error(raw: bytes) -> None:
    for read in (submit_reply, query_reply, job_page):
        with pytest.raises(ProtocolError) as caught:
            read(raw)
        assert raw[:2000] == caught.value.raw


def test_text_in_another_encoding_does_not_hide_the_job() -> None:
    reply = submit_reply(SUBMITTED.replace("my data", "donn\xe9es").encode("latin-1"))

    assert (reply.job.job_id, reply.job.user_data) == ("j0123", "v1.key donn\ufffdes")


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    for read in (submit_reply, query_reply, job_page):
        try:
            read(raw)
        except ProtocolError:
            continue


@given(st.integers(0, len(SUBMITTED.encode()) - 1))
def test_an_answer_cut_anywhere_is_never_taken_for_a_whole_one(length: int) -> None:
    with pytest.raises(ProtocolError):
        submit_reply(SUBMITTED.encode()[:length])


LEAVES = {
    "Code": "Success",
    "Message": "",
    "JobId": "j1",
    "State": "Submitted",
    "CreationTime": "2024-05-01T10:00:00+0800",
    "StartTime": "-",
    "EndTime": "-",
    "QueueId": "p1",
    "Tag": "VoiceSeparate",
}
# What an answer may hold in the place of a text, and what stands around it.
PLAIN = st.sampled_from(["x", " x ", "音", "-", "a/b.mp3", ">"])
SPECIAL = PLAIN | st.sampled_from(
    ["", "a &amp; b", "a&#13;b", "<![CDATA[a<b]]>", "<!-- c -->", "<b/>", "a\r\nb", "a\nb"]
)
AROUND = st.sampled_from(
    ["", "<?xml version='1.0' encoding='utf-8' ?>\n", " ", "\ufeff", "<!-- c -->"]
)
OFTEN = st.sampled_from([True] * 30 + [False])


@given(data=st.data())
def test_the_quick_reading_of_a_submit_answer_agrees_with_the_full_one(
    data: st.DataObject,
) -> None:
    """For any order, white space, and any missing or special nodes."""
    words = data.draw(st.sampled_from([PLAIN, SPECIAL]))
    varied = st.sampled_from(
        ["JobId", "QueueId", "CreationTime", "Message", "State"]
        if words is SPECIAL
        else ["JobId", "QueueId", "Message"]
    )
    texts = {**LEAVES, **data.draw(st.dictionaries(varied, words, max_size=2))}
    nodes = [f"<{name}>{text}</{name}>" for name, text in texts.items() if data.draw(OFTEN)]
    input_node = f"<Input><Object>{data.draw(words)}</Object></Input>"
    nodes.append(
        input_node
        if data.draw(OFTEN)
        else data.draw(st.sampled_from(["<Input/>", "", "<Input><Region/></Input>"]))
    )
    nodes.append(
        f"<Operation><Output><Object>{data.draw(words)}</Object></Output><UserData>{data.draw(words)}</UserData></Operation>"
    )
    gap = data.draw(st.sampled_from(["", "\n  "] if words is PLAIN else ["", "\r\n"]))
    detail = gap.join(["<JobsDetail>", *data.draw(st.permutations(nodes)), "</JobsDetail>"])
    count = 1 if data.draw(OFTEN) else data.draw(st.sampled_from([0, 2]))
    before, after = data.draw(AROUND), data.draw(st.sampled_from(["", " ", "<!-- c -->"]))
    text = f"{before}<Response>{gap}{detail * count}{gap}</Response>{after}"

    quick = _plain_job(text.encode())

    if quick is not None:
        assert jobs_of(parse(text.encode())) == [quick]


def test_the_quick_reading_handles_answers_of_the_vendors_shape() -> None:
    """Otherwise it would save no time."""
    declared = "<?xml version='1.0' encoding='utf-8' ?>\n" + SUBMITTED.replace("in &amp; out", "in")

    assert _plain_job(declared.encode()) is not None
    assert _plain_job((declared + "\n").encode()) is not None

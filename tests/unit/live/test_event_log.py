"""Events as a log: a sentence or a JSON object for every event, and lines of counts."""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.domain import events as ev
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.spec import JobKey
from orchestrator.domain.states import JobState
from orchestrator.live.event_log import (
    JsonLogSink,
    LineSink,
    counts_line,
    sentence,
    warnings_as_events,
)
from orchestrator.live.tally import Tally
from tests.unit.live.samples import RUN, ManualClock

A, B, C = JobKey("v1.a"), JobKey("v1.b"), JobKey("v1.c")


KINDS = [
    kind
    for _, kind in inspect.getmembers(ev, inspect.isclass)
    if issubclass(kind, ev.Event) and kind not in {ev.Event, ev.JobEvent}
]
SAMPLES: dict[str, Any] = {
    "str": "some text", "int": 3, "float": 1.5, "bool": True, "JobKey": A,
    "JobState": JobState.FAILED, "float | None": 2.5, "dict[str, object]": {"jobs": 1},
    "tuple[str, ...]": ("a.mp3", "b.mp3"),
}  # fmt: skip


def sample(kind: type[ev.Event]) -> ev.Event:
    return kind(**{field.name: SAMPLES[str(field.type)] for field in dataclasses.fields(kind)})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_has_a_sentence_of_its_own_or_none_on_purpose(kind: type[ev.Event]) -> None:
    said = sentence(sample(kind))

    if kind in {ev.JobsPlanned, ev.JobSending, ev.JobTakenUp, ev.JobProgressed, ev.SubmitThrottled}:
        assert said is None
    else:
        assert said
        assert kind.__name__ not in said
        assert "\n" not in said
    if issubclass(kind, ev.JobEvent) and said:
        assert "some text" in said, "it names the object"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_is_one_json_object_with_its_name_and_fields(kind: type[ev.Event]) -> None:
    stream = io.StringIO()
    JsonLogSink(stream, SystemClock()).emit(sample(kind))

    (text,) = stream.getvalue().splitlines()
    found = json.loads(text)
    assert found["event"].replace("_", "") == kind.__name__.lower()
    assert set(found) == {"event", "timestamp", *(field.name for field in dataclasses.fields(kind))}


def test_a_json_line_escapes_a_lone_surrogate() -> None:
    stream = io.StringIO()

    JsonLogSink(stream, SystemClock()).emit(
        ev.JobEnded(A, "x\udc80y", JobState.FAILED, "", "", 1.25)
    )

    assert json.loads(stream.getvalue())["object"] == "x\udc80y"


def test_a_json_line_has_the_fields_the_name_and_the_time_in_utc() -> None:
    class Noon:
        def now(self) -> float:
            return 1_795_309_200.25

    stream = io.StringIO()
    JsonLogSink(stream, Noon()).emit(  # type: ignore[arg-type]  # it reads the wall time only
        ev.JobEnded(A, "a.mp3", JobState.FAILED, "NoSuchKey", "it is gone", 1.25)
    )

    assert json.loads(stream.getvalue()) == {
        "key": A,
        "object": "a.mp3",
        "state": "failed",
        "code": "NoSuchKey",
        "message": "it is gone",
        "took_s": 1.25,
        "ran_s": None,
        "output_s": 0.0,
        "event": "job_ended",
        "timestamp": "2026-11-22T01:00:00.250000Z",
    }


def test_a_json_line_is_ascii_whatever_the_object_is_called() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", errors="backslashreplace")
    JsonLogSink(stream, SystemClock()).emit(ev.JobSending(A, "in/ü歌.wav", 0, 1))

    assert json.loads(raw.getvalue())["object"] == "in/ü歌.wav"


def test_lines_are_prefixed_with_the_name_of_the_command() -> None:
    stream = io.StringIO()
    LineSink(stream).emit(ev.JobSending(A, "a.mp3", 0, 1))
    LineSink(stream).emit(ev.JobEnded(A, "a.mp3", JobState.FAILED, "NoSuchKey", "it is gone", 1.25))

    assert (
        stream.getvalue() == "orchestrator: failed     a.mp3 after 1.2 s: NoSuchKey: it is gone\n"
    )


def test_after_a_stop_no_line_promises_another_try() -> None:
    stream = io.StringIO()
    sink = LineSink(stream, is_verbose=True)
    returned = ev.JobReturned(JobKey("k"), "in/a.mp3", "refused", 0.0)
    sink.emit(returned)
    before = stream.getvalue()
    sink.emit(ev.Stopping("the key was refused"))
    sink.emit(returned)

    assert "again soon" in before
    assert stream.getvalue() == before + "orchestrator: stopping: the key was refused\n"

    sink.emit(ev.RunStarted("r", "r.jsonl", resumed=True))
    sink.emit(returned)
    assert stream.getvalue().endswith("again soon\n"), "the next run tries again"


def test_the_end_of_planning_says_what_becomes_of_leftovers() -> None:
    assert sentence(ev.PlanFinished(3)) == "planned 3 jobs"
    assert (
        sentence(ev.PlanFinished(3, taken=2)) == "planned 3 jobs, 2 left by earlier runs sent too"
    )
    assert sentence(ev.PlanFinished(1, dropped=2, left=4)) == (
        "planned 1 job, 2 left the manifest, 4 left by earlier runs kept"
    )


def test_a_negligible_wait_is_shown_as_soon() -> None:
    key = JobKey("v1." + "a" * 32)

    assert (
        sentence(ev.JobReturned(key, "in/a.mp3", "SlowDown: Wait.", 0.01))
        == "waiting    in/a.mp3: SlowDown: Wait; again soon"
    )
    assert (
        sentence(ev.JobReturned(key, "in/a.mp3", "SlowDown: Wait.", 1.25))
        == "waiting    in/a.mp3: SlowDown: Wait; again in 1.2 s"
    )


def test_a_warning_of_the_embedded_service_is_an_event_like_the_others() -> None:
    lines = io.StringIO()
    with warnings_as_events(LineSink(lines)):
        logging.getLogger("orchestrator.server.jobs.scheduler").warning("the disk %s", "is full")
        logging.getLogger("orchestrator.server").info("listening")

    assert lines.getvalue() == "orchestrator: the disk is full\n"


def test_without_a_terminal_only_failures_doubts_and_notices_have_lines() -> None:
    stream = io.StringIO()
    sink = LineSink(stream)
    a, b = JobKey("v1.a"), JobKey("v1.b")
    for event in (
        ev.RunStarted("r", "r.jsonl", resumed=False), ev.JobSending(a, "a", 0, 1),
        ev.JobAccepted(a, "a", "j1"), ev.JobMoved(a, "a", JobState.RUNNING),
        ev.JobReturned(b, "b", "SlowDown", 1.0), ev.JobEnded(a, "a", JobState.SUCCEEDED),
        ev.JobInDoubt(b, "b", "reset"), ev.JobAdopted(b, "b", "j2"), ev.JobAdopted(a, "a", "j3"),
        ev.JobRetried(b, "b", "InternalError", 1), ev.JobEnded(b, "b", JobState.FAILED, "X", "no"),
        ev.Noticed("look"),
    ):  # fmt: skip
        sink.emit(event)

    assert [line.split()[1:3] for line in stream.getvalue().splitlines()] == [
        ["starting", "run"], ["in", "doubt"], ["adopted", "b:"], ["retrying", "b:"],
        ["failed", "b:"], ["look"],
    ]  # fmt: skip


def test_a_line_of_counts_has_the_time_and_the_counts() -> None:
    assert counts_line(replace(RUN, done_before=0)) == (
        "2026-11-22T01:00:00Z 1,234 of 2,000, 5 failed, 2 in doubt, 20 running, 3 queued, "
        "741 waiting; 10.2 jobs/s, about 7 min left, cost 1.23 CNY"
    )


def test_counts_are_written_only_once_a_run_has_begun() -> None:
    stream = io.StringIO()
    sink = LineSink(stream, Tally(ManualClock()), stats_s=60.0)
    sink.write_counts()
    assert stream.getvalue() == ""

    sink.emit(ev.RunStarted("r", "r.jsonl", resumed=False))
    sink.write_counts()
    assert stream.getvalue().splitlines()[1].startswith("orchestrator: 2026-11-22T01:00:00Z 0 of 0")

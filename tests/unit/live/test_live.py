"""Output for people and programs.

A sentence for every event, counts that add up, a summary of 80 columns.
"""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import logging
import re
from typing import Any

import pytest

from orchestrator.domain import events as ev
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.run import CanaryOutcome
from orchestrator.domain.spec import JobKey
from orchestrator.domain.states import JobState
from orchestrator.live.event_log import JsonLogSink, LineSink, sentence, warnings_as_events
from orchestrator.live.sinks import Sinks
from orchestrator.live.tally import Tally
from orchestrator.reporting.summary import summary_text

A, B, C = JobKey("v1.a"), JobKey("v1.b"), JobKey("v1.c")


class ManualClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.at = 100.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, delay_s: float) -> None:
        self.at += delay_s


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


def test_a_sink_that_fails_is_removed_and_the_others_report_it() -> None:
    class Broken:
        calls = 0

        def emit(self, event: ev.Event) -> None:
            self.calls += 1
            raise OSError("the pipe is gone")

    broken, stream = Broken(), io.StringIO()
    sinks = Sinks(broken, LineSink(stream))
    for _ in range(3):
        sinks.emit(ev.Noticed("hello"))

    assert broken.calls == 1
    assert stream.getvalue().count("hello") == 3
    assert stream.getvalue().count("Broken failed and is switched off") == 1


def test_the_tally_follows_jobs_through_every_state() -> None:
    clock = ManualClock()
    tally = Tally(clock)
    first: tuple[ev.Event, ...] = (
        ev.JobsPlanned(new=3, done=2, ended=1),
        ev.JobSending(A, "a", 0, 1), ev.JobAccepted(A, "a", "j1"),
        ev.JobMoved(A, "a", JobState.RUNNING),
        ev.JobSending(B, "b", 0, 1), ev.JobInDoubt(B, "b", "reset"),
        ev.JobSending(C, "c", 0, 1), ev.JobReturned(C, "c", "SlowDown", 1.0),
    )  # fmt: skip
    for event in first:
        tally.emit(event)

    assert {state: tally.of(state) for state in JobState if tally.of(state)} == {
        JobState.PLANNED: 1, JobState.RUNNING: 1, JobState.IN_DOUBT: 1,
    }  # fmt: skip
    assert (tally.total, tally.under_way, tally.ended_total, tally.eta_s) == (6, 2, 3, None)
    clock.at += 10
    then: tuple[ev.Event, ...] = (
        ev.PlanFinished(6), ev.JobProvenAbsent(B, "b", 3), ev.JobEnded(A, "a", JobState.SUCCEEDED),
        ev.JobSending(C, "c", 0, 1), ev.JobEnded(C, "c", JobState.REJECTED),
    )  # fmt: skip
    for event in then:
        tally.emit(event)

    assert (tally.waiting, tally.under_way, tally.ended_total) == (1, 0, 5)
    assert tally.rate_per_s == 0.2
    assert tally.eta_s == pytest.approx(10.0), "one job is left, and one took ten seconds"


def test_open_jobs_of_a_resumed_run_count_as_submitted_until_the_next_event() -> None:
    tally = Tally(ManualClock())
    tally.emit(ev.JobsPlanned(open=3))
    assert (tally.of(JobState.SUBMITTED), tally.under_way) == (3, 3)

    tally.emit(ev.JobMoved(A, "a", JobState.RUNNING))
    tally.emit(ev.JobEnded(B, "b", JobState.SUCCEEDED))
    tally.emit(ev.JobEnded(A, "a", JobState.SUCCEEDED))

    assert (tally.of(JobState.SUBMITTED), tally.under_way, tally.of(JobState.SUCCEEDED)) == (
        1,
        1,
        2,
    )


def test_the_rate_is_that_of_the_last_minute() -> None:
    clock = ManualClock()
    tally = Tally(clock)
    assert tally.rate_per_s == 0
    for _ in range(30):
        clock.at += 1
        tally.emit(ev.JobEnded(A, "a", JobState.SUCCEEDED))
    assert tally.rate_per_s == 1
    clock.at += 45

    assert tally.rate_per_s == pytest.approx(15 / 60, abs=0.02)
    clock.at += 60
    assert tally.rate_per_s == 0


def test_the_summary_lists_every_state_in_80_columns() -> None:
    jobs = dict.fromkeys(("skipped", *JobState), 1_234_567)
    text = summary_text(
        {
            "run": "nightly-20261122T010000Z",
            "jobs": {"total": 99, **jobs},
            "calls": {"submits": 1_234_567, "queries": 2, "lists": 3, "heads": 4},
            "elapsed_s": 3661.4,
            "report": "reports/nightly.jsonl",
        }
    )

    assert "99 jobs in 1:01:01" in text
    assert all(f"  {state.replace('_', ' '):<11}" in text for state in JobState)
    assert all(len(line) <= 80 for line in text.splitlines()), max(text.splitlines(), key=len)


def test_the_summary_omits_empty_states_except_succeeded() -> None:
    text = summary_text(
        {
            "run": "r",
            "jobs": {"total": 3, "skipped": 0},
            "calls": {},
            "elapsed_s": 0,
            "report": "r.jsonl",
        }
    )

    assert [line.split()[0] for line in text.splitlines() if line.startswith("  ")] == ["succeeded"]


@pytest.mark.parametrize(
    ("canary", "line"),
    [
        (CanaryOutcome("passed", 3, 3), "canary: passed (3 of 3 succeeded)"),
        (
            CanaryOutcome("passed", 3, 1),
            "canary: passed (1 job, all that there were, succeeded)",
        ),
        (CanaryOutcome("failed", 3, 1, "no"), "canary: failed (1 of 3 succeeded)"),
        (CanaryOutcome("pending", 3, 1), "canary: pending (1 of 3 succeeded)"),
        (CanaryOutcome("not_needed", 3, 0), "canary: not needed"),
    ],
)
def test_the_summary_shows_what_is_left_and_the_canary(canary: CanaryOutcome, line: str) -> None:
    summary = {
        "run": "r",
        "jobs": {"total": 1},
        "left": 12,
        "canary": dataclasses.asdict(canary),
        "calls": {},
        "elapsed_s": 0,
        "report": "r.jsonl",
    }
    lines = summary_text(summary).splitlines()

    assert line in lines
    assert any(re.fullmatch(r"  left +12  of earlier runs.*", each) for each in lines)
    assert all(len(each) <= 80 for each in lines)


def test_the_end_of_planning_says_what_becomes_of_leftovers() -> None:
    assert sentence(ev.PlanFinished(3)) == "planned 3 jobs"
    assert (
        sentence(ev.PlanFinished(3, taken=2)) == "planned 3 jobs, 2 left by earlier runs sent too"
    )
    assert sentence(ev.PlanFinished(1, dropped=2, left=4)) == (
        "planned 1 job, 2 left the manifest, 4 left by earlier runs kept"
    )


def test_a_run_without_jobs_says_so() -> None:
    jobs = {"total": 0, **{state.value: 0 for state in JobState}}

    summary = {
        "run": "r",
        "jobs": jobs,
        "calls": {"submits": 0},
        "elapsed_s": 0,
        "report": "r.jsonl",
    }

    assert "nothing to do" in summary_text({**summary, "complete": True})
    assert "nothing to do" not in summary_text({**summary, "complete": False}), (
        "an error kept the manifest from being read"
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


def test_a_job_that_cannot_be_requested_is_counted_once_and_does_not_wait() -> None:
    tally = Tally(ManualClock())
    tally.emit(ev.JobsPlanned(new=1, open=1, refused=2))
    for key in ("r1.a", "r1.b"):
        tally.emit(ev.JobEnded(JobKey(key), "/a.mp3", JobState.REJECTED, "InvalidObjectName"))

    assert (tally.total, tally.waiting, tally.under_way, tally.ended_total) == (4, 1, 1, 2)

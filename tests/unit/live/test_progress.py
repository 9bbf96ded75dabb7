"""The live panel at several widths, with names of every kind."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from orchestrator.domain import events as ev
from orchestrator.domain.spec import JobKey
from orchestrator.domain.states import JobState
from orchestrator.live.event_log import LineSink, counts_line
from orchestrator.live.progress import LivePanel, ProgressSink, middle_cut, panel
from orchestrator.live.snapshot import FileNow, Snapshot, Stage, duration_text, left_text
from orchestrator.live.tally import Tally

LONG = "incoming/2026/interviews/with a name that never ends, part 007.mp3"
WIDE = "incoming/访谈录音/二零二六年十一月的很长很长的采访录音文件第七集.mp3"
RUN = Snapshot(
    run="nightly-stems-20261122T010000Z",
    at=1_795_309_200.0,
    elapsed_s=754.0,
    jobs={
        Stage.DONE: 1229, Stage.RUNNING: 20, Stage.QUEUED: 3, Stage.WAITING: 741,
        Stage.IN_DOUBT: 2, Stage.FAILED: 5,
    },
    work={
        Stage.DONE: 0.62, Stage.RUNNING: 0.01, Stage.QUEUED: 0.002, Stage.WAITING: 0.366,
        Stage.IN_DOUBT: 0.001, Stage.FAILED: 0.001,
    },
    is_planned=True,
    done_before=12,
    rate_per_s=10.24,
    eta_s=432.0,
    cost=1.234,
    currency="CNY",
    files=(
        FileNow(LONG, 83.0, 0.45, is_said=True),
        FileNow(WIDE, 12.0, 0.8),
        FileNow("a\x1b[31m\nb.mp3", 1.0),
        FileNow("waits.mp3", 0.4, is_running=False),
    ),
    more_files=19,
    waits_for=("the rate limit: 10 submits/s",),
)  # fmt: skip


class ManualClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return 1_795_309_200.0 + self.at - 1000.0

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, delay_s: float) -> None:
        self.at += delay_s


def drawn(snapshot: Snapshot, width: int, height: int = 25, **options: object) -> list[str]:
    """Return the lines of a panel."""
    console = Console(
        record=True,
        width=width,
        file=io.StringIO(),
        force_terminal=True,
        **options,  # type: ignore[arg-type]
    )
    console.print(panel(snapshot, height))
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_every_line_fits_and_the_important_facts_are_shown(width: int) -> None:
    lines = drawn(RUN, width)

    assert all(cell_len(line) <= width for line in lines)
    assert lines[0].startswith("nightly-stems-20261122T010000Z")
    assert lines[0].endswith("12:34 elapsed")
    assert lines[1].endswith("62%")
    assert lines[2].startswith("1,234 of 2,000, 5 failed, 2 in doubt, 20 running")
    assert lines[3] == "10.2 jobs/s, about 7 min left, cost 1.23 CNY"
    assert lines[4].startswith("   45% incoming/")
    assert lines[4].endswith(" 1:23")
    assert lines[5].startswith("  ~80% incoming/访")
    assert lines[5].endswith(" 0:12")
    assert r"a\x1b[31m\nb.mp3" in lines[6]
    assert lines[7].startswith("queued waits.mp3")
    assert lines[8].strip() == "and 19 more"
    assert lines[9] == "waiting for the rate limit: 10 submits/s"


def test_a_name_is_cut_in_its_middle_at_60_columns_and_whole_at_120() -> None:
    narrow, wide = drawn(RUN, 60), drawn(RUN, 120)

    assert re.search(r"incoming/2026/inter.*…never ends, part 007\.mp3", narrow[4])
    assert re.search(r"incoming/访谈.*….*第七集\.mp3", narrow[5])
    assert LONG in wide[4]
    assert WIDE in wide[5]


def test_a_sentence_is_cut_at_its_end() -> None:
    lines = drawn(replace(RUN, waits_for=("a reason that is much longer than the terminal",)), 40)

    assert lines[-1] == "waiting for a reason that is much longe…"


@pytest.mark.parametrize("text", [LONG, WIDE, "é" * 50, "👩‍🎤" * 20])
@pytest.mark.parametrize("width", [0, 1, 2, 3, 4, 5, 10, 11, 30])
def test_a_cut_name_never_exceeds_its_room(text: str, width: int) -> None:
    assert cell_len(middle_cut(text, width)) <= width


def test_a_terminal_without_colours_shows_the_segments_by_characters() -> None:
    bar = drawn(RUN, 60, no_color=True)[1].rpartition(" ")[0].rstrip()

    assert set(bar) == set("#x?>-.")
    assert bar.startswith("#" * 25)
    assert bar.count("x") == bar.count("?") == 1, "what is rare is seen all the same"


@pytest.mark.parametrize("width", [5, 6, 10, 30])
def test_a_narrow_terminal_gets_a_panel_without_an_error(width: int) -> None:
    assert all(cell_len(line) <= width for line in drawn(RUN, width))


def test_a_low_terminal_gets_fewer_files() -> None:
    assert len(drawn(RUN, 80, height=9)) <= 9
    assert "and 22 more" in "\n".join(drawn(RUN, 80, height=8))


def test_a_terminal_that_knows_only_ascii_gets_only_ascii() -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii", errors="backslashreplace")
    console = Console(width=60, file=file, force_terminal=True)
    console.print(panel(replace(RUN, files=RUN.files[:1])))
    file.flush()

    assert b"..." in raw.getvalue()
    assert b"\\u" not in raw.getvalue()


def test_before_a_run_has_begun_the_panel_says_so() -> None:
    assert drawn(Snapshot(), 80) == ["starting"]


def test_a_run_whose_manifest_is_still_read_has_an_open_total() -> None:
    assert drawn(replace(RUN, is_planned=False, eta_s=None), 80)[2].startswith("1,234 of 2,000+, ")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (65, "1:05"), (754, "12:34"), (3723.9, "1:02:03")]
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1, "5 s"),
        (43, "45 s"),
        (432, "7 min"),
        (8000, "2 h 15 min"),
        (7200, "2 h"),
        (3e5, "3.5 days"),
    ],
)
def test_the_time_left_is_as_rough_as_it_is_known(seconds: float, text: str) -> None:
    assert left_text(seconds) == text


def test_a_snapshot_survives_the_way_through_the_ledger() -> None:
    assert Snapshot.of(RUN.as_dict()) == replace(RUN, jobs=dict(RUN.jobs), work=dict(RUN.work))
    assert Snapshot.of({**RUN.as_dict(), "of_a_later_version": 1}).run == RUN.run


def test_a_snapshot_that_is_watched_ages() -> None:
    later = RUN.later(RUN.at + 10)

    assert (later.elapsed_s, later.eta_s, later.files[0].for_s) == (764.0, 422.0, 93.0)


def test_a_long_file_shows_its_name_its_percentage_and_the_time_left() -> None:
    clock = ManualClock()
    tally = Tally(clock)
    key = JobKey("v1.a")
    for event in (
        ev.RunStarted("r", "r.jsonl", resumed=False),
        ev.JobsPlanned(new=1), ev.PlanFinished(1),
        ev.JobSending(key, "in/long.mp3", 0, 1), ev.JobAccepted(key, "in/long.mp3", "j1"),
        ev.JobMoved(key, "in/long.mp3", JobState.RUNNING),
        ev.JobProgressed(key, "in/long.mp3", 0.0),
    ):  # fmt: skip
        tally.emit(event)
    clock.at += 34
    tally.emit(ev.JobProgressed(key, "in/long.mp3", 0.2))

    lines = drawn(tally.snapshot(), 80)

    assert lines[0].endswith("0:34 elapsed")
    assert lines[1].endswith(" 20%")
    assert lines[2:4] == ["0 of 1, 1 running", "about 2 min left"]
    assert lines[4].startswith("   20% in/long.mp3")


def test_the_cost_so_far_is_that_of_the_stems_that_were_made() -> None:
    tally = Tally(ManualClock())
    tally.price_per_min, tally.currency = 0.05, "CNY"
    tally.emit(ev.RunStarted("r", "r.jsonl", resumed=False))
    tally.emit(ev.JobEnded(JobKey("v1.a"), "a", JobState.SUCCEEDED, output_s=1200.0))

    assert tally.snapshot().cost == pytest.approx(1.0)
    assert "cost 1.00 CNY" in counts_line(tally.snapshot())


def test_what_a_run_waits_for_is_shown_until_something_moves() -> None:
    tally = Tally(ManualClock())
    tally.emit(ev.RunStarted("r", "r.jsonl", resumed=False))
    tally.emit(ev.Waiting(("the list of jobs",)))
    assert drawn(tally.snapshot(), 80)[-1] == "waiting for the list of jobs"

    tally.emit(ev.JobAccepted(JobKey("v1.a"), "a", "j1"))
    assert tally.snapshot().waits_for == ()

    tally.emit(ev.SubmitPaused("QueueSaturated", 20.0))
    assert drawn(tally.snapshot(), 80)[-1] == "waiting for QueueSaturated"
    tally.emit(ev.SubmitResumed("the pause has ended"))
    assert tally.snapshot().waits_for == ()


def test_a_resumed_job_is_shown_with_its_name_before_it_has_news() -> None:
    tally = Tally(ManualClock())
    tally.emit(ev.RunStarted("r", "r.jsonl", resumed=True))
    tally.emit(ev.JobsPlanned(open=2))
    tally.emit(ev.JobTakenUp(JobKey("v1.a"), "in/a.mp3", JobState.RUNNING, 60.0, 12.0))

    snapshot = tally.snapshot()

    assert snapshot.files == (FileNow("in/a.mp3", 12.0),)
    assert (snapshot.jobs[Stage.RUNNING], snapshot.jobs[Stage.QUEUED]) == (1, 1)


def test_a_job_that_is_adopted_before_it_is_counted_is_counted_once() -> None:
    tally = Tally(ManualClock())
    tally.emit(ev.RunStarted("r", "r.jsonl", resumed=False))
    tally.emit(ev.JobAdopted(JobKey("v1.a"), "a", "j1"))
    tally.emit(ev.JobsPlanned(open=1))
    tally.emit(ev.JobEnded(JobKey("v1.a"), "a", JobState.SUCCEEDED))

    assert (tally.under_way, tally.snapshot().total) == (0, 1)


def terminal(width: int = 80) -> tuple[Console, io.StringIO]:
    screen = io.StringIO()
    return Console(file=screen, width=width, height=25, force_terminal=True), screen


def test_a_failure_is_written_above_the_display_with_the_next_picture() -> None:
    console, screen = terminal()
    sink = ProgressSink(Tally(ManualClock()), console)
    with sink:
        sink.emit(ev.RunStarted("r", "r.jsonl", resumed=False))
        sink.emit(ev.JobAccepted(JobKey("v1.b"), "b.mp3", "j2"))
        sink.emit(ev.JobEnded(JobKey("v1.a"), "a\x1b[2J.mp3", JobState.FAILED, "NoSuchKey", "gone"))

    assert screen.getvalue().count(r"failed     a\x1b[2J.mp3: NoSuchKey: gone") == 1
    assert "submitted" not in screen.getvalue()


def test_of_a_flood_of_failures_the_first_are_written_and_the_rest_is_counted() -> None:
    console, screen = terminal()
    live = LivePanel(console, Snapshot)
    with live:
        for number in range(1000):
            live.write(f"failure {number}")
        live.draw()

    assert "failure 19" in screen.getvalue()
    assert "failure 20\n" not in screen.getvalue()
    assert "... and 980 more lines like these; the report has every failure" in screen.getvalue()


def test_a_panel_that_cannot_be_drawn_reports_it_to_the_one_who_writes() -> None:
    calls = []

    def take() -> Snapshot:
        calls.append(1)
        if len(calls) > 1:
            raise ValueError("no picture")
        return Snapshot()

    console, _ = terminal()
    live = LivePanel(console, take)
    with live:
        while len(calls) < 2:
            pass
        live._ticker.stop()
        with pytest.raises(ValueError, match="no picture"):
            live.write("a line")


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

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
from orchestrator.live.progress import LivePanel, ProgressSink, middle_cut, panel
from orchestrator.live.snapshot import Snapshot
from orchestrator.live.tally import Tally
from tests.unit.live.samples import LONG, RUN, WIDE, ManualClock


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

"""Live display of a run on a terminal: one bar, the files that are worked on, the time left."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.console import Group
from rich.constrain import Constrain
from rich.live import Live
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from orchestrator.domain import events as ev
from orchestrator.domain.wording import one_line
from orchestrator.live.event_log import Lines
from orchestrator.live.sinks import Closing, Ticker
from orchestrator.live.snapshot import Stage, counts_text, duration_text, pace_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from orchestrator.domain.events import Event
    from orchestrator.live.snapshot import FileNow, Snapshot
    from orchestrator.live.tally import Tally


_LOOKS = {
    # Style, and a character for terminals without colours or without line drawing.
    Stage.DONE: ("green", "#"),
    Stage.FAILED: ("red", "x"),
    Stage.IN_DOUBT: ("yellow", "?"),
    Stage.RUNNING: ("cyan", ">"),
    Stage.QUEUED: ("blue", "-"),
    Stage.WAITING: ("bright_black", "."),
}
"""The segments of a bar, in their order."""
_LINES_BESIDES = 6
"""Lines of a panel without its files, and one that a terminal needs below it."""
_MOST_FILES = 8
_MOST_REASONS = 3


class Bar:
    """One bar with a segment for each stage.

    Args:
        parts: Part of each stage.
    """

    def __init__(self, parts: dict[str, float]) -> None:
        self._parts = parts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the segments."""
        is_plain = console.no_color or options.ascii_only or console.color_system is None
        widths = _shares([self._parts.get(stage, 0.0) for stage in _LOOKS], options.max_width)
        for (colour, char), width in zip(_LOOKS.values(), widths, strict=True):
            if width:
                text = (char if is_plain else "━") * width
                yield Segment(text, None if is_plain else Style(color=colour))
        if not any(widths):
            yield Segment(" " * options.max_width)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return the width: all there is."""
        return Measurement(4, options.max_width)


def _shares(parts: Sequence[float], width: int) -> list[int]:
    """Divide a width in proportion; a part that is not empty gets one cell at least."""
    if not sum(parts):
        return [0] * len(parts)
    exact = [part / sum(parts) * width for part in parts]
    cells = [max(int(share), 1) if share > 0 else 0 for share in exact]
    by_rest = sorted(range(len(parts)), key=lambda index: cells[index] - exact[index])
    for index in by_rest:
        if sum(cells) < width and parts[index]:
            cells[index] += 1
    while sum(cells) > width and max(cells) > 1:
        cells[cells.index(max(cells))] -= 1
    while sum(cells) > width:  # narrower than the number of parts
        cells[max(index for index, number in enumerate(cells) if number)] = 0
    return cells


class Fitted:
    """A text that is cut if it does not fit: a name in its middle, a sentence at its end.

    A name's end says as much as its start. Control characters are escaped.

    Args:
        text: The text.
        style: Its style.
        is_name: It is a name.
    """

    def __init__(self, text: str, style: str = "", *, is_name: bool = False) -> None:
        self._text = one_line(text)
        self._style = style
        self._is_name = is_name

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the text, as long as there is room."""
        dots = "..." if options.ascii_only else "…"
        cut = middle_cut if self._is_name else end_cut
        yield Text(cut(self._text, options.max_width, dots), self._style, no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return the smallest and the largest useful width."""
        width = cell_len(self._text)
        return Measurement(min(width, 8), width).with_maximum(options.max_width)


def middle_cut(text: str, width: int, dots: str = "…") -> str:
    """Return a text of at most ``width`` cells, dots in its middle if it was longer."""
    if cell_len(text) <= width:
        return text
    room = width - cell_len(dots)
    if room < 2:
        return set_cell_size(text, max(width, 0))
    left = room // 2
    start = set_cell_size(text, left).rstrip(" ") if left else ""
    tail, number = "", 0
    for char in reversed(text):
        number += cell_len(char)
        if number > room - left:
            break
        tail = char + tail
    return f"{start}{dots}{tail}"


def end_cut(text: str, width: int, dots: str = "…") -> str:
    """Return a text of at most ``width`` cells, dots at its end if it was longer."""
    if cell_len(text) <= width:
        return text
    room = width - cell_len(dots)
    return f"{set_cell_size(text, room)}{dots}" if room > 0 else set_cell_size(text, max(width, 0))


def panel(snapshot: Snapshot, height: int = 25) -> RenderableType:
    """Return the lines of a snapshot, not more than fit a terminal of this height."""
    if not snapshot.run:
        return Text("starting", style="dim")
    lines: list[RenderableType] = [_headline(snapshot), _bar_line(snapshot)]
    lines += [Fitted(text) for text in (counts_text(snapshot), pace_text(snapshot)) if text]
    lines += _files(snapshot, max(min(height - _LINES_BESIDES, _MOST_FILES), 1))
    if snapshot.waits_for:
        reasons = "; ".join(snapshot.waits_for[:_MOST_REASONS])
        lines.append(Fitted(f"waiting for {reasons}", "yellow"))
    return Group(*lines)


def _headline(snapshot: Snapshot) -> Table:
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(ratio=1, no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(Fitted(snapshot.run, is_name=True), f"{duration_text(snapshot.elapsed_s)} elapsed")
    return grid


def _bar_line(snapshot: Snapshot) -> Table:
    part = snapshot.work.get(Stage.DONE, 0.0) + snapshot.work.get(Stage.FAILED, 0.0)
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(ratio=1)
    grid.add_column(justify="right", width=4, no_wrap=True)
    percent = int(100 * part + 1e-9)
    grid.add_row(Bar(snapshot.work), f"{percent}%" if snapshot.total else "")
    return grid


def _files(snapshot: Snapshot, most: int) -> list[RenderableType]:
    files, more = snapshot.files, snapshot.more_files
    if not files:
        return []
    if len(files) + more > most:
        shown = files[: max(most - 1, 1)]
        more, files = more + len(files) - len(shown), shown
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(justify="right", width=6, no_wrap=True)
    grid.add_column(ratio=1, no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    for file in files:
        grid.add_row(_part_text(file), Fitted(file.object, is_name=True), duration_text(file.for_s))
    if more:
        grid.add_row("", Fitted(f"and {more:,} more", "dim"), "")
    return [grid]


def _part_text(file: FileNow) -> str:
    if not file.is_running:
        return Stage.QUEUED.value
    if file.part is None:
        return ""
    return f"{'' if file.is_said else '~'}{int(100 * file.part + 1e-9)}%"


_EVERY_S = 0.25
"""Time between two pictures: alive to the eye, and nothing to the processor."""
_MARGIN = 3
"""Cells left free at the right: the terminal's echo of Ctrl-C must not wrap the last line."""
_LINES_AT_ONCE = 20
"""Lines written above the display per picture; of a flood, the rest is counted."""
_SHOWN_IN_PANEL = (ev.RunStarted, ev.PlanFinished, ev.Waiting)


class LivePanel(Closing):
    """A picture of a run on a terminal that is drawn again a few times per second.

    Use it as a context manager; at its end the picture is removed.

    Args:
        console: The terminal.
        take: Returns how the run stands.
    """

    def __init__(self, console: Console, take: Callable[[], Snapshot]) -> None:
        self._console = console
        self._take = take
        self._lines: deque[str] = deque()
        self._drawing = threading.Lock()
        self._live = Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=False
        )
        self._ticker = Ticker(_EVERY_S, self.draw)

    def __enter__(self) -> Self:
        """Show it."""
        self._live.start()
        self.draw()
        self._ticker.start()
        return self

    def close(self) -> None:
        """Write the lines that are left, and remove the picture."""
        self._ticker.stop()
        with self._drawing:
            self._write_lines(len(self._lines))
            self._live.update("", refresh=True)
            self._live.stop()

    def write(self, line: str) -> None:
        """Write a line above the picture, with the next one."""
        self._ticker.check()
        self._lines.append(line)

    def draw(self) -> None:
        """Write the lines, and draw the picture."""
        with self._drawing:
            self._write_lines(_LINES_AT_ONCE)
            width, height = self._console.size
            picture = Constrain(panel(self._take(), height), max(width - _MARGIN, 1))
            self._live.update(picture, refresh=True)

    def _write_lines(self, most: int) -> None:
        lines = [self._lines.popleft() for _ in range(min(len(self._lines), most))]
        if more := len(self._lines):
            self._lines.clear()
            lines.append(f"... and {more:,} more lines like these; the report has every failure")
        if lines:
            self._console.print(Text("\n".join(lines)), soft_wrap=True)


class ProgressSink(Closing):
    """A live display of the run that the events are about; use it as a context manager.

    Args:
        tally: Counts of the run; it receives the events here.
        console: The terminal, on standard error.
        is_verbose: Write a line for each step of each job, too.
    """

    def __init__(self, tally: Tally, console: Console, *, is_verbose: bool = False) -> None:
        self._tally = tally
        self._lines = Lines(is_verbose=is_verbose)
        self._panel = LivePanel(console, tally.snapshot)

    def __enter__(self) -> Self:
        """Show the display."""
        self._panel.__enter__()
        return self

    def close(self) -> None:
        """Remove the display."""
        self._panel.close()

    def emit(self, event: Event) -> None:
        """Take one event; write important ones above the display."""
        self._tally.emit(event)
        if isinstance(event, _SHOWN_IN_PANEL):
            return
        line = self._lines.of(event)
        if line is not None:
            self._panel.write(line)

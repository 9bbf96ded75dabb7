"""Live display of a run on a terminal: one bar, the files that are worked on, the time left."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from rich.constrain import Constrain
from rich.live import Live
from rich.text import Text

from orchestrator.domain import events as ev
from orchestrator.live.closing import Closing
from orchestrator.live.panel import panel
from orchestrator.live.text_log import Lines
from orchestrator.live.ticker import Ticker

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from rich.console import Console

    from orchestrator.domain.events import Event
    from orchestrator.live.snapshot import Snapshot
    from orchestrator.live.tally import Tally

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

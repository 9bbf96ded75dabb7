"""Live display of a run on a terminal: bars, counts by state, rate and time left."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.domain import events as ev
from orchestrator.domain.states import JobState
from orchestrator.live.tally import Tally
from orchestrator.live.text_log import sentence

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from orchestrator.domain.events import Event
    from orchestrator.domain.ports import Clock

# States with a bar, in the order in which a job passes them; the others only if any job is there.
_ALWAYS = (JobState.PLANNED, JobState.SUBMITTED, JobState.RUNNING, JobState.SUCCEEDED)
_IF_ANY = (
    JobState.SUBMITTING,
    JobState.IN_DOUBT,
    JobState.FAILED,
    JobState.REJECTED,
    JobState.CANCELLED,
    JobState.UNFINISHED,
)
_COLOURS = {
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.REJECTED: "red",
    JobState.IN_DOUBT: "yellow",
}
_WORTH_A_LINE = (
    ev.JobInDoubt,
    ev.SubmitPaused,
    ev.SubmitResumed,
    ev.RateChanged,
    ev.CanaryChosen,
    ev.CanaryPassed,
    ev.Stopping,
    ev.Waiting,
    ev.Noticed,
)


class ProgressSink:
    """A live display on a terminal; use it as a context manager around the run.

    Args:
        clock: Time, for rate and time left.
        console: The terminal, on standard error.
    """

    def __init__(self, clock: Clock, console: Console) -> None:
        self._tally = Tally(clock)
        self._title = ""
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> Self:
        """Show the display."""
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the display, so that the summary follows cleanly."""
        self._live.stop()

    def emit(self, event: Event) -> None:
        """Take one event; write important ones above the bars."""
        self._tally.emit(event)
        if isinstance(event, ev.RunStarted):
            self._title = event.run
        failed = isinstance(event, ev.JobEnded) and event.state is not JobState.SUCCEEDED
        if failed or isinstance(event, _WORTH_A_LINE):
            # A job in doubt gets one short line; the bars show what becomes of it.
            self._live.console.print(
                Text(sentence(event) or ""),
                no_wrap=isinstance(event, ev.JobInDoubt),
                overflow="ellipsis",
            )

    def _render(self) -> RenderableType:
        tally = self._tally
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=11)
        grid.add_column(justify="right", width=9)
        grid.add_column(ratio=1)
        shown = [*_ALWAYS, *(state for state in _IF_ANY if tally.of(state))]
        for state in sorted(shown, key=list(JobState).index):
            number = tally.of(state)
            bar = ProgressBar(
                total=max(tally.total, 1),
                completed=number,
                complete_style=_COLOURS.get(state, "cyan"),
            )
            grid.add_row(state.replace("_", " "), f"{number:,}", bar)
        return Group(self._headline(), grid)

    def _headline(self) -> Text:
        tally = self._tally
        total = f"{tally.total:,}" if tally.is_planned else f"{tally.total:,}+"
        parts = [self._title, f"{tally.ended_total:,} of {total}", f"{tally.rate_per_s:.1f} jobs/s"]
        if tally.done_before:
            parts.append(f"{tally.done_before:,} done before")
        if (eta_s := tally.eta_s) is not None:
            parts.append(f"about {timedelta(seconds=round(eta_s))} left")
        return Text("  ".join(parts), overflow="ellipsis", no_wrap=True)

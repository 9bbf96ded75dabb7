"""Display of a run: JSON if asked for, nothing if quiet, a live panel on a terminal, else lines."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from signal import Signals
from typing import TYPE_CHECKING

from orchestrator.cli import LOGS_JSON, complain
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.events import Noticed
from orchestrator.live.closing import Closing
from orchestrator.live.json_log import JsonLogSink
from orchestrator.live.log_bridge import warnings_as_events
from orchestrator.live.sinks import Sinks
from orchestrator.live.tally import Tally
from orchestrator.live.text_log import LineSink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from orchestrator.commands.run import Session
    from orchestrator.domain.ports import EventSink


class Display(Closing):
    """Display of one run; use it as a context manager around the run.

    Args:
        log_json: Write each event as JSON.
        is_quiet: Write nothing.
        is_verbose: Write a line for each step of each job.
        stats_s: Time between two lines of counts, without a terminal; 0 for none.

    Attributes:
        is_quiet: True if nothing is written.
        sink: Receives the events, from the start of the context on.
        tally: Counts of the run.
    """

    def __init__(self, *, log_json: bool, is_quiet: bool, is_verbose: bool, stats_s: float) -> None:
        self.is_quiet = is_quiet
        self.sink: EventSink = Sinks()
        self._log_json = log_json
        self._is_verbose = is_verbose
        self._stats_s = stats_s
        self.tally = Tally(SystemClock())
        self._stack = ExitStack()

    @classmethod
    def chosen(cls, *, log_json: bool, quiet: bool, verbose: bool, stats: str) -> Self:
        """Return the display that the options of a verb name.

        Raises:
            ConfigError: If ``--stats`` is not a duration.
        """
        from orchestrator.cli.parsers import read_interval_s

        LOGS_JSON.set(log_json)
        stats_s = read_interval_s("--stats", stats)
        return cls(log_json=log_json, is_quiet=quiet, is_verbose=verbose, stats_s=stats_s)

    def __enter__(self) -> Self:
        """Begin to show events; warnings of the embedded service are among them."""
        self.sink = Sinks(*self._sinks())
        self._stack.enter_context(warnings_as_events(self.sink))
        return self

    def close(self) -> None:
        """Remove what a terminal shows."""
        self._stack.close()

    @contextmanager
    def follow(self, session: Session) -> Iterator[None]:
        """Show the cost of the run of a session, and let signals stop it."""
        from orchestrator.cli.signals import stop_on_signals
        from orchestrator.errors import Interruption

        self.tally.price_per_min, self.tally.currency = session.price

        def stop(number: Signals) -> None:
            session.stop(Interruption("signal", f"interrupted by {number.name}"))
            again = "Press Ctrl-C again" if number is Signals.SIGINT else "Send it again"
            self.sink.emit(
                Noticed(
                    "Nothing more is sent. Answers that are on their way are recorded, and jobs at "
                    f"the service continue there. {again} to abort at once."
                )
            )

        def abort(number: Signals) -> None:
            self.close()
            complain(
                f"aborted by {number.name}. Nothing is lost: the next run looks up the requests "
                "whose answers were not recorded."
            )

        with stop_on_signals(stop, abort):
            yield

    def _sinks(self) -> list[EventSink]:
        if self._log_json:
            return [self.tally, JsonLogSink(sys.stderr, SystemClock())]
        if self.is_quiet:
            return [self.tally]
        if sys.stderr.isatty():
            from rich.console import Console

            from orchestrator.live.progress import ProgressSink

            console = Console(stderr=True)
            if not console.is_dumb_terminal:
                progress = ProgressSink(self.tally, console, is_verbose=self._is_verbose)
                return [self._stack.enter_context(progress)]
        lines = LineSink(sys.stderr, self.tally, stats_s=self._stats_s, is_verbose=self._is_verbose)
        return [self._stack.enter_context(lines)]

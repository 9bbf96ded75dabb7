"""Display of a run: JSON if asked for, nothing if quiet, a live panel on a terminal, else lines."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from signal import Signals
from typing import TYPE_CHECKING

from orchestrator.cli import LOGS_JSON, complain
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.events import Noticed
from orchestrator.live.event_log import JsonLogSink, LineSink, NeededSink, warnings_as_events
from orchestrator.live.sinks import Closing, Sinks
from orchestrator.live.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from orchestrator.commands.run import Session
    from orchestrator.domain.ports import EventSink

_LOOK_S = 0.2
"""Time between two looks if the database of a stopped run is away."""


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
        self._session: Session | None = None

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
        """Show the cost of the run of a session, which signals stop from now on."""
        self.tally.price_per_min, self.tally.currency = session.price
        self._session = session
        try:
            yield
        finally:
            self._session = None

    @contextmanager
    def signals(self, *, has_database: bool) -> Iterator[None]:
        """Let signals stop the run of the session that is followed, or what goes before it.

        Args:
            has_database: The ledger is in a database, which may be out of reach.
        """
        import asyncio

        from orchestrator.cli.signals import stop_on_signals

        task = asyncio.current_task()

        def stop(number: Signals) -> None:
            again = "Press Ctrl-C again" if number is Signals.SIGINT else "Send it again"
            if self._session is not None:
                self._stop(self._session, number, again)
                return
            if has_database:
                self._say(
                    "Interrupted before the run began. It waits for the database of its ledger to "
                    f"answer. {again} to leave now."
                )
            if task is not None:
                task.cancel()

        def abort(number: Signals) -> None:
            has_begun = self._session is not None
            self.close()
            lost = (
                "Nothing is lost: the next run looks up the requests whose answers were not "
                "recorded."
            )
            complain(f"aborted by {number.name}. {lost if has_begun else 'Nothing was sent.'}")

        with stop_on_signals(stop, abort):
            yield

    def _stop(self, session: Session, number: Signals, again: str) -> None:
        from orchestrator.errors import Interruption

        is_away = bool(session.trouble())
        session.stop(Interruption("signal", f"interrupted by {number.name}"))
        if not is_away:
            self.sink.emit(
                Noticed(
                    "Nothing more is sent. Answers that are on their way are recorded, and jobs at "
                    f"the service continue there. {again} to abort at once."
                )
            )
        self._say_what_it_waits_for(session, again)

    def _say_what_it_waits_for(self, session: Session, again: str) -> None:
        """Say that the database is away, now or when the stopped run notices it."""
        import asyncio

        if self._session is not session:
            return
        if trouble := session.trouble():
            self._say(
                "Nothing more is sent. This run waits for the database of its ledger, to record "
                f"what was sent ({trouble}). {again} to leave now: the next run looks up what was "
                "not recorded."
            )
            return
        loop = asyncio.get_running_loop()
        loop.call_later(_LOOK_S, self._say_what_it_waits_for, session, again)

    def _say(self, text: str) -> None:
        """Say what a person who presses Ctrl-C must know, also if little is to be written."""
        if self.is_quiet:
            complain(text)
        else:
            self.sink.emit(Noticed(text))

    def _sinks(self) -> list[EventSink]:
        if self._log_json:
            return [self.tally, JsonLogSink(sys.stderr, SystemClock())]
        if self.is_quiet:
            return [self.tally, NeededSink(complain)]
        if sys.stderr.isatty():
            from rich.console import Console

            from orchestrator.live.progress import ProgressSink

            console = Console(stderr=True)
            if not console.is_dumb_terminal:
                progress = ProgressSink(self.tally, console, is_verbose=self._is_verbose)
                return [self._stack.enter_context(progress)]
        lines = LineSink(sys.stderr, self.tally, stats_s=self._stats_s, is_verbose=self._is_verbose)
        return [self._stack.enter_context(lines)]

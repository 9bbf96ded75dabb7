"""The command line: one module per verb, one table of exit codes, one place that reports errors."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from orchestrator.errors import OrchestratorError

LOGS_JSON: ContextVar[bool] = ContextVar("LOGS_JSON", default=False)
"""True if standard error is a JSON log, so that its last line must be JSON, too."""
INTERRUPTED = 130
"""``ExitCode.INTERRUPTED``, which may not be loaded yet."""


def main() -> NoReturn:
    """Entry point of the ``orchestrator`` command."""
    from orchestrator.cli import interpreter

    _use_utf_8()
    interpreter.start_quickly()
    _fill_closed_streams()
    _escape_what_streams_cannot_write()
    try:
        _main()
    except KeyboardInterrupt:  # while loading, or in a command that needs no orderly stop
        complain("interrupted")
        raise SystemExit(INTERRUPTED) from None
    finally:
        _end_quietly_from_now_on()
        _flush_streams()
        interpreter.end_quickly()


def _end_quietly_from_now_on() -> None:
    """Let Ctrl-C end the process at once while the interpreter ends, with its exit code."""
    import signal

    with contextlib.suppress(ValueError):  # not in the main thread: a program that uses this one
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))


def _use_utf_8() -> None:
    """Start again in UTF-8 mode if the locale has another encoding (``LC_ALL=POSIX``).

    Object names are UTF-8, and so are file names whatever the locale says: in that mode every path
    keeps its bytes. Workers inherit it.
    """
    is_utf_8 = sys.getfilesystemencoding().lower().replace("-", "") == "utf8"
    if is_utf_8 or sys.flags.utf8_mode or not sys.executable:
        return
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606


def _escape_what_streams_cannot_write() -> None:
    """Let a name that is not UTF-8, or beyond the terminal's encoding, never stop a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _fill_closed_streams() -> None:
    """Replace standard streams that the caller closed, before a file takes their place."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number, which is this one. Open for writing only, so that reading
            # fails: a list on a closed input must not look like an empty one.
            os.open(os.devnull, os.O_WRONLY)
        if getattr(sys, name) is None:
            # Open until the process ends.
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _flush_streams() -> None:
    """Flush standard output and error; discard what no reader takes.

    Otherwise the interpreter would try again, fail, and exit with 120.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _main() -> NoReturn:
    from orchestrator.cli.app import app_for
    from orchestrator.commands.exit_codes import ExitCode, of_error
    from orchestrator.durable import DISK_FULL
    from orchestrator.errors import InternalDefect, OrchestratorError

    try:
        app_for(sys.argv[1:])(prog_name="orchestrator")  # also as `python -m orchestrator`
    except OrchestratorError as error:
        complain(message_of(error))
        raise SystemExit(of_error(error)) from None
    except OSError as error:
        if error.errno not in DISK_FULL:
            complain(message_of(InternalDefect(error)))
            raise SystemExit(ExitCode.UNFINISHED) from None
        complain(f"Nothing more can be written: {error.strerror}. Make room, then run again.")
        raise SystemExit(ExitCode.LEDGER) from None
    except Exception as error:  # noqa: BLE001 - the last resort: users cannot use a traceback
        complain(message_of(InternalDefect(error)))
        raise SystemExit(ExitCode.UNFINISHED) from None
    raise SystemExit(ExitCode.OK)


def message_of(error: OrchestratorError) -> str:
    """Return the line for an error; write the traceback of a defect to a file for its report."""
    import tempfile
    import traceback

    from orchestrator.errors import InternalDefect

    text = str(error)
    if not isinstance(error, InternalDefect):
        return text
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="orchestrator-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            traceback.print_exception(error.__cause__, file=file)
    except OSError:
        return text
    return f"{text} Please report it with {file.name}"


def complain(text: str) -> None:
    """Write an error to standard error; without a reader, the exit code alone reports it."""
    with contextlib.suppress(OSError):
        if not LOGS_JSON.get():
            sys.stderr.write(f"orchestrator: {text}\n")
            return
        from orchestrator.domain.clock import SystemClock
        from orchestrator.domain.events import Complaint
        from orchestrator.live.event_log import JsonLogSink

        JsonLogSink(sys.stderr, SystemClock()).emit(Complaint(text))

"""The command line: one module per verb, one table of exit codes, one place where errors become a line on the terminal."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from orchestrator.errors import OrchestratorError

INTERRUPTED = 130
"""``ExitCode.INTERRUPTED``, which may not be loaded yet."""


def main() -> NoReturn:
    """Entry point of the ``orchestrator`` command."""
    _fill_closed_streams()
    try:
        _main()
    except (
        KeyboardInterrupt
    ):  # while the command is still loading, or in the middle of what needs no order
        complain("interrupted")
        raise SystemExit(INTERRUPTED) from None
    finally:
        _let_go_of_streams()


def _fill_closed_streams() -> None:
    """Open nothing in place of standard streams that the caller closed: else the next file or socket would become one of them."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number, which is this one. Reading it fails: a list on a closed input must not be taken for an empty one.
            os.open(os.devnull, os.O_WRONLY)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for as long as the process lives


def _let_go_of_streams() -> None:
    """Flush standard output and error. What nobody reads goes nowhere: the interpreter would try again, fail, and exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _main() -> NoReturn:
    from orchestrator.cli.app import app
    from orchestrator.cli.exit_codes import ExitCode, of_error
    from orchestrator.errors import InternalDefect, OrchestratorError

    try:
        app(prog_name="orchestrator")  # also as `python -m orchestrator`
    except OrchestratorError as error:
        complain(told(error))
        raise SystemExit(of_error(error)) from None
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            complain(told(InternalDefect(error)))
            raise SystemExit(ExitCode.UNFINISHED) from None
        complain(f"Nothing more can be written: {error.strerror}. Make room, and run again.")
        raise SystemExit(ExitCode.LEDGER) from None
    except Exception as error:  # noqa: BLE001 - the last resort: nobody but us can do anything with a traceback
        complain(told(InternalDefect(error)))
        raise SystemExit(ExitCode.UNFINISHED) from None
    raise SystemExit(ExitCode.OK)


def told(error: OrchestratorError) -> str:
    """The line for an error. The traceback of one that should not be goes to a file, for the report of the defect."""
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
    """Say what went wrong, on standard error; if nobody reads that any more, the exit code must do."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"orchestrator: {text}\n")

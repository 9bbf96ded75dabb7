"""The command line: one module per verb, one table of exit codes, one place where errors become a line on the terminal."""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Entry point of the ``orchestrator`` command."""
    from orchestrator.cli.app import app
    from orchestrator.cli.exit_codes import ExitCode, of_error
    from orchestrator.errors import OrchestratorError

    try:
        app()
    except OrchestratorError as error:
        complain(str(error))
        raise SystemExit(of_error(error)) from None
    except KeyboardInterrupt:
        complain("interrupted")
        raise SystemExit(ExitCode.INTERRUPTED) from None
    except BrokenPipeError:
        # The reader of our output went away (``| head``): not an error. Nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(ExitCode.OK) from None
    raise SystemExit(ExitCode.OK)


def complain(text: str) -> None:
    """Say what went wrong, on standard error."""
    sys.stderr.write(f"orchestrator: {text}\n")

"""Data on standard output: the one place that writes it, because a reader may leave, and a disk may be full."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orchestrator.errors import ReportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def show(content: str) -> None:
    """Write text to standard output.

    A reader who went away (``| head``) is no error, and does not change the exit code: nothing more is written.

    Raises:
        ReportError: If it cannot be written, because its disk is full for example.
    """
    _write(content.encode(sys.stdout.encoding or "utf-8", "replace"))


def _write(content: bytes) -> None:
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        _mute()
    except OSError as error:
        _mute()
        raise ReportError(
            f"Standard output cannot be written: {error.strerror or error}."
        ) from error


def show_json(content: object, *, indent: bool = True) -> None:
    """Write a JSON document and a newline to standard output, in UTF-8 wherever it goes.

    Raises:
        ReportError: If it cannot be written.
    """
    import orjson

    option = orjson.OPT_APPEND_NEWLINE | (orjson.OPT_INDENT_2 if indent else 0)
    _write(orjson.dumps(content, option=option))


@contextmanager
def counting(what: str) -> Iterator[Callable[[int], None]]:
    """A number that grows on the terminal while something long is read; it is taken away at the end. Elsewhere nothing is shown."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return

    def told(number: int) -> None:
        sys.stderr.write(f"\r{number:,} {what} ...")
        sys.stderr.flush()

    try:
        yield told
    finally:
        sys.stderr.write("\r\x1b[K")  # back to the margin, and clear the line
        sys.stderr.flush()


def _mute() -> None:
    """What is still in the buffer goes nowhere: the interpreter would try it again at its end, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""Data on standard output. One place writes it, because readers leave and disks fill up."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from orchestrator.errors import ReportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def show(content: str) -> None:
    """Write text to standard output.

    A reader that went away (``| head``) is not an error and does not change the exit code; the rest
    is discarded.

    Raises:
        ReportError: If it cannot be written, because its disk is full for example.
    """
    _write(content.encode(sys.stdout.encoding or "utf-8", "replace"))


def _write(content: bytes) -> None:
    with standard_output() as file:
        file.write(content)


@contextmanager
def standard_output() -> Iterator[BinaryIO]:
    """Yield standard output for bytes; a reader that went away ends the block without an error.

    Raises:
        ReportError: If it cannot be written.
    """
    try:
        yield sys.stdout.buffer
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
    """Show a growing number on the terminal while something long is read."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return

    def progress(number: int) -> None:
        sys.stderr.write(f"\r{number:,} {what} ...")
        sys.stderr.flush()

    try:
        yield progress
    finally:
        sys.stderr.write("\r\x1b[K")  # back to the margin, and clear the line
        sys.stderr.flush()


def _mute() -> None:
    """Discard what is still in the buffer; else the interpreter would try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

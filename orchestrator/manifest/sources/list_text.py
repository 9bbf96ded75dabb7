"""The bytes of a list file as lines of text, in constant memory.

The first bytes tell what it is: gzip or plain, UTF-8 or UTF-16, with lines that end in LF, CRLF or
(as on old Macs, and in Excel's export for them) CR alone.
"""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.manifest.sources.foreign_content import HEAD_BYTES, by_content, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader
    from pathlib import Path

    _Readable = BufferedReader | gzip.GzipFile

MAX_LINE_BYTES = 1024 * 1024
"""Longest line: an object name has at most 850 bytes, and a row a few more columns."""
MISSING = "The list file does not exist. Paths are relative to the manifest."
_GZIP_MAGIC = b"\x1f\x8b"
_UTF_32 = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")
_BOMS = ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_SAMPLE_BYTES = 400


class ListUnreadable(Exception):
    """The list file cannot be read further, from ``line`` on; 0 if the line is unknown."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


class _Form(NamedTuple):
    """Encoding and line ends of a text."""

    encoding: str
    newline: str


class ListText:
    """Lines of an opened list, with their line ends and without a byte order mark.

    Attributes:
        encoding: ``UTF-8`` or ``UTF-16``.
        is_cr_only: True if CR alone ends the lines.
        wrong: Fault of the last line, or empty. Its other characters are readable. Reset
            it after reading.
    """

    def __init__(self, stream: _Readable) -> None:
        self._stream = stream
        form = _form_of(stream.peek(HEAD_BYTES))
        self.encoding = "UTF-8" if form.encoding == "utf-8" else "UTF-16"
        self.is_cr_only = form.newline == "\r"
        self._form = form
        self.wrong = ""

    def __iter__(self) -> Iterator[str]:
        """Yield the lines.

        Raises:
            ListUnreadable: If a line is too long.
        """
        is_usual = self._form == _Form("utf-8", "\n")
        return self._utf_8() if is_usual else self._recoded()

    def _utf_8(self) -> Iterator[str]:
        number = 0
        readline = self._stream.readline
        while raw := readline(MAX_LINE_BYTES):
            number += 1
            if len(raw) == MAX_LINE_BYTES and raw[-1:] != b"\n":
                raise _too_long(number)
            try:
                line = raw.decode()
            except UnicodeDecodeError as error:
                self.wrong = _not_utf_8(raw[error.start], error.start + 1)
                line = raw.decode(errors="backslashreplace")
            yield line.removeprefix("\ufeff") if number == 1 else line

    def _recoded(self) -> Iterator[str]:
        encoding, newline = self._form
        errors = "surrogateescape" if encoding == "utf-8" else "surrogatepass"
        # The wrapper must not close the stream when it is collected.
        text = io.TextIOWrapper(self._stream, encoding, errors, newline)
        number = 0
        try:
            while line := text.readline(MAX_LINE_BYTES):
                number += 1
                if len(line) == MAX_LINE_BYTES and not line.endswith(newline):
                    raise _too_long(number)
                if not line.isascii():
                    line = self._checked(line)
                yield line.removeprefix("\ufeff") if number == 1 else line
        except UnicodeDecodeError as error:
            message = f"This is not {self.encoding}: {error.reason}. Save the file as UTF-8."
            raise ListUnreadable(message, number + 1) from error
        finally:
            with suppress(ValueError):  # an abandoned list may have been closed before
                text.detach()

    def _checked(self, line: str) -> str:
        try:
            line.encode()
        except UnicodeEncodeError as error:
            raw = line.encode(errors="surrogateescape" if self.encoding == "UTF-8" else "replace")
            code = ord(line[error.start])
            self.wrong = (
                _not_utf_8(code & 0xFF, error.start + 1)
                if self.encoding == "UTF-8"
                else f"Half of a character (U+{code:04X}) at column {error.start + 1}."
            )
            return raw.decode(errors="backslashreplace")
        return line


def _not_utf_8(byte: int, column: int) -> str:
    return f"Byte 0x{byte:02x} at column {column} is not UTF-8. Save the file as UTF-8."


def _too_long(number: int) -> ListUnreadable:
    message = f"The line is longer than {MAX_LINE_BYTES // 1024} KiB."
    return ListUnreadable(f"{message} Check that the file has one object per line.", number)


def _form_of(head: bytes) -> _Form:
    encoding = next((name for bom, name in _BOMS if head.startswith(bom)), "") or _by_zeros(head)
    if encoding:
        head = head[: len(head) // 2 * 2]
        return _Form(encoding, _newline(head.decode(encoding, errors="replace")))
    return _Form("utf-8", _newline(head.decode("latin-1")))


def _newline(head: str) -> str:
    """Return the end of lines: CR if most lines end in it alone. Quoted cells may have others."""
    text = head.removesuffix("\r")  # an LF may follow
    crlf = text.count("\r\n")
    only_cr, only_lf = text.count("\r") - crlf, text.count("\n") - crlf
    return "\r" if only_cr > only_lf and not crlf else "\n"


def _by_zeros(head: bytes) -> str:
    """Return the encoding of UTF-16 without a byte order mark: every other byte is mostly zero."""
    sample = head[:_SAMPLE_BYTES]
    even, odd = sample[::2], sample[1::2]
    if len(odd) < 4:
        return ""
    if odd.count(0) * 2 > len(odd) and not even.count(0):
        return "utf-16-le"
    return "utf-16-be" if even.count(0) * 2 > len(even) and not odd.count(0) else ""


@contextmanager
def opened(file: Path | None) -> Iterator[ListText]:
    """Open a list file; None is standard input.

    Raises:
        ListUnreadable: If it cannot be opened, is not a list, or cannot be read further.
    """
    with ExitStack() as stack:
        try:
            yield ListText(_stream(file, stack))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            message = f"The gzip data is damaged or cut off ({error}). Create the file again."
            raise ListUnreadable(message) from error
        except OSError as error:
            raise ListUnreadable(f"Reading failed: {error.strerror or error}.") from error


def _stream(file: Path | None, stack: ExitStack) -> _Readable:
    if file is None:
        # Always a BufferedReader, except in tests.
        stream: BufferedReader = sys.stdin.buffer  # type: ignore[assignment]
    else:
        try:
            stream = stack.enter_context(file.open("rb"))
        except FileNotFoundError as error:
            raise ListUnreadable(MISSING) from error
        except OSError as error:
            message = f"The list file cannot be read ({error.strerror or error})."
            raise ListUnreadable(message) from error
    readable: _Readable = stream
    if stream.peek(2).startswith(_GZIP_MAGIC):
        readable = stack.enter_context(gzip.GzipFile(fileobj=stream, mode="rb"))
    head = readable.peek(HEAD_BYTES)
    if (kind := by_content(head)) is not None:
        raise ListUnreadable(refusal(kind, "It", None if file is None else str(file)))
    if head.startswith(_UTF_32):
        raise ListUnreadable("It is UTF-32. Save it as UTF-8: iconv -f UTF-32 -t UTF-8 FILE.")
    return readable

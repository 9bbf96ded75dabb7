"""Rows of csv and tsv files in the dialects that spreadsheets write.

The separator is chosen by the header line: the one that gives the columns that the manifest needs.
Python's csv module reads the rows.
"""

from __future__ import annotations

import csv
import itertools
import re
from typing import TYPE_CHECKING, Final

from orchestrator.domain.wording import counted, quoted
from orchestrator.manifest.sources.list_text import ListUnreadable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from orchestrator.manifest.sources.list_text import ListText

Row = tuple[int, dict[str, str] | str]
"""Line (from 1) and columns, or line and a fault message."""

_SEPARATORS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_SEP_LINE = re.compile(r'"?sep=(\\t|.)"?', re.IGNORECASE)
"""First line that names the separator for Excel; some write a tab as ``\\t``."""
_AROUND = " \t\r\n\u00a0\u200b\ufeff"
_NOTHING = re.compile(r'[\s",;|\u00a0\u200b\ufeff]*')


class CsvRows:
    """Rows of one csv or tsv file.

    Args:
        text: Its lines.
        usual: The separator that its extension stands for.
        columns: Names of the columns if it has no header line.
        wanted: Names of columns that the manifest uses.

    Attributes:
        separator: The separator that was recognised, known once a row was read.
        has_sep_line: True if a line ``sep=`` named it.
        empty_rows: Empty rows that were skipped.
    """

    def __init__(
        self,
        text: ListText,
        usual: str,
        columns: Sequence[str] | None,
        wanted: Collection[str],
    ) -> None:
        self._text = text
        self._columns = columns
        self._wanted = wanted
        self._usual = usual
        self.separator = usual
        self.has_sep_line = False
        self.empty_rows = 0

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows.

        Raises:
            ListUnreadable: If the file cannot be read further.
        """
        lines = iter(self._text)
        first, before = self._first_line(lines)
        if first is None:
            return
        reader = csv.reader(itertools.chain((first,), lines), delimiter=self.separator, strict=True)
        try:
            names = list(self._columns) if self._columns else self._header(next(reader))
        except csv.Error as error:
            raise _not_a_table(error, before + 1) from error
        self._text.wrong = ""
        yield from self._rows(reader, before, names)

    def _first_line(self, lines: Iterator[str]) -> tuple[str | None, int]:
        """Return the first line that is not empty, and the number of lines before it."""
        named = ""
        for before, line in enumerate(lines):
            bare = line.strip(_AROUND)
            if not named and (match := _SEP_LINE.fullmatch(line.strip("\r\n\ufeff"))):
                named, self.has_sep_line = match[1].replace("\\t", "\t"), True
            elif _NOTHING.fullmatch(bare):
                self.empty_rows += bool(bare)
            else:
                self.separator = named or self._choose(line)
                return line, before
        return None, 0

    def _choose(self, line: str) -> str:
        """Return the separator that gives the wanted columns; else the one with most cells."""
        others = [each for each in _SEPARATORS if each != self._usual]
        return max((self._usual, *others), key=lambda each: self._fit(line, each))

    def _fit(self, line: str, separator: str) -> tuple[int, int]:
        cells = next(csv.reader((line,), delimiter=separator), [])
        if self._columns is not None:
            return int(len(cells) == len(self._columns)), 0
        known = sum(cell.strip(_AROUND) in self._wanted for cell in cells)
        return known, 0 if known else len(cells)

    def _header(self, cells: Sequence[str]) -> list[str]:
        names = [cell.strip(_AROUND) for cell in cells]
        while names and not names[-1]:
            names.pop()
        check_columns(names, self._wanted)
        if not all(names):
            raise ListUnreadable("A column of the header has no name.", 1)
        return names

    def _rows(self, reader: Iterator[list[str]], before: int, names: list[str]) -> Iterator[Row]:
        text, width = self._text, len(names)
        while True:
            line = before + reader.line_num + 1  # type: ignore[attr-defined]
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if before + reader.line_num > line:  # type: ignore[attr-defined]
                    raise _not_a_table(error, line) from error
                yield line, f"This is not a row: {error}. Look at its quotes."
                continue
            if text.wrong:
                yield line, text.wrong
                text.wrong = ""
            elif len(cells) == width and cells[0].strip():
                yield line, dict(zip(names, cells, strict=True))
            elif not any(cell.strip(_AROUND) for cell in cells):
                self.empty_rows += bool(cells)
            else:
                yield line, _fitted(cells, names, self.separator)


def check_columns(names: Sequence[str], wanted: Collection[str]) -> None:
    """Check that a table has each column that the manifest uses once.

    Raises:
        ListUnreadable: If it has one of them twice.
    """
    twice = [name for name in names if name in wanted and names.count(name) > 1]
    if twice:
        raise ListUnreadable(f"The list has the column {quoted(twice[0])} twice.", 1)


def _fitted(cells: list[str], names: list[str], separator: str) -> dict[str, str] | str:
    """Return the columns of a row of another width, if spreadsheets write it so.

    They add empty cells at the end of a row, and leave out those that are empty.
    """
    while len(cells) > len(names) and not cells[-1].strip(_AROUND):
        cells.pop()
    others = [each for each in _SEPARATORS if each != separator and each in "".join(cells)]
    if len(cells) < len(names) and not others:
        cells += [""] * (len(names) - len(cells))
    if len(cells) == len(names):
        return dict(zip(names, cells, strict=True))
    found, expected = counted(len(cells), "cell"), counted(len(names), "column")
    message = f"{found}, but {expected} ({', '.join(names)})."
    if len(cells) < len(names):
        other = separator_name(others[0])
        return f"{message} It has {other}: separate all rows in the same way, or use quotes."
    shown = "" if separator == "," else f" ({_SEPARATORS.get(separator, separator)})"
    return f"{message} Put quotes around a cell that contains the separator{shown}."


def _not_a_table(error: csv.Error, line: int) -> ListUnreadable:
    message = f"This is not a table: {error}. Look for a quote that is not closed."
    return ListUnreadable(message, line)


def separator_name(separator: str) -> str:
    """Return a separator in words."""
    return _SEPARATORS.get(separator, quoted(separator))

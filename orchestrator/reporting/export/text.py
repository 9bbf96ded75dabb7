"""Reports for people: a table for the terminal, and Markdown."""

from __future__ import annotations

import io
from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.domain.wording import counted, one_line
from orchestrator.reporting.export.failures import Failures
from orchestrator.reporting.row import ENDED_STATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import BinaryIO

    from orchestrator.reporting.export.failures import Group

SHOWN = 50
"""Rows that a table shows; CSV and the other formats have all."""
_AS_WIDE_AS_IT_IS = 10_000
"""Columns that no table needs."""


class _Sums:
    """Rows of a report as a reader wants them: counts, failures, and the first rows."""

    def __init__(self) -> None:
        self.states: Counter[str] = Counter()
        self.failures = Failures()
        self.first: list[Mapping[str, Any]] = []

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.states.update(row["state"] for row in rows)
        self.failures.add(rows)
        self.first += rows[: SHOWN - len(self.first)]

    @property
    def totals(self) -> str:
        total = counted(self.states.total(), "row")
        parts = [f"{self.states[state]:,} {state}" for state in ENDED_STATES if self.states[state]]
        return f"{total}: {', '.join(parts)}" if parts else total


class TableWriter:
    """Writes the first rows as aligned columns, then the failures by code.

    Args:
        file: Where to.
        columns: Width of the terminal; names are cut so that lines fit.
    """

    def __init__(self, file: BinaryIO, columns: int) -> None:
        self._file = file
        self._columns = columns
        self._sums = _Sums()

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take these rows."""
        self._sums.add(rows)

    def close(self) -> None:
        """Write the table."""
        cells = [
            (row["state"], one_line(row["input"]["object"]), row["code"], _length(row))
            for row in self._sums.first
        ]
        titles = ("state", "object", "code", "sound")
        lines = table_lines(titles, cells, self._columns, right=1) if cells else []
        if (more := self._sums.states.total() - len(self._sums.first)) > 0:
            lines.append(f"... and {counted(more, 'more row')} (--format csv has all)")
        lines += ["", self._sums.totals] if lines else [self._sums.totals]
        for group in self._sums.failures.groups():
            lines += _group_lines(group)
        self._file.write(("\n".join(lines) + "\n").encode())


def _group_lines(group: Group) -> list[str]:
    title = f"{group.state} {group.code}".strip()
    more = group.jobs - len(group.examples)
    examples = ", ".join(one_line(name) for name in group.examples)
    lines = [
        "",
        f"{title}: {counted(group.jobs, 'job')}",
        f"  {one_line(group.message)}" if group.message else "",
        f"  {examples}{f', and {more:,} more' if more else ''}",
        f"  {group.advice}" if group.advice else "",
    ]
    return lines[:1] + [line for line in lines[1:] if line]


class MarkdownWriter:
    """Writes counts, failures by code and the first failures as Markdown.

    Args:
        file: Where to.
        title: Heading.
    """

    def __init__(self, file: BinaryIO, title: str) -> None:
        self._file = file
        self._title = title
        self._sums = _Sums()

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take these rows."""
        self._sums.add(rows)

    def close(self) -> None:
        """Write the document."""
        lines = [f"# {_escaped(self._title)}", "", f"{self._sums.totals}.", ""]
        if groups := self._sums.failures.groups():
            lines += ["## Failures", "", *_table(("state", "code", "jobs", "message", "next step"))]
            lines += [
                _line((group.state, group.code, f"{group.jobs:,}", group.message, group.advice))
                for group in groups
            ]
            lines.append("")
        if self._sums.first:
            shown = "all" if len(self._sums.first) == self._sums.states.total() else "the first"
            lines += [f"## Jobs ({shown})", "", *_table(("state", "object", "sound", "code"))]
            lines += [
                _line((row["state"], row["input"]["object"], _length(row), row["code"]))
                for row in self._sums.first
            ]
        self._file.write(("\n".join(lines).rstrip() + "\n").encode())


def _table(titles: Sequence[str]) -> list[str]:
    return [_line(titles), _line(["---"] * len(titles))]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _escaped(text: str) -> str:
    """Return text that Markdown shows as it is."""
    shown = one_line(text)
    for mark in "\\`*_[]<>|#":
        shown = shown.replace(mark, f"\\{mark}")
    return shown


def _length(row: Mapping[str, Any]) -> str:
    seconds = row["media_duration_s"]
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


def table_lines(
    titles: Sequence[str],
    rows: Iterable[Sequence[str]],
    columns: int = _AS_WIDE_AS_IT_IS,
    *,
    right: int = 0,
) -> list[str]:
    """Return a table for a terminal, as lines that are at most ``columns`` wide.

    Args:
        titles: Titles of the columns.
        rows: Cells, plain text.
        columns: Width of the terminal; the widest cells are cut. If left out, none is.
        right: Number of columns, from the end, that are aligned to the right.
    """
    table = Table(box=None, pad_edge=False, header_style="")
    for number, title in enumerate(titles):
        is_right = number >= len(titles) - right
        table.add_column(title, no_wrap=True, justify="right" if is_right else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    file = io.StringIO()
    Console(file=file, width=columns, color_system=None).print(table)
    return [line.rstrip() for line in file.getvalue().splitlines()]

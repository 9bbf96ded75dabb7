"""Write the report as a page: rows first into a temporary file, then all of it as one document.

The totals stand above the rows, and are known after the last of them. So packed rows wait in a
temporary file, and memory does not grow with their number.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.durable import broken_link
from orchestrator.errors import ReportError
from orchestrator.reporting.page.packed_rows import PACKED_COLUMNS, PART, pack, packed_row
from orchestrator.reporting.page.totals import UNKNOWN, Tallies
from orchestrator.reporting.row import WELL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import BinaryIO, Self

    from orchestrator.reporting.page.places import Places

MOST_WELL = 150_000
"""Rows of succeeded and skipped jobs that a page has; a browser needs about 1 kB of memory each."""
MOST_BAD = 50_000
"""Rows of the other jobs that it has. They do not compete with the many that went well."""
MOST_DRAWN = 500
"""Jobs whose waveforms a page has, about 2 kB each."""
SCRIPTS = (
    "elements",
    "rows",
    "filter",
    "table",
    "player",
    "waves",
    "charts",
    "totals",
    "keys",
    "start",
)
"""Files of the page's script in their order. They become one function, and share its scope."""
_MARK = b'<meta name="generator" content="orchestrator report page">'
_HEAD_BYTES = 4096


class PageWriter:
    """Takes the rows of a page, and writes it; use it as a context manager.

    Args:
        places: Places of media files.
        most_well: Rows of succeeded and skipped jobs that the page has.
        most_bad: Rows of the other jobs that it has.

    Attributes:
        heard: Keys of the first jobs that have stems on this machine, each with its files.
    """

    def __init__(
        self, places: Places, *, most_well: int = MOST_WELL, most_bad: int = MOST_BAD
    ) -> None:
        self.heard: dict[str, dict[str, Path]] = {}
        self._places = places
        self._left = {True: most_well, False: most_bad}
        self._tallies = Tallies()
        self._part: list[list[Any]] = []
        self._rows = 0
        self._spool = TemporaryFile()  # noqa: SIM115 - closed at the end of the block

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Delete the temporary file."""
        self._spool.close()

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take these rows."""
        self._tallies.add(rows)
        for row in rows:
            is_well = row["state"] in WELL
            if self._left[is_well] > 0:
                self._left[is_well] -= 1
                self._take(row)

    def _take(self, row: Mapping[str, Any]) -> None:
        self._rows += 1
        self._part.append(packed_row(row, self._places.note(row)))
        has_room = len(self.heard) < MOST_DRAWN
        if has_room and row["files"] and (found := self._places.files(row)):
            self.heard[row["key"]] = found
        if len(self._part) == PART:
            self._pack()

    def _pack(self) -> None:
        if self._part:
            self._spool.write(pack(self._part) + b"\n")
            self._part = []

    @property
    def totals(self) -> dict[str, Any]:
        """Totals of the rows that it took; ``rows`` is the number of those that the page has."""
        return {**self._tallies.as_dict(), "rows": self._rows}

    def finish(
        self, file: BinaryIO, totals: Mapping[str, Any], drawings: Mapping[str, Mapping[str, bytes]]
    ) -> None:
        """Write the page.

        Args:
            file: Where to.
            totals: Totals of the rows and facts of the run (``totals.facts_of``).
            drawings: Waveforms of jobs by key, each by ``input``, ``voice``, ``background``.
        """
        self._pack()
        totals = {"is_live": False, **totals}
        stream = _template().generate(
            totals=totals,
            policy=_policy(self._places.media_sources, is_live=totals["is_live"]),
            style=_style(),
            script=_script(),
            live_script=_live_script(),
            columns=_json(PACKED_COLUMNS),
            places=_json(self._places.as_dict()),
            totals_json=_json(totals),
            drawings=_json(
                {
                    key: {name: base64.b64encode(peaks).decode() for name, peaks in each.items()}
                    for key, each in drawings.items()
                }
            ),
            parts=self._parts(),
        )
        file.writelines(piece.encode("utf-8", "replace") for piece in stream)

    def _parts(self) -> Iterator[str]:
        self._spool.seek(0)
        for part in self._spool:
            yield part.decode().rstrip("\n")


def page_path(report: Path) -> Path:
    """Return the path of a report's page: beside it."""
    name = report.name.removesuffix(".gz").removesuffix(".jsonl")
    return report.with_name(f"{name}.html")


def check_page_path(path: Path) -> None:
    """Check that a page may be written at a path: nothing is there, or an earlier page.

    Raises:
        ReportError: If another file is there, or a link that leads nowhere.
    """
    if link := broken_link(path):  # the page would take its place
        raise ReportError(f"{link}. Remove the link, or name the report differently.")
    if path.exists() and not is_page(path):
        raise ReportError(
            f"{path} exists and is not a page of orchestrator. Move it away, or name the report "
            "differently."
        )


def is_page(path: Path, run: str | None = None) -> bool:
    """Return True if a file is a page, and of this run if one is given."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return False
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    named = f'<meta name="run" content="{run}">'.encode()
    return _MARK in head and (run is None or named in head)


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("orchestrator.reporting.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["grouped"] = lambda number: f"{number:,}"
    environment.filters["length"] = _length
    return environment.get_template("page.html.j2")


@cache
def _style() -> Any:
    """Return the style as it is inlined; it is ours, and has no end tag in it."""
    from markupsafe import Markup

    return Markup(_text_of("page.css"))  # noqa: S704 - a file of this package


@cache
def _script() -> Any:
    """Return the script as it is inlined, as ``_style``."""
    from markupsafe import Markup

    parts = "\n".join(_text_of(f"script/{name}.js") for name in SCRIPTS)
    return Markup(f'"use strict";\n(() => {{\n{parts}}})();\n')  # noqa: S704 - our own files


@cache
def _live_script() -> Any:
    """Return the script that keeps a page up to date, as ``_style``."""
    from markupsafe import Markup

    return Markup(_text_of("script/live.js"))  # noqa: S704 - a file of this package


def _text_of(name: str) -> str:
    return (files("orchestrator.reporting.page") / "templates" / name).read_text("utf-8")


def _json(content: Any) -> Any:
    """Return JSON for a script element: no sequence in it can end the element."""
    from markupsafe import Markup

    text = orjson.dumps(content).decode()
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 - has no sign that HTML reads


def _policy(media: Sequence[str], *, is_live: bool) -> str:
    """Return the content security policy: only the page's own style and script, and its media.

    A live page also reads the events of the server that it comes from.
    """
    sources = " ".join(media) or "'none'"
    scripts = _hash(_script()) + (f" {_hash(_live_script())}" if is_live else "")
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {scripts}",
            *(["connect-src 'self'"] if is_live else []),
            f"style-src {_hash(_style())}",
            f"media-src {sources}",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def _hash(content: str) -> str:
    digest = hashlib.sha256(str(content).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _length(seconds: float | None) -> str:
    """Return a duration as ``1:02:03`` or ``2:03``."""
    if seconds is None:
        return UNKNOWN
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

"""Named queries: the SQL of each database, kept in a readable file (``sqlite.sql``)."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_NAME = "-- name:"

Row = tuple[int | str | None, ...]


def load(file: str, package: str | None = None) -> dict[str, str]:
    """Return the statements of a file of a package (this one), by name and without comments."""
    lines: dict[str, list[str]] = {}
    name = ""
    for line in files(package or __package__).joinpath(file).read_text("utf-8").splitlines():
        if line.startswith(_NAME):
            name = line.removeprefix(_NAME).strip()
            lines[name] = []
        elif name and line and not line.startswith("--"):
            lines[name].append(line)
    return {name: "\n".join(text) for name, text in lines.items()}


class Database(Protocol):
    """An open database, in one transaction after another."""

    def read(self, name: str, **values: int | str | Collection[Any]) -> list[Any]:
        """Return the answer of a query, which is one JSON text. Collections go in as JSON, too."""
        ...

    def change(self, name: str, **values: int | str | bytes) -> int:
        """Run a statement; return how many rows it changed."""
        ...

    def write(self, name: str, rows: Collection[Row], failed: Callable[[], Exception]) -> None:
        """Run a statement for all ``rows`` in one step.

        If it does not change as many rows as it is given, the error that ``failed`` returns is
        raised: at once, or at the latest before the commit.
        """
        ...

    def expect_one(self, name: str, failed: Callable[[], Exception], **values: int | str) -> None:
        """Run a statement that must change one row; otherwise as :meth:`write`."""
        ...

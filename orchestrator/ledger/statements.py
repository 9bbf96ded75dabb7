"""Statements for many rows at once.

The driver gives up the interpreter's lock at every step of a statement and has to win it back from a busy event loop, which may take
milliseconds: a thousand rows fetched or written one by one can take a second. So every statement here is one step, whatever the number
of rows: rows go in as one ``VALUES`` list and come out as one JSON text. (Measured: ``scripts/bench_ledger.py``.)
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import BigInteger, Text, bindparam, column, func, insert, select, update, values
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from orchestrator.ledger.job_rows import READ, SAVED, SENT
from orchestrator.ledger.tables import jobs, specs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import CTE, Connection, CursorResult, Dialect, Select
    from sqlalchemy.sql.compiler import SQLCompiler
    from sqlalchemy.sql.dml import UpdateBase

    Statement = UpdateBase | Select[Any]

Rows = list[tuple[Any, ...]]

_SIZES = (1024, 768, 512, 384, 256, 192, 128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1)
"""Rows per statement, few enough to be kept prepared; 1024 rows of 21 values stay below the 32766 values that SQLite takes."""


def _next_size(count: int) -> int:
    return next(size for size in reversed(_SIZES) if size >= count)


_VALUES = re.compile(r"VALUES (\([^()]*\))")


class Bulk:
    """A statement over many rows: built with SQLAlchemy for one, run as text for any number (building costs more than running)."""

    def __init__(
        self,
        build: Callable[[tuple[Any, ...]], Statement],
        width: int,
        *,
        ignores_nulls: bool = True,
    ) -> None:
        self._build = build
        self._width = width
        self._nothing = (None,) * width if ignores_nulls else None
        self._texts: dict[int, str] = {}

    def run(self, conn: Connection, rows: Sequence[tuple[Any, ...]]) -> Iterator[CursorResult[Any]]:
        """Execute for all ``rows``, in as few steps as sizes allow; one result per step."""
        start = 0
        while start < len(rows):
            part = list(rows[start : start + _SIZES[0]])
            if (
                self._nothing is not None
            ):  # a row of nulls matches nothing: one step for all, filled up to the next size
                part += [self._nothing] * (_next_size(len(part)) - len(part))
            else:
                part = part[: next(size for size in _SIZES if size <= len(part))]
            start += len(part)
            text = self._texts.get(len(part)) or self._text(len(part), conn.dialect)
            yield conn.exec_driver_sql(text, tuple(chain.from_iterable(part)))

    def write(self, conn: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Execute for all ``rows``; nothing comes back."""
        for _ in self.run(conn, rows):
            pass

    def _text(self, size: int, dialect: Dialect) -> str:
        names = [f"v{place}" for place in range(self._width)]
        compiled = self._build(tuple(bindparam(name) for name in names)).compile(dialect=dialect)
        one = str(compiled)
        places = _VALUES.findall(one)
        if compiled.positiontup != names or len(places) != 1:
            raise AssertionError(
                f"a bulk statement must take its values once, in the order of its rows: {one}"
            )
        self._texts[size] = one.replace(places[0], ", ".join([places[0]] * size))
        return self._texts[size]


class Prepared:
    """A statement built once with SQLAlchemy, and run as text from then on."""

    def __init__(self, statement: Statement) -> None:
        self._statement = statement
        self._text = ""
        self._names: list[str] = []

    def run(self, conn: Connection, **values: int | str) -> CursorResult[Any]:
        """Execute with these values for its bound parameters."""
        if not self._text:
            compiled = self._statement.compile(dialect=conn.dialect)
            self._text, self._names = str(compiled), list(compiled.positiontup or ())
        return conn.exec_driver_sql(self._text, tuple([values[name] for name in self._names]))


_TYPES = {
    place.name: Text() if isinstance(place.type, Text) else BigInteger()
    for place in (*jobs.c, *specs.c)
} | {"saved": Text()}


def rows_of(names: Sequence[str], row: tuple[Any, ...]) -> CTE:
    """The rows as a table ``given``; the types are those of the columns with the same names."""
    return (
        values(*(column(name, _TYPES[name]) for name in names), name="given")
        .data([row])
        .cte("given")
    )


def _save(row: tuple[Any, ...]) -> Statement:
    names = SAVED[: len(row)]
    given = rows_of(names, row)
    changes = {name: given.c[name] for name in names[2:]}
    return (
        update(jobs).values(changes).where(jobs.c.id == given.c.id, jobs.c.state == given.c.saved)
    )


def _place(row: tuple[Any, ...]) -> Statement:
    given = rows_of(PLACE, row)
    return (
        update(jobs)
        .values({name: given.c[name] for name in PLACE[1:]})
        .where(jobs.c.id == given.c.id)
    )


def _set_lane(row: tuple[Any, ...]) -> Statement:
    given = rows_of(("id", "level", "share"), row)
    return (
        update(jobs).values(level=given.c.level, share=given.c.share).where(jobs.c.id == given.c.id)
    )


def _set_spec(row: tuple[Any, ...]) -> Statement:
    given = rows_of(("id", "spec"), row)
    return update(specs).values(spec=given.c.spec).where(specs.c.id == given.c.id)


def _insert_jobs(row: tuple[Any, ...]) -> Statement:
    return insert(jobs).values(dict(zip(NEW, row, strict=True)))


def _insert_specs(row: tuple[Any, ...]) -> Statement:
    return insert(specs).values(dict(zip(("id", "object_hash", "spec"), row, strict=True)))


PLACE = ("id", "visit", "seq", "run_no", "row", "skipped")
"""A job's place in a run."""
NEW = ("id", "key", "level", "share", "seq", "visit", "run_no")
"""What a new job has; the rest is as the tables say."""

SAVE = Bulk(_save, len(SAVED))
SAVE_SENT = Bulk(_save, len(SENT))
SET_PLACE = Bulk(_place, len(PLACE))
SET_LANE = Bulk(_set_lane, 3)
SET_SPEC = Bulk(_set_spec, 2)
INSERT_JOBS = Bulk(_insert_jobs, len(NEW), ignores_nulls=False)
INSERT_SPECS = Bulk(_insert_specs, 3, ignores_nulls=False)


# --- many rows out, as one ---------------------------------------------------------------------------------------------------


class _JsonRows(FunctionElement[str]):
    """All rows of the query as one JSON text, a list per row."""

    inherit_cache: bool | None = True  # nothing but its columns makes a difference to the text
    name = "json_rows"


class _Json(FunctionElement[str]):
    """JSON text as JSON."""

    inherit_cache: bool | None = True
    name = "json_value"


@compiles(_JsonRows)
def _json_rows(element: _JsonRows, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_group_array(json_array({compiler.process(element.clauses, **options)}))"


@compiles(_Json)
def _json(element: _Json, compiler: SQLCompiler, **options: Any) -> str:
    return f"json({compiler.process(element.clauses, **options)})"


def in_one(query: Select[Any]) -> Select[Any]:
    """The query, giving one row of one text; read it with ``fetch``. The order of rows is lost: sort them afterwards."""
    inner = query.subquery()
    return select(
        _JsonRows(*(_Json(place) if place.name == "spec" else place for place in inner.c))
    )


def fetch(result: CursorResult[Any]) -> list[list[Any]]:
    """The rows of a query made by ``in_one``."""
    rows: list[list[Any]] = orjson.loads(result.scalar_one())
    return rows


JOB = select(*(jobs.c[name] for name in READ), specs.c.spec).join(specs, specs.c.id == jobs.c.id)
"""All that makes a job (``job_rows.job_of``)."""


def _known(row: tuple[Any, ...]) -> Statement:
    """The stored jobs with the given keys; their spec only where it differs from the given one (seldom, and it is the big part)."""
    given = rows_of(("key", "spec"), row)
    changed = func.nullif(specs.c.spec, given.c.spec).label("spec")
    found = select(*(jobs.c[name] for name in READ), changed, jobs.c.visit).select_from(given)
    return in_one(found.join(jobs, jobs.c.key == given.c.key).join(specs, specs.c.id == jobs.c.id))


def _find(row: tuple[Any, ...]) -> Statement:
    given = rows_of(("key",), row)
    return in_one(JOB.join(given, given.c.key == jobs.c.key))


def _same_hash(row: tuple[Any, ...]) -> Statement:
    given = rows_of(("object_hash",), row)
    found = (
        select(jobs.c.key, specs.c.spec)
        .select_from(given)
        .join(specs, specs.c.object_hash == given.c.object_hash)
    )
    return in_one(found.join(jobs, jobs.c.id == specs.c.id))


KNOWN = Bulk(_known, 2)
FIND = Bulk(_find, 1)
SAME_HASH = Bulk(_same_hash, 1)

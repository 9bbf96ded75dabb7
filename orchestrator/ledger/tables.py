"""The tables: narrow rows that change often, beside specs that are written once.

Instants and durations are whole microseconds, truth values 0 or 1, words those of the report, lists
JSON text. So nothing needs more than integers and text, which every database can hold and JSON can
carry without loss.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    and_,
    literal_column,
)

from orchestrator.domain.states import REMOTE, JobState

FORMAT = 2
"""Version of these tables; others are refused, except 1, which had no ``intents``."""

metadata = MetaData()

_INT = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits everywhere; row ids of SQLite must be declared INTEGER."""


def _number(name: str) -> Column[int]:
    return Column(name, _INT, nullable=False, server_default="0")


def _instant(name: str) -> Column[int | None]:
    return Column(name, _INT, nullable=True)


def _text(name: str, default: str = "") -> Column[str]:
    return Column(name, Text, nullable=False, server_default=default)


facts = Table(
    "facts",
    metadata,
    Column("name", Text, primary_key=True),
    _number("value"),
)
"""``format``, and ``visit``: how often a run was started or resumed on this ledger."""

runs = Table(
    "runs",
    metadata,
    Column("number", _INT, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    _number("opened_at"),
    _instant("closed_at"),
    _text("report"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", _INT, primary_key=True, autoincrement=False),
    Column("key", Text, nullable=False, unique=True),
    _text("state", JobState.PLANNED),
    # Its place.
    _number("level"),
    _text("share"),
    _number("seq"),
    _number("visit"),
    _number("run_no"),
    _number("row"),
    _number("skipped"),
    # Its history.
    _number("attempts"),
    _text("job_id"),
    _text("past_job_ids"),
    _text("queue_id"),
    _text("request_id"),
    _number("adopted"),
    _text("code"),
    _text("message"),
    _number("not_before"),
    _instant("intent_at"),
    _instant("submitted_at"),
    _instant("started_at"),
    _instant("finished_at"),
    _instant("media_duration"),
    _text("files"),
)

specs = Table(
    "specs",
    metadata,
    Column("id", _INT, primary_key=True, autoincrement=False),
    _number("object_hash"),
    _text("spec"),
)
"""Apart from the jobs: a run that finds everything done rewrites only the narrow rows."""

intents = Table(
    "intents",
    metadata,
    Column("id", _INT, primary_key=True, autoincrement=False),
    _number("version"),
    _text("jobs"),
)
"""One row: the jobs that are about to be sent, as JSON (``intents.py``)."""

memory = Table(
    "memory",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

lease = Table(
    "lease",
    metadata,
    Column("id", _INT, primary_key=True, autoincrement=False),
    _text("token"),
    _text("host"),
    _number("pid"),
    _number("since"),
    _text("command"),
    _number("seen_at"),
)
"""The process that works on the ledger, for messages; a lock keeps others out (``lease.py``)."""

# Literals, not parameters: a partial index is used only where the query contains its condition.
is_planned = jobs.c.state == literal_column(f"'{JobState.PLANNED}'")
IN_FLIGHT = tuple(sorted({JobState.SUBMITTING, JobState.IN_DOUBT, *REMOTE}))
is_in_flight = jobs.c.state.in_([literal_column(f"'{state}'") for state in IN_FLIGHT])
has_row = jobs.c.row > literal_column("0")
must_wait = jobs.c.not_before > literal_column("0")


# ``state`` is a column of them although it is always the same: without it SQLite reads every row.
ready_index = Index(
    "jobs_ready",
    jobs.c.visit,
    jobs.c.level,
    jobs.c.share,
    jobs.c.seq,
    jobs.c.not_before,
    jobs.c.run_no,
    jobs.c.state,
    sqlite_where=and_(is_planned),
)
"""The ready queue of each level and share, in its order. Jobs that must wait are passed over, and
all are counted, without reading rows."""
due_index = Index(
    "jobs_due",
    jobs.c.visit,
    jobs.c.not_before,
    jobs.c.state,
    sqlite_where=and_(is_planned, must_wait),
)
"""The planned jobs that must wait, by instant; most jobs never enter this index."""
in_flight_index = Index(
    "jobs_in_flight", jobs.c.state, jobs.c.run_no, sqlite_where=and_(is_in_flight)
)
row_index = Index(
    "jobs_by_row",
    jobs.c.run_no,
    jobs.c.row,
    jobs.c.state,
    jobs.c.skipped,
    sqlite_where=and_(has_row),
)
"""The report, in its order, and the counts of jobs that have ended."""
object_index = Index("specs_by_object", specs.c.object_hash)

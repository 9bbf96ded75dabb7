"""The persistent queue: every job, by JobLevel and age, and the steps between its states.

Every step is a conditional update: it is done only if the job still stands where the caller believes it does, so a cancel and a start, or
two ends of the same job, cannot both win.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.server.jobs.row import COLUMNS, JobRow, State

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence

    from orchestrator.server.jobs.database import Database

MAX_LISTED = 100  # the vendor's largest page

_INSERT = """INSERT INTO jobs
(job_id, bucket, region, queue_id, tag, state, level, input_object, code, message, created_at, starts, request)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?)"""


@dataclass(frozen=True, slots=True)
class ListQuery:
    """Which jobs of a bucket to list; what is empty or None does not filter. Times are inclusive."""

    bucket: str
    queue_id: str = ""
    tag: str = ""
    input_object: str = ""
    states: tuple[str, ...] = ()
    created_from: float | None = None
    created_to: float | None = None
    ascending: bool = False
    size: int = 10
    after: tuple[float, int] | None = None
    hidden_since: float | None = None
    """Jobs created after this instant are not listed yet (listing lag)."""


class JobStore:
    """All jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.waiting: Counter[str] = Counter()
        """Jobs that wait (or are held), by queue: what ``MaxSize`` bounds."""
        self.running: Counter[str] = Counter()
        """Jobs that run, by queue."""

    def recover(self) -> int:
        """After a start: what was running is waiting again (in its old place), and everything is counted. Says how many were running."""
        interrupted = len(self._database.read("SELECT seq FROM jobs WHERE state = 'Running'"))
        self._database.write_now(
            "UPDATE jobs SET state = 'Submitted', started_at = NULL WHERE state = 'Running'"
        )
        sql = "SELECT queue_id, COUNT(*) FROM jobs WHERE state IN ('Submitted', 'Pause') GROUP BY queue_id"
        self.waiting = Counter(dict(self._database.read(sql)))
        return interrupted

    async def add(self, rows: Sequence[JobRow]) -> None:
        """Accept jobs, all or none; they are durable when this returns."""
        values = [
            (r.job_id, r.bucket, r.region, r.queue_id, r.tag, r.state.value, r.level, r.input_object, r.code, r.message, r.created_at,
             orjson.dumps(r.request)) for r in rows
        ]  # fmt: skip
        # Counted at once, so that many submits that wait for one commit cannot overfill a queue together.
        self.waiting.update(row.queue_id for row in rows)

        def act(connection: sqlite3.Connection) -> None:
            for value in values:
                connection.execute(_INSERT, value)

        try:
            await self._database.write(act)
        except BaseException:
            self.waiting.subtract(row.queue_id for row in rows)
            raise

    def get(self, job_ids: Sequence[str]) -> dict[str, JobRow]:
        """The jobs with these ids."""
        marks = ", ".join("?" * len(job_ids))
        rows = self._database.read(
            f"SELECT {COLUMNS} FROM jobs WHERE job_id IN ({marks})",  # noqa: S608
            tuple(job_ids),  # noqa: RUF100, S608
        )
        return {row[1]: JobRow.load(row) for row in rows}

    def page(self, query: ListQuery) -> list[JobRow]:
        """One page and one job more, if there is one."""
        conditions, values = ["bucket = ?"], [query.bucket]
        for sql, value in _conditions(query):
            conditions.append(sql)
            values.extend(value)
        order = "ASC" if query.ascending else "DESC"
        sql = f"""SELECT {COLUMNS} FROM jobs WHERE {" AND ".join(conditions)}
            ORDER BY created_at {order}, seq {order} LIMIT {int(query.size) + 1}"""  # noqa: S608 - our own words only
        return [JobRow.load(row) for row in self._database.read(sql, tuple(values))]

    def best_waiting(self, queue_id: str, accepted_before: float) -> list[JobRow]:
        """The job of a queue that goes next, if any: the highest JobLevel, then the oldest, of those accepted until that instant."""
        sql = f"""SELECT {COLUMNS} FROM jobs WHERE state = 'Submitted' AND queue_id = ? AND created_at <= ?
            ORDER BY level DESC, seq LIMIT 1"""  # noqa: S608 - our own words only
        return [JobRow.load(row) for row in self._database.read(sql, (queue_id, accepted_before))]

    def queues_with_waiting(self) -> list[str]:
        """Queues in which something waits."""
        return [queue_id for queue_id, count in self.waiting.items() if count > 0]

    async def start(self, row: JobRow, now: float) -> bool:
        """Begin a job; False if it is not waiting any more."""
        started = await self._step(
            row, (State.SUBMITTED,), State.RUNNING, "started_at = ?, starts = starts + 1", (now,)
        )
        if started:
            row.started_at, row.starts = now, row.starts + 1
            self.waiting[row.queue_id] -= 1
            self.running[row.queue_id] += 1
        return started

    async def finish(
        self,
        row: JobRow,
        now: float,
        state: State,
        code: str,
        message: str,
        result: dict[str, Any] | None = None,
    ) -> bool:
        """End a running job; False if it is not running (any more)."""
        raw = orjson.dumps(result) if result is not None else None
        values = (now, code, message, raw)
        done = await self._step(
            row, (State.RUNNING,), state, "ended_at = ?, code = ?, message = ?, result = ?", values
        )
        if done:
            row.ended_at, row.code, row.message, row.result = now, code, message, result
            self.running[row.queue_id] -= 1
        return done

    async def cancel(self, row: JobRow, now: float, allowed: Collection[State]) -> bool:
        """Cancel a job that has not begun; False if it has."""
        done = await self._step(row, tuple(allowed), State.CANCEL, "ended_at = ?", (now,))
        if done:
            row.ended_at = now
            self.waiting[row.queue_id] -= 1
        return done

    async def hold(self, queue_id: str, *, paused: bool) -> None:
        """Hold back the waiting jobs of a queue, or let them go again."""
        before, after = (State.SUBMITTED, State.PAUSE) if paused else (State.PAUSE, State.SUBMITTED)
        await self._database.execute(
            "UPDATE jobs SET state = ? WHERE queue_id = ? AND state = ?",
            (after.value, queue_id, before.value),
        )

    async def _step(
        self,
        row: JobRow,
        before: tuple[State, ...],
        after: State,
        assignments: str,
        values: tuple[object, ...],
    ) -> bool:
        marks = ", ".join("?" * len(before))
        sql = f"UPDATE jobs SET state = ?, {assignments} WHERE job_id = ? AND state IN ({marks})"  # noqa: S608 - our own words only
        parameters = (after.value, *values, row.job_id, *(state.value for state in before))
        changed = await self._database.write(
            lambda connection: connection.execute(sql, parameters).rowcount
        )
        if changed:
            row.state = after
        return bool(changed)

    async def forget_ended_before(self, instant: float) -> None:
        """Drop jobs that ended before ``instant``."""
        await self._database.execute(
            "DELETE FROM jobs WHERE ended_at IS NOT NULL AND ended_at < ?", (instant,)
        )

    async def clear(self) -> None:
        """Forget every job."""
        await self._database.execute("DELETE FROM jobs")
        self.waiting.clear()
        self.running.clear()

    def duplicates(self) -> int:
        """Jobs beyond the first for the same bucket, input and UserData; failed and cancelled ones may be asked for again."""
        sql = """SELECT SUM(n - 1) FROM (SELECT COUNT(*) AS n FROM jobs WHERE state NOT IN ('Failed', 'Cancel')
            GROUP BY bucket, input_object, json_extract(CAST(request AS TEXT), '$.user_data') HAVING COUNT(*) > 1)"""
        return self._database.read(sql)[0][0] or 0

    def total(self) -> int:
        """All jobs that are remembered."""
        count: int = self._database.read("SELECT COUNT(*) FROM jobs")[0][0]
        return count

    def counts(self) -> dict[str, int]:
        """Jobs by state."""
        return dict(self._database.read("SELECT state, COUNT(*) FROM jobs GROUP BY state"))


def _conditions(query: ListQuery) -> list[tuple[str, list[Any]]]:
    """The filters that are set, as SQL with its values."""
    order = ">" if query.ascending else "<"
    states = ", ".join("?" * len(query.states))
    possible: list[tuple[bool, str, list[Any]]] = [
        (bool(query.queue_id), "queue_id = ?", [query.queue_id]),
        (bool(query.tag), "tag = ?", [query.tag]),
        (bool(query.input_object), "input_object = ?", [query.input_object]),
        (bool(query.states), f"state IN ({states})", list(query.states)),
        (query.created_from is not None, "created_at >= ?", [query.created_from]),
        (query.created_to is not None, "created_at <= ?", [query.created_to]),
        (query.hidden_since is not None, "created_at <= ?", [query.hidden_since]),
        (query.after is not None, f"(created_at, seq) {order} (?, ?)", list(query.after or ())),
    ]
    return [(sql, values) for is_set, sql, values in possible if is_set]

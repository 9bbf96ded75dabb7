"""The persistent queue: every job, by JobLevel and age, and the steps between its states.

Every step is a conditional update: it applies only if the job still has the expected state. So a
cancel and a start, or two ends of the same job, cannot both succeed.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.server.jobs.database import Insert
from orchestrator.server.jobs.row import COLUMNS, SUCCESS, TAG, JobRow, State, element_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.server.http.xml import Written
    from orchestrator.server.jobs.database import Database
    from orchestrator.server.jobs.row import NewJob

MAX_LISTED = 100  # the vendor's largest page
MAX_SHOWN = 16_384
"""Jobs whose element is kept, because clients ask for the same jobs again and again.

More than a full queue has, so that the jobs of a run are read from the file once; 18 MB.
"""

_INTO_JOBS = Insert(
    "jobs",
    (
        *("job_id", "bucket", "region", "queue_id"),
        *("level", "input_object", "created_at", "request"),
    ),
    {"tag": TAG, "state": State.SUBMITTED.value, "code": SUCCESS, "message": ""},
)


@dataclass(frozen=True, slots=True)
class ListQuery:
    """Filters of a list; an empty or None value does not filter. Times are inclusive."""

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
    """Jobs created after this instant are not listed (listing lag)."""


class JobStore:
    """All jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.waiting: Counter[str] = Counter()
        """Waiting and held jobs by queue, which ``MaxSize`` bounds."""
        self.running: Counter[str] = Counter()
        """Running jobs by queue."""
        self._shown: OrderedDict[str, tuple[str, Written]] = OrderedDict()
        """Bucket and element of jobs, in their committed state; the oldest entry is first."""

    def recover(self) -> int:
        """Queue interrupted jobs again, count the waiting ones, and return the former number."""
        sql = "SELECT COUNT(*) FROM jobs WHERE state = 'Running'"
        interrupted: int = self._database.read(sql)[0][0]
        self._database.write_now(
            "UPDATE jobs SET state = 'Submitted', started_at = NULL WHERE state = 'Running'"
        )
        sql = """SELECT queue_id, COUNT(*) FROM jobs WHERE state IN ('Submitted', 'Pause')
            GROUP BY queue_id"""
        self.waiting = Counter(dict(self._database.read(sql)))
        return interrupted

    async def add(self, jobs: Sequence[NewJob]) -> None:
        """Accept all of the jobs or none. They are durable when this returns."""
        # Counted now, so that submits that wait for the same commit cannot overfill a queue.
        for job in jobs:
            self.waiting[job.place[2]] += 1

        def committed() -> None:
            for job in jobs:
                self._show(job.job_id, job.place[0], job.element)

        rows = [(job.job_id, *job.place, *job.rest) for job in jobs]
        try:
            await self._database.insert(_INTO_JOBS, rows, committed)
        except BaseException:
            self.waiting.subtract(job.place[2] for job in jobs)
            raise

    def get(self, job_ids: Sequence[str]) -> dict[str, JobRow]:
        """Return the jobs with these ids."""
        return {row[0]: JobRow.load(row) for row in self._rows(job_ids)}

    def _rows(self, job_ids: Sequence[str]) -> list[tuple[Any, ...]]:
        marks = ", ".join("?" * len(job_ids))
        sql = f"SELECT {COLUMNS} FROM jobs WHERE job_id IN ({marks})"  # noqa: S608 - question marks
        return self._database.read(sql, tuple(job_ids))

    def elements(self, bucket: str, job_ids: Sequence[str]) -> dict[str, Written]:
        """Return the elements ``JobsDetail`` of those of these jobs that are of the bucket."""
        unknown = [job_id for job_id in job_ids if job_id not in self._shown]
        if unknown:
            for values in self._rows(unknown):
                self._show(values[0], values[1], element_of(values))
        found = ((job_id, self._shown.get(job_id)) for job_id in job_ids)
        return {job_id: shown[1] for job_id, shown in found if shown and shown[0] == bucket}

    def _show(self, job_id: str, bucket: str, element: Written) -> None:
        """Keep the element of a job until its next step."""
        self._shown[job_id] = (bucket, element)
        if len(self._shown) > MAX_SHOWN:
            self._shown.popitem(last=False)

    def page(self, query: ListQuery) -> list[JobRow]:
        """Return one page, and the first job of the next page if there is one."""
        conditions, values = ["bucket = ?"], [query.bucket]
        for sql, value in _conditions(query):
            conditions.append(sql)
            values.extend(value)
        order = "ASC" if query.ascending else "DESC"
        sql = f"""SELECT {COLUMNS} FROM jobs WHERE {" AND ".join(conditions)}
            ORDER BY created_at {order}, seq {order} LIMIT {int(query.size) + 1}"""  # noqa: S608
        return [JobRow.load(row) for row in self._database.read(sql, tuple(values))]

    def latest(self, count: int) -> list[JobRow]:
        """Return the jobs that were accepted last, the newest first."""
        sql = f"SELECT {COLUMNS} FROM jobs ORDER BY seq DESC LIMIT ?"  # noqa: S608 - constant text
        return [JobRow.load(row) for row in self._database.read(sql, (count,))]

    def best_waiting(self, queue_id: str, accepted_before: float) -> list[JobRow]:
        """Return a queue's next job, if any: the highest JobLevel, then the oldest."""
        sql = f"""SELECT {COLUMNS} FROM jobs WHERE state = 'Submitted' AND queue_id = ?
            AND created_at <= ? ORDER BY level DESC, seq LIMIT 1"""  # noqa: S608
        return [JobRow.load(row) for row in self._database.read(sql, (queue_id, accepted_before))]

    def queues_with_waiting(self) -> list[str]:
        """Return the queues with waiting jobs."""
        return [queue_id for queue_id, count in self.waiting.items() if count > 0]

    async def start(self, row: JobRow, now: float) -> bool:
        """Start a job; return False if it no longer waits."""
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
        """End a running job; return False if it no longer runs."""
        raw = orjson.dumps(result) if result is not None else None
        values = (now, code, message, raw)
        done = await self._step(
            row, (State.RUNNING,), state, "ended_at = ?, code = ?, message = ?, result = ?", values
        )
        if done:
            row.ended_at, row.code, row.message, row.result = now, code, message, result
            self.running[row.queue_id] -= 1
        return done

    async def put_back(self, row: JobRow, *, is_counted: bool = False) -> None:
        """Let a running job wait again; if it is not counted, as if it had not been started."""
        starts = row.starts if is_counted else row.starts - 1
        done = await self._step(
            row, (State.RUNNING,), State.SUBMITTED, "started_at = NULL, starts = ?", (starts,)
        )
        if done:
            row.started_at, row.starts = None, starts
            self.running[row.queue_id] -= 1
            self.waiting[row.queue_id] += 1

    async def put_all_back(self) -> None:
        """Let the running jobs wait for the next service, as if they had not been started."""
        await self._database.execute(
            "UPDATE jobs SET state = 'Submitted', started_at = NULL, starts = starts - 1 "
            "WHERE state = 'Running'"
        )

    async def cancel(self, row: JobRow, now: float) -> bool:
        """Cancel a waiting job; return False if it no longer waits."""
        waiting = (State.SUBMITTED, State.PAUSE)
        done = await self._step(row, waiting, State.CANCEL, "ended_at = ?", (now,))
        if done:
            row.ended_at = now
            self.waiting[row.queue_id] -= 1
        return done

    async def hold(self, queue_id: str, *, paused: bool) -> None:
        """Hold the waiting jobs of a queue, or release them."""
        before, after = (State.SUBMITTED, State.PAUSE) if paused else (State.PAUSE, State.SUBMITTED)
        await self._database.execute(
            "UPDATE jobs SET state = ? WHERE queue_id = ? AND state = ?",
            (after.value, queue_id, before.value),
            self._shown.clear,
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
        sql = (
            f"UPDATE jobs SET state = ?, {assignments} "  # noqa: S608
            f"WHERE job_id = ? AND state IN ({marks})"
        )
        parameters = (after.value, *values, row.job_id, *(state.value for state in before))
        changed = await self._database.write(
            lambda connection: connection.execute(sql, parameters).rowcount,
            lambda: self._shown.pop(row.job_id, None),
        )
        if changed:
            row.state = after
        return bool(changed)

    async def forget_ended_before(self, instant: float) -> None:
        """Delete jobs that ended before ``instant``."""
        await self._database.execute(
            "DELETE FROM jobs WHERE ended_at IS NOT NULL AND ended_at < ?",
            (instant,),
            self._shown.clear,
        )

    async def clear(self) -> None:
        """Delete every job."""
        await self._database.execute("DELETE FROM jobs", committed=self._shown.clear)
        self.waiting.clear()
        self.running.clear()

    def duplicates(self) -> int:
        """Count jobs beyond the first for the same bucket, input and UserData.

        Failed and cancelled jobs do not count, because they may be submitted again.
        """
        sql = """SELECT SUM(n - 1) FROM (SELECT COUNT(*) AS n FROM jobs
            WHERE state NOT IN ('Failed', 'Cancel') GROUP BY bucket, input_object,
            json_extract(CAST(request AS TEXT), '$.user_data') HAVING COUNT(*) > 1)"""
        return self._database.read(sql)[0][0] or 0

    def total(self) -> int:
        """Count all jobs."""
        count: int = self._database.read("SELECT COUNT(*) FROM jobs")[0][0]
        return count

    def counts(self) -> dict[str, int]:
        """Count jobs by state."""
        return dict(self._database.read("SELECT state, COUNT(*) FROM jobs GROUP BY state"))


def _conditions(query: ListQuery) -> list[tuple[str, list[Any]]]:
    """Return the filters that are set, as SQL with its values."""
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

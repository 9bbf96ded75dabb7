"""One row per job of a run, as JSON lines, and the summary.

The ledger numbers the rows in the order in which jobs end; the file is that sequence, written down: line *n* is row *n*. So whatever a
crash leaves behind - a missing end, half a line, blocks that never reached the disk - is made right from the ledger, without a lost,
doubled or torn row. With each sign of life the file is synced, and what was synced is not read again: a library of a million rows goes on
at once. (Damage that somebody else does to that part is not mended; without the file, it is written anew.)
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from math import modf
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from orchestrator.domain.states import JobState
from orchestrator.durable import FileLock, write_atomically
from orchestrator.errors import ReportError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from orchestrator.domain.job import Job
    from orchestrator.domain.ports import Ledger
    from orchestrator.domain.run import Counts, Run

ROW_SCHEMA = "orchestrator.report/1"
SUMMARY_SCHEMA = "orchestrator.summary/1"
_CHECKPOINT = "report"  # under which name the ledger remembers how far a report was synced


def instant(seconds: float | None) -> str | None:
    """An instant as RFC 3339 in UTC with milliseconds, as the report writes it; None stays None."""
    if seconds is None:
        return None
    fraction, whole = modf(seconds)
    micros = round(fraction * 1_000_000)  # as datetime rounds
    if not 0 <= micros < 1_000_000:
        over, micros = divmod(micros, 1_000_000)
        whole += over
    return f"{_second(int(whole))}.{micros // 1000:03d}Z"


@lru_cache(4096)
def _second(whole: int) -> str:
    """A whole second, without its zone; jobs end many to a second, and making the text of a date takes as long as all the rest of a row."""
    return datetime.fromtimestamp(whole, UTC).isoformat(timespec="seconds").removesuffix("+00:00")


def row(job: Job, run: Run) -> dict[str, Any]:
    """The report row of a job that has ended (``state`` is ``skipped`` for one that was done in an earlier run)."""
    spec, media = job.spec, job.spec.media
    return {
        "schema": ROW_SCHEMA,
        "run": run.id,
        "key": spec.key,
        "state": "skipped" if job.skipped else job.state._value_,
        "level": spec.level,
        "input": {
            "bucket": media.bucket,
            "region": media.region,
            "object": media.key,
            "etag": media.etag,
        },
        "output": _output(job),
        "job_id": job.job_id,
        "queue_id": job.queue_id,
        "attempts": job.attempts,
        "adopted": job.adopted,
        "code": job.code,
        "message": job.message,
        "request_id": job.request_id,
        "submitted_at": instant(job.submitted_at),
        "started_at": instant(job.started_at),
        "finished_at": instant(job.finished_at),
        "media_duration_s": job.media_duration_s,
        "files": [
            {
                "stem": file.stem._value_,
                "object": file.object,
                "md5": file.md5,
                "size_bytes": file.size_bytes,
                "verified": file.verified,
            }
            for file in job.files
        ],
        "user_data": spec.user_data,
    }


def _output(job: Job) -> dict[str, str]:
    """Where the stems are: as they were made, else as they were asked for; voice and background always, the others if there are any."""
    output = job.spec.output
    told = {
        "bucket": output.bucket,
        "region": output.region,
        "voice": output.voice,
        "background": output.background,
    }
    if output.bass:
        told["bass"] = output.bass
    if output.drums:
        told["drums"] = output.drums
    for file in job.files:
        told[file.stem._value_] = file.object
    return told


def line(job: Job, run: Run) -> bytes:
    """The row as one line of the file."""
    return orjson.dumps(row(job, run), option=orjson.OPT_APPEND_NEWLINE)


class ReportFile:
    """The report of one run, appended to as jobs end.

    Args:
        path: The file; its folder is made if it is missing.
        run: The run.
        ledger: Where the rows are that the file lacks.
        off_loop: Syncs the file without holding up the event loop.
    """

    def __init__(
        self,
        path: Path,
        run: Run,
        ledger: Ledger,
        off_loop: Callable[[Callable[[], None]], Awaitable[None]] = asyncio.to_thread,
    ) -> None:
        self.path = path
        self._off_loop = off_loop
        self._run = run
        self._ledger = ledger
        self._file: BinaryIO | None = None
        self._lock = FileLock(path)
        self._written = 0  # rows in the file
        self._bytes = 0
        self._is_broken = False  # it could not be written: what follows would leave a hole
        self._early: dict[int, Job] = {}  # rows that came before the ones in front of them

    async def open(self) -> None:
        """Begin the file, or make an existing one of this run whole again: what it lacks is written from the ledger.

        Raises:
            ReportError: If the path holds something that is not a report, or cannot be written.
        """
        try:
            await self._open()
        except BaseException as error:
            self._let_go()
            if isinstance(error, OSError):
                raise self._unwritable(error) from error
            raise

    async def _open(self) -> None:
        if self.path.exists() and not self.path.is_file():
            raise ReportError(
                f"{self.path} is a folder, a device or a pipe. Name a file with --report, for example --report run.jsonl."
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab", buffering=0)
        self._hold()  # before anything of it is cut off
        self._written, self._bytes = await self._keep_sound_rows()
        await self.catch_up()

    def _hold(self) -> None:
        """Keep the runs of other ledgers off this file: each would cut off what the other wrote."""
        with suppress(OSError):  # a file system without locks
            if not self._lock.acquire():
                raise ReportError(
                    f"Another run is writing {self.path}. "
                    "Wait until it ends, or name another file with --report."
                )

    def offer(self, jobs: Iterable[Job]) -> None:
        """Write the rows of these jobs, as soon as the rows in front of them are written.

        Raises:
            ReportError: If the disk does not take them; the ledger has them, and running again writes them.
        """
        if self._is_broken:
            return
        for job in jobs:
            if job.row > self._written:
                self._early[job.row] = job
        lines: list[bytes] = []
        while (found := self._early.pop(self._written + 1, None)) is not None:
            lines.append(line(found, self._run))
            self._written += 1
        if lines:
            self._append(b"".join(lines))

    def close(self) -> None:
        """Sync and close."""
        if self._file is not None:
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                raise self._unwritable(error) from error
            finally:
                self._let_go()

    def _let_go(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._lock.release()

    def _append(self, data: bytes) -> None:
        if self._file is None:
            return
        try:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) or 0 :]
            self._bytes += len(data)
        except OSError as error:
            self._is_broken = True
            raise self._unwritable(error) from error

    async def catch_up(self) -> None:
        """Write the rows that the ledger has and the file lacks."""
        while rows := await self._ledger.rows(self._run, self._written, 1000):
            before = self._written
            self.offer(rows)
            if self._written == before:
                return

    async def checkpoint(self) -> None:
        """Sync the file, and remember how far: so much of it needs no second look when the run is continued."""
        if self._file is None or self._is_broken:
            return
        file = self._file
        mark = {
            "run": self._run.id,
            "path": str(self.path),
            "rows": self._written,
            "bytes": self._bytes,
        }
        try:
            await self._off_loop(lambda: os.fsync(file.fileno()))
        except OSError as error:
            raise self._unwritable(error) from error
        await self._ledger.remember(_CHECKPOINT, orjson.dumps(mark))

    async def _checked_before(self, file: BinaryIO, mark: dict[str, Any]) -> tuple[int, int]:
        """Rows and bytes that were synced before, if the file still holds them: then its last synced row is where it was."""
        if not mark["rows"]:
            return 0, 0
        last = await self._ledger.rows(self._run, mark["rows"] - 1, 1)
        expected = line(last[0], self._run) if last else b""
        file.seek(max(mark["bytes"] - len(expected), 0))
        return (
            (mark["rows"], mark["bytes"])
            if expected and file.read(len(expected)) == expected
            else (0, 0)
        )

    async def _keep_sound_rows(self) -> tuple[int, int]:
        """How many rows and bytes of the file are sound; what follows is cut off, another run's report is begun anew."""
        if not self.path.exists() or self.path.stat().st_size == 0:
            return 0, 0
        mark = orjson.loads(await self._ledger.recall(_CHECKPOINT) or b"{}")
        is_ours = mark.get("run") == self._run.id and mark.get("path") == str(self.path)
        with self.path.open("rb") as file:
            if not is_ours:  # what the ledger knows as this run's report is that, whatever a power cut made of it
                self._check_is_report(file.readline(1_000_000))
            sound, end = await self._checked_before(file, mark) if is_ours else (0, 0)
            file.seek(end)
            while rows := await self._ledger.rows(self._run, sound, 1000):
                before = sound
                for job in rows:
                    expected = line(job, self._run)
                    if file.read(len(expected)) != expected:
                        break
                    sound, end = sound + 1, end + len(expected)
                if sound - before < len(rows):
                    break
        os.truncate(self.path, end)
        return sound, end

    def _check_is_report(self, first: bytes) -> None:
        """Refuse to write over a file that is not a report. A torn only line counts as one if it begins like one."""
        try:
            schema = orjson.loads(first).get("schema", "")
        except (orjson.JSONDecodeError, AttributeError):
            schema = (
                ROW_SCHEMA
                if first.startswith(f'{{"schema":"{ROW_SCHEMA}'.encode()[: len(first)])
                else ""
            )
        if not str(schema).startswith("orchestrator.report/"):
            message = f"{self.path} exists and is not a report of orchestrator. Choose another file with --report, or move it away."
            raise ReportError(message)

    def _unwritable(self, error: OSError) -> ReportError:
        return ReportError(
            f"Cannot write the report {self.path}: {error.strerror or error}. "
            "Nothing is lost: make room or give --report another place, and run again."
        )


@dataclass(frozen=True, slots=True)
class Calls:
    """Requests made by one visit: POSTs, queries, lists, HEADs of stems."""

    submits: int = 0
    queries: int = 0
    lists: int = 0
    heads: int = 0

    def __add__(self, other: Calls) -> Calls:
        """Those of two visits."""
        return Calls(
            self.submits + other.submits,
            self.queries + other.queries,
            self.lists + other.lists,
            self.heads + other.heads,
        )


def summary(
    run: Run,
    counts: Counts,
    *,
    is_complete: bool,
    calls: Calls,
    exit_code: int,
    started_at: float,
    now: float,
    stopped: str,
    report: Path,
) -> dict[str, Any]:
    """The totals of a run, for the terminal and for ``.summary.json``.

    ``jobs`` counts by report state, open jobs by ledger state. ``calls``, ``started_at`` and ``elapsed_s`` are those of this visit.
    ``complete`` says that every job of the manifest is known and has ended.
    """
    by_state = {state.value: counts.by_state.get(state, 0) for state in JobState}
    return {
        "schema": SUMMARY_SCHEMA,
        "run": run.id,
        "complete": is_complete,
        "exit_code": exit_code,
        "stopped": stopped,
        "jobs": {"total": counts.total, "skipped": counts.skipped, **by_state},
        "calls": {
            "submits": calls.submits,
            "queries": calls.queries,
            "lists": calls.lists,
            "heads": calls.heads,
        },
        "opened_at": instant(run.opened_at),
        "started_at": instant(started_at),
        "finished_at": instant(now),
        "elapsed_s": round(now - started_at, 3),
        "report": str(report),
    }


def summary_path(report: Path) -> Path:
    """Where the summary of a report lies: beside it."""
    return report.with_name(report.name.removesuffix(".jsonl") + ".summary.json")


def write_summary(path: Path, content: dict[str, Any]) -> None:
    """Write the summary, whole or not at all.

    Raises:
        ReportError: If the disk does not take it.
    """
    text = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    try:
        write_atomically(path, text)
    except OSError as error:
        raise ReportError(f"Cannot write the summary {path}: {error.strerror or error}.") from error

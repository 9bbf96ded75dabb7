"""The report of a run: one row per job, as JSON lines.

The ledger numbers the rows in the order in which jobs end; line *n* of the file is row *n*. So
whatever a crash leaves behind (a missing end, half a line, blocks that never reached the disk) is
repaired from the ledger, without a lost, doubled or torn row. The file is synced with each
heartbeat, and the synced part is not read again: a report of a million rows continues at once.
Each heartbeat also checks that the file is still at its path and as long as it was written. A file
that was removed, moved or cut is written again from the ledger.

What stands at the path before is never destroyed: a file that is not a report is refused, and a
report with rows that the ledger does not have is moved aside.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from orchestrator.domain.spec import JobKey
from orchestrator.domain.states import TERMINAL
from orchestrator.durable import FileLock
from orchestrator.errors import ReportError
from orchestrator.reporting.row import ROW_SCHEMA, line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from orchestrator.domain.job import Job
    from orchestrator.domain.ports import Ledger
    from orchestrator.domain.run import Run

_CHECKPOINT = "report"  # name under which the ledger keeps how far the report was synced


class ReportFile:
    """The report of one run; grows as jobs end.

    Args:
        path: The file; a missing folder is made.
        run: The run.
        ledger: Source of rows that the file lacks.
        off_loop: Runs a sync off the event loop.
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
        self._is_ready = False  # the file is checked, and may grow
        self._is_broken = False  # a write failed: later rows would leave a hole
        self._early: dict[int, Job] = {}  # rows that arrived before those in front of them

    async def open(self) -> None:
        """Begin the file, or repair an existing one of this run from the ledger.

        Raises:
            ReportError: If the path is not a report, or cannot be written.
        """
        try:
            await self._open()
        except BaseException as error:
            self._drop_file()
            if isinstance(error, OSError):
                raise self._unwritable(error) from error
            raise

    async def _open(self) -> None:
        if self.path.exists() and not self.path.is_file():
            raise ReportError(
                f"{self.path} is a folder, a device or a pipe. "
                "Name a file with --report, for example --report run.jsonl."
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._grab()
        sound, end = await self._sound_rows()
        if await self._knows_more(end):
            self.path.rename(self._free_name())
            self._drop_file()
            self._grab()
            sound, end = 0, 0
        os.truncate(self.path, end)
        self._written, self._bytes, self._is_ready = sound, end, True
        await self.catch_up()

    def _grab(self) -> None:
        self._file = self.path.open("ab", buffering=0)
        self._hold()  # before any of it is cut off

    def _free_name(self) -> Path:
        """Return a name beside the report that no file has: ``report.1.jsonl``."""
        numbers = itertools.count(1)
        stem, suffix = self.path.stem, self.path.suffix
        names = (self.path.with_name(f"{stem}.{number}{suffix}") for number in numbers)
        return next(name for name in names if not name.exists())

    def _hold(self) -> None:
        """Keep runs of other ledgers away: each would cut off the other's rows."""
        with suppress(OSError):  # a file system without locks
            if not self._lock.acquire():
                raise ReportError(
                    f"Another run is writing {self.path}. "
                    "Wait until it ends, or name another file with --report."
                )

    def offer(self, jobs: Iterable[Job]) -> None:
        """Write the rows of these jobs, once the rows in front of them are written.

        Raises:
            ReportError: If the disk does not take them. The ledger has them; the next run writes
                them.
        """
        if self._is_broken:
            return
        for job in jobs:
            if job.row > self._written or not self._is_ready:
                self._early[job.row] = job
        if not self._is_ready:
            return
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
                self._drop_file()

    def _drop_file(self) -> None:
        self._is_ready = False
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
        """Sync the file, and remember how far, so that a resumed run need not read that part.

        Raises:
            ReportError: If it cannot be written, or another file has taken its place.
        """
        if self._file is None or self._is_broken:
            return
        if not self._is_in_place(self._file):
            self._drop_file()
            await self.open()
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

    def _is_in_place(self, file: BinaryIO) -> bool:
        """Return True if the file is still at its path, as long as it was written."""
        own = os.fstat(file.fileno())
        try:
            return os.path.samestat(own, self.path.stat()) and own.st_size == self._bytes
        except FileNotFoundError:
            return False

    async def _checked_before(self, file: BinaryIO, mark: dict[str, Any]) -> tuple[int, int]:
        """Return the rows and bytes that were synced before, or zeros if the file lacks them.

        The last synced row must be in its place.
        """
        if not mark["rows"]:
            return 0, 0
        last = await self._ledger.rows(self._run, mark["rows"] - 1, 1)
        expected = line(last[0], self._run) if last else b""
        file.seek(max(mark["bytes"] - len(expected), 0))
        is_there = expected and file.read(len(expected)) == expected
        return (mark["rows"], mark["bytes"]) if is_there else (0, 0)

    async def _sound_rows(self) -> tuple[int, int]:
        """Return how many rows and bytes of the file are sound, from its beginning."""
        if self.path.stat().st_size == 0:
            return 0, 0
        mark = await self._mark()
        is_ours = mark.get("run") == self._run.id and mark.get("path") == str(self.path)
        with self.path.open("rb") as file:
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
        return sound, end

    async def _mark(self) -> dict[str, Any]:
        mark: dict[str, Any] = orjson.loads(await self._ledger.recall(_CHECKPOINT) or b"{}")
        return mark

    async def _knows_more(self, end: int) -> bool:
        """Return True if a row behind the sound ones is about a job that the ledger has not ended.

        The report of the last run at this path is not read: the ledger wrote it.
        """
        mark = await self._mark()
        last_run = mark.get("run") if mark.get("path") == str(self.path) else None
        with self.path.open("rb") as file:
            file.seek(end)
            while lines := list(itertools.islice(file, 1000)):
                rows = [row for text in lines if (row := _row_of(text)) is not None]
                keys = [JobKey(row["key"]) for row in rows if row.get("run") != last_run]
                found = await self._ledger.find(keys) if keys else {}
                if any(key not in found or found[key].state not in TERMINAL for key in keys):
                    return True
        return False

    def _check_is_report(self, first: bytes) -> None:
        """Refuse to overwrite a file that is not a report; a torn only line may begin like one."""
        if not first.strip(b"\0"):
            return  # blocks that a power cut kept from the disk
        try:
            schema = orjson.loads(first).get("schema", "")
        except (orjson.JSONDecodeError, AttributeError):
            begins_like_one = f'{{"schema":"{ROW_SCHEMA}'.encode()[: len(first)]
            schema = ROW_SCHEMA if first.startswith(begins_like_one) else ""
        if not str(schema).startswith("orchestrator.report/"):
            raise ReportError(
                f"{self.path} exists and is not a report of orchestrator. "
                "Choose another file with --report, or move it away."
            )

    def _unwritable(self, error: OSError) -> ReportError:
        return ReportError(
            f"Cannot write the report {self.path}: {error.strerror or error}. "
            "Nothing is lost: make room or choose another --report, then run again."
        )


def _row_of(text: bytes) -> dict[str, Any] | None:
    """Return the row that a line holds, or None if it is damaged."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("key"), str) else None

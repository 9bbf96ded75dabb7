"""The report of a run: one row per job, as JSON lines.

The ledger numbers the rows in the order in which jobs end; line *n* of the file is row *n*. So
whatever a crash leaves behind (a missing end, half a line, blocks that never reached the disk) is
repaired from the ledger, without a lost, doubled or torn row. The file is synced with each
heartbeat, and the synced part is not read again: a report of a million rows continues at once.
Each heartbeat also checks that the file is still at its path and as long as it was written. A file
that was removed, moved or cut is written again from the ledger.

What stands at the path before is never destroyed: a file that is not a report is refused, and a
report with rows that the ledger does not have is moved aside.

A report whose name ends in ``.gz`` grows under that name with ``.part`` in its place. It is
compressed when the run has ended, because a compressed file cannot be repaired line by line.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import os
import shutil
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import orjson

from orchestrator.domain.spec import JobKey
from orchestrator.domain.states import TERMINAL
from orchestrator.durable import FileLock, reason_of, replacing
from orchestrator.errors import ReportError
from orchestrator.reporting.row import ROW_SCHEMA, line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from orchestrator.domain.job import Job
    from orchestrator.domain.ports import Ledger
    from orchestrator.domain.run import Run
    from orchestrator.reporting.row import FolderOf

DAMAGED = (gzip.BadGzipFile, EOFError, zlib.error)
"""Errors of a compressed file that is none, or is cut off."""
_CHECKPOINT = "report"  # name under which the ledger keeps how far the report was synced


class ReportFile:
    """The report of one run; grows as jobs end.

    Args:
        path: The file; a missing folder is made. ``.gz`` at its end means compressed.
        run: The run.
        ledger: Source of rows that the file lacks.
        off_loop: Runs a sync off the event loop.
        with_skipped: The file has the rows of skipped jobs, too; else it lacks those lines.
        folder_of: Returns the folder of a bucket on this machine, for the paths of stems.
    """

    def __init__(
        self,
        path: Path,
        run: Run,
        ledger: Ledger,
        off_loop: Callable[[Callable[[], None]], Awaitable[None]] = asyncio.to_thread,
        *,
        with_skipped: bool = False,
        folder_of: FolderOf | None = None,
    ) -> None:
        self.path = _growing(path)
        self._named = path
        self._with_skipped = with_skipped
        self._folder_of = folder_of
        self._off_loop = off_loop
        self._run = run
        self._ledger = ledger
        self._file: BinaryIO | None = None
        self._lock = FileLock(self.path)
        self._written = 0  # rows of the ledger that are in the file, or left out of it
        self._last = 0  # number of the last row that is in the file
        self._bytes = 0
        self._is_ready = False  # the file is checked, and may grow
        self._is_broken = False  # a write failed: later rows would leave a hole
        self._synced = b""  # the mark of the part that was synced last
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
        check_path(self._named)
        self._grab()
        sound = await self._sound_part()
        if await self._knows_more(self.path, sound.bytes):
            self.path.rename(_free_name(_uncompressed(self._named)))
            self._drop_file()
            self._grab()
            sound = _Part()
        os.truncate(self.path, sound.bytes)
        self._written, self._last, self._bytes = sound.rows, sound.last, sound.bytes
        self._is_ready = True
        await self.catch_up()

    def _grab(self) -> None:
        self._file = self.path.open("ab", buffering=0)
        self._hold()  # before any of it is cut off

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
            lines.append(text := self._line(found))
            self._written += 1
            if text:
                self._last = self._written
        if lines:
            self._append(b"".join(lines))

    def _line(self, job: Job) -> bytes:
        """Return the line of a job, or nothing if it has none in this file."""
        is_left_out = job.skipped and not self._with_skipped
        return b"" if is_left_out else line(job, self._run, self._folder_of)

    async def finish(self) -> None:
        """Compress the file if its name says so; the run has ended.

        Raises:
            ReportError: If it cannot be written.
        """
        if self._named == self.path or self._is_broken:
            return
        try:
            if self._named.exists() and await self._knows_more(self._named, 0):
                self._named.rename(_free_name(self._named))
            await self._off_loop(self._compress)
        except OSError as error:
            raise self._unwritable(error) from error
        self._drop_file()

    def _compress(self) -> None:
        with (
            self.path.open("rb") as source,
            replacing(self._named) as target,
            gzip.GzipFile(self._named.stem, "wb", fileobj=target) as packed,
        ):
            shutil.copyfileobj(source, packed, 1 << 20)
        self.path.unlink()

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
        self._synced = b""
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
            "last": self._last,
            "bytes": self._bytes,
            "with_skipped": self._with_skipped,
        }
        if (encoded := orjson.dumps(mark)) == self._synced:
            return
        try:
            await self._off_loop(lambda: os.fsync(file.fileno()))
        except OSError as error:
            raise self._unwritable(error) from error
        await self._ledger.remember(_CHECKPOINT, encoded)
        self._synced = encoded

    def _is_in_place(self, file: BinaryIO) -> bool:
        """Return True if the file is still at its path, as long as it was written."""
        own = os.fstat(file.fileno())
        try:
            return os.path.samestat(own, self.path.stat()) and own.st_size == self._bytes
        except FileNotFoundError:
            return False

    async def _checked_before(self, file: BinaryIO, mark: dict[str, Any]) -> _Part:
        """Return the part that was synced before, or nothing if the file lacks it.

        The last synced line must be in its place.
        """
        part = _Part(mark["rows"], mark.get("last", mark["rows"]), mark["bytes"])
        if not part.last:
            return part
        last = await self._ledger.rows(self._run, part.last - 1, 1)
        expected = self._line(last[0]) if last else b""
        file.seek(max(part.bytes - len(expected), 0))
        is_there = expected and file.read(len(expected)) == expected
        return part if is_there else _Part()

    async def _sound_part(self) -> _Part:
        """Return how much of the file is sound, from its beginning."""
        mark = await self._mark()
        is_ours = (mark.get("run"), mark.get("path")) == (self._run.id, str(self.path))
        is_ours &= mark.get("with_skipped", True) is self._with_skipped
        with self.path.open("rb") as file:
            if first := file.readline(1_000_000):
                _check_is_report(self.path, first)
            part = await self._checked_before(file, mark) if is_ours else _Part()
            file.seek(part.bytes)
            while rows := await self._ledger.rows(self._run, part.rows, 1000):
                before = part.rows
                for job in rows:
                    expected = self._line(job)
                    if file.read(len(expected)) != expected:
                        break
                    part = part.with_line(len(expected))
                if part.rows - before < len(rows):
                    break
        return part

    async def _mark(self) -> dict[str, Any]:
        mark: dict[str, Any] = orjson.loads(await self._ledger.recall(_CHECKPOINT) or b"{}")
        return mark

    async def _knows_more(self, path: Path, end: int) -> bool:
        """Return True if a row beyond ``end`` is about a job that the ledger has not ended.

        The report of the last run at this path is not read: the ledger wrote it.
        """
        mark = await self._mark()
        last_run = mark.get("run") if mark.get("path") == str(self.path) else None
        with suppress(*DAMAGED), open_report(path) as file:
            file.seek(end)
            while lines := list(itertools.islice(file, 1000)):
                rows = [row for text in lines if (row := _row_of(text)) is not None]
                keys = [JobKey(row["key"]) for row in rows if row.get("run") != last_run]
                found = await self._ledger.find(keys) if keys else {}
                if any(key not in found or found[key].state not in TERMINAL for key in keys):
                    return True
        return False

    def _unwritable(self, error: OSError) -> ReportError:
        return _unwritable(self.path, error)


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the file, from its beginning.

    Attributes:
        rows: Rows of the ledger that it has, or that have no line in it.
        last: Number of the last row that has a line.
        bytes: Its length.
    """

    rows: int = 0
    last: int = 0
    bytes: int = 0

    def with_line(self, length: int) -> _Part:
        """Return the part with one more row, whose line has this length."""
        rows = self.rows + 1
        return _Part(rows, rows if length else self.last, self.bytes + length)


def check_path(path: Path) -> None:
    """Check that a report can be at a path, and make its folder.

    Raises:
        ReportError: If something else is there, or the folder cannot be made.
    """
    try:
        for each in dict.fromkeys((_growing(path), path)):
            if each.exists() and not each.is_file():
                raise ReportError(
                    f"{each} is a folder, a device or a pipe. "
                    "Name a file with --report, for example --report run.jsonl."
                )
        for each in path.parents:
            if each.exists() and not each.is_dir():
                raise ReportError(
                    f"{each} is a file, so the report {path} cannot be in it. "
                    "Name another with --report, for example --report run.jsonl."
                )
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _check_is_report(path, _first_line(path))
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> ReportError:
    return ReportError(
        f"Cannot write the report {path}: {reason_of(error)}. "
        "Nothing is lost: make room or choose another --report, then run again."
    )


def _growing(path: Path) -> Path:
    """Return the name of a report while its run is open."""
    return path.with_suffix(".part") if path.suffix == ".gz" else path


def _uncompressed(path: Path) -> Path:
    """Return the name of a report without ``.gz``."""
    return path.with_suffix("") if path.suffix == ".gz" else path


def present_report(path: Path) -> Path:
    """Return where the report named ``path`` is now: a compressed one of an open run still grows.

    The name itself is returned if there is no file.
    """
    growing = _growing(path)
    return growing if not path.exists() and growing.exists() else path


def open_report(path: Path) -> BinaryIO:
    """Open a report to be read, compressed or not.

    Raises:
        OSError: If it cannot be read, or is not compressed although its name says so.
    """
    return cast("BinaryIO", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _first_line(path: Path) -> bytes:
    """Return the first line of a report; a damaged one has a line that no report has."""
    try:
        with open_report(path) as file:
            return file.readline(1_000_000)
    except DAMAGED:
        return b"?"


def _free_name(path: Path) -> Path:
    """Return a name beside the report that no file has: ``report.1.jsonl``."""
    plain = _uncompressed(path)
    stem, suffix = plain.stem, plain.suffix + path.name.removeprefix(plain.name)
    names = (path.with_name(f"{stem}.{number}{suffix}") for number in itertools.count(1))
    return next(name for name in names if not name.exists())


def _check_is_report(path: Path, first: bytes) -> None:
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
            f"{path} exists and is not a report of orchestrator. "
            "Choose another file with --report, or move it away."
        )


def _row_of(text: bytes) -> dict[str, Any] | None:
    """Return the row that a line holds, or None if it is damaged."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("key"), str) else None

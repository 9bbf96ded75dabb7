"""One thread owns the database; the event loop hands it work in groups, and each group is one transaction and one sync.

While a group is being written, the next one gathers on the loop. So the number of syncs follows the disk, not the number of calls, and
the two threads meet twice per group, not per call (each meeting means waiting for the interpreter's lock).
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future as ThreadFuture
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from orchestrator.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.errors import OrchestratorError
    from orchestrator.ledger.unit_of_work import UnitOfWork

T = TypeVar("T")

_BUSY = 16
"""Rows in the last group from which on the next group waits a little for company ..."""
_GATHER_S = 0.003
"""... for so long: at 5,000 jobs per second this makes one sync of two or three, and a single save never waits."""


class Store(Protocol):
    """A database, used by the writer's thread alone."""

    def open(self) -> UnitOfWork:
        """Open the database; raises an error of orchestrator if that is not possible."""
        ...

    def begin(self, unit: UnitOfWork, *, writes: bool) -> None:
        """Begin a transaction."""
        ...

    def commit(self, unit: UnitOfWork) -> None:
        """Commit and sync."""
        ...

    def rollback(self, unit: UnitOfWork) -> None:
        """Take the transaction back, if the database has not done so itself."""
        ...

    def explain(self, error: Exception) -> OrchestratorError:
        """The error of orchestrator that says what ``error`` means."""
        ...

    def close(self, unit: UnitOfWork) -> None:
        """Close the database."""
        ...


@dataclass(slots=True, eq=False)
class Task:
    """One call: what to do, and who waits for it."""

    work: Callable[[UnitOfWork], Any]
    writes: bool
    future: asyncio.Future[Any]
    rows: int
    result: Any = None


class GroupWriter:
    """Runs work on a store, many calls per transaction, in the order of the calls."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._groups: SimpleQueue[list[Task] | None] = SimpleQueue()
        self._waiting: list[Task] = []
        self._is_working = False
        self._last_rows = 0
        self._delivered_at = 0.0
        self._is_closed = False
        opened: ThreadFuture[None] = ThreadFuture()
        # A daemon, so that a program that forgets to close can end: what was acknowledged is synced already.
        self._thread = threading.Thread(
            target=self._main, args=(opened,), name="ledger", daemon=True
        )
        self._thread.start()
        opened.result()

    # --- on the loop

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._is_closed

    def submit(
        self, work: Callable[[UnitOfWork], T], *, writes: bool, rows: int = 1
    ) -> asyncio.Future[T]:
        """Do ``work``, which concerns so many rows, with the next group; the future ends when the group is committed."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if self._is_closed:
            future.set_exception(LedgerError("The ledger is closed."))
            return future
        self._waiting.append(Task(work, writes, future, rows))
        if not self._is_working:
            self._is_working = True
            self._hand_over_soon(loop)
        return future

    def _hand_over_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        gather_s = self._delivered_at + _GATHER_S - loop.time() if self._last_rows >= _BUSY else 0.0
        if gather_s > 0:
            loop.call_later(gather_s, self._hand_over)
        else:
            loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        group, self._waiting = self._waiting, []
        self._groups.put(group)

    def _deliver(self, group: list[Task], error: OrchestratorError | None) -> None:
        """Tell those who wait, then go on with what has gathered meanwhile."""
        for task in group:
            if task.future.done():  # who waited was cancelled; the work stands
                continue
            if error is None:
                task.future.set_result(task.result)
            else:
                task.future.set_exception(_copy(error))
        loop = asyncio.get_running_loop()
        self._last_rows, self._delivered_at = sum(task.rows for task in group), loop.time()
        self._is_working = bool(self._waiting)
        if self._is_working:
            self._hand_over_soon(loop)

    async def close(self) -> None:
        """Finish what was asked, close the store and end the thread."""
        if self._is_closed:
            return
        last = self.submit(_nothing, writes=False)
        self._is_closed = True
        try:
            await asyncio.shield(last)
        finally:
            self._groups.put(None)
            self._thread.join()

    # --- in the thread

    def _main(self, opened: ThreadFuture[None]) -> None:
        try:
            unit = self._store.open()
        except BaseException as error:  # noqa: BLE001  # handed to the one who waits for the opening
            opened.set_exception(error)
            return
        opened.set_result(None)
        while group := self._groups.get():
            failure = self._work(unit, group)
            try:
                group[0].future.get_loop().call_soon_threadsafe(self._deliver, group, failure)
            except (
                RuntimeError
            ):  # the loop is closed: nobody waits any more, what was done is committed
                continue
        self._store.close(unit)

    def _work(self, unit: UnitOfWork, group: list[Task]) -> OrchestratorError | None:
        """One transaction; gives the error that undid all of it, if one did."""
        unit.begin()
        try:
            self._store.begin(unit, writes=any(task.writes for task in group))
            for task in group:
                task.result = task.work(unit)
            unit.finish()
            self._store.commit(unit)
        except Exception as error:  # noqa: BLE001  # translated, and handed to those who wait
            unit.undo()
            self._store.rollback(unit)
            return self._store.explain(error)
        unit.done()
        return None


def _nothing(unit: UnitOfWork) -> None:
    """Wait for what was asked before."""


def _copy(error: OrchestratorError) -> OrchestratorError:
    """The same error for one more who waits: a shared one would gather the tracebacks of all."""
    twin = type(error)(*error.args)
    twin.__cause__ = error.__cause__
    return twin

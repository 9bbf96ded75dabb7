"""Group commit: one thread owns the database, and many calls share one transaction and one sync.

While a group is being written, the next one gathers on the event loop. So the number of syncs
follows the disk, not the number of calls, and the two threads meet twice per group, not per call:
each meeting waits for the interpreter's lock.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future as ThreadFuture
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from orchestrator.errors import LedgerError, OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.ledger.unit_of_work import UnitOfWork

T = TypeVar("T")

_BUSY = 16
"""After a group of at least this many rows, the next group waits a little to gather more calls."""
_GATHER_S = 0.003
"""The length of that wait: at 5,000 jobs per second it makes one sync out of two or three, and a
single save never waits."""


class Recovery(Enum):
    """Outcome of a transaction that failed, as its store found it."""

    REPORT = auto()
    """Nothing of it was recorded, or nothing is known of it: its callers get the error."""
    AGAIN = auto()
    """Nothing of it was recorded, and it may succeed now: run its work again."""
    COMMITTED = auto()
    """All of it was recorded: only the acknowledgement was lost."""


class Store(Protocol):
    """A database, used by the writer's thread alone. All that differs between databases is here."""

    @property
    def idle_s(self) -> float | None:
        """After this time without work, run an empty transaction that writes; None: never."""
        ...

    @property
    def trouble(self) -> str:
        """Reason, in words, why the present transaction waits; or empty. Other threads read it."""
        ...

    def open(self) -> UnitOfWork:
        """Open the database, or raise an error of orchestrator."""
        ...

    def begin(self, unit: UnitOfWork, *, writes: bool) -> None:
        """Begin a transaction."""
        ...

    def commit(self, unit: UnitOfWork) -> None:
        """Commit and sync."""
        ...

    def rollback(self, unit: UnitOfWork) -> None:
        """Roll back, unless the database has already done so."""
        ...

    def recover(self, unit: UnitOfWork, error: Exception) -> Recovery:
        """Say what became of a transaction that failed and was rolled back.

        Raises:
            OrchestratorError: It has found out more than ``error`` says.
        """
        ...

    def explain(self, error: Exception) -> OrchestratorError:
        """Return the error of orchestrator that says what ``error`` means."""
        ...

    def close(self, unit: UnitOfWork) -> None:
        """Close the database."""
        ...


@dataclass(slots=True, eq=False)
class Task:
    """One call: its work, and the future of its caller."""

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
        # A daemon, so that a program that forgets to close can end: acknowledged work is synced.
        self._thread = threading.Thread(
            target=self._main, args=(opened,), name="ledger", daemon=True
        )
        self._thread.start()
        opened.result()

    # --- on the loop

    @property
    def is_closed(self) -> bool:
        """True once no more work is accepted."""
        return self._is_closed

    @property
    def trouble(self) -> str:
        """See :class:`Store`."""
        return self._store.trouble

    def submit(
        self, work: Callable[[UnitOfWork], T], *, writes: bool, rows: int = 1
    ) -> asyncio.Future[T]:
        """Do ``work``, on about ``rows`` rows, in the next group.

        The future ends when the group is committed.
        """
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
        """Answer the callers, then start the group that has gathered since."""
        for task in group:
            if task.future.done():  # the caller was cancelled; the work is done all the same
                continue
            if error is None:
                task.future.set_result(task.result)
            else:
                # Each caller gets its own: a shared error would gather the tracebacks of all.
                twin = type(error)(*error.args)
                twin.__cause__ = error.__cause__
                task.future.set_exception(twin)
        loop = asyncio.get_running_loop()
        self._last_rows, self._delivered_at = sum(task.rows for task in group), loop.time()
        self._is_working = bool(self._waiting)
        if self._is_working:
            self._hand_over_soon(loop)

    async def close(self) -> None:
        """Finish the accepted work, close the store and end the thread."""
        if self._is_closed:
            return
        last = self.submit(lambda _: None, writes=False)
        self._is_closed = True
        try:
            with suppress(LedgerError):  # it is empty; accepted work before it has its own answer
                await asyncio.shield(last)
        finally:
            self._groups.put(None)
            self._thread.join()

    # --- in the thread

    def _main(self, opened: ThreadFuture[None]) -> None:
        try:
            unit = self._store.open()
        except BaseException as error:  # noqa: BLE001  # handed to the constructor
            opened.set_exception(error)
            return
        opened.set_result(None)
        while group := self._next_group(unit):
            failure = self._work(unit, group, writes=any(task.writes for task in group))
            try:
                group[0].future.get_loop().call_soon_threadsafe(self._deliver, group, failure)
            except RuntimeError:  # the loop is closed: no caller is left; the work is committed
                continue
        self._store.close(unit)

    def _next_group(self, unit: UnitOfWork) -> list[Task] | None:
        """Wait for the next group; meanwhile show the store, as often as it wants, that we live."""
        while True:
            try:
                return self._groups.get(timeout=self._store.idle_s)
            except Empty:
                self._work(unit, [], writes=True)

    def _work(
        self, unit: UnitOfWork, group: list[Task], *, writes: bool
    ) -> OrchestratorError | None:
        """Run one transaction; return the error that undid all of it, if one did."""
        while True:
            unit.begin()
            try:
                self._store.begin(unit, writes=writes)
                for task in group:
                    task.result = task.work(unit)
                unit.finish()
                self._store.commit(unit)
            except Exception as error:  # noqa: BLE001  # translated, and handed to the callers
                recovery, explained = self._recover(unit, error)
                if recovery is not Recovery.COMMITTED:
                    unit.undo()
                if recovery is Recovery.REPORT:
                    return explained
                if recovery is Recovery.AGAIN:
                    continue
            unit.done()
            return None

    def _recover(self, unit: UnitOfWork, error: Exception) -> tuple[Recovery, OrchestratorError]:
        try:
            self._store.rollback(unit)
            return self._store.recover(unit, error), self._store.explain(error)
        except OrchestratorError as worse:
            return Recovery.REPORT, worse

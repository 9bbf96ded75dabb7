"""Work ahead in a thread: one stage of a pipeline computes while the next one uses its results."""

from __future__ import annotations

import queue
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator

T = TypeVar("T")


def ahead(items: Generator[T, None, None], most: int) -> Generator[T, None, None]:
    """Yield the items of a generator, which runs in a thread of its own.

    An error of the generator is raised here, after the items before it. Closing this generator
    stops the thread and waits for its end; the generator is closed there.

    Args:
        items: The generator; only the thread uses it from now on.
        most: Items that may be under way: in work, or ready and not yet taken.
    """
    stage = _Stage(items, most)
    try:
        while (item := stage.next()) is not None:
            yield item.value
            item = None  # the value is freed before the wait for the next one
    finally:
        stage.stop()


class _Ready(Generic[T]):
    """One item."""

    def __init__(self, value: T) -> None:
        self.value = value


class _Stage(Generic[T]):
    """A generator and its thread."""

    def __init__(self, items: Generator[T, None, None], most: int) -> None:
        self._items = items
        self._room = threading.Semaphore(most)
        self._ready: queue.SimpleQueue[_Ready[T] | BaseException | None] = queue.SimpleQueue()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._work, name="ahead", daemon=True)
        self._thread.start()

    def next(self) -> _Ready[T] | None:
        """Wait for the next item; None after the last one."""
        item = self._ready.get()
        self._room.release()
        if isinstance(item, BaseException):
            raise item
        return item

    def stop(self) -> None:
        """End the thread, after the item that it works on."""
        self._is_stopped = True
        self._room.release()
        self._thread.join()

    def _work(self) -> None:
        try:
            with closing(self._items):
                while self._has_room():
                    try:
                        value = next(self._items)
                    except StopIteration:
                        break
                    self._ready.put(_Ready(value))
                    del value
        except BaseException as error:  # noqa: BLE001 - raised again by the consumer
            self._ready.put(error)
        else:
            self._ready.put(None)

    def _has_room(self) -> bool:
        self._room.acquire()
        return not self._is_stopped

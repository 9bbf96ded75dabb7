"""A stage of the pipeline works ahead in a thread, by a fixed number of items."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from orchestrator.separation.read_ahead import ahead

if TYPE_CHECKING:
    from collections.abc import Generator

WAIT_S = 10


class Source:
    """A generator that records its items, and the thread that computes and closes it."""

    def __init__(self, count: int, *, fails_at: int = -1) -> None:
        self.made = 0
        self.waits = threading.Semaphore(0)
        self.threads: set[int] = set()
        self.is_closed = False
        self._count = count
        self._fails_at = fails_at

    def items(self) -> Generator[int, None, None]:
        """Yield numbers."""
        try:
            for number in range(self._count):
                self.threads.add(threading.get_ident())
                if number == self._fails_at:
                    raise OSError(28, "No space left on device")
                self.made += 1
                self.waits.release()
                yield number
        finally:
            self.is_closed = True
            self.threads.add(threading.get_ident())


def test_all_items_come_in_order_from_another_thread() -> None:
    source = Source(100)
    assert list(ahead(source.items(), 3)) == list(range(100))
    assert source.is_closed
    assert threading.get_ident() not in source.threads
    assert len(source.threads) == 1


@pytest.mark.parametrize("most", [1, 3])
def test_it_works_ahead_by_the_given_number_of_items(most: int) -> None:
    source = Source(100)
    with closing(ahead(source.items(), most)) as items:
        for taken in range(1, 20):
            next(items)
            for _ in range(most if taken == 1 else 1):  # the ones ahead are made meanwhile
                assert source.waits.acquire(timeout=WAIT_S)
            assert source.made <= taken + most


def test_an_error_comes_after_the_items_before_it() -> None:
    source = Source(100, fails_at=3)
    taken: list[int] = []
    with pytest.raises(OSError, match="No space left"):
        taken.extend(ahead(source.items(), 2))
    assert source.is_closed
    with closing(ahead(Source(100, fails_at=3).items(), 2)) as items:
        assert [next(items) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(OSError, match="No space left"):
            next(items)


def test_closing_stops_the_thread_and_closes_the_source_there() -> None:
    """The next stage may fail at any time; what the source holds open is released then."""
    before = threading.active_count()
    source = Source(1000)
    with closing(ahead(source.items(), 2)) as items:
        next(items)
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    assert source.is_closed
    assert source.made <= 4
    assert threading.get_ident() not in source.threads


def test_stages_in_a_row_all_stop_when_the_last_is_closed() -> None:
    before = threading.active_count()
    source = Source(1000)
    with closing(ahead(source.items(), 1)) as first:
        doubled = (2 * number for number in first)
        with closing(ahead(doubled, 1)) as second:
            assert [next(second), next(second)] == [0, 2]
    assert threading.active_count() == before
    assert source.is_closed

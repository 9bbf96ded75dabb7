"""The book of shares: seats are divided by demand, and none is counted twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.client.shares import LEASE_S, Ask, Book, Grant, allot

EVERYTHING = 1 << 30


def entry(wants: int, seats: int = 0, last: float = 0.0) -> dict[str, Any]:
    return {"wants": wants, "seats": seats, "last": last}


def exchange(book: Book, me: str, given: list[float] | None = None, *, lives: bool = True) -> Grant:
    ask = Ask(10, 1.0, EVERYTHING, 0.0, given or [])
    return book.exchange(me, 1, {"submit": ask}, lambda _: lives)["submit"]


@pytest.mark.parametrize(
    ("wants", "total", "shares"),
    [
        ([EVERYTHING], 10, [10]),
        ([EVERYTHING, EVERYTHING], 10, [5, 5]),
        ([EVERYTHING, 2], 10, [8, 2]),
        ([EVERYTHING, 0], 10, [9, 1]),
        ([3, 2], 10, [6, 4]),
        ([0, 0], 10, [5, 5]),
        ([EVERYTHING, 4, EVERYTHING], 30, [13, 4, 13]),
        ([0, EVERYTHING, 0], 1, [0, 1, 0]),
    ],
)
def test_seats_are_divided_by_demand(wants: list[int], total: int, shares: list[int]) -> None:
    entries = {str(number): entry(want) for number, want in enumerate(wants)}
    assert list(allot(entries, total).values()) == shares


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9), st.floats(0, 9)), min_size=1),
    st.integers(1, 60),
)
def test_all_seats_are_divided_and_none_twice(
    members: list[tuple[int, int, float]], total: int
) -> None:
    entries = {str(number): entry(*member) for number, member in enumerate(members)}
    shares = allot(entries, total)
    assert sum(shares.values()) == total
    assert min(shares.values()) >= (1 if total >= len(members) else 0)


def test_with_more_members_than_seats_whoever_sent_least_recently_is_next() -> None:
    entries = {"a": entry(9, 1, last=7.0), "b": entry(9, 0, last=5.0), "c": entry(9, 0, last=6.0)}
    assert allot(entries, 1) == {"a": 0, "b": 1, "c": 0}


def test_a_member_that_was_cut_while_it_was_silent_keeps_one_seat_whatever_it_gives() -> None:
    """A request that left late counts for that seat, so it cannot be given with an older time."""
    book = Book(None, 100.0)
    assert len(exchange(book, "a").received) == 10
    exchange(book, "b")
    assert exchange(book, "a").surplus == 5

    later = Book(book.content, 100.0 + LEASE_S + 1.0)
    received = exchange(later, "b").received
    assert received == [pytest.approx(102.0 + LEASE_S)] * 9, "a period after the cut"
    answer = exchange(later, "a", given=[90.0] * 5)

    assert (answer.keeps, answer.received) == (1, [])
    assert exchange(later, "b", given=[110.0] * 4).keeps == 5
    assert exchange(later, "a").received == [110.0] * 4


def test_all_seats_of_a_dead_member_are_free_a_period_later() -> None:
    book = Book(None, 100.0)
    exchange(book, "a")
    later = Book(book.content, 105.0)
    received = exchange(later, "b", lives=False).received
    assert received == [106.0] * 10
    assert list(later.members) == ["b"]


def test_times_of_an_earlier_start_of_the_machine_are_forgotten() -> None:
    book = Book(None, 100_000.0)
    exchange(book, "a")
    again = Book(book.content, 50.0)
    assert exchange(again, "b").received == [50.0 + LEASE_S + 1.0] * 10

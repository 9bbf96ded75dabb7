"""The book of shares: seats are divided by demand, and none is counted twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.client.limits.shares import LEASE_S, Ask, Book, Grant, Process, allot

if TYPE_CHECKING:
    from collections.abc import Callable

EVERYTHING = 1 << 30
ONE, TWO = Process(1, "here"), Process(2, "there")


def entry(wants: int, seats: int = 0, last: float = 0.0) -> dict[str, Any]:
    return {"wants": wants, "seats": seats, "last": last}


def visit(
    content: dict[str, Any] | None,
    now: float,
    me: str,
    given: list[float] | None = None,
    *,
    lives: bool = True,
    traces: tuple[str, ...] = (),
    has_met: bool = False,
) -> tuple[dict[str, Any], Grant]:
    """Return the book after an exchange of one member, and what it was granted."""
    book = Book(content, now, me, lambda: traces, has_met=has_met)
    ask = Ask(10, 1.0, EVERYTHING, 0.0, given or [])
    grant = book.exchange(ONE, {"submit": ask}, lambda _: lives)["submit"]
    return book.content, grant


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


def test_the_first_run_of_all_may_begin_at_once() -> None:
    assert visit(None, 100.0, "a")[1].received == [0.0] * 10


def test_one_that_lost_its_book_begins_a_period_later() -> None:
    """It has just sent, or one that has left since."""
    assert visit(None, 100.0, "a", has_met=True)[1].received == [101.0] * 10


def test_a_lost_book_leaves_a_seat_to_each_member_of_which_there_is_a_sign() -> None:
    content, grant = visit(None, 100.0, "a", traces=("a", "b", "c"))
    assert grant.received == [101.0 + LEASE_S] * 8, "a period after the last lease"

    content, grant = visit(content, 103.0, "b")
    assert (grant.keeps, grant.received) == (0, [104.0] * 8), "it may have written a moment ago"

    content, _ = visit(content, 104.0, "a", lives=False)
    assert sorted(content["members"]) == ["a"]
    assert [group[0] for group in content["kinds"]["submit"]["pool"]] == []
    assert content["members"]["a"]["kinds"]["submit"]["seats"] == 10


def test_more_members_of_a_lost_book_than_seats_are_not_given_more_than_there_are() -> None:
    traces = tuple("abcdefghijklm")
    content, grant = visit(None, 100.0, "a", traces=traces)
    assert grant.received == []
    for name in traces:
        content, _ = visit(content, 100.2, name)
    held = [member["kinds"]["submit"]["seats"] for member in content["members"].values()]
    assert sum(held) + sum(count for _, count in content["kinds"]["submit"]["pool"]) == 10


def test_whoever_leaves_a_lost_book_leaves_no_seat_that_is_free_at_once() -> None:
    book = Book(None, 100.0, "a", tuple, has_met=True)
    book.leave({"submit": [99.0] * 10})
    assert visit(book.content, 100.1, "b")[1].received == [101.0] * 10


@pytest.mark.parametrize("way", ["exchange", "leave"])
def test_the_seat_left_to_a_silent_member_counts_as_used_when_it_comes_back(way: str) -> None:
    """A request may have left late, so it is not free at the time that the member says."""
    content, _ = visit(None, 100.0, "a")
    content, grant = visit(content, 100.0 + LEASE_S + 1.0, "b")
    assert grant.received == [pytest.approx(102.0 + LEASE_S)] * 9, "a period after the cut"

    if way == "exchange":
        content, grant = visit(content, 102.0, "a", given=[90.0] * 5)
        assert grant.keeps == 0
        returned = grant.received[-1]
    else:
        book = Book(content, 102.0, "a", tuple)
        book.leave({"submit": [90.0] * 10})
        returned = book.content["kinds"]["submit"]["pool"][-1][0]

    assert returned == 103.0


def test_all_seats_of_a_dead_member_are_free_a_period_later() -> None:
    content, _ = visit(None, 100.0, "a")
    content, grant = visit(content, 105.0, "b", lives=False)
    assert grant.received == [106.0] * 10
    assert list(content["members"]) == ["b"]


def test_a_cut_counts_by_the_longest_period_of_the_members() -> None:
    content, _ = visit(None, 100.0, "a")
    slow = Book(content, 100.1, "slow", tuple)
    slow.exchange(ONE, {"submit": Ask(0.5, 1.0, EVERYTHING, 0.0)}, lambda _: True)
    assert visit(slow.content, 105.0, "b", lives=False)[1].received == [107.0] * 10


def test_a_limit_that_rises_again_has_its_seats_when_those_that_were_dropped_are_free() -> None:
    content, _ = visit(None, 100.0, "fast")
    slow = {"submit": Ask(2, 1.0, EVERYTHING, 0.0)}
    content = visit_of_slow(content, 100.1, slow)
    content, _ = visit(content, 100.2, "fast", given=[100.2, 100.9, *[101.1] * 7])
    content = visit_of_slow(content, 100.3, slow)

    book = Book(content, 100.4, "slow", tuple)
    book.leave({})

    received = visit(book.content, 100.5, "fast")[1].received
    assert received == [101.1] * 8 + [101.4]


def visit_of_slow(content: dict[str, Any], now: float, ask: dict[str, Ask]) -> dict[str, Any]:
    book = Book(content, now, "slow", tuple)
    book.exchange(TWO, ask, lambda _: True)
    return book.content


def test_the_process_with_the_lowest_limit_and_the_one_with_most_seats_are_known_by_host() -> None:
    content, _ = visit(None, 100.0, "fast")
    book = Book(content, 100.1, "slow", tuple)
    grant = book.exchange(TWO, {"submit": Ask(2, 1.0, EVERYTHING, 0.0)}, lambda _: True)["submit"]
    assert (grant.lowest, grant.holder) == (TWO, ONE)
    assert (grant.lowest.named("here"), grant.holder.named("here")) == (
        "process 2 on there",
        "process 1",
    )


def test_a_member_of_an_earlier_version_has_no_host() -> None:
    content, _ = visit(None, 100.0, "old")
    del content["members"]["old"]["host"]
    grant = visit(content, 100.1, "new")[1]
    assert grant.holder == Process(1)
    assert (grant.holder.named("here"), Process(0).named("here")) == ("process 1", "")


def test_a_limit_that_was_never_so_high_has_its_seats_at_once() -> None:
    slow = Book(None, 100.0, "slow", tuple)
    slow.exchange(ONE, {"submit": Ask(2, 1.0, EVERYTHING, 0.0)}, lambda _: True)
    slow.leave({"submit": [100.5, 100.9]})
    assert visit(slow.content, 100.1, "fast")[1].received == [0.0] * 8 + [100.5, 100.9]


def test_times_of_an_earlier_start_of_the_machine_are_forgotten() -> None:
    content, _ = visit(None, 100_000.0, "a")
    assert visit(content, 50.0, "b")[1].received == [0.0] * 10


@pytest.mark.parametrize(
    "change",
    [
        lambda book: book.pop("at"),
        lambda book: book.pop("members"),
        lambda book: book.update(at="soon"),
        lambda book: book.update(quiet_until=None),
        lambda book: book.update(kinds=[]),
        lambda book: book["members"].update(b={}),
        lambda book: book["members"]["a"].update(kinds={"submit": {"seats": 3}}),
        lambda book: book["members"]["a"]["kinds"]["submit"].update(seats=-1),
        lambda book: book["members"]["a"]["kinds"]["submit"].update(rate=0.0),
        lambda book: book["kinds"]["submit"].update(pool=[[1.0]]),
        lambda book: book["kinds"]["submit"].update(learned=[1.0]),
    ],
)
def test_a_book_of_another_form_counts_as_lost(change: Callable[[dict[str, Any]], Any]) -> None:
    content, _ = visit(None, 100.0, "a")
    expected = visit(None, 101.0, "b", traces=("a",))
    change(content)

    assert visit(content, 101.0, "b", traces=("a",)) == expected

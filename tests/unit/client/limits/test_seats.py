"""Seats are used in turn, change hands with their times, and are lost with the lease."""

from __future__ import annotations

import math

from orchestrator.client.limits.seats import Seats


def used(count: int) -> Seats:
    """Return seats that were used at 1.0, 2.0 ..., each free ten seconds later."""
    seats = Seats(count)
    for number in range(count):
        seats.take(now=1.0 + number).free_at = 11.0 + number
    return seats


def test_seats_are_used_in_turn() -> None:
    seats = Seats(2)
    assert seats.free_at(0.0) == -math.inf
    seats.take(0.0).free_at = 1.0
    seats.take(0.5).free_at = 1.5
    assert seats.free_at(0.5) == 1.0
    seats.take(1.0).free_at = 2.0
    assert seats.free_at(1.0) == 1.5


def test_a_seat_that_was_used_again_is_no_longer_that_of_the_first_request() -> None:
    seats = Seats(1)
    first = seats.take(0.0)
    second = seats.take(5.0)
    assert not seats.may_use(first, 5.0)
    assert seats.may_use(second, 5.0)


def test_when_the_lease_ends_no_seat_may_be_used() -> None:
    seats = Seats(3)
    early, late = seats.take(1.0), seats.take(2.0)
    seats.valid_until = 3.0
    assert seats.may_use(early, 2.9)
    assert seats.may_use(late, 2.9)
    assert not seats.may_use(early, 3.0)
    assert not seats.may_use(late, 3.0)
    assert seats.free_at(2.9) == -math.inf
    assert seats.free_at(3.0) == math.inf


def test_whoever_cannot_ask_the_others_may_go_on_with_the_seat_used_last() -> None:
    seats = Seats(3)
    early, late = seats.take(1.0), seats.take(2.0)
    early.free_at, late.free_at = 11.0, 12.0
    seats.valid_until, seats.is_cut_off = 3.0, True
    assert not seats.may_use(early, 3.0)
    assert seats.may_use(late, 3.0)
    assert seats.free_at(3.0) == 12.0
    seats.take(12.0).free_at = 22.0
    assert seats.free_at(12.0) == 22.0, "the same one again"


def test_seats_are_given_with_their_times_and_are_gone() -> None:
    seats = used(4)
    given = seats.give(2, now=12.5)
    assert given == [12.5, 13.0], "evenly spread; one that is free is free now"
    assert len(seats) == 2
    seats.receive([12.0, 30.0], now=12.5)
    assert [seats.free_at(12.5) <= 12.5, len(seats)] == [True, 4]
    taken = [max(seats.free_at(12.5), 12.5)]
    for _ in range(3):
        seats.take(12.5).free_at = 50.0
        taken.append(max(seats.free_at(12.5), 12.5))
    assert taken == [12.5, 12.5, 14.0, 30.0], "soonest first"


def test_a_seat_whose_request_is_on_its_way_is_not_given() -> None:
    seats = used(2)
    busy = seats.take(11.0)
    busy.free_at, busy.may_move_at = 21.0, 12.0
    assert seats.give(2, now=11.5) == [12.0]
    assert seats.may_use(busy, 11.5)


def test_a_lost_seat_is_not_used() -> None:
    seats = Seats(3)
    seat = seats.take(1.0)
    seats.lose()
    assert (len(seats), seats.free_at(5.0)) == (0, math.inf)
    assert not seats.may_use(seat, 1.0)

"""Pieces of sound are placed by their time stamps: holes, overlaps, jitter and jumps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.separation.media.timeline import (
    TOLERANCE_S,
    Piece,
    TimeLine,
    TimeStampsUnusable,
)

LENGTH_S = 0.02
RATE = 1000


def piece(at_s: float | None) -> Piece:
    return Piece(np.zeros((1, round(LENGTH_S * RATE)), np.float32), RATE, at_s)


def placed(
    stamps: list[float | None], *, stated_s: float | None = None, clock_may_be_set: bool = False
) -> tuple[list[float | None], TimeLine]:
    """Return the place of each piece (None: behind the one before), and the time line."""
    line = TimeLine(clock_may_be_set=clock_may_be_set)
    out = [done for stamp in stamps for done in line.add(piece(stamp))]
    out += line.finish(stated_s)
    return [done.move_s for done in out], line


def steady(start_s: float, count: int) -> list[float | None]:
    return [start_s + number * LENGTH_S for number in range(count)]


def test_sound_without_holes_stays_as_it_is() -> None:
    """Pieces whose stamps follow each other are not moved, wherever the time begins."""
    assert placed(steady(1.4, 20))[0] == [None] * 20


def test_a_hole_moves_the_sound_behind_it() -> None:
    """The first piece behind a hole is placed, and the others follow it."""
    moves, line = placed(steady(1, 10) + steady(4, 10))
    assert moves == [None] * 10 + [pytest.approx(3.0)] + [None] * 9
    assert line.holes_s == [pytest.approx(2.8)]


def test_an_overlap_moves_the_sound_back() -> None:
    """Sound that begins before the end of the sound in front is placed there."""
    moves, line = placed(steady(0, 50) + steady(0.6, 50))
    assert moves[50] == pytest.approx(0.6)
    assert line.overlaps_s == [pytest.approx(0.4)]


def test_stamps_at_half_speed_cut_nothing() -> None:
    """Stamps that fall behind more and more never confirm each other, at the end neither."""
    moves, line = placed([number * LENGTH_S / 2 for number in range(200)])
    assert moves == [None] * 200
    assert line.overlaps_s == []


def test_no_more_is_cut_than_what_follows() -> None:
    """A long overlap at the end costs the few pieces behind it."""
    _, line = placed(steady(0, 50) + steady(0.3, 6))
    assert line.overlaps_s == [pytest.approx(6 * LENGTH_S)]


def test_stamps_that_return_are_jitter() -> None:
    """A stamp that deviates for a moment changes nothing, as the short blocks of vorbis do."""
    stamps = steady(0, 20)
    stamps[7] = (stamps[7] or 0) + 0.0102
    assert placed(stamps)[0] == [None] * 20


def test_one_wrong_stamp_changes_nothing() -> None:
    """A single stamp far away, forward or back, is ignored."""
    for wrong in (500.0, -500.0):
        stamps = steady(0, 20)
        stamps[7] = wrong
        moves, line = placed(stamps)
        assert moves == [None] * 20
        assert line.holes_s == line.overlaps_s == []


def test_a_slow_clock_is_corrected_before_10_ms() -> None:
    """Sound that is recorded a little too slowly stays within 10 ms of its stamps."""
    stamps: list[float | None] = [number * LENGTH_S * 1.001 for number in range(2000)]
    end_s = worst_s = 0.0
    moves, _ = placed(stamps)
    for move, stamp in zip(moves, stamps, strict=True):
        end_s = end_s if move is None else move
        worst_s = max(worst_s, abs(end_s - (stamp or 0)))
        end_s += LENGTH_S
    assert worst_s <= 0.010


def test_pieces_without_a_stamp_follow() -> None:
    """A missing stamp is not a hole."""
    stamps = steady(0, 20)
    stamps[3] = stamps[10] = stamps[11] = None
    assert placed(stamps)[0] == [None] * 20
    assert placed([None] * 5)[0] == [None] * 5


def test_joined_files_follow_each_other() -> None:
    """Stamps that start again, as those of files that were joined, cut nothing."""
    moves, line = placed(steady(1.4, 100) + steady(1.4, 100) + steady(1.4, 100))
    assert moves == [None] * 300
    assert line.ignored == 2


def test_a_clock_that_was_set_does_not_cut_sound() -> None:
    """In transport streams, a long jump back or a very long one forward has no meaning."""
    for jump_s in (-30.0, 4000.0):
        stamps = steady(100, 100) + steady(102 + jump_s, 100) + steady(105 + jump_s, 10)
        moves, line = placed(stamps, clock_may_be_set=True)
        assert moves[100] is None
        assert moves[200] == pytest.approx(5.0)  # the hole behind it is kept
        assert line.ignored == 1


def test_holes_of_more_than_an_hour_are_refused() -> None:
    """Elsewhere, stamps that jump by hours are damaged."""
    with pytest.raises(TimeStampsUnusable):
        placed(steady(0, 10) + steady(4000, 10))
    with pytest.raises(TimeStampsUnusable):
        placed([*steady(0, 10), *steady(2000, 10), *steady(4000, 10)])


def test_a_hole_before_the_last_piece_is_believed_if_it_is_short_or_stated() -> None:
    """Nothing confirms the stamp of the last piece, except the length of the file."""
    assert placed([*steady(0, 10), 5.0])[0][-1] == 5.0
    assert placed([*steady(0, 10), 500.0])[0][-1] is None
    assert placed([*steady(0, 10), 500.0], stated_s=500.02)[0][-1] == 500.0


@given(
    st.lists(st.tuples(st.integers(1, 12), st.floats(-0.4, 3)), min_size=1, max_size=12),
    st.booleans(),
)
def test_no_piece_is_lost_or_moved_out_of_order(
    parts: list[tuple[int, float]], clock_may_be_set: bool
) -> None:
    """Whatever the stamps are, every piece comes out once and in order, near a stamp of its own."""
    stamps: list[float | None] = []
    at_s = 0.0
    for count, jump_s in parts:
        stamps += steady(at_s, count)
        at_s += count * LENGTH_S + jump_s
    line = TimeLine(clock_may_be_set=clock_may_be_set)
    given_in = [piece(stamp) for stamp in stamps]
    out = [done for one in given_in for done in line.add(one)] + line.finish(None)
    assert [id(one) for one in out] == [id(one) for one in given_in]
    for one in out:
        if one.move_s is not None and not line.ignored:
            assert one.at_s is not None
            assert abs(one.move_s - (one.at_s - (stamps[0] or 0))) <= 3 * TOLERANCE_S

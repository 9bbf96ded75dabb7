"""The time line of a track: where each piece of sound belongs, by its time stamps. Pure.

Time stamps are rounded, jitter, and are wrong now and then. So a piece is put where the sound
before it ends, unless its stamp deviates, and the stamps of the next pieces confirm it:

* a hole becomes silence,
* an overlap is cut,
* a jump without a meaning is ignored: back to the start (files that were joined), far ahead, or
  back in a container whose clock may be set while it records (transport streams).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.domain.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.separation.media.mixdown import Planes

TOLERANCE_S: Final = 0.008
"""Deviation that is not corrected; the sound stays within 10 ms of its stamps."""
_CONFIRMED_BY: Final = 5
"""Pieces whose stamps agree before a jump is believed; one wrong stamp changes nothing."""
LONGEST_HOLE_S: Final = 3600.0
"""A longer jump is a fault of the stamps."""
_UNCONFIRMED_HOLE_S: Final = 10.0
"""Longest hole in front of the last pieces, which nothing confirms."""
_CLOCK_SET_S: Final = -10.0
"""A jump back by more than this means that the clock was set (FFmpeg's limit, too)."""
_RESTART_S: Final = 0.1


class TimeStampsUnusable(Exception):
    """The time stamps jump too far."""


@dataclass(slots=True)
class Piece:
    """Some decoded sound.

    Attributes:
        planes: The samples.
        rate_hz: Their rate.
        at_s: Time stamp of the first one, or None.
        move_s: Set by the time line: None if it follows the piece before; otherwise its place,
            in seconds since the first piece.
    """

    planes: Planes
    rate_hz: int
    at_s: float | None
    move_s: float | None = None

    @property
    def length_s(self) -> float:
        """Length of the sound."""
        return float(self.planes.shape[1] / self.rate_hz)


class TimeLine:
    """Places the pieces of one track.

    Attributes:
        holes_s: Length of each hole.
        overlaps_s: Length of each overlap.
        ignored: Jumps that were ignored, because they have no meaning.
    """

    def __init__(self, *, clock_may_be_set: bool) -> None:
        self._clock_may_be_set = clock_may_be_set
        self._first_stamp_s: float | None = None
        self._zero_s = 0.0
        self._end_s = 0.0
        self._waiting: list[Piece] = []
        self._waiting_s = 0.0
        self._jump_s = 0.0
        self._after_overlap_s = 0.0
        self.holes_s: list[float] = []
        self.overlaps_s: list[float] = []
        self.ignored = 0

    def add(self, piece: Piece) -> list[Piece]:
        """Take the next piece, and return those whose place is decided, in order.

        Raises:
            TimeStampsUnusable: The holes are longer than any recording.
        """
        if piece.at_s is None:
            if self._waiting:
                self._wait(piece)
                return []
            return self._follow([piece])
        if self._first_stamp_s is None:
            # Pieces without a stamp may precede; they keep their place.
            self._zero_s = piece.at_s - self._end_s
            self._first_stamp_s = self._end_s = piece.at_s
        deviation = piece.at_s - (self._end_s + self._waiting_s)
        if abs(deviation) <= TOLERANCE_S:
            return self._follow([*self._taken(), piece])
        if self._waiting and abs(deviation - self._jump_s) <= 2 * TOLERANCE_S:
            self._wait(piece)
            return self._jumped() if len(self._waiting) >= _CONFIRMED_BY else []
        before = self._follow(self._taken())
        self._jump_s = deviation
        self._wait(piece)
        return before

    def finish(self, stated_s: float | None) -> list[Piece]:
        """Return the pieces that still wait for a confirmation.

        Args:
            stated_s: Length of the track by its container, which can confirm a hole.
        """
        end_s = self._end_s + self._jump_s + self._waiting_s - self._zero_s
        is_stated = stated_s is not None and end_s <= stated_s + _RESTART_S
        leaves_sound = self._jump_s > -self._waiting_s
        if self._waiting and leaves_sound and (is_stated or self._jump_s <= _UNCONFIRMED_HOLE_S):
            pieces = self._jumped()
        else:
            pieces = self._follow(self._taken())
        if self.overlaps_s:  # no more than what followed was cut
            self.overlaps_s[-1] = min(self.overlaps_s[-1], self._after_overlap_s)
        return pieces

    def _wait(self, piece: Piece) -> None:
        self._waiting.append(piece)
        self._waiting_s += piece.length_s

    def _taken(self) -> list[Piece]:
        pieces, self._waiting, self._waiting_s = self._waiting, [], 0.0
        return pieces

    def _follow(self, pieces: list[Piece]) -> list[Piece]:
        for piece in pieces:
            self._end_s += piece.length_s
            self._after_overlap_s += piece.length_s
        return pieces

    def _jumped(self) -> list[Piece]:
        """Apply the jump in front of the waiting pieces."""
        pieces, jump_s = self._taken(), self._jump_s
        target_s = self._end_s + jump_s
        if self._has_no_meaning(target_s, jump_s):
            # From here on, the stamps have another zero.
            self.ignored += 1
            self._zero_s += jump_s
        else:
            if jump_s > 0:
                self.holes_s.append(jump_s)
                if sum(self.holes_s) > LONGEST_HOLE_S:
                    raise TimeStampsUnusable
            else:
                self.overlaps_s.append(-jump_s)
                self._after_overlap_s = 0.0
            pieces[0].move_s = target_s - self._zero_s
        self._end_s = target_s
        return self._follow(pieces)

    def _has_no_meaning(self, target_s: float, jump_s: float) -> bool:
        first_s = self._first_stamp_s or 0.0
        if jump_s < 0 and abs(target_s - first_s) <= _RESTART_S:
            return True
        if self._clock_may_be_set:
            return jump_s < _CLOCK_SET_S or jump_s > LONGEST_HOLE_S
        return False


_NOTED_S: Final = 0.02
"""Shorter holes and overlaps are corrected without a word."""


def notes_on_time(lines: Iterable[TimeLine], lead_s: float) -> list[str]:
    """Return the sentences about the time line.

    Args:
        lines: The time lines of all parts.
        lead_s: Silence before the sound.
    """
    lines, notes = list(lines), []
    if lead_s > _NOTED_S:
        notes.append(f"The sound starts late: {lead_s:.2f} s of silence precede it.")
    holes = [hole for line in lines for hole in line.holes_s if hole > _NOTED_S]
    if holes:
        notes.append(
            f"{counted(len(holes), 'hole')} in the time stamps ({sum(holes):.2f} s in all) became "
            "silence."
        )
    overlaps = [overlap for line in lines for overlap in line.overlaps_s]
    overlaps = [overlap for overlap in overlaps if overlap > _NOTED_S]
    if overlaps:
        notes.append(
            f"{counted(len(overlaps), 'overlap')} in the time stamps ({sum(overlaps):.2f} s in "
            "all) had to be cut."
        )
    if any(line.ignored for line in lines):
        notes.append("The time stamps start again within the input; its parts follow each other.")
    return notes

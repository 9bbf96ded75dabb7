"""Learn how long jobs run from those that have ended, by the length of their media."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.domain.usual_length import suffix_of

if TYPE_CHECKING:
    from orchestrator.domain.spec import MediaObject

_LEARN = 0.1  # weight of a new observation: the last ten or twenty jobs count
_ROUNDED_S = 1.0  # the service reports whole seconds
_KEPT = 20  # run times kept per length, for the least and a short one


class Length(NamedTuple):
    """Approximate length of an object.

    Attributes:
        unit: ``s``, or the extension of names whose bytes are counted: a second of WAV has ten
            times as many as one of MP3.
        power: The smallest power of two above its seconds or bytes. A factor of two is about as
            regular as a service is.
    """

    unit: str
    power: int


def length_of(media: MediaObject) -> Length | None:
    """Return the length by duration, else by size; None if neither is known."""
    if media.duration_s:
        return Length("s", int(media.duration_s).bit_length())
    if media.size_bytes:
        return Length(suffix_of(media.key), media.size_bytes.bit_length())
    return None


class _Seen:
    """Run times seen for one length."""

    def __init__(self, ran_s: float) -> None:
        self.mean_s = ran_s
        self._last = deque([ran_s], _KEPT)

    def add(self, ran_s: float) -> None:
        self.mean_s += _LEARN * (ran_s - self.mean_s)
        self._last.append(ran_s)

    @property
    def least_s(self) -> float:
        """Time that the next job takes at least, probably: the wider the spread, the less."""
        least_s = min(self._last)
        if len(self._last) == 1:
            return least_s / 2
        spread_s = (max(self._last) - least_s) / (len(self._last) - 1)
        return max(least_s - spread_s - _ROUNDED_S, least_s / 2)

    @property
    def short_s(self) -> float:
        """Time that three of four jobs exceed."""
        return sorted(self._last)[(len(self._last) - 1) // 4]


class RunTimes:
    """Run times of ended jobs, as an estimate for others."""

    def __init__(self) -> None:
        self._by_length: dict[Length, _Seen] = {}
        self._of_all: _Seen | None = None

    def learn(self, media: MediaObject, ran_s: float) -> None:
        """Add the run time of a job of this object."""
        if self._of_all is None:
            self._of_all = _Seen(ran_s)
        else:
            self._of_all.add(ran_s)
        length = length_of(media)
        if length is None:
            return
        if length in self._by_length:
            self._by_length[length].add(ran_s)
        else:
            self._by_length[length] = _Seen(ran_s)

    def of(self, length: Length | None) -> float | None:
        """Estimate the run time of an object of this length in seconds; None if none has ended.

        A length not seen yet counts half of the distance to the nearest one, in powers of two.
        Too short an estimate costs a few queries; too long a one lets an ended job wait.
        """
        seen, powers = self._nearest(length)
        return None if seen is None else float(seen.mean_s * 2 ** (powers / 2))

    def least(self, length: Length | None) -> tuple[float, float]:
        """Return the least and a short time of an object of this length, with caution.

        Both are zero before any job has ended. A shorter object than those seen may take less in
        proportion; a longer one need not take more.
        """
        seen, powers = self._nearest(length)
        if seen is None:
            return 0.0, 0.0
        scale = 2.0 ** min(powers, 0)
        return seen.least_s * scale, seen.short_s * scale

    def _nearest(self, length: Length | None) -> tuple[_Seen | None, int]:
        """Return what was seen of the nearest length, and how many powers of two lie between."""
        if length is None:
            return self._of_all, 0
        if length in self._by_length:
            return self._by_length[length], 0
        alike = [seen for seen in self._by_length if seen.unit == length.unit]
        if not alike:
            return self._of_all, 0
        nearest = min(alike, key=lambda seen: abs(seen.power - length.power))
        return self._by_length[nearest], length.power - nearest.power

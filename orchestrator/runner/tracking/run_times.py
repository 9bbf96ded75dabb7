"""Learn how long jobs run from those that have ended, by the length of their media."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from orchestrator.domain.spec import MediaObject

_LEARN = 0.1  # weight of a new observation: the last ten or twenty jobs count


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
        return Length(media.key.rpartition(".")[2].lower(), media.size_bytes.bit_length())
    return None


class RunTimes:
    """Run times of ended jobs, as an estimate for running ones."""

    def __init__(self) -> None:
        self._by_length: dict[Length, float] = {}
        self._of_all: float | None = None

    def learn(self, media: MediaObject, ran_s: float) -> None:
        """Add the run time of a job of this object."""
        self._of_all = _mixed(self._of_all, ran_s)
        length = length_of(media)
        if length is not None:
            self._by_length[length] = _mixed(self._by_length.get(length), ran_s)

    def of(self, media: MediaObject) -> float | None:
        """Estimate the run time of a job of this object in seconds; None before any has ended.

        A length not seen yet counts half of the distance to the nearest one, in powers of two.
        Too short an estimate costs a few queries; too long a one lets an ended job wait.
        """
        length = length_of(media)
        if length is None or length in self._by_length:
            return self._of_all if length is None else self._by_length[length]
        alike = [seen for seen in self._by_length if seen.unit == length.unit]
        if not alike:
            return self._of_all
        nearest = min(alike, key=lambda seen: abs(seen.power - length.power))
        return float(self._by_length[nearest] * 2 ** ((length.power - nearest.power) / 2))


def _mixed(before: float | None, seen: float) -> float:
    return seen if before is None else before + _LEARN * (seen - before)

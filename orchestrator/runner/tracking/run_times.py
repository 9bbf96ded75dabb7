"""How long jobs run, learned from those that have ended: by the length of their media where it is known, else all alike. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from orchestrator.domain.spec import MediaObject

_LEARN = 0.1  # weight of a new observation: the last ten or twenty jobs count


class Length(NamedTuple):
    """About how long an object is.

    Attributes:
        unit: ``s``, or the ending of names whose bytes are counted: a second of WAV has ten times as many as one of MP3.
        power: The smallest power of two that is larger than its seconds or bytes. Twice as long is about as near as a service is regular.
    """

    unit: str
    power: int


def length_of(media: MediaObject) -> Length | None:
    """The length of an object, from its duration, or else from its size; None if neither is known."""
    if media.duration_s:
        return Length("s", int(media.duration_s).bit_length())
    if media.size_bytes:
        return Length(media.key.rpartition(".")[2].lower(), media.size_bytes.bit_length())
    return None


class RunTimes:
    """What the jobs that ended tell of those that run."""

    def __init__(self) -> None:
        self._by_length: dict[Length, float] = {}
        self._of_all: float | None = None

    def learn(self, media: MediaObject, ran_s: float) -> None:
        """The job of this object ran so long."""
        self._of_all = _mixed(self._of_all, ran_s)
        length = length_of(media)
        if length is not None:
            self._by_length[length] = _mixed(self._by_length.get(length), ran_s)

    def of(self, media: MediaObject) -> float | None:
        """How long the job of this object will probably run, seconds; None before any was seen.

        Of a length that was not seen yet, half of the difference to the nearest one counts (in powers of two): expecting too little costs a
        few questions, expecting too much would let a job that has ended wait.
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

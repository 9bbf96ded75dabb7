"""Numbers over time in a bounded number of equal steps, however long the time is. Pure."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_STEPS = 240
"""More than a chart can show; a series of two columns takes about 2 kB as JSON."""


class TimeSeries:
    """Sums and lowest values per step; the step doubles when the time outgrows the steps.

    Args:
        sums: Names of columns whose values add up.
        lows: Names of columns of which the lowest value counts.
        most: Most steps.
        step_s: Length of a step at first.
    """

    def __init__(
        self,
        sums: Sequence[str],
        lows: Sequence[str] = (),
        *,
        most: int = _MOST_STEPS,
        step_s: float = 1.0,
    ) -> None:
        self.step_s = step_s
        self._most = most
        self._sums = tuple(sums)
        self._values: dict[str, dict[int, float]] = {name: {} for name in (*sums, *lows)}
        self._range: tuple[int, int] | None = None

    def add(self, at: float, name: str, value: float = 1.0) -> None:
        """Take a value of one column at an instant, in seconds since the epoch."""
        step = floor(at / self.step_s)
        low, high = self._range or (step, step)
        low, high = min(low, step), max(high, step)
        while high - low >= self._most:
            self._double()
            low, high, step = low // 2, high // 2, step // 2
        self._range = low, high
        self._put(self._values[name], name, step, value)

    def _put(self, column: dict[int, float], name: str, step: int, value: float) -> None:
        known = column.get(step)
        if known is None:
            column[step] = value
        else:
            column[step] = known + value if name in self._sums else min(known, value)

    def _double(self) -> None:
        self.step_s *= 2
        for name, column in self._values.items():
            merged: dict[int, float] = {}
            for step, value in column.items():
                self._put(merged, name, step // 2, value)
            self._values[name] = merged

    def absorb(self, stored: dict[str, Any]) -> None:
        """Take the values that ``as_dict`` of an earlier series returned; unknown names are not."""
        start, step_s = stored["from"], stored["step_s"]
        for name in self._values:
            for number, value in enumerate(stored.get(name, ())):
                if value is not None:
                    self.add(start + (number + 0.5) * step_s, name, value)

    def as_dict(self) -> dict[str, Any] | None:
        """Return the columns, ready for JSON; None if there are no values.

        ``from`` is the start of the first step. A step without a value is 0 in a sum, else None.
        """
        if self._range is None:
            return None
        low, high = self._range
        columns = {
            name: [
                column.get(step, 0 if name in self._sums else None) for step in _steps(low, high)
            ]
            for name, column in self._values.items()
        }
        return {"from": low * self.step_s, "step_s": self.step_s, **columns}


def _steps(low: int, high: int) -> range:
    return range(low, high + 1)

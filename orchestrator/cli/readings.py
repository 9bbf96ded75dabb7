"""Reads the small languages of the command line: durations, allowances, states to retry."""

from __future__ import annotations

import re

from orchestrator.errors import ConfigError
from orchestrator.states import JobState

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RETRY = {
    "failed": frozenset({JobState.FAILED}),
    "rejected": frozenset({JobState.REJECTED}),
    "all": frozenset({JobState.FAILED, JobState.REJECTED, JobState.CANCELLED, JobState.UNFINISHED}),
}


def read_duration_s(option: str, text: str | None) -> float | None:
    """Seconds of ``90``, ``90s``, ``15m``, ``2h``, ``1h30m`` or ``1d``.

    Raises:
        ConfigError: If it is none of these.
    """
    if text is None:
        return None
    compact = text.replace(" ", "").lower()
    if re.fullmatch(r"\d+(\.\d+)?", compact):
        compact += "s"
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", compact)
    total_s = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    if not parts or "".join(number + unit for number, unit in parts) != compact or total_s <= 0:
        raise ConfigError(f"{option} {text}: this is no duration. Write for example 90s, 15m, 2h or 1h30m.")
    return total_s


def read_allowance(text: str | None) -> tuple[int | None, float | None]:
    """``--max-failures`` as a count, or as a percentage.

    Raises:
        ConfigError: If it is neither.
    """
    if text is None:
        return None, None
    compact = text.replace(" ", "")
    if re.fullmatch(r"\d+", compact):
        return int(compact), None
    if re.fullmatch(r"\d+(\.\d+)?%", compact) and float(compact[:-1]) <= 100:  # a share
        return None, float(compact[:-1])
    raise ConfigError(f"--max-failures {text}: write a number (50) or a percentage (5%).")


def read_retry(text: str | None) -> frozenset[JobState]:
    """The states that ``--retry`` means.

    Raises:
        ConfigError: If it is an unknown word.
    """
    if text is None:
        return frozenset()
    try:
        return _RETRY[text]
    except KeyError:
        raise ConfigError(f"--retry {text}: write one of {', '.join(_RETRY)}.") from None

"""Reads the small languages of the command line: durations, allowances, states to retry."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.domain.states import JobState
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.commands.options import CallbackAddress

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RETRY = {
    "failed": frozenset({JobState.FAILED, JobState.UNFINISHED}),
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
        raise ConfigError(
            f"{option} {text}: this is no duration. Write for example 90s, 15m, 2h or 1h30m."
        )
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


def read_cost(text: float | None) -> float | None:
    """``--max-cost``, which must leave room for something.

    Raises:
        ConfigError: If it is not above 0.
    """
    if text is not None and not text > 0:
        raise ConfigError(
            f"--max-cost {text:g}: it must be more than 0, in the currency of the manifest's price."
        )
    return text


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


def read_address(option: str, text: str) -> tuple[str, int]:
    """Host and port of ``127.0.0.1:8080`` or ``[::1]:8080``.

    Raises:
        ConfigError: If it is no such thing.
    """
    host, colon, port = text.rpartition(":")
    if (
        not colon or not host or not port.isdecimal() or int(port) > 65535
    ):  # the largest port there is
        raise ConfigError(
            f"{option} {text}: write it as HOST:PORT, for example 127.0.0.1:8080 (port 0 takes a free one)."
        )
    return host.strip("[]"), int(port)


def read_bucket(option: str, text: str) -> str:
    """A bucket's name, or nothing.

    Raises:
        ConfigError: If it cannot be one.
    """
    from orchestrator.server.http.request import BUCKET

    if text and not BUCKET.fullmatch(text):
        raise ConfigError(
            f"{option} {text}: this is no bucket name. It is written with the account number, for example media-1250000000."
        )
    return text


def read_callbacks(listen: str | None, url: str | None) -> CallbackAddress | None:
    """Where to listen for callbacks, of ``--callback-listen`` and ``--callback-url``.

    Raises:
        ConfigError: If one of them is no address, or the second stands alone.
    """
    if listen is None:
        if url is not None:
            raise ConfigError(
                "--callback-url needs --callback-listen HOST:PORT: where callbacks arrive on this machine."
            )
        return None
    if url is not None and not re.match(r"https?://[^/]", url):
        raise ConfigError(
            f"--callback-url {url}: write an address that begins with http:// or https://."
        )
    from orchestrator.commands.options import CallbackAddress

    host, port = read_address("--callback-listen", listen)
    return CallbackAddress(host, port, url or "")

"""Values of command-line options: durations, allowances, states to retry, addresses."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from orchestrator.domain import value_formats
from orchestrator.domain.run import MAX_CANARY
from orchestrator.domain.states import JobState
from orchestrator.domain.wording import listed, nearest_word
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.commands.options import CallbackAddress, LiveAddress
    from orchestrator.commands.serve import ClusterOptions

_RAY = re.compile(r"ray://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
_RETRY = {
    "failed": frozenset({JobState.FAILED, JobState.UNFINISHED}),
    "rejected": frozenset({JobState.REJECTED}),
    "all": frozenset({JobState.FAILED, JobState.REJECTED, JobState.CANCELLED, JobState.UNFINISHED}),
}


def read_duration_s(option: str, text: str | None) -> float | None:
    """Return the seconds of ``90``, ``90s``, ``15.5m``, ``1h30m`` or ``1d``.

    Raises:
        ConfigError: If it is not a duration above 0.
    """
    if text is None:
        return None
    seconds = value_formats.duration_s(text)
    if not seconds:
        raise ConfigError(
            f"{option} {text}: not a duration above 0. Write for example 90s, 15m, 2h or 1h30m."
        )
    return seconds


def read_interval_s(option: str, text: str) -> float:
    """Return the seconds of a duration like ``1m``, or 0.

    Raises:
        ConfigError: If it is neither.
    """
    seconds = 0.0 if text.strip() == "0" else value_formats.duration_s(text)
    if seconds is None:
        raise ConfigError(f"{option} {text}: write a duration such as 30s or 5m, or 0 for never.")
    return seconds


def read_allowance(text: str | None) -> tuple[int | None, float | None]:
    """Return ``--max-failures`` as a count or as a percentage; the other one is None.

    Raises:
        ConfigError: If it is neither.
    """
    if text is None:
        return None, None
    read = value_formats.count_or_percent(text)
    if read is None:
        raise ConfigError(
            f"--max-failures {text}: write a number (50) or a percentage up to 100% (5%)."
        )
    return read


def read_cost(text: float | None) -> float | None:
    """Return ``--max-cost``, checked.

    Raises:
        ConfigError: If it is not above 0.
    """
    if text is not None and not text > 0:
        raise ConfigError(
            f"--max-cost {text:g}: it must be more than 0, in the currency of the manifest's price."
        )
    return text


def read_canary(number: int | None) -> int | None:
    """Return ``--canary``, checked.

    Raises:
        ConfigError: If it is out of range.
    """
    if number is not None and not 0 <= number <= MAX_CANARY:
        raise ConfigError(
            f"--canary {number}: write a number of jobs from 1 to {MAX_CANARY}, or 0 for no canary."
        )
    return number


def read_retry(text: str | None) -> frozenset[JobState]:
    """Return the states that ``--retry`` names.

    Raises:
        ConfigError: If it is an unknown word.
    """
    if text is None:
        return frozenset()
    try:
        return _RETRY[text]
    except KeyError:
        near = nearest_word(text, _RETRY)
        hint = f" Did you mean {near}?" if near else ""
        raise ConfigError(f"--retry {text}: write {listed(_RETRY)}.{hint}") from None


def read_address(option: str, text: str) -> tuple[str, int]:
    """Return host and port of ``127.0.0.1:8080`` or ``[::1]:8080``.

    Raises:
        ConfigError: If it is not HOST:PORT.
    """
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) <= 65535):
        raise ConfigError(
            f"{option} {text}: write it as HOST:PORT, for example 127.0.0.1:8080 "
            "(port 0 picks a free port)."
        )
    return host.strip("[]"), int(port)


def read_bucket(option: str, text: str) -> str:
    """Return a bucket name, or an empty text unchanged.

    Raises:
        ConfigError: If it is not a bucket name.
    """
    if text and not value_formats.BUCKET.fullmatch(text):
        raise ConfigError(
            f"{option} {text}: not a valid bucket name. It includes the account number, "
            "for example media-1250000000."
        )
    return text


def read_live(text: str | None) -> LiveAddress | None:
    """Return the address of ``--live``.

    Raises:
        ConfigError: If it is not an address.
    """
    if text is None:
        return None
    from orchestrator.commands.options import LiveAddress

    return LiveAddress(*read_address("--live", text))


def read_callbacks(listen: str | None, url: str | None) -> CallbackAddress | None:
    """Return the address for callbacks from ``--callback-listen`` and ``--callback-url``.

    Raises:
        ConfigError: If one of them is not an address, or the second is given without the first.
    """
    if listen is None:
        if url is not None:
            raise ConfigError(
                "--callback-url needs --callback-listen HOST:PORT, "
                "the address on this machine where callbacks arrive."
            )
        return None
    if url is not None and not value_formats.is_http_url(url):
        raise ConfigError(
            f"--callback-url {url}: write an address that begins with http:// or https://."
        )
    from orchestrator.commands.options import CallbackAddress

    host, port = read_address("--callback-listen", listen)
    return CallbackAddress(host, port, url or "")


def read_workers(text: str) -> int | None:
    """Return ``--workers`` as a number of processes; None for the default or for a cluster.

    Raises:
        ConfigError: If it is neither a number above 0 nor a cluster.
    """
    if not text or text == "ray" or _RAY.fullmatch(text):
        return None
    number = value_formats.integer(text)
    if not number or number < 1:
        raise ConfigError(
            f"--workers {text}: write a number of jobs above 0, 'ray' for a Ray cluster of this "
            "machine, or the address of one: ray://HOST:PORT."
        )
    return number


def read_cluster(
    workers: str, cpus: float | None, gpus: float | None, memory: str | None
) -> ClusterOptions | None:
    """Return the cluster that ``--workers`` names, with the resources of a job, or None.

    Raises:
        ConfigError: If a resource is out of range, or is given without a cluster.
    """
    from orchestrator.commands.serve import ClusterOptions

    given = {"--job-cpus": cpus, "--job-gpus": gpus, "--job-memory": memory}
    if workers != "ray" and not _RAY.fullmatch(workers):
        for option, value in given.items():
            if value is not None:
                raise ConfigError(
                    f"{option} {value} needs a cluster: --workers ray or ray://HOST:PORT."
                )
        return None
    default = ClusterOptions()
    for option, number in (("--job-cpus", cpus), ("--job-gpus", gpus)):
        least = "0 or more" if option == "--job-gpus" else "above 0"
        is_good = number is None or (math.isfinite(number) and number >= 0)
        if not is_good or (number == 0 and option == "--job-cpus"):
            raise ConfigError(f"{option} {number}: write a number {least}, for example 1 or 0.5.")
    size = default.memory_bytes if memory is None else value_formats.size_bytes(memory)
    if size is None:
        raise ConfigError(f"--job-memory {memory}: write a size such as 800MB or 2GiB.")
    return ClusterOptions(
        "" if workers == "ray" else workers,
        default.cpus if cpus is None else cpus,
        default.gpus if gpus is None else gpus,
        size,
    )

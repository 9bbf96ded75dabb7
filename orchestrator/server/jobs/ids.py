"""Ids in the shapes of the vendor's samples, from one source of randomness that can be seeded."""

from __future__ import annotations

import base64
import functools
import random
from datetime import datetime, timedelta, timezone

_VENDOR_ZONE = timezone(timedelta(hours=8))
_FORMAT = "%Y-%m-%dT%H:%M:%S%z"


class Ids:
    """Makes job, queue, template, request and trace ids.

    They name things and guard nothing, so a seeded generator is fine: rehearsals can be repeated with the same ids.
    """

    def __init__(self, seed: int | None = None, used: int = 0) -> None:
        self.seed(seed, used)

    def seed(self, seed: int | None, used: int = 0) -> None:
        """Begin again; None: unpredictable. ``used`` jobs exist already: the same seed gives others then."""
        self._random = random.Random(None if seed is None else f"{seed}/{used}")  # noqa: S311 - ids are names, not secrets
        self._prefix = f"{self._random.getrandbits(32):08x}"
        self._count = 0

    def _hex(self) -> str:
        return f"{self._random.getrandbits(128):032x}"

    def job(self) -> str:
        """``j`` and 32 hex digits."""
        return f"j{self._hex()}"

    def queue(self) -> str:
        """``p`` and 32 hex digits."""
        return f"p{self._hex()}"

    def template(self) -> str:
        """``t1`` and 32 hex digits."""
        return f"t1{self._hex()}"

    def request(self, now: float) -> str:
        """Base64 of ``time_random_count``, as the vendor's look."""
        self._count += 1
        return base64.b64encode(
            f"{int(now):08x}_{self._prefix}_{self._count:x}_1".encode()
        ).decode()


def vendor_time(instant: float | None) -> str:
    """``2022-06-27T15:23:10+0800``; a hyphen for an instant that has not come."""
    return "-" if instant is None else _vendor_second(int(instant))


@functools.lru_cache(1024)  # thousands of jobs share a second
def _vendor_second(second: int) -> str:
    return datetime.fromtimestamp(second, _VENDOR_ZONE).strftime(_FORMAT)


def parse_vendor_time(text: str) -> float:
    """The instant that such a text names.

    Raises:
        ValueError: If it is written otherwise.
    """
    return datetime.strptime(text, _FORMAT).timestamp()  # noqa: DTZ007 - the format has %z

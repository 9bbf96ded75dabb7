"""Ids and times in the form of the vendor's samples; the ids can be seeded."""

from __future__ import annotations

import binascii
import functools
import random
from datetime import datetime, timedelta, timezone

_VENDOR_ZONE = timezone(timedelta(hours=8))
_FORMAT = "%Y-%m-%dT%H:%M:%S%z"


class Ids:
    """Makes the ids of jobs, queues, templates and requests.

    Ids protect nothing, so a seeded generator is fine: a rehearsal can be repeated with the same
    ids.
    """

    def __init__(self, seed: int | None = None, used: int = 0) -> None:
        self.seed(seed, used)

    def seed(self, seed: int | None, used: int = 0) -> None:
        """Restart the generator; None: random. The number of ``used`` ids makes new ones differ."""
        # Ids are names, not secrets.
        self._random = random.Random(None if seed is None else f"{seed}/{used}")  # noqa: S311
        self._prefix = f"{self._random.getrandbits(32):08x}"
        self._count = self._second = 0
        self._head = ""
        self._made = used

    def new(self, prefix: str) -> str:
        """Return a prefix (jobs ``j``, queues ``p``, templates ``t1``) and 32 hex digits.

        They begin with a number that grows, so that new rows of an index are side by side: random
        ids would touch a page of the file each. The vendor's begin with a part of the time.
        """
        self._made += 1
        number = (self._made & 0xFFFFFFFF) << 96 | self._random.getrandbits(96)
        return prefix + number.to_bytes(16, "big").hex()

    def request(self, now: float) -> str:
        """Return the id of a request: Base64 of ``time_random_count``, like the vendor's."""
        self._count += 1
        second = int(now)
        if second != self._second:
            # 18 bytes, which are 24 characters of Base64: what follows does not change them.
            self._second, self._head = second, _base64(f"{second:08x}_{self._prefix}_")
        return self._head + _base64(f"{self._count:x}_1")


def _base64(text: str) -> str:
    return binascii.b2a_base64(text.encode(), newline=False).decode()


def vendor_time(instant: float | None) -> str:
    """Return ``2022-06-27T15:23:10+0800``, or a hyphen for None."""
    return "-" if instant is None else _vendor_second(int(instant))


@functools.lru_cache(1024)  # thousands of jobs have the same second
def _vendor_second(second: int) -> str:
    return datetime.fromtimestamp(second, _VENDOR_ZONE).strftime(_FORMAT)


def parse_vendor_time(text: str) -> float:
    """Return the instant of a text in the vendor's form.

    Raises:
        ValueError: If the text has another form.
    """
    return datetime.strptime(text, _FORMAT).timestamp()  # noqa: DTZ007 - the format has %z

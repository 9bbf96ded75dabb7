"""One grammar for the values that users write: in a manifest, on the command line, in a request.

Each function returns what the text means, or None if it is not written that way. Callers check the
range and write the message.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Final
from urllib.parse import urlsplit

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?([0-9]{1,18}(\.[0-9]{1,18})?|\.[0-9]{1,18})([eE][-+]?[0-9]{1,3})?")
_DURATION_PART = r"([0-9]+(?:\.[0-9]+)?)([smhd])"
_DURATION = re.compile(rf"(?:{_DURATION_PART})+")
_UNITS_S: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_BUCKET_NAME = r"[a-z0-9](?:[a-z0-9-]{0,50}[a-z0-9])?"
BUCKET: Final = re.compile(rf"{_BUCKET_NAME}-[0-9]{{1,20}}")
"""``name-1250000000``: lower case, digits and hyphens, then the account number."""
ACCOUNT_BUCKET: Final = re.compile(rf"{_BUCKET_NAME}-[0-9]{{5,12}}")
"""A bucket whose number can be the number of an account: ``episodes-7`` has lost it."""
LOCAL_BUCKET: Final = re.compile(_BUCKET_NAME)
"""A bucket of the local service, which has no accounts: the number is not needed."""
REGION: Final = re.compile(r"[a-z]{2,10}(-[a-z0-9]{1,20}){1,3}")
"""``ap-chongqing``: a part of the world, then a place."""
_HTTP_URL = re.compile(r"https?://[^/]", re.IGNORECASE)


def integer(text: str) -> int | None:
    """Return a whole number of at most 18 digits."""
    return int(text) if _INTEGER.fullmatch(text) else None


def whole_number(text: str) -> int | None:
    """Return a whole number that is written as ``2``, ``2.0`` or ``2e0``, as tables have it."""
    value = number(text.strip())
    is_whole = value is not None and value.is_integer() and abs(value) < 10**18
    return int(value) if is_whole and value is not None else None


def number(text: str) -> float | None:
    """Return a number such as ``20``, ``.5`` or ``1e3``; too large a number is infinite."""
    return float(text) if _NUMBER.fullmatch(text) else None


def duration_s(text: str) -> float | None:
    """Return the seconds of ``90``, ``90s``, ``15.5m`` or ``1h30m``, with any spaces and case.

    A number without a unit at the end counts seconds.
    """
    compact = text.replace(" ", "").lower()
    if compact[-1:].isdigit():
        compact += "s"
    if not _DURATION.fullmatch(compact):
        return None
    parts = re.findall(_DURATION_PART, compact)
    return sum(float(amount) * _UNITS_S[unit] for amount, unit in parts)


def size_bytes(text: str) -> int | None:
    """Return the bytes of ``300``, ``500kB`` (powers of 1000) or ``10MiB`` (powers of 1024)."""
    match = _SIZE.fullmatch(text)
    if match is None:
        return None
    amount, unit, binary = match.groups()
    power = " kmgt".index(unit.lower()) if unit else 0
    return int(float(amount) * (1024 if binary else 1000) ** power)


def percent(text: str) -> float | None:
    """Return the number in ``5%`` or ``0.5 %``."""
    compact = text.replace(" ", "")
    return number(compact[:-1]) if compact.endswith("%") else None


def count_or_percent(text: str) -> tuple[int | None, float | None] | None:
    """Return a count (``50``) or a percentage from 0 to 100 (``5%``); the other one is None."""
    share = percent(text)
    if share is not None:
        return (None, share) if 0 <= share <= 100 else None
    count = integer(text.replace(" ", ""))
    return (count, None) if count is not None and count >= 0 else None


def calendar_date(text: str) -> date | None:
    """Return the date in ``2026-11-22``."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def is_http_url(text: str) -> bool:
    """Return True for an address that begins with http:// or https:// and a host."""
    return bool(_HTTP_URL.match(text))


def endpoint_url(text: str) -> str | None:
    """Return ``http://host:port`` or ``https://host`` without a slash at the end.

    A path would not be part of what is signed, and a user name or password would be a secret, so an
    address with one of them is not an endpoint.
    """
    try:
        parts = urlsplit(text)
        is_whole = (
            parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
        )
    except ValueError:  # a port that is not a number, a bracket that is not closed
        return None
    has_more = parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc
    return f"{parts.scheme}://{parts.netloc}" if is_whole and not has_more else None

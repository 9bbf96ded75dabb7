"""The kinds of single value in a manifest: numbers, switches, durations, sizes, shares, dates. Each knows its text and its JSON Schema."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, NoReturn

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from orchestrator.domain.wording import quoted

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?([0-9]{1,18}(\.[0-9]{1,18})?|\.[0-9]{1,18})([eE][-+]?[0-9]{1,3})?")
_DURATION = re.compile(r"(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+(?:\.[0-9]+)?)s)?")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_SHARE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%")
_YAML_1_1_SWITCHES = frozenset({"yes", "no", "on", "off", "y", "n"})


def refuse(message: str) -> NoReturn:
    """Refuse a value, in a sentence of ours that becomes the fault's message."""
    raise PydanticCustomError("manifest", "{text}", {"text": message})


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else quoted(value)


def _single(value: Any, wanted: str) -> str:
    """The text of a scalar; refuses lists, mappings and nothing."""
    if isinstance(value, str):
        return value
    return refuse(f"{wanted} is expected here, not {_shown(value)}.")


def _text(value: Any) -> str:
    if isinstance(value, dict) and value and all(inner is None for inner in value.values()):
        written = "{" + ", ".join(value) + "}"
        return refuse(
            f'Braces without quotes are a mapping in YAML. Put quotes around the text: "{written}".'
        )
    return _single(value, "A text")


def _switch_note(text: str) -> str:
    """The old trap of YAML, where ``no`` was false: here it is the word that stands there."""
    return (
        f" (Old YAML reads {text} as true or false; in a manifest it is just this word.)"
        if text.lower() in _YAML_1_1_SWITCHES
        else ""
    )


def _integer(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = _single(value, "A whole number")
    if not _INTEGER.fullmatch(text):
        refuse(f"A whole number is expected here, not {quoted(text)}.{_switch_note(text)}")
    return int(text)


def _number(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = _single(value, "A number")
    if not _NUMBER.fullmatch(text):
        refuse(f"A number is expected here, not {quoted(text)}.{_switch_note(text)}")
    number = float(text)
    if number in {float("inf"), float("-inf")}:
        refuse(f"{quoted(text)} is too large.")
    return number


def parse_duration_s(text: str) -> float | None:
    """Seconds of ``90``, ``90s``, ``15m``, ``2h30m``, ``7d``; None if it is not a duration."""
    if _NUMBER.fullmatch(text):
        return float(text)
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + seconds


def _duration(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds: float | None = float(value)
    else:
        text = _single(value, "A duration")
        seconds = parse_duration_s(text)
    if seconds is None or not 0 <= seconds < 1e10:
        refuse(
            f'{quoted(value)} is no duration. Write for example "90s", "15m", "2h30m" or "7d"; a bare number is seconds.'
        )
    return seconds


def _size(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = _single(value, "A size")
    match = _SIZE.fullmatch(text)
    if match is None:
        refuse(
            f'{quoted(text)} is no size. Write bytes, or for example "500kB", "10MB" (powers of 1000) or "10MiB" (powers of 1024).'
        )
    number, unit, binary = match.groups()
    power = " kmgt".index(unit.lower()) if unit else 0
    return int(float(number) * (1024 if binary else 1000) ** power)


def _day_or_instant(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = _single(value, "A date")
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        refuse(
            f'{quoted(text)} is no date. Write "2026-11-22" or "2026-11-22T01:30:00+08:00" (UTC if no offset stands there).'
        )
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()


def parse_date(text: str) -> date | None:
    """A calendar date ``2026-11-22``, or None."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def parse_share(value: Any) -> tuple[int | None, float | None]:
    """A count (``50``) or a share in percent (``5%``): one of the two is None. Refuses anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value, None
    text = _single(value, "A number or a percentage")
    match = _SHARE.fullmatch(text)
    if match and float(match[1]) <= 100:
        return None, float(match[1])
    if _INTEGER.fullmatch(text) and int(text) >= 0:
        return int(text), None
    return refuse(
        f'{quoted(text)} is neither a count such as 50 nor a percentage such as "5%" (0 to 100).'
    )


Text = Annotated[str, BeforeValidator(_text)]
"""A text as written. A number or a date is text, too, where text is meant."""
Loose = Annotated[
    str, BeforeValidator(_text), WithJsonSchema({"type": ["string", "number", "boolean"]})
]
"""A text for which people also write bare numbers."""
Integer = Annotated[int, BeforeValidator(_integer)]
Number = Annotated[float, BeforeValidator(_number)]
Seconds = Annotated[
    float,
    BeforeValidator(_duration),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0},
                {"type": "string", "pattern": r"^(?=.)(\d+d)?(\d+h)?(\d+m)?(\d+(\.\d+)?s?)?$"},
            ]
        }
    ),
]
"""A duration: ``2h30m``; in seconds once read."""
Bytes = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": r"^\d+(\.\d+)?\s*[kKmMgGtT]?i?[bB]?$"},
            ]
        }
    ),
]
"""A size: ``10MB``; in bytes once read."""
Instant = Annotated[
    float,
    BeforeValidator(_day_or_instant),
    WithJsonSchema({"type": "string", "examples": ["2026-11-22"]}),
]
"""A date or date and time; seconds since the epoch once read."""

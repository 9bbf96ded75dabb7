"""Single values of a manifest as pydantic types, each with its JSON Schema.

A manifest's scalars arrive as text (see ``yaml.document``); Python values come from defaults.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from orchestrator.domain import value_formats
from orchestrator.domain.wording import listed, nearest_word, quoted

_FLAGS = {"true": True, "false": False}
_MEANT = {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false", "0": "false"}
_YAML_1_1_SWITCHES = frozenset({"yes", "no", "on", "off", "y", "n"})


def refuse(message: str, hint: str = "") -> NoReturn:
    """Refuse a value with a message of ours, and the nearest right word if there is one."""
    raise PydanticCustomError("manifest", "{text}", {"text": message, "hint": hint})


def one_of(words: tuple[str, ...], what: str) -> BeforeValidator:
    """Return a validator that takes one of some words, and names them and ``what`` otherwise."""

    def checked(value: Any) -> Any:
        if value not in words:
            refuse(
                f"{quoted(value)} is not a valid {what}. Write {listed(words)}.",
                nearest_word(str(value), words),
            )
        return value

    return BeforeValidator(checked)


def shown(value: object) -> str:
    """Return a value as the middle of a sentence names it."""
    if value is None:
        return "an empty value"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list | tuple) else quoted(value)


def _scalar(value: Any, wanted: str) -> str:
    """Return the text of a scalar; refuse lists, mappings and empty values."""
    if isinstance(value, str):
        return value
    return refuse(f"Expected {wanted} here, not {shown(value)}.")


def _text(value: Any) -> str:
    if isinstance(value, dict) and value and all(inner is None for inner in value.values()):
        written = "{" + ", ".join(value) + "}"
        return refuse(
            f'Braces without quotes are a mapping in YAML. Put quotes around the text: "{written}".'
        )
    return _scalar(value, "text")


def _switch_note(text: str) -> str:
    """Explain the old trap of YAML, where ``no`` meant false."""
    return (
        f" (YAML 1.1 reads {text} as true or false; in a manifest it is plain text.)"
        if text.lower() in _YAML_1_1_SWITCHES
        else ""
    )


def _integer(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = _scalar(value, "a whole number")
    number = value_formats.whole_number(text)
    if number is None:
        refuse(f"Expected a whole number here, not {quoted(text)}.{_switch_note(text)}")
    return number


def _number(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = _scalar(value, "a number")
    number = value_formats.number(text)
    if number is None:
        refuse(f"Expected a number here, not {quoted(text)}.{_switch_note(text)}")
    if number in {float("inf"), float("-inf")}:
        refuse(f"{quoted(text)} is too large.")
    return number


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = _scalar(value, "true or false").lower()
    if text not in _FLAGS:
        refuse(f"Expected true or false here, not {quoted(value)}.", _MEANT.get(text, ""))
    return _FLAGS[text]


def _duration(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds: float | None = float(value)
    else:
        # A bare number may have any form that numbers have elsewhere in a manifest.
        text = _scalar(value, "a duration")
        seconds = value_formats.number(text)
        if seconds is None:
            seconds = value_formats.duration_s(text)
    if seconds is None or not 0 <= seconds < 1e10:
        refuse(
            f"{quoted(value)} is not a valid duration. "
            'Write for example "90s", "15m", "2h30m" or "7d"; a plain number means seconds.'
        )
    return seconds


def _size(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = _scalar(value, "a size")
    size = value_formats.size_bytes(text)
    if size is None:
        refuse(
            f"{quoted(text)} is not a valid size. Write a number of bytes, "
            'or for example "500kB", "10MB" (powers of 1000) or "10MiB" (powers of 1024).'
        )
    return size


def _instant(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = _scalar(value, "a date")
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        refuse(
            f'{quoted(text)} is not a valid date. Write "2026-11-22" or '
            '"2026-11-22T01:30:00+08:00" (without an offset: UTC).'
        )
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()


def _truth(value: Any) -> bool:
    words = {"true": True, "false": False}
    if isinstance(value, bool):
        return value
    text = _scalar(value, "true or false")
    if text.lower() not in words:
        refuse(f"Expected true or false here, not {quoted(text)}.{_switch_note(text)}")
    return words[text.lower()]


def read_share(value: Any) -> tuple[int | None, float | None]:
    """Return a count (``50``) or a percentage (``5%``); refuse other values."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value, None
    text = _scalar(value, "a number or a percentage")
    read = value_formats.count_or_percent(text)
    if read is None:
        refuse(
            f"{quoted(text)} is neither a count such as 50 "
            'nor a percentage such as "5%" (0 to 100).'
        )
    return read


Text = Annotated[str, BeforeValidator(_text)]
"""Text as written. A number or a date is text too where text is expected."""
Loose = Annotated[
    str, BeforeValidator(_text), WithJsonSchema({"type": ["string", "number", "boolean"]})
]
"""Text for which people also write plain numbers."""
Integer = Annotated[int, BeforeValidator(_integer)]
Truth = Annotated[bool, BeforeValidator(_truth)]
Number = Annotated[float, BeforeValidator(_number)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Seconds = Annotated[
    float,
    BeforeValidator(_duration),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0},
                {
                    "type": "string",
                    "pattern": r"^(?=.*\d) *(\d+(\.\d+)? *[smhdSMHD] *)*(\d+(\.\d+)?)? *$",
                },
            ]
        }
    ),
]
"""A duration such as ``2h30m``, read as seconds."""
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
"""A size such as ``10MB``, read as bytes."""
Instant = Annotated[
    float,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "examples": ["2026-11-22"]}),
]
"""A date, or a date and time, read as seconds since the epoch."""

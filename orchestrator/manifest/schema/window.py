"""The hours in which a run may submit, in the user's time zone. Pure: no clock is read here."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from orchestrator.domain.wording import nearest_word, quoted
from orchestrator.manifest.schema.job_settings import Part
from orchestrator.manifest.schema.value_types import Text, refuse

if TYPE_CHECKING:
    from datetime import tzinfo

    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)
_DAYS_AHEAD = 9
"""Every weekly pattern opens or closes within eight days."""


def zone_of(name: str) -> tzinfo:
    """Return a time zone; UTC needs no zone file.

    Raises:
        ZoneInfoNotFoundError: If this machine does not know the name.
    """
    return UTC if name.upper() == "UTC" else ZoneInfo(name)


def check_zone(name: str) -> str:
    """Return the name of a time zone that this machine knows; refuse other names."""
    try:
        zone_of(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        refuse(
            f"{quoted(name)} is not a valid time zone. Write UTC, or a name such as Asia/Shanghai.",
            nearest_word(name, available_timezones()),
        )
    return name


def _clock_time(value: str) -> str:
    try:
        time.fromisoformat(value)
    except ValueError:
        refuse(f'{quoted(value)} is not a valid time of day. Write it as "22:00".')
    return value


ClockTime = Annotated[
    Text,
    AfterValidator(_clock_time),
    WithJsonSchema({"type": "string", "pattern": r"^[0-2]\d:[0-5]\d(:[0-5]\d)?$"}),
]


class WindowSettings(Part):
    """The hours in which jobs are submitted; outside them a run only tracks submitted jobs."""

    opens: ClockTime = Field(alias="from", examples=["22:00"])
    """Local time at which it opens."""
    closes: ClockTime = Field(alias="to", examples=["06:00"])
    """Local time at which it closes; a time before from means the next day."""
    days: tuple[Day, ...] = DAYS
    """Days on which it opens."""
    timezone: Annotated[Text, AfterValidator(check_zone)] | None = None
    """Time zone; the manifest's time zone if left out."""

    @model_validator(mode="after")
    def _opens_at_all(self) -> Self:
        if self.opens == self.closes:
            refuse(
                f"from and to are both {self.opens}: the window would never be open. "
                "Leave the window out to submit at any time."
            )
        if not self.days:
            refuse("days is empty: the window would never be open.")
        return self


_SHORT = r"^([0-2]\d:[0-5]\d)-([0-2]\d:[0-5]\d)( [A-Za-z0-9_+/-]+)?$"


def _in_full(value: Any) -> Any:
    """Return the short form as a mapping."""
    if not isinstance(value, str):
        return value
    found = re.match(_SHORT, value)
    if found is None:
        refuse(
            f'{quoted(value)} is not a valid window. Write "22:00-06:00", '
            '"22:00-06:00 Asia/Shanghai", or a mapping with from and to.'
        )
    opens, closes, zone = found.groups()
    return {"from": opens, "to": closes} | ({"timezone": zone.strip()} if zone else {})


class _OrShort:
    """Allow the short form in the JSON Schema."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {
            "anyOf": [
                {"type": "string", "pattern": _SHORT, "examples": ["01:00-06:00 Asia/Shanghai"]},
                handler(schema),
            ]
        }


AnyWindow = Annotated[WindowSettings, BeforeValidator(_in_full), _OrShort()]
"""A window in a manifest: a mapping, or text such as ``01:00-06:00 Asia/Shanghai``."""


class Window:
    """A weekly pattern of open hours.

    Args:
        settings: The window in the manifest.
        zone: Time zone if the settings name none.
    """

    def __init__(self, settings: WindowSettings, zone: str) -> None:
        self.settings = settings
        self.zone_name = settings.timezone or zone
        self.zone = zone_of(self.zone_name)
        self._opens = time.fromisoformat(settings.opens)
        self._closes = time.fromisoformat(settings.closes)

    def __str__(self) -> str:
        days = "" if self.settings.days == DAYS else f" on {', '.join(self.settings.days)}"
        return f"{self.settings.opens} to {self.settings.closes} {self.zone_name}{days}"

    def is_open(self, now: float) -> bool:
        """Return True if jobs may be submitted at ``now`` (seconds since the epoch)."""
        return any(start <= now < end for start, end in self._spans(now))

    def next_change(self, now: float) -> float:
        """Return the first instant after ``now`` at which it opens or closes."""
        spans = self._spans(now)
        edges = {edge for span in spans for edge in span if edge > now}
        # Nothing changes if one span ends as the next begins.
        starts, ends = {start for start, _ in spans}, {end for _, end in spans}
        return min(edges - (starts & ends), default=now + _DAYS_AHEAD * 86400)

    def _spans(self, now: float) -> list[tuple[float, float]]:
        today = datetime.fromtimestamp(now, self.zone).date()
        spans = []
        for ahead in range(-1, _DAYS_AHEAD):
            day = today + timedelta(days=ahead)
            if DAYS[day.weekday()] in self.settings.days:
                last = day + timedelta(days=1) if self._closes <= self._opens else day
                opens = datetime.combine(day, self._opens, self.zone)
                closes = datetime.combine(last, self._closes, self.zone)
                spans.append((opens.timestamp(), closes.timestamp()))
        return spans

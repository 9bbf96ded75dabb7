"""The hours in which a run may submit, in the user's own time zone. Pure: instants come in, answers go out."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from orchestrator.domain.wording import did_you_mean, quoted
from orchestrator.manifest.schema.job_settings import Part
from orchestrator.manifest.schema.value_types import Text, refuse

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)
_DAYS_AHEAD = 9
"""Every weekly pattern opens or closes within eight days."""


def check_zone(name: str) -> str:
    """The name of a time zone that this machine knows; refused otherwise."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = did_you_mean(name, available_timezones())
        refuse(
            f"{quoted(name)} is no time zone. Write UTC, or a name such as Asia/Shanghai. {near}".rstrip()
        )
    return name


def _clock_time(value: str) -> str:
    try:
        time.fromisoformat(value)
    except ValueError:
        refuse(f'{quoted(value)} is no time of day. Write it as "22:00".')
    return value


ClockTime = Annotated[
    Text,
    AfterValidator(_clock_time),
    WithJsonSchema({"type": "string", "pattern": r"^[0-2]\d:[0-5]\d(:[0-5]\d)?$"}),
]


class WindowSettings(Part):
    """The hours in which jobs are submitted; outside of them a run only follows what it has sent."""

    opens: ClockTime = Field(alias="from", examples=["22:00"])
    """Local time at which it opens."""
    closes: ClockTime = Field(alias="to", examples=["06:00"])
    """Local time at which it closes; earlier than from means on the next day."""
    days: tuple[Day, ...] = DAYS
    """Days on which it opens."""
    timezone: Annotated[Text, AfterValidator(check_zone)] | None = None
    """Time zone; the manifest's if left out."""

    @model_validator(mode="after")
    def _opens_at_all(self) -> Self:
        if self.opens == self.closes:
            refuse(
                f"from and to are both {self.opens}: the window would never be open. Leave the window out to submit at any time."
            )
        if not self.days:
            refuse("days is empty: the window would never be open.")
        return self


_SHORT = r"^([0-2]\d:[0-5]\d)-([0-2]\d:[0-5]\d)( [A-Za-z0-9_+/-]+)?$"


def _in_full(value: Any) -> Any:
    """The short form as the mapping that it stands for."""
    if not isinstance(value, str):
        return value
    found = re.match(_SHORT, value)
    if found is None:
        refuse(
            f'{quoted(value)} is no window. Write "22:00-06:00", "22:00-06:00 Asia/Shanghai", or a mapping with from and to.'
        )
    opens, closes, zone = found.groups()
    return {"from": opens, "to": closes} | ({"timezone": zone.strip()} if zone else {})


class _OrShort:
    """Says in the JSON Schema that a text will do as well."""

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
"""A window as it stands in a manifest: a mapping, or a text such as ``01:00-06:00``, with the time zone behind it if need be."""


class Window:
    """A weekly pattern of open hours.

    Args:
        settings: What the manifest says.
        zone: Time zone if the settings name none.
    """

    def __init__(self, settings: WindowSettings, zone: str) -> None:
        self.settings = settings
        self.zone = ZoneInfo(settings.timezone or zone)
        self._opens = time.fromisoformat(settings.opens)
        self._closes = time.fromisoformat(settings.closes)

    def __str__(self) -> str:
        days = "" if self.settings.days == DAYS else f" on {', '.join(self.settings.days)}"
        return f"{self.settings.opens} to {self.settings.closes} {self.zone.key}{days}"

    def is_open(self, now: float) -> bool:
        """Whether jobs may be submitted at ``now`` (seconds since the epoch)."""
        return any(start <= now < end for start, end in self._spans(now))

    def next_change(self, now: float) -> float:
        """The first instant after ``now`` at which it opens or closes."""
        spans = self._spans(now)
        edges = {edge for span in spans for edge in span if edge > now}
        # Where one span ends as the next begins, nothing changes.
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

"""Windows: the hours in which a run submits."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from orchestrator.manifest.schema.window import DAYS, AnyWindow, Window, WindowSettings


def _at(text: str, zone: str = "Asia/Shanghai") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def _window(opens: str, closes: str, **more: object) -> Window:
    return Window(
        WindowSettings.model_validate({"from": opens, "to": closes, **more}), "Asia/Shanghai"
    )


@pytest.mark.parametrize(
    ("time", "is_open"),
    [
        ("21:59:59", False),
        ("22:00", True),
        ("23:59", True),
        ("00:00", True),
        ("05:59", True),
        ("06:00", False),
    ],
)
def test_a_window_over_midnight_is_open_at_night(time: str, is_open: bool) -> None:
    assert _window("22:00", "06:00").is_open(_at(f"2026-11-22T{time}")) is is_open


def test_days_name_the_day_on_which_the_window_opens() -> None:
    window = _window("22:00", "06:00", days=["fri"])

    assert window.is_open(_at("2026-11-21T05:00"))  # Saturday morning
    assert not window.is_open(_at("2026-11-21T22:00"))
    assert window.next_change(_at("2026-11-21T07:00")) == _at("2026-11-27T22:00")


def test_the_time_zone_of_the_window_overrides_the_manifest() -> None:
    assert _window("22:00", "06:00", timezone="UTC").is_open(_at("2026-11-22T23:00", "UTC"))


def test_a_window_follows_daylight_saving_time() -> None:
    window = _window("01:00", "04:00", timezone="Europe/Berlin")
    before = _at("2026-03-29T00:00", "Europe/Berlin")

    opens = window.next_change(before)
    assert (
        window.next_change(opens) - opens == 2 * 3600
    )  # 02:00 to 03:00 does not exist on that day


@given(
    now=st.integers(1_700_000_000, 1_900_000_000),
    hours=st.tuples(st.integers(0, 23), st.integers(0, 23)).filter(lambda pair: pair[0] != pair[1]),
    days=st.sets(st.sampled_from(DAYS), min_size=1),
)
def test_the_next_change_is_the_first_change(
    now: int, hours: tuple[int, int], days: set[str]
) -> None:
    window = _window(f"{hours[0]:02}:00", f"{hours[1]:02}:00", days=sorted(days))
    change = window.next_change(now)

    assert now < change <= now + 9 * 86400
    assert window.is_open(change) is not window.is_open(now)
    assert window.is_open(change - 1) is window.is_open(now)


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("22:00-06:00", None),
        ("22:00-06:00 UTC", "UTC"),
        ("22:00-06:00 Asia/Shanghai", "Asia/Shanghai"),
    ],
)
def test_the_short_form_equals_the_mapping(text: str, zone: str | None) -> None:
    long = {"from": "22:00", "to": "06:00"} | ({"timezone": zone} if zone else {})
    assert TypeAdapter(AnyWindow).validate_python(text) == WindowSettings.model_validate(long)


@pytest.mark.parametrize(
    "text",
    [
        "22-06",
        "22:00",
        "22:00 - 06:00",
        "22:00-06:00 Mars/Olympus",
        "25:00-06:00",
        "06:00-06:00",
        "",
    ],
)
def test_loader_and_schema_refuse_a_wrong_short_form(
    text: str,
) -> None:
    adapter = TypeAdapter[WindowSettings](AnyWindow)
    with pytest.raises(ValidationError):
        adapter.validate_python(text)
    (short, _) = adapter.json_schema()["anyOf"]
    assert bool(re.match(short["pattern"], text)) == (
        text in {"22:00-06:00 Mars/Olympus", "25:00-06:00", "06:00-06:00"}
    )


def test_zones_are_known_on_a_machine_without_zone_files() -> None:
    """The zones come with a package, and UTC needs none."""
    script = (
        "from datetime import UTC\n"
        "from orchestrator.manifest.schema.window import check_zone, zone_of\n"
        "assert zone_of('UTC') is UTC\n"
        "check_zone('Asia/Shanghai')\n"
        "import sys; sys.modules['tzdata'] = None\n"
        "check_zone('UTC')\n"
    )
    environment = {**os.environ, "PYTHONTZPATH": "/nonexistent"}

    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")

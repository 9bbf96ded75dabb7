"""Minutes and cost of a run."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.domain.run import Usage
from orchestrator.domain.states import JobState
from orchestrator.reporting.spending import Price, Spending, spending_of
from orchestrator.reporting.summary import spending_text


def used(**changes: Any) -> Usage:
    usual = Usage(0, "inputs[0]", JobState.SUCCEEDED, "", 2, "mp3", 1, 60.0, 0, 60.0, 0, 0)
    return usual._replace(**changes)


def spent(*usages: Usage, per_minute: float = 0.1) -> Spending:
    return spending_of(
        usages, Price(per_minute, "CNY"), lambda _, size: size / 1000, lambda source: source
    )


def test_two_stems_of_a_minute_are_two_minutes_and_only_success_is_charged() -> None:
    found = spent(used(), used(state=JobState.FAILED, code="Broken", jobs=3)).as_dict()

    assert found["minutes"] == {"estimated": 2.0, "actual": 2.0}
    assert found["cost"] == {"estimated": 0.2, "actual": 0.2, "currency": "CNY"}
    assert found["by_code"] == {"failed": {"Broken": 3}}


def test_an_estimate_takes_given_lengths_then_sizes_then_the_average() -> None:
    found = spent(
        used(),
        used(suffix="wav", media_s=130.0, given_s=0.0, sized_bytes=120_000),
        used(suffix="", jobs=2, media_s=100.0, given_s=0.0, unsized=2, unmeasured=1),
    ).as_dict()

    assert found["minutes"]["actual"] == pytest.approx(2 * 290 / 60, abs=0.01)
    assert found["minutes"]["estimated"] == pytest.approx(2 * (60 + 120) * 2 / 60)
    assert found["unmeasured"] == 1


def test_without_any_length_beforehand_there_is_no_estimate() -> None:
    part = spent(used(given_s=0.0, unsized=1)).as_dict()

    assert part["minutes"] == {"estimated": None, "actual": 2.0}
    assert spending_text(part) == "2.0 minutes, 0.20 CNY"


def test_levels_and_sources_add_up_to_the_whole() -> None:
    found = spent(
        used(), used(level=2, source="inputs[1]", media_s=30.0), used(level=2, media_s=90.0)
    ).as_dict()

    for kind in ("by_level", "by_source"):
        parts = found[kind].values()
        assert sum(part["minutes"]["actual"] for part in parts) == found["minutes"]["actual"] == 6
        assert sum(part["jobs"] for part in parts) == 3
    assert list(found["by_level"]) == ["2", "0"]


def test_the_local_service_costs_nothing() -> None:
    assert spending_text(spent(used(), per_minute=0.0).as_dict()) == "2.0 minutes (estimated 2.0)"

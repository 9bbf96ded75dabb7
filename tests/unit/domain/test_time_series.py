"""Numbers over time stay few, and lose nothing but their exact instants."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.time_series import TimeSeries


def test_values_of_one_step_add_up_and_the_lowest_rate_counts() -> None:
    series = TimeSeries(("sent",), ("rate",))
    for at, rate in ((10.2, 5.0), (10.9, 3.0), (12.5, 4.0)):
        series.add(at, "sent")
        series.add(at, "rate", rate)

    assert series.as_dict() == {
        "from": 10.0,
        "step_s": 1.0,
        "sent": [2.0, 0, 1.0],
        "rate": [3.0, None, 4.0],
    }


def test_a_series_without_values_is_none() -> None:
    assert TimeSeries(("sent",)).as_dict() is None


@given(st.lists(st.floats(min_value=0, max_value=4e9), min_size=1, max_size=60))
def test_any_instants_in_any_order_keep_their_sum_in_a_bounded_number_of_steps(
    instants: list[float],
) -> None:
    series = TimeSeries(("sent",), ("rate",), most=16)
    for number, at in enumerate(instants):
        series.add(at, "sent")
        series.add(at, "rate", float(number))

    found = series.as_dict()

    assert found is not None
    assert len(found["sent"]) <= 16
    assert sum(found["sent"]) == len(instants)
    assert min(rate for rate in found["rate"] if rate is not None) == 0
    assert found["from"] <= min(instants)
    assert max(instants) <= found["from"] + len(found["sent"]) * found["step_s"]


def test_a_series_continues_a_stored_one() -> None:
    before, series = TimeSeries(("sent",), ("rate",)), TimeSeries(("sent",), ("rate",))
    for at in range(1000):
        before.add(at, "sent")
    stored = before.as_dict()
    series.add(2000, "sent", 7)
    series.add(2000, "rate", 2.5)

    assert stored is not None
    series.absorb(stored)

    found = series.as_dict()
    assert found is not None
    assert sum(found["sent"]) == 1007
    assert found["rate"][-1] == 2.5

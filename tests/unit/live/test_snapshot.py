"""A run at one moment: its ages, its words, and its way through the ledger."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.live.snapshot import Snapshot, duration_text, left_text
from tests.unit.live.samples import RUN


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (65, "1:05"), (754, "12:34"), (3723.9, "1:02:03")]
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1, "5 s"),
        (43, "45 s"),
        (432, "7 min"),
        (8000, "2 h 15 min"),
        (7200, "2 h"),
        (3e5, "3.5 days"),
    ],
)
def test_the_time_left_is_as_rough_as_it_is_known(seconds: float, text: str) -> None:
    assert left_text(seconds) == text


def test_a_snapshot_survives_the_way_through_the_ledger() -> None:
    assert Snapshot.of(RUN.as_dict()) == replace(RUN, jobs=dict(RUN.jobs), work=dict(RUN.work))
    assert Snapshot.of({**RUN.as_dict(), "of_a_later_version": 1}).run == RUN.run


def test_a_snapshot_that_is_watched_ages() -> None:
    later = RUN.later(RUN.at + 10)

    assert (later.elapsed_s, later.eta_s, later.files[0].for_s) == (764.0, 422.0, 93.0)

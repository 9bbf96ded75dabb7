"""Run times of jobs, learned from jobs of about the same length."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.spec import MediaObject
from orchestrator.runner.tracking.run_times import RunTimes, length_of

NOTHING = MediaObject("a-1250000000", "ap-chongqing", "one.mp3")


def seconds(duration_s: float) -> MediaObject:
    return replace(NOTHING, duration_s=duration_s)


def size(size_bytes: int, key: str = "one.mp3") -> MediaObject:
    return replace(NOTHING, size_bytes=size_bytes, key=key)


def learned(*seen: tuple[MediaObject, float]) -> RunTimes:
    times = RunTimes()
    for media, ran_s in seen:
        times.learn(media, ran_s)
    return times


def test_no_run_time_is_known_before_a_job_has_ended() -> None:
    assert RunTimes().of(length_of(seconds(60.0))) is None


def test_jobs_of_about_the_same_length_share_a_run_time() -> None:
    times = learned((seconds(100.0), 10.0), (seconds(3600.0), 400.0))

    assert times.of(length_of(seconds(110.0))) == 10.0
    assert times.of(length_of(seconds(4000.0))) == 400.0


def test_the_latest_jobs_count_most() -> None:
    times = learned(*[(seconds(100.0), 10.0)] * 50, *[(seconds(100.0), 20.0)] * 50)
    found = times.of(length_of(seconds(100.0)))
    assert found is not None
    assert 19.5 < found < 20.0


@pytest.mark.parametrize(("duration_s", "expected_s"), [(400.0, 20.0), (1600.0, 40.0), (25.0, 5.0)])
def test_an_unseen_length_scales_the_run_time_by_half_of_the_difference(
    duration_s: float, expected_s: float
) -> None:
    assert learned((seconds(100.0), 10.0)).of(length_of(seconds(duration_s))) == expected_s


def test_an_unseen_length_scales_from_the_nearest_seen_one() -> None:
    assert learned((seconds(10.0), 1.0), (seconds(3600.0), 400.0)).of(
        length_of(seconds(1800.0))
    ) == pytest.approx(400.0 / 2**0.5)


def test_sizes_count_within_one_file_type_and_otherwise_the_mean_of_all_jobs_counts() -> None:
    times = learned((size(1 << 20), 10.0), (size(1 << 20, "two.WAV"), 1.0))

    assert times.of(length_of(size(1 << 20, "two.wav"))) == 1.0
    assert times.of(length_of(size(1 << 20, "three.mp3"))) == 10.0
    mean_s = 10.0 + 0.1 * (1.0 - 10.0)
    assert (
        times.of(length_of(size(1 << 20, "four.flac")))
        == times.of(length_of(NOTHING))
        == times.of(length_of(seconds(60.0)))
        == mean_s
    )


def test_a_duration_is_preferred_to_a_size() -> None:
    assert length_of(replace(seconds(60.0), size_bytes=1 << 20)) == ("s", 6)
    assert length_of(size(1 << 20, "a/b.MP3")) == ("mp3", 21)
    assert length_of(NOTHING) is None


def test_before_any_job_has_ended_a_job_may_take_no_time() -> None:
    assert RunTimes().least(None) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("ran_s", "least_s"),
    [([60.0], 30.0), ([60.0] * 3, 59.0), ([50.0, 60.0, 70.0], 39.0), ([10.0, 4000.0], 5.0)],
)
def test_the_least_time_is_shorter_the_wider_the_seen_times_are_spread(
    ran_s: list[float], least_s: float
) -> None:
    times = learned(*((NOTHING, one) for one in ran_s))

    assert times.least(None)[0] == least_s


def test_three_of_four_jobs_take_longer_than_the_short_time() -> None:
    times = learned(*((NOTHING, float(one)) for one in range(1, 14)))

    assert times.least(None)[1] == 4.0


@pytest.mark.parametrize(("duration_s", "least_s"), [(25.0, 7.25), (100.0, 29.0), (4000.0, 29.0)])
def test_a_shorter_object_may_take_less_in_proportion_and_a_longer_one_need_not_take_more(
    duration_s: float, least_s: float
) -> None:
    times = learned(*[(seconds(100.0), 30.0)] * 2)

    assert times.least(length_of(seconds(duration_s)))[0] == least_s

"""Metrics for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.domain import events as ev
from orchestrator.domain.spec import JobKey
from orchestrator.domain.states import JobState
from orchestrator.errors import ConfigError
from orchestrator.live.metrics import Metrics, MetricsFile, stored_manifest
from orchestrator.live.sinks import Sinks
from orchestrator.live.tally import Tally
from tests.unit.live.samples import ManualClock

if TYPE_CHECKING:
    from pathlib import Path

A, B = JobKey("v1.a"), JobKey("v1.b")


def values(path: Path) -> dict[str, float]:
    return {
        "/".join((sample.name, sample.labels.get("state", ""))).rstrip("/"): sample.value
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }


def test_the_file_follows_the_run_and_says_how_it_ended(tmp_path: Path) -> None:
    path, clock = tmp_path / "orchestrator.prom", ManualClock()
    tally = Tally(clock)
    metrics = MetricsFile(path, Metrics(tally, "nightly", 10.0), clock, pytest.fail)
    file = Sinks(tally, metrics)
    assert values(path)["orchestrator_run_exit_code"] == -1
    assert values(path)["orchestrator_rate_limit"] == 10

    for event in (
        ev.RunStarted("r", "r.jsonl", resumed=False),
        ev.JobsPlanned(new=2, done=7),
        ev.JobSending(A, "a", 0, 1),
        ev.SubmitThrottled(),
        ev.JobReturned(A, "a", "SlowDown", 1.0),
        ev.RateChanged(5.0, "slower"),
        ev.JobSending(A, "a", 0, 2),
        ev.JobInDoubt(A, "a", "reset"),
    ):
        file.emit(event)
    assert values(path)["orchestrator_submits_total"] == 0, "not written at each event"
    clock.at += 20
    file.emit(ev.JobSending(B, "b", 0, 1))

    found = values(path)
    assert found["orchestrator_submits_total"] == 3
    assert found["orchestrator_throttled_total"] == 1
    assert found["orchestrator_in_doubt"] == found["orchestrator_jobs/in_doubt"] == 1
    assert found["orchestrator_jobs/skipped"] == 7
    assert found["orchestrator_rate_limit"] == 5
    assert found["orchestrator_last_success_timestamp_seconds"] == 0

    jobs = dict.fromkeys(JobState, 0) | {"succeeded": 2, "skipped": 7}
    metrics.ended(0, {"jobs": jobs, "cost": {"actual": 1.25}})
    found = values(path)
    assert found["orchestrator_jobs/succeeded"] == 2
    assert found["orchestrator_jobs/in_doubt"] == found["orchestrator_in_doubt"] == 0
    assert found["orchestrator_cost"] == 1.25
    assert found["orchestrator_run_exit_code"] == 0
    assert found["orchestrator_last_success_timestamp_seconds"] == clock.now()


def test_a_run_that_fails_keeps_the_time_of_the_last_success(tmp_path: Path) -> None:
    path, clock = tmp_path / "orchestrator.prom", ManualClock()
    MetricsFile(path, Metrics(Tally(clock), "nightly"), clock, pytest.fail).ended(0)
    before = clock.now()
    clock.at += 86_400

    MetricsFile(path, Metrics(Tally(clock), "nightly"), clock, pytest.fail).ended(3)

    assert values(path)["orchestrator_last_success_timestamp_seconds"] == before
    assert values(path)["orchestrator_run_exit_code"] == 3


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"orchestrator_last_success_timestamp"])
def test_a_damaged_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    path, clock = tmp_path / "orchestrator.prom", ManualClock()
    path.write_bytes(content)

    MetricsFile(path, Metrics(Tally(clock), "nightly"), clock, pytest.fail).ended(1)

    assert values(path)["orchestrator_run_exit_code"] == 1


def test_a_file_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path) -> None:
    clock = ManualClock()
    with pytest.raises(ConfigError, match=r"Cannot write the metrics file .*--metrics-file"):
        MetricsFile(
            tmp_path / "missing" / "x.prom", Metrics(Tally(clock), "nightly"), clock, pytest.fail
        )


def test_a_file_that_cannot_be_written_later_is_reported_once_and_tried_again(
    tmp_path: Path,
) -> None:
    folder, away = tmp_path / "metrics", tmp_path / "away"
    folder.mkdir()
    path, clock, said = folder / "orchestrator.prom", ManualClock(), list[str]()
    file = MetricsFile(path, Metrics(Tally(clock), "nightly"), clock, said.append)

    folder.rename(away)
    for _ in range(3):
        clock.at += 20
        file.emit(ev.JobSending(A, "a", 0, 1))
    assert said == [
        f"Cannot write the metrics file {path}: No such file or directory. The run is not affected."
    ]
    away.rename(folder)
    clock.at += 20
    file.emit(ev.JobSending(B, "b", 0, 1))
    assert values(path)["orchestrator_submits_total"] == 4

    folder.rename(away)
    file.ended(0)
    assert len(said) == 2, "the end is reported, too"


def test_each_metric_names_its_manifest(tmp_path: Path) -> None:
    """node_exporter refuses two files that have the same metric with the same labels."""
    path, clock = tmp_path / "nightly.prom", ManualClock()
    assert stored_manifest(path) == ""

    MetricsFile(path, Metrics(Tally(clock), "nightly"), clock, pytest.fail).ended(0)

    samples = [
        sample
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
    ]
    assert len(samples) > 10
    assert {sample.labels["manifest"] for sample in samples} == {"nightly"}
    assert stored_manifest(path) == "nightly"

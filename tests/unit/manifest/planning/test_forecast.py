"""Forecast, explanation and selection, which ``plan`` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.cli.plan_text import plan_text
from orchestrator.commands.plan import Preview
from orchestrator.domain.job import LEFT, Job
from orchestrator.domain.states import JobState
from orchestrator.domain.wording import counted
from orchestrator.errors import ConfigError
from orchestrator.manifest.planning.explain import explain
from orchestrator.manifest.planning.forecast import Forecast, Standing
from orchestrator.manifest.planning.planner import Planner
from orchestrator.manifest.sources.selection import Selection, parse_share
from orchestrator.manifest.sources.stream import read

if TYPE_CHECKING:
    from orchestrator.manifest.sources.item import SourceItem
    from tests.unit.manifest.conftest import Desk

TEXT = """\
service: tencent
params: {place: s}
defaults:
  operation: {audio: {codec: mp3, bitrate: 192}}
  output: {voice: "{place}/{stem}.${ext}", background: "{place}/{stem}-b.${ext}"}
inputs:
  - {object: a.mp3, duration_s: 60}
  - {object: b.wav, size_bytes: 10584000, level: 2}
  - {object: c.mp3}
  - list: l.csv
rules:
  - when: {object: "*.amr"}
    operation: {audio: {codec: amr}}
    level: 1
price: {per_minute: 0.5, currency: CNY}
limits: {submit_per_s: 2}
"""


async def _items(desk: Desk) -> list[SourceItem]:
    desk.write("l.csv", "object,level,user_data\nd.amr,,u1\ne.mp3,2,\n")
    return [item async for batch in read(desk.load(TEXT)) for item in batch]


async def test_a_forecast_counts_by_standing_level_and_source(desk: Desk) -> None:
    items = await _items(desk)
    manifest = desk.load(TEXT)
    a, b, c, d, e = Planner(manifest).specs(items)
    forecast = Forecast(manifest)
    found = [
        forecast.add(a),
        forecast.add(b, changed=True),
        forecast.add(c, Job(1, c, JobState.SUCCEEDED)),
        forecast.add(d, Job(2, d, JobState.FAILED)),
        forecast.add(e, Job(3, e, JobState.SUBMITTED)),
    ]
    data = forecast.as_dict()

    assert found == [
        Standing.NEW,
        Standing.CHANGED,
        Standing.DONE,
        Standing.FAILED,
        Standing.OPEN,
    ]
    assert data["jobs"] == {
        "new": 1,
        "changed": 1,
        "open": 1,
        "failed_before": 1,
        "done": 1,
        "lost": 0,
        "rejected": 0,
        "total": 5,
        "to_do": 3,
        "orphaned": 0,
    }
    assert data["by_level"]["2"]["open"] == data["by_level"]["1"]["failed_before"] == 1
    assert data["by_source"] == {
        "single objects": {
            "new": 1,
            "changed": 1,
            "open": 0,
            "failed_before": 0,
            "done": 1,
            "lost": 0,
            "rejected": 0,
        },
        "inputs[3]": {
            "new": 0,
            "changed": 0,
            "open": 1,
            "failed_before": 1,
            "done": 0,
            "lost": 0,
            "rejected": 0,
        },
    }


async def test_minutes_and_cost_show_the_basis_of_the_durations(desk: Desk) -> None:
    items = await _items(desk)
    manifest = desk.load(TEXT)
    a, b, c, *_ = Planner(manifest).specs(items)
    forecast = Forecast(manifest)
    forecast.add(a)  # 60 s given
    forecast.add(b)  # 10,584,000 bytes of wav: 60 s
    assert forecast.output_minutes == 4.0
    assert forecast.cost == 2.0
    forecast.add(c)  # unknown: the average of the others

    assert forecast.output_minutes == 6.0
    assert forecast.as_dict()["estimate"]["durations"] == {
        "given": 1,
        "measured": 0,
        "from_size": 1,
        "unknown": 1,
    }
    assert forecast.as_dict()["schema"] == "orchestrator.plan/1"
    assert forecast.as_dict()["calls"] == {"submit": 3, "query": 2, "head": 6}
    assert forecast.at_least_s == 1.5
    assert any("1 object is estimated from the size" in note for note in forecast.notes())


async def test_submitted_jobs_add_no_cost(desk: Desk) -> None:
    items = await _items(desk)
    a, *_ = Planner(desk.load(TEXT)).specs(items)
    forecast = Forecast(desk.load(TEXT))
    forecast.add(a, Job(1, a, JobState.RUNNING))

    assert (forecast.cost, forecast.to_do, forecast.as_dict()["calls"]["submit"]) == (0.0, 1, 0)


async def test_a_job_with_lost_stems_counts_with_its_measured_duration(desk: Desk) -> None:
    items = await _items(desk)
    _, _, c, *_ = Planner(desk.load(TEXT)).specs(items)
    forecast = Forecast(desk.load(TEXT))

    assert (
        forecast.add(c, Job(1, c, JobState.SUCCEEDED, media_duration_s=60), lost=True)
        is Standing.LOST
    )
    assert (forecast.to_do, forecast.output_minutes) == (1, 2.0)


async def test_cost_is_unknown_without_durations_and_zero_on_the_local_service(
    desk: Desk,
) -> None:
    items = await _items(desk)
    _, _, c, *_ = Planner(desk.load(TEXT)).specs(items)
    cloud, local = Forecast(desk.load(TEXT)), Forecast(desk.load(TEXT, service="local"))
    cloud.add(c)
    local.add(c)

    assert (cloud.cost, local.cost) == (None, 0.0)


async def test_failed_jobs_count_as_work_only_if_they_are_retried(desk: Desk) -> None:
    items = await _items(desk)
    a, *_ = Planner(desk.load(TEXT)).specs(items)
    job = Job(1, a, JobState.FAILED, media_duration_s=120)
    resting, again = Forecast(desk.load(TEXT)), Forecast(desk.load(TEXT), retry=[JobState.FAILED])
    resting.add(a, job)
    again.add(a, job)

    assert (resting.to_do, again.to_do) == (0, 1)


async def test_an_explanation_gives_each_value_and_the_line_that_set_it(desk: Desk) -> None:
    items = await _items(desk)
    (job,) = explain(desk.load(TEXT), items[3])
    origins = {
        value.name: (value.value, value.origin.rpartition("/")[2], value.note)
        for value in job.values
    }

    assert origins["object"] == ("d.amr", "l.csv:2", "")
    assert origins["codec"] == ("amr", "manifest.yaml:16", "")
    assert origins["level"] == ("1", "manifest.yaml:17", "")
    assert origins["user_data"] == ("u1", "l.csv:2", "column user_data")
    assert origins["voice"] == ("s/d.${ext}", "manifest.yaml:8", "from {place}/{stem}.${ext}")
    assert origins["samplerate"] == ("8000", "derived", "the only value that the codec supports")
    assert origins["bitrate"][2].startswith("dropped")
    assert origins["audio_mode"] == (
        "AudioAndBackground",
        "derived",
        "follows from the named outputs",
    )
    assert origins["bucket"][1] == "manifest.yaml:2"


async def test_an_explanation_of_a_single_object_names_its_lines(desk: Desk) -> None:
    items = await _items(desk)
    (job,) = explain(desk.load(TEXT), items[1])
    origins = {value.name: value.origin.rpartition("/")[2] for value in job.values}

    assert (origins["level"], origins["codec"]) == ("manifest.yaml:11", "manifest.yaml:7")


async def test_a_selection_takes_by_name_and_stops_at_its_limit(desk: Desk) -> None:
    items = await _items(desk)
    selection = Selection(only=["*.mp3"], limit=2)

    assert [item.media.key for item in selection.take(items)] == ["a.mp3", "c.mp3"]
    assert selection.is_exhausted
    assert not selection.is_whole
    assert Selection().take(items) == items
    assert Selection().is_whole


async def test_a_sample_takes_the_same_share_of_objects_every_time(desk: Desk) -> None:
    (item, *_) = await _items(desk)
    items = [
        item._replace(media=type(item.media)("b-12345", "r", f"{number}.mp3"))
        for number in range(10_000)
    ]
    first, again = Selection(sample=5).take(items), Selection(sample=5).take(items)

    assert first == again
    assert 400 < len(first) < 600


@pytest.mark.parametrize(("limit", "sample"), [(0, None), (None, 0.0), (None, 101.0)])
def test_numbers_out_of_range_are_refused(limit: int | None, sample: float | None) -> None:
    with pytest.raises(ConfigError):
        Selection(limit=limit, sample=sample)


def test_a_share_is_a_percentage() -> None:
    assert parse_share("1.5%") == 1.5
    with pytest.raises(ConfigError, match="percentage"):
        parse_share("half")


def test_numbers_and_their_nouns_agree() -> None:
    assert [counted(number, "object") for number in (0, 1, 2, 1000)] == [
        "0 objects",
        "1 object",
        "2 objects",
        "1,000 objects",
    ]
    assert counted(2, "query", "queries") == "2 queries"


async def test_a_plan_without_objects_gives_possible_reasons(desk: Desk) -> None:
    await _items(desk)
    forecast = Forecast(desk.load(TEXT))

    text = plan_text(Preview(forecast))

    assert "0 of 0 jobs" in text
    assert "No objects" in text
    assert all(len(line) <= 80 for line in text.splitlines())


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_a_plan_fits_the_terminal_and_cuts_no_path(desk: Desk, columns: int) -> None:
    desk.write("l.csv", "object\n")
    forecast = Forecast(desk.load(TEXT))
    path = "/srv/media/a-long-name/with-hyphens/nightly.db"
    forecast.remarks = [f"Another ledger has done the jobs. Use it with --ledger {path}."]
    for name in ("new", "changed", "open", "done"):
        forecast.totals[name] = 1_000_000
    forecast.by_source = {"single objects": forecast.totals, "inputs[1]": forecast.totals}

    text = plan_text(Preview(forecast), columns)

    assert max(len(line) for line in text.splitlines()) <= columns
    assert f"{path}." in text.split()
    assert "single ob" in text


@pytest.mark.parametrize(
    ("leftovers", "fate"),
    [("keep", "neither sent nor cancelled"), ("finish", "sent too"), ("drop", "cancelled by the")],
)
def test_the_plan_says_what_becomes_of_leftovers(desk: Desk, leftovers: str, fate: str) -> None:
    desk.write("l.csv", "object\n")
    forecast = Forecast(desk.load(f"{TEXT}leftovers: {leftovers}\ncanary: 3\n"))
    assert forecast.as_dict()["left"] == 0
    assert not any("Left by" in note or "Canary" in note for note in forecast.notes())
    forecast.left, forecast.orphaned, forecast.canary = 2, 5, 3
    notes = " ".join(forecast.notes())

    assert f"not in the manifest: 2 jobs, {fate}" in notes
    assert "At the service, but no longer in the manifest: 3 jobs, tracked" in notes
    assert "Canary: 3 jobs must succeed before the rest is sent." in notes
    assert forecast.as_dict()["left"] == 2


async def test_a_job_that_was_dropped_is_to_be_done_again(desk: Desk) -> None:
    items = await _items(desk)
    [spec, *_] = Planner(desk.load(TEXT)).specs(items)
    forecast = Forecast(desk.load(TEXT))

    dropped = Job(1, spec, JobState.CANCELLED, message=LEFT)
    cancelled = Job(2, spec, JobState.CANCELLED, message="Cancelled before it was sent.")
    assert forecast.add(spec, dropped) is Standing.OPEN
    assert forecast.add(spec, cancelled) is Standing.FAILED
    assert forecast.to_do == 1

"""The page of a run: which rows and totals it has, and when there are links."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import yaml

from orchestrator.commands.history import note_pace
from orchestrator.commands.options import ManifestSource
from orchestrator.commands.page import PageOptions, write_beside, write_page
from orchestrator.commands.resources import state_folder
from orchestrator.domain.states import JobState
from orchestrator.errors import ConfigError, CredentialsMissing, OrchestratorError
from orchestrator.ledger import open_ledger
from orchestrator.live.pace import pace_series
from orchestrator.reporting.page.writer import is_page
from orchestrator.reporting.row import line
from orchestrator.testing.builders import make_holder, make_specs, way_to

if TYPE_CHECKING:
    from pathlib import Path

T0 = 1_795_309_200.0
TENCENT: dict[str, Any] = {
    "name": "nightly",
    "service": "tencent",
    "bucket": "demo-1250000000",
    "region": "ap-chongqing",
    "inputs": [{"object": "a.mp3"}],
    "defaults": {"output": {"voice": "stems/{stem}.mp3"}},
}


class SetClock:
    """Time that stands still."""

    def now(self) -> float:
        return T0 + 100

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, delay_s: float) -> None:
        """Return at once."""


def source_of(folder: Path, **changes: Any) -> ManifestSource:
    content = {**TENCENT, **changes}
    return ManifestSource(folder / "nightly.yaml", content=yaml.safe_dump(content).encode())


async def make_runs(folder: Path) -> list[str]:
    """Make two runs: three jobs that succeeded, then two that failed; return their ids."""
    ledger = open_ledger(str(folder / ".orchestrator" / "nightly.db"))
    await ledger.acquire(make_holder())
    ids, first = [], 1
    for count, state in ((3, JobState.SUCCEEDED), (2, JobState.FAILED)):
        run = await ledger.begin_run("nightly", T0 + first, str(folder / "{run}.jsonl"))
        ids.append(run.id)
        jobs = await ledger.add(run, make_specs(count, first))
        first += count
        for step in way_to(state):
            for job in jobs:
                job.finished_at, job.media_duration_s = T0 + 9, 60.0
                job.step(step)
            await ledger.save(jobs)
        rows = await ledger.rows(run)
        (folder / f"{run.id}.jsonl").write_bytes(b"".join(line(job, run) for job in rows))
        entry = {"calls": {"submits": count, "heads": 1}, "elapsed_s": 7.0, "stopped": ""}
        entry |= {"cost": {"actual": 2.5, "estimated": 2.0, "currency": "CNY"}}
        await ledger.remember(f"history.{run.number}", orjson.dumps(entry))
        series = pace_series()
        series.add(T0 + first, "sent", count)
        await note_pace(ledger, run, series.as_dict())
        await ledger.end_run(run, T0 + 50)
    await ledger.close()
    return ids


async def totals_of(source: ManifestSource, options: PageOptions) -> dict[str, Any]:
    file = io.BytesIO()
    await write_page(source, file, options, clock=SetClock())
    found = re.search(rb'id="totals">(.*?)</script>', file.getvalue(), re.DOTALL)
    assert found is not None
    totals: dict[str, Any] = json.loads(found[1])
    return totals


async def test_the_last_run_is_shown_with_its_calls_and_pace(tmp_path: Path) -> None:
    ids = await make_runs(tmp_path)

    totals = await totals_of(source_of(tmp_path), PageOptions(tmp_path))

    assert (totals["run"], totals["jobs"], totals["states"]["failed"]) == (ids[1], 2, 2)
    assert (totals["calls_total"], totals["elapsed_s"]) == (3, 7.0)
    assert totals["pace"]["sent"] == [2]
    assert totals["cost_value"] == 0


async def test_an_earlier_run_is_shown_as_its_report_and_history_have_it(tmp_path: Path) -> None:
    ids = await make_runs(tmp_path)

    totals = await totals_of(source_of(tmp_path), PageOptions(tmp_path, ids[0]))

    assert (totals["run"], totals["jobs"], totals["states"]["succeeded"]) == (ids[0], 3, 3)
    assert totals["cost_text"] == "2.50 CNY"
    assert totals["pace"]["sent"] == [3]


async def test_all_jobs_are_shown_with_the_calls_of_all_runs(tmp_path: Path) -> None:
    await make_runs(tmp_path)

    totals = await totals_of(source_of(tmp_path), PageOptions(tmp_path, "all"))

    assert (totals["run"], totals["jobs"]) == ("all", 5)
    assert totals["calls"] == {"submits": 5, "heads": 2}
    assert sum(totals["pace"]["sent"]) == 5
    assert totals["minutes"]["actual"] == 6.0


async def test_chosen_states_are_named(tmp_path: Path) -> None:
    await make_runs(tmp_path)

    totals = await totals_of(source_of(tmp_path), PageOptions(tmp_path, "all", ["failed"]))

    assert totals["jobs"] == 2
    assert totals["verdict_text"] == "2 jobs, only failed ones."


async def test_a_report_that_is_gone_is_noted(tmp_path: Path) -> None:
    ids = await make_runs(tmp_path)
    (tmp_path / f"{ids[0]}.jsonl").write_text('{"torn')

    totals = await totals_of(source_of(tmp_path), PageOptions(tmp_path, ids[0]))

    assert "The report of this run is gone or damaged" in totals["notes"][0]


async def test_links_are_made_on_request_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_runs(tmp_path)
    monkeypatch.setenv("TENCENTCLOUD_SECRET_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("TENCENTCLOUD_SECRET_KEY", "exampleSecretKey")
    without, linked = io.BytesIO(), io.BytesIO()

    await write_page(source_of(tmp_path), without, PageOptions(tmp_path), clock=SetClock())
    options = PageOptions(tmp_path, links_s=3600)
    await write_page(source_of(tmp_path), linked, options, clock=SetClock())

    assert b"q-sign-time" not in without.getvalue()
    assert b"q-sign-time" in linked.getvalue()
    assert b"exampleSecretKey" not in linked.getvalue()
    places = re.search(rb'id="places">(.*?)</script>', linked.getvalue())
    assert places is not None
    assert json.loads(places[1])["links"]["expires_at"] == (T0 + 3700) * 1000
    policy = re.search(rb"media-src ([^;]+);", linked.getvalue())
    assert policy is not None
    assert re.fullmatch(rb"https://[a-z0-9-]+\.cos\.[a-z-]+\.myqcloud\.com", policy[1])


@pytest.mark.parametrize(
    ("changes", "links_s", "message"),
    [
        ({"service": "local"}, 60, "the files are on this machine"),
        (
            {"service": {"ci": "http://127.0.0.1:1", "cos": "http://127.0.0.1:1"}},
            60,
            "only reach the vendor's own addresses",
        ),
        ({}, 8 * 86400, "Write at most 7d"),
    ],
)
async def test_links_that_cannot_work_are_refused(
    tmp_path: Path, changes: dict[str, Any], links_s: float, message: str
) -> None:
    await make_runs(tmp_path)

    with pytest.raises(ConfigError, match=message):
        await totals_of(source_of(tmp_path, **changes), PageOptions(tmp_path, links_s=links_s))


async def test_links_need_a_key_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await make_runs(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    with pytest.raises(CredentialsMissing):
        await totals_of(source_of(tmp_path), PageOptions(tmp_path, links_s=60))


async def test_the_page_beside_a_report_replaces_an_earlier_one_and_nothing_else(
    tmp_path: Path,
) -> None:
    ids = await make_runs(tmp_path)
    ledger = open_ledger(str(tmp_path / ".orchestrator" / "nightly.db"), read_only=True)
    last, first = await ledger.runs(2)
    await ledger.close()

    await write_beside(source_of(tmp_path), last)
    path, _ = await write_beside(source_of(tmp_path), last)
    assert path == tmp_path / f"{ids[1]}.html"
    assert is_page(path, ids[1])

    (tmp_path / f"{ids[0]}.html").write_text("Dear diary")
    with pytest.raises(OrchestratorError, match="is not a page of orchestrator"):
        await write_beside(source_of(tmp_path), first)
    assert (tmp_path / f"{ids[0]}.html").read_text() == "Dear diary"


async def test_waveforms_are_kept_at_the_manifest_if_the_ledger_is_in_a_database(
    tmp_path: Path,
) -> None:
    manifest = source_of(tmp_path).load()

    here = state_folder(manifest, str(tmp_path / "ledgers" / "nightly.db"))
    there = state_folder(manifest, "postgresql://me@db.example/jobs")

    assert here == tmp_path / "ledgers"
    assert there == tmp_path / ".orchestrator"


async def test_the_pace_of_a_resumed_run_adds_up(tmp_path: Path) -> None:
    ledger = open_ledger(str(tmp_path / "nightly.db"))
    await ledger.acquire(make_holder())
    run = await ledger.begin_run("nightly", T0, "report.jsonl")
    for at in (T0, T0 + 30):
        series = pace_series()
        series.add(at, "sent")
        await note_pace(ledger, run, series.as_dict())

    await note_pace(ledger, run, None)

    found = orjson.loads(await ledger.recall("pace.1") or b"")
    assert sum(found["sent"]) == 2
    assert len(found["sent"]) == 31
    await ledger.close()

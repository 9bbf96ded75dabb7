"""The functions that a program calls."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import orchestrator
from orchestrator.domain.events import JobAccepted, JobEnded, RunStarted
from orchestrator.errors import ConfigError, ManifestError
from orchestrator.server.pace import Pace, Progression
from tests.e2e.playground import BUCKET, KEYS, REGION

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.playground import RunningService


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("keys")]


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the credentials of the service."""
    monkeypatch.setenv("TENCENTCLOUD_SECRET_ID", KEYS.secret_id)
    monkeypatch.setenv("TENCENTCLOUD_SECRET_KEY", KEYS.secret_key)


def content(service: RunningService, *objects: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": "album",
        "service": {"ci": service.url, "cos": service.url},
        "bucket": BUCKET,
        "region": REGION,
        "defaults": {"output": {"voice": "stems/{stem}.mp3"}},
        "limits": {"submit_per_s": 1000, "query_per_s": 1000},
        "retry": {"initial_s": 0.05, "cap_s": 0.5, "settle_s": 0.2},
        "inputs": [{"object": name} for name in objects],
        **changes,
    }


def test_a_mapping_is_planned_run_and_read(service: RunningService, tmp_path: Path) -> None:
    album = content(service, "in/a.mp3", "in/b.mp3")
    seen: list[object] = []

    assert orchestrator.plan(album, folder=tmp_path).forecast.to_do == 2
    result = orchestrator.run(album, folder=tmp_path, on_event=seen.append)

    assert result.is_complete
    assert isinstance(seen[0], RunStarted)
    assert sum(isinstance(event, JobEnded) for event in seen) == 2
    found = orchestrator.rows(album, folder=tmp_path)
    assert {row["input"]["object"] for row in found} == {"in/a.mp3", "in/b.mp3"}
    assert (tmp_path / ".orchestrator" / "album.db").exists()
    assert orchestrator.plan(album, folder=tmp_path).forecast.to_do == 0


def test_a_model_is_the_same_manifest_as_its_mapping(
    service: RunningService, tmp_path: Path
) -> None:
    album = content(
        service,
        "in/a.mp3",
        window="00:00-23:59 Asia/Shanghai",
        report={"path": "r/{run}.jsonl", "rows": "all"},
        budget={"max_failures": "5%", "deadline": "6h"},
        rules=[{"when": {"object": "in/*.mp3"}, "level": 2}],
    )
    model = orchestrator.ManifestFile.model_validate(album)

    of_model, of_mapping = (
        orchestrator.plan(each, folder=tmp_path).forecast.as_dict() for each in (model, album)
    )

    assert of_model == of_mapping
    assert list(of_model["by_level"]) == ["2"]


async def test_it_works_inside_a_running_loop(service: RunningService, tmp_path: Path) -> None:
    result = orchestrator.run(content(service, "in/a.mp3"), folder=tmp_path)

    assert result.is_complete


async def test_events_are_read_as_they_come(service: RunningService, tmp_path: Path) -> None:
    async with orchestrator.start(content(service, "in/a.mp3"), folder=tmp_path) as running:
        events = [event async for event in running]
        result = await running.result()

    assert [event.object for event in events if isinstance(event, JobEnded)] == ["in/a.mp3"]
    assert result.is_complete
    assert running.dropped == 0


@pytest.mark.parametrize("how", ["cancel", "leave"])
async def test_a_cancelled_run_stops_in_order_and_is_resumed(
    service: RunningService, tmp_path: Path, how: str
) -> None:
    service.pace(Progression(Pace.SECONDS, finish_after=2))
    album = content(service, "in/a.mp3")
    accepted = asyncio.Event()

    def watch(event: object) -> None:
        if isinstance(event, JobAccepted):
            accepted.set()

    if how == "cancel":
        task = asyncio.ensure_future(orchestrator.run_async(album, folder=tmp_path, on_event=watch))
        await accepted.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        async with orchestrator.start(album, folder=tmp_path) as running:
            async for event in running:
                if isinstance(event, JobAccepted):
                    break

    result = await orchestrator.run_async(album, folder=tmp_path)
    assert result.is_complete
    assert result.run.resumed
    assert len(service.jobs()) == 1


PROGRAM = """
import json, sys
import orchestrator
from orchestrator.domain.events import JobAccepted

def watch(event):
    if isinstance(event, JobAccepted):
        print("accepted", flush=True)

try:
    orchestrator.run(json.loads(sys.argv[1]), folder=sys.argv[2], on_event=watch)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_stops_in_order(service: RunningService, tmp_path: Path) -> None:
    service.pace(Progression(Pace.SECONDS, finish_after=2))
    album = content(service, "in/a.mp3")
    program = [sys.executable, "-c", PROGRAM, json.dumps(album), str(tmp_path)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "accepted\n"
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()

    assert (process.returncode, said) == (0, "interrupted\n")
    assert orchestrator.rows(album, folder=tmp_path) == []
    assert orchestrator.run(album, folder=tmp_path).is_complete
    assert len(service.jobs()) == 1


def test_errors_are_raised_as_documented(service: RunningService, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="leve"):
        orchestrator.run(content(service, "in/a.mp3", leve=2), folder=tmp_path)
    with pytest.raises(ConfigError, match="no runs yet"):
        orchestrator.rows(content(service, "in/a.mp3"), folder=tmp_path)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = orchestrator.nothing

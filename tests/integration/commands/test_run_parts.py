"""Objects that a calling program passes in cannot break the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.commands.options import RunOptions
from orchestrator.commands.run import open_session, run_manifest
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.events import JobAccepted
from orchestrator.domain.states import JobState
from orchestrator.errors import AuthRejected, BucketRefused, BucketUnknown, OrchestratorError
from orchestrator.manifest import load_manifest
from orchestrator.server.faults.script import Faults
from orchestrator.server.pace import Pace, Progression
from orchestrator.server.service import LocalService
from orchestrator.server.settings import LocalSettings
from tests.integration.commands.test_run_clocks import KEYS, MANIFEST

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.domain.events import Event


class Failing:
    """A sink that cannot handle accepted jobs."""

    def emit(self, event: Event) -> None:
        """Fail."""
        if isinstance(event, JobAccepted):
            raise TypeError("what is this?")


async def test_a_sink_that_raises_does_not_break_a_run_that_a_program_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENCENTCLOUD_SECRET_ID", KEYS.secret_id)
    monkeypatch.setenv("TENCENTCLOUD_SECRET_KEY", KEYS.secret_key)
    settings = LocalSettings(
        root=tmp_path / "objects", credentials=(KEYS,), progression=Progression(Pace.IMMEDIATE)
    )
    (settings.root / "media-1250000000").mkdir(parents=True)
    async with LocalService(settings, SystemClock()) as service:
        (tmp_path / "m.yaml").write_text(
            MANIFEST.format(url=service.url, objects="{object: in/1.mp3}, {object: in/2.mp3}"),
            encoding="utf-8",
        )
        async with open_session(
            load_manifest(tmp_path / "m.yaml", {}), RunOptions(), sink=Failing()
        ) as session:
            result = await session.run()

    assert result.counts.of(JobState.SUCCEEDED) == 2


@pytest.mark.parametrize(
    ("fault", "source", "expected"),
    [
        (
            {"route": "list_objects", "do": "refuse", "code": "NoSuchBucket"},
            "prefix",
            BucketUnknown,
        ),
        ({"route": "submit", "do": "refuse", "code": "AccessDenied"}, "object", BucketRefused),
        ({"route": "submit", "do": "refuse", "code": "InvalidAccessKeyId"}, "object", AuthRejected),
    ],
)
async def test_a_run_that_an_error_stops_raises_it_in_the_program_that_started_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: dict[str, str],
    source: str,
    expected: type[OrchestratorError],
) -> None:
    monkeypatch.setenv("TENCENTCLOUD_SECRET_ID", KEYS.secret_id)
    monkeypatch.setenv("TENCENTCLOUD_SECRET_KEY", KEYS.secret_key)
    settings = LocalSettings(
        root=tmp_path / "objects", credentials=(KEYS,), progression=Progression(Pace.IMMEDIATE)
    ).with_faults(Faults.parse({"faults": [fault]}))
    async with LocalService(settings, SystemClock()) as service:
        (tmp_path / "m.yaml").write_text(
            MANIFEST.format(url=service.url, objects=f"{{{source}: in/a.mp3}}"), encoding="utf-8"
        )
        with pytest.raises(expected):
            await run_manifest(tmp_path / "m.yaml")

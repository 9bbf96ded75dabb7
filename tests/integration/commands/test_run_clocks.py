"""A run on a machine with a wrong clock charges each job once.

The service's clock is the one that counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.commands.options import RunOptions
from orchestrator.commands.run import open_session
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.states import JobState
from orchestrator.manifest import load_manifest
from orchestrator.server.faults.script import Faults
from orchestrator.server.http.key_pairs import KeyPair
from orchestrator.server.pace import Pace, Progression
from orchestrator.server.service import LocalService
from orchestrator.server.settings import LocalSettings

if TYPE_CHECKING:
    from pathlib import Path

HOUR_S = 3600.0
KEYS = KeyPair("AKIDEXAMPLEEXAMPLEEXAMPLE", "exampleSecretKeyExample0123456789")
MANIFEST = """
version: 1
name: clocks
service: {{ci: {url}, cos: {url}}}
bucket: media-1250000000
region: ap-chongqing
defaults:
  operation: {{audio_mode: AudioAndBackground, audio: {{codec: mp3}}}}
  output: {{voice: "stems/{{stem}}/voice.mp3", background: "stems/{{stem}}/background.mp3"}}
inputs: [{objects}]
retry: {{settle_s: 1}}
"""


class WrongClock(SystemClock):
    """This machine's clock, ahead by ``ahead_s``."""

    def __init__(self, ahead_s: float) -> None:
        self._ahead_s = ahead_s

    def now(self) -> float:
        """Return the wrong time."""
        return super().now() + self._ahead_s


@pytest.mark.parametrize("ahead_s", [2 * HOUR_S, -2 * HOUR_S, 1000.0])
async def test_a_job_whose_answer_was_lost_is_found_on_a_machine_with_a_wrong_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    monkeypatch.setenv("TENCENTCLOUD_SECRET_ID", KEYS.secret_id)
    monkeypatch.setenv("TENCENTCLOUD_SECRET_KEY", KEYS.secret_key)
    faults = Faults.parse(
        {"seed": 3, "faults": [{"route": "submit", "do": "lose_answer", "share": 0.5}]}
    )
    settings = LocalSettings(
        root=tmp_path / "objects", credentials=(KEYS,), progression=Progression(Pace.IMMEDIATE)
    )
    (settings.root / "media-1250000000").mkdir(parents=True)
    async with LocalService(settings.with_faults(faults), SystemClock()) as service:
        objects = ", ".join(f"{{object: in/{number}.mp3}}" for number in range(12))
        (tmp_path / "clocks.yaml").write_text(
            MANIFEST.format(url=service.url, objects=objects), encoding="utf-8"
        )
        async with open_session(
            load_manifest(tmp_path / "clocks.yaml", {}), RunOptions(), clock=WrongClock(ahead_s)
        ) as session:
            result = await session.run()
        state = service.state()

    assert result.counts.of(JobState.SUCCEEDED) == 12
    assert sum(state["faults"].values()) > 0, "nothing was lost: the test shows nothing"
    assert state["jobs"] == {"Success": 12}

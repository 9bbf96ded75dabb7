"""Status of a manifest whose ledger is held by a run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import orjson
import pytest

from orchestrator.commands.options import ManifestSource
from orchestrator.commands.status import snapshot_of, status
from orchestrator.domain.run import PULSE
from orchestrator.ledger import open_ledger
from orchestrator.testing.builders import make_holder

if TYPE_CHECKING:
    from pathlib import Path

SINCE = 1_700_000_000.0
BEAT = {
    "rate_per_s": 0.0,
    "submit_per_s": 9.0,
    "progress": {"run": "m-1", "at": SINCE, "elapsed_s": 77.0, "jobs": {}, "work": {}},
}


@pytest.mark.parametrize(
    ("at", "rate", "elapsed_s"),
    [(SINCE - 60, None, 5.0), (SINCE + 1, 0.0, 82.0)],
    ids=["of an earlier process", "of this process"],
)
async def test_only_a_heartbeat_of_the_process_that_works_counts(
    tmp_path: Path, at: float, rate: float | None, elapsed_s: float
) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        "version: 1\nname: m\nservice: local\nbucket: tapes\nregion: ap-chongqing\n"
        "defaults: {output: {voice: 's/{stem}/v.mp3'}}\ninputs: [{object: a.mp3}]\n"
    )
    place = str(tmp_path / "m.db")
    working = open_ledger(place)
    await working.acquire(make_holder(os.getpid(), host=os.uname().nodename, since=SINCE))
    try:
        await working.begin_run("m", SINCE, "m.jsonl")
        await working.remember(PULSE, orjson.dumps({**BEAT, "at": at}))

        facts = await status(ManifestSource(path), ledger=place)
        snapshot = await snapshot_of(place, SINCE + 5)
    finally:
        await working.close()

    assert facts["holder"] is not None
    assert facts["ended_per_s"] == rate
    assert snapshot is not None
    assert snapshot.elapsed_s == elapsed_s

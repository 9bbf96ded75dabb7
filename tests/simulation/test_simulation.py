"""The engine survives whatever the seeds bring: see world.py."""

from __future__ import annotations

import os

import pytest

from tests.simulation.world import simulate

SEEDS = int(os.environ.get("ORCH_SEEDS", "2000"))
CHUNK = 50


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_every_job_is_charged_once_and_reported_once_in_any_weather(first: int) -> None:
    for seed in range(first, min(first + CHUNK, SEEDS)):
        try:
            simulate(seed)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise

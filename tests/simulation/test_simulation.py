"""The engine survives whatever the seeds bring: see world.py.

``ORCH_SEEDS=20000`` runs more of them; ``ORCH_SEED=17`` runs one alone.
"""

from __future__ import annotations

import os

import pytest

from tests.simulation.world import simulate

ALONE = os.environ.get("ORCH_SEED")
SEEDS = [int(ALONE)] if ALONE else range(int(os.environ.get("ORCH_SEEDS", "2000")))
CHUNK = 50


@pytest.mark.slow
@pytest.mark.parametrize("first", SEEDS[::CHUNK])
def test_every_job_is_charged_once_and_reported_once_in_any_weather(first: int) -> None:
    at = SEEDS.index(first)
    for seed in SEEDS[at : at + CHUNK]:
        simulate(seed)

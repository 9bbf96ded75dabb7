"""The runner is correct under the faults of every seed; see ``world.py``.

``ORCH_SEEDS=20000`` runs more seeds; ``ORCH_SEED=17`` runs one alone. Every tenth seed is compared
with a SQLite ledger (``mirror.py``), which takes four times as long; ``ORCH_MIRROR_EVERY=1``
compares all of them. ``ORCH_SEED_DATABASE=200`` compares that many with one in PostgreSQL.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.simulation.world import simulate

if TYPE_CHECKING:
    from tests.postgres_server import PostgresServer

ALONE = os.environ.get("ORCH_SEED")
SEEDS = [int(ALONE)] if ALONE else range(int(os.environ.get("ORCH_SEEDS", "2000")))
MIRROR_EVERY = int(os.environ.get("ORCH_MIRROR_EVERY", "10"))
IN_DATABASE = [int(ALONE)] if ALONE else range(int(os.environ.get("ORCH_SEED_DATABASE", "5")))
CHUNK = 50


@pytest.mark.slow
@pytest.mark.parametrize("first", SEEDS[::CHUNK])
def test_every_job_is_charged_once_and_reported_once_in_any_weather(first: int) -> None:
    at = SEEDS.index(first)
    for seed in SEEDS[at : at + CHUNK]:
        simulate(seed, is_mirrored=seed % MIRROR_EVERY == 0)


@pytest.mark.slow
def test_a_ledger_in_postgresql_holds_the_same(postgres: PostgresServer) -> None:
    for seed in IN_DATABASE:
        simulate(seed, is_mirrored=True, database=postgres.url())

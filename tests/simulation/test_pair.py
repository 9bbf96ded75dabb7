"""Two runs of one account keep every promise of one; see ``pair.py``.

``ORCH_SEEDS=20000`` runs a twentieth as many pairs; ``ORCH_SEED=17`` runs one alone.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.simulation.pair import Pair

if TYPE_CHECKING:
    from pathlib import Path

ALONE = os.environ.get("ORCH_SEED")
SEEDS = [int(ALONE)] if ALONE else range(int(os.environ.get("ORCH_SEEDS", "2000")) // 20)
CHUNK = 20


@pytest.mark.slow
@pytest.mark.parametrize("first", SEEDS[::CHUNK])
def test_two_runs_of_one_account_are_correct_beside_each_other(tmp_path: Path, first: int) -> None:
    at = SEEDS.index(first)
    for seed in SEEDS[at : at + CHUNK]:
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            Pair(seed, folder).run()
        except BaseException as error:
            error.add_note(f"seed {seed}: ORCH_SEED={seed} pytest tests/simulation/test_pair.py")
            raise

"""How close a separated stem comes to the true one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from orchestrator.separation.engines.interface import Block


def si_sdr_db(estimate: Block, truth: Block) -> float:
    """Scale-invariant signal-to-distortion ratio (Le Roux et al. 2019, "SDR - half-baked or well done?").

    Args:
        estimate: What the separation gave.
        truth: What it should have given; of the same shape.

    Returns:
        Decibels; infinite for a perfect estimate, minus infinite for one that has nothing of the truth.
    """
    wanted, given = truth.astype(np.float64).ravel(), estimate.astype(np.float64).ravel()
    energy = float(wanted @ wanted)
    if not energy:
        return -math.inf
    target = wanted * (float(given @ wanted) / energy)
    noise = float(np.sum(np.square(given - target)))
    power = float(target @ target)
    if not power:
        return -math.inf
    return 10 * math.log10(power / noise) if noise else math.inf

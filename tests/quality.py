"""Quality of a separated stem: its distance from the true one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from orchestrator.separation.engines.interface import Block


def si_sdr_db(estimate: Block, truth: Block) -> float:
    """Return the scale-invariant signal-to-distortion ratio.

    Source: Le Roux et al. 2019, "SDR - half-baked or well done?".

    Args:
        estimate: The separated stem.
        truth: The true stem, of the same shape.

    Returns:
        Decibels; infinity for a perfect estimate, minus infinity for one without any of the truth.
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

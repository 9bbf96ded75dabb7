"""Quality of a separated stem: its distance from the true one, and what leaks into it."""

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


def sdr_db(estimate: Block, truth: Block) -> float | None:
    """Return the signal-to-distortion ratio of BSS Eval, the mean of both channels.

    A filter of 512 taps between truth and estimate counts as no fault (Vincent et al. 2006). It is
    computed by fast-bss-eval; None if that is not installed.
    """
    try:
        import fast_bss_eval
    except ImportError:
        return None
    return float(np.mean(fast_bss_eval.sdr(truth.T.astype(float), estimate.T.astype(float))))


def level_db(sound: Block, reference: Block) -> float:
    """Return the level of a sound relative to another one, in decibels."""
    power, whole = (float(np.sum(np.square(one, dtype=np.float64))) for one in (sound, reference))
    if not power or not whole:
        return -math.inf
    return 10 * math.log10(power / whole)

"""Sentences for the user about everything that makes the stems differ from the plain sound."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from orchestrator.domain.wording import counted
from orchestrator.separation.media.mixdown import Balance

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.separation.engines.interface import Block
    from orchestrator.separation.media.mixdown import Mixer
    from orchestrator.separation.media.reader import Reader
    from orchestrator.separation.media.timeline import TimeLine

_NOTED_S: Final = 0.02
"""Shorter holes and overlaps are corrected without a word."""


def notes_on_mix(mixers: Iterable[Mixer], scale: float) -> list[str]:
    """Return the sentences about channels and samples.

    Args:
        mixers: The mixers of all parts.
        scale: Factor of all samples.
    """
    mixers = list(mixers)
    notes = [note for mixer in mixers for note in mixer.notes]
    if invalid := sum(mixer.invalid for mixer in mixers):
        notes.append(
            f"{counted(invalid, 'sample')} of the input had no valid value (NaN or infinite) and "
            "became 0."
        )
    if scale < 1:
        lower_db = -20 * math.log10(scale)
        notes.append(
            f"The input exceeds full scale by {lower_db:.1f} dB: all stems were multiplied by "
            f"{scale:.4g}, so that none is clipped. They add up to the input times that."
        )
    return notes


def notes_on_time(lines: Iterable[TimeLine], lead_s: float) -> list[str]:
    """Return the sentences about the time line.

    Args:
        lines: The time lines of all parts.
        lead_s: Silence before the sound.
    """
    lines, notes = list(lines), []
    if lead_s > _NOTED_S:
        notes.append(f"The sound starts late: {lead_s:.2f} s of silence precede it.")
    holes = [hole for line in lines for hole in line.holes_s if hole > _NOTED_S]
    if holes:
        notes.append(
            f"{counted(len(holes), 'hole')} in the time stamps ({sum(holes):.2f} s in all) became "
            "silence."
        )
    overlaps = [overlap for line in lines for overlap in line.overlaps_s]
    overlaps = [overlap for overlap in overlaps if overlap > _NOTED_S]
    if overlaps:
        notes.append(
            f"{counted(len(overlaps), 'overlap')} in the time stamps ({sum(overlaps):.2f} s in "
            "all) had to be cut."
        )
    if any(line.ignored for line in lines):
        notes.append("The time stamps start again within the input; its parts follow each other.")
    return notes


def notes_on_damage(readers: Iterable[Reader]) -> list[str]:
    """Return a sentence about packets whose checksums are wrong, of a file with few of them."""
    damaged = sum(reader.damaged for reader in readers if reader.has_checksums)
    if not damaged:
        return []
    return [f"{counted(damaged, 'damaged packet')} of the sound had to be left out."]


class MonoCheck:
    """Watches if left and right cancel each other out where the stems have one channel."""

    def __init__(self) -> None:
        self._balance = Balance()

    def watched(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Pass the blocks on."""
        for block in blocks:
            self._balance.add(block.T, block.mean(axis=1, keepdims=True).T)
            yield block

    @property
    def notes(self) -> list[str]:
        """A sentence if almost nothing is left."""
        if not self._balance.is_lost:
            return []
        note = (
            "Left and right of the input cancel each other out (one is the other, inverted), so "
            "the stems of one channel are almost silent; choose 2 channels."
        )
        return [note]

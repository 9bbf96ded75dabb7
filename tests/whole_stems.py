"""Whole stems of an engine, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from orchestrator.domain.spec import Stem
from orchestrator.separation.engines.interface import split

if TYPE_CHECKING:
    from orchestrator.separation.engines.interface import Block, Engine

NONE = np.zeros((0, 2), np.float32)


def whole_stems(
    engine: Engine, sound: Block, block: int = 9216, parts: tuple[Stem, ...] = (Stem.VOICE,)
) -> dict[Stem, Block]:
    """Separate a sound that arrives in blocks, and return its stems with the background."""
    blocks = (sound[start : start + block] for start in range(0, len(sound), block))
    pieces = list(split(engine, blocks, parts))
    return {
        stem: np.concatenate([NONE, *(piece[stem] for piece in pieces)])
        for stem in (*parts, Stem.BACKGROUND)
    }

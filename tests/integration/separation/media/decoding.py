"""Decode files in a process of its own, which a crash ends: ``python -m ... < names > results``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import av
import numpy as np

from orchestrator.separation.errors import SeparationFailed
from orchestrator.separation.media.container import open_media
from orchestrator.separation.media.decode import Decoder


def outcome(path: Path) -> dict[str, object]:
    """Decode a file; return its length, or the code of its failure."""
    try:
        with open_media(path) as container:
            decoder = Decoder(path, container)
            for block in decoder.blocks():
                assert np.abs(block).max() < 3
            return {"length_s": decoder.length_s, "notes": decoder.notes}
    except SeparationFailed as error:
        return {"code": error.code, "message": error.message}


def main() -> None:
    """Answer each line of standard input."""
    av.logging.set_level(None)
    for line in sys.stdin:
        print(json.dumps(outcome(Path(line.rstrip("\n")))), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()

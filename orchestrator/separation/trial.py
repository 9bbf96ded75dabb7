"""Trial of an engine, as a process: ``python -m orchestrator.separation.trial``.

It reads the choice of an engine from standard input, loads it and separates a piece of noise, and
writes a JSON line after each step. A library or an engine that ends its process ends this one, and
not the command that started it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from orchestrator.domain.clock import SystemClock
from orchestrator.domain.engines import EngineChoice
from orchestrator.errors import EngineMissing
from orchestrator.separation.cores import usable_cores
from orchestrator.separation.errors import EngineFailed
from orchestrator.separation.install.installed import installed_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.separation.engines.interface import Engine

NOISE_S: Final = 10
"""Length of the sound that is separated."""


def try_engine(choice: EngineChoice, report: Callable[[dict[str, Any]], None]) -> None:
    """Load an engine and separate noise; report each step, or the fault that ended the trial."""
    clock = SystemClock()
    try:
        from orchestrator.separation.engines.loading import load_engine

        started = clock.monotonic()
        engine = load_engine(choice, usable_cores(), installed_engine)
        report({"loaded_s": clock.monotonic() - started, "runtime": engine.runtime})
        started = clock.monotonic()
        _separate_noise(engine)
        stems = [str(stem) for stem in engine.stems]
        report({"separated_s": clock.monotonic() - started, "stems": stems})
    except EngineMissing as error:
        report({"fault": str(error)})
    except EngineFailed as error:
        report({"fault": f"{str(error).rstrip('.')}. Replace it, or ask its maker."})
    except Exception as error:  # noqa: BLE001 - whatever an engine does wrong is the result
        said = f"{type(error).__name__}: {str(error).strip()[:200]}"
        report({"fault": f"The engine does not separate ({said}). Export or fetch it again."})


def _separate_noise(engine: Engine) -> None:
    """Separate noise, and check the length and the values of the stems.

    Raises:
        EngineFailed: The engine failed.
        ValueError: It returned what it may not.
    """
    import numpy as np

    from orchestrator.separation.engines.interface import SAMPLERATE_HZ, split

    draw = np.random.default_rng(1)

    def noise() -> Iterator[Any]:
        for _ in range(NOISE_S):
            yield draw.uniform(-0.3, 0.3, (SAMPLERATE_HZ, 2)).astype(np.float32)

    for stems in split(engine, noise(), engine.stems):
        for stem, block in stems.items():
            if not np.isfinite(block).all():
                message = f"{stem} has samples that are not numbers"
                raise ValueError(message)


def main() -> None:
    """Try the engine that standard input names."""
    given = orjson.loads(sys.stdin.buffer.read())
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # prints of libraries must not mix with the steps

    def report(step: dict[str, Any]) -> None:
        out.write(orjson.dumps(step) + b"\n")

    model = Path(given["model"]) if given["model"] else None
    try_engine(EngineChoice(model, given["plugin"]), report)


if __name__ == "__main__":
    main()

"""Check an engine: what it is, if it can be loaded, and if it separates."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from orchestrator.domain.wording import listed
from orchestrator.errors import EngineMissing
from orchestrator.separation.cores import usable_cores
from orchestrator.separation.errors import EngineFailed
from orchestrator.separation.install.installed import check_ready, installed_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.commands.examination import Examination
    from orchestrator.domain.engines import EngineChoice
    from orchestrator.domain.ports import Clock
    from orchestrator.separation.engines.interface import Engine

_NOISE_S: Final = 10
"""Length of the sound that is separated."""


def examine_engine(found: Examination, choice: EngineChoice, clock: Clock) -> None:
    """Add what an engine is, how it was loaded, and how long it takes for a piece of noise."""
    with found.checking("engine"):
        check_ready(choice)
        found.add("engine", _facts(choice))
        from orchestrator.separation.engines.loading import load_engine

        started = clock.monotonic()
        with _failures_named():
            engine = load_engine(choice, usable_cores(), installed_engine)
        took_s = clock.monotonic() - started
        found.add("runtime", f"loads in {took_s:.1f} s; {engine.runtime}")
        _work(found, engine, clock)


def _facts(choice: EngineChoice) -> str:
    if choice.model is not None:
        from orchestrator.separation.engines.loading import recognise

        return f"{choice.model} is {'; '.join(recognise(choice.model).facts)}"
    if choice.plugin:
        from orchestrator.separation.engines.plugins import plugin_entry, plugin_version

        return f"plug-in {plugin_version(plugin_entry(choice.plugin))}"
    return f"weights {installed_engine()}"


def _work(found: Examination, engine: Engine, clock: Clock) -> None:
    """Separate noise, and check the length and the values of the stems.

    Raises:
        EngineMissing: The engine fails, or returns what it may not.
    """
    started = clock.monotonic()
    with _failures_named():
        _separate_noise(engine)
    took_s = clock.monotonic() - started
    found.add(
        "separation",
        f"{_NOISE_S} s of noise took {took_s:.2f} s, {took_s / _NOISE_S:.3f} of its length; "
        f"finds {listed(engine.stems, 'and')}",
    )


@contextmanager
def _failures_named() -> Iterator[None]:
    """Report whatever an engine does wrong as a check that failed, with the remedy."""
    try:
        yield
    except EngineMissing:
        raise
    except EngineFailed as error:
        raise EngineMissing(f"{str(error).rstrip('.')}. Replace it, or ask its maker.") from error
    except Exception as error:
        raise EngineMissing(
            f"The engine loads, but does not separate ({type(error).__name__}: "
            f"{str(error).strip()[:200]}). Export or fetch it again."
        ) from error


def _separate_noise(engine: Engine) -> None:
    import numpy as np

    from orchestrator.separation.engines.interface import SAMPLERATE_HZ, split

    draw = np.random.default_rng(1)

    def noise() -> Iterator[Any]:
        for _ in range(_NOISE_S):
            yield draw.uniform(-0.3, 0.3, (SAMPLERATE_HZ, 2)).astype(np.float32)

    for stems in split(engine, noise(), engine.stems):
        for stem, block in stems.items():
            if not np.isfinite(block).all():
                message = f"{stem} has samples that are not numbers"
                raise ValueError(message)

"""Engines of other packages, in the entry-point group ``orchestrator.engines``.

An entry point names a function that takes the number of threads and returns an engine as
``interface.Engine`` describes it. Whatever goes wrong in it is reported with its name, so that
it is not taken for a fault of this program.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from orchestrator.domain.engines import ENGINE_PLUGINS
from orchestrator.domain.spec import Stem
from orchestrator.errors import EngineMissing
from orchestrator.separation.errors import EngineFailed

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping
    from importlib.metadata import EntryPoint

    from orchestrator.separation.engines.interface import Block, Engine, Stems

_POSSIBLE: Final = (Stem.VOICE, Stem.BASS, Stem.DRUMS)


class PluginEngine:
    """An engine of another package, whose results are checked.

    Attributes:
        runtime: Name and version of the engine, and what it says itself.
        stems: The stems that it finds.
    """

    def __init__(self, entry: EntryPoint, engine: Any) -> None:
        self._name = entry.name
        self._engine: Engine = engine
        with _faults_of(self._name):
            self.stems = tuple(Stem(stem) for stem in engine.stems)
            self.runtime = f"plug-in {plugin_version(entry)}, {engine.runtime}"
        if Stem.VOICE not in self.stems or not set(self.stems) <= set(_POSSIBLE):
            given = ", ".join(map(str, self.stems)) or "none"
            raise self._failed(
                f"it names the stems {given}; it must name the voice, and may name bass and drums"
            )

    def separate(self, blocks: Iterable[Block]) -> Generator[Stems, None, None]:
        """Yield the stems of a stream (see ``interface.Engine``).

        Raises:
            EngineFailed: The engine failed.
        """
        sound = _Sound(blocks)
        with _faults_of(self._name, sound):
            found_stems = _as_generator(self._engine.separate(sound))
        with closing(found_stems) as generator:
            while True:
                with _faults_of(self._name, sound):
                    found = next(generator, None)
                if found is None:
                    return
                yield self._checked(found)

    def _checked(self, found: Mapping[str, Any]) -> Stems:
        with _faults_of(self._name):
            stems = {stem: np.array(found[stem], np.float32) for stem in self.stems}
        shape = (len(stems[Stem.VOICE]), 2)
        for stem, block in stems.items():
            if block.shape != shape:
                raise self._failed(f"{stem} has the shape {block.shape}, not (samples, 2)")
            if not np.isfinite(block).all():
                raise self._failed(f"{stem} has samples that are not numbers")
        return stems

    def _failed(self, fault: str) -> EngineFailed:
        return EngineFailed(f"The engine {self._name} (a plug-in) failed: {fault}.")


def _as_generator(items: Iterable[Any]) -> Generator[Any, None, None]:
    """Return a generator, which can be closed, of anything that can be iterated."""
    yield from items


class _Sound:
    """The input of an engine; its errors are not the engine's."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        self._blocks = blocks
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[Block]:
        try:
            yield from self._blocks
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error
            raise


@contextmanager
def _faults_of(name: str, sound: _Sound | None = None) -> Iterator[None]:
    """Report any error as one of the plug-in, unless the sound caused it."""
    try:
        yield
    except (MemoryError, EngineFailed):
        raise
    except (Exception, SystemExit) as error:  # it may not end the worker either
        if sound is not None and sound.error is not None:
            raise sound.error from None
        raise EngineFailed(
            f"The engine {name} (a plug-in) failed: {type(error).__name__}: {error}"
        ) from error


def plugin_entry(name: str) -> EntryPoint:
    """Return the entry point of an engine; its package is not imported.

    Raises:
        EngineMissing: No installed package has it.
    """
    found = entry_points(group=ENGINE_PLUGINS)
    for entry in found:
        if entry.name == name:
            return entry
    installed = ", ".join(sorted(found.names))
    raise EngineMissing(
        f"No installed package has an engine {name!r} (entry-point group {ENGINE_PLUGINS}); "
        + (f"there are: {installed}." if installed else "install its package beside this one.")
    )


def plugin_version(entry: EntryPoint) -> str:
    """Return the name of an engine with its package and version."""
    package = f" of {entry.dist.name} {entry.dist.version}" if entry.dist is not None else ""
    return f"{entry.name}{package}"


def load_plugin(name: str, threads: int) -> PluginEngine:
    """Load an engine of another package.

    Raises:
        EngineMissing: It is not installed.
        EngineFailed: It cannot be loaded.
    """
    entry = plugin_entry(name)
    with _faults_of(name):
        create = entry.load()
        engine = create(threads)
    return PluginEngine(entry, engine)

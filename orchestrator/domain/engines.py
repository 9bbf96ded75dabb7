"""The engine that the local service is to separate with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

ENGINE_PLUGINS: Final = "orchestrator.engines"
"""Entry-point group in which installed packages register engines."""


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """An engine; with neither a model nor a plug-in, the default one.

    Attributes:
        model: MDX-Net or Demucs file in the ONNX format.
        plugin: Name of an installed engine, in the entry-point group ``orchestrator.engines``.
    """

    model: Path | None = None
    plugin: str = ""

    @property
    def is_default(self) -> bool:
        """True for the default engine."""
        return self.model is None and not self.plugin

    @property
    def named(self) -> str:
        """The engine in a sentence."""
        if self.plugin:
            return f"the engine {self.plugin} (a plug-in)"
        return f"the engine {self.model}" if self.model else "the default engine"


DEFAULT_ENGINE: Final = EngineChoice()

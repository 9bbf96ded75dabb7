"""Failure of one file, in the vendor's manner: a code for programs and a sentence for people."""

from __future__ import annotations

from typing import Final

RESOURCE_NOT_FOUND: Final = "ResourceNotFound"
"""The input file does not exist or cannot be read."""
RESOURCE_NOT_SUPPORTED: Final = "ResourceNotSupported"
"""The input is not media, has no sound, or is empty, damaged or cut off."""
INVALID_ARGUMENT: Final = "InvalidArgument"
"""The requested output is not allowed, or not possible with this engine."""
ENGINE_NOT_INSTALLED: Final = "EngineNotInstalled"
"""The engine's weights or libraries are missing on this machine."""
ENGINE_FAILED: Final = "EngineFailed"
"""An engine of the user's choice cannot be loaded, or failed on this input."""
INTERNAL_ERROR: Final = "InternalError"
"""The machine failed: no space, no memory, no permission to write."""
MUSIC_REFUSED: Final = (
    "MusicMode needs an engine that finds bass and drums, and this machine's engine separates "
    "voice and background; use AudioAndBackground, or name a Demucs file (engine: {model: FILE})."
)
"""Message of a job with MusicMode, which the default engine cannot do."""


class EngineFailed(Exception):
    """An engine of the user's choice cannot be loaded, fails, or returns what it may not.

    Another try would end in the same way, so the job fails.
    """


class WrongLength(Exception):
    """An engine returned more or fewer samples than it received."""


class SeparationFailed(Exception):
    """One file could not be separated.

    Not part of the client's exception tree: it ends one job of the local service, which answers
    with ``code`` and ``message``. It can be pickled.

    Attributes:
        code: One of the constants of this module.
        message: The problem and its remedy.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        """Return ``code: message``."""
        return f"{self.code}: {self.message}"

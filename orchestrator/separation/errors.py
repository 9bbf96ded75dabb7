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
INTERNAL_ERROR: Final = "InternalError"
"""The machine failed: no space, no memory, no permission to write."""


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

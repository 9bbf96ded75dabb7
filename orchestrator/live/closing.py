"""Contexts that are closed at their end."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Closing(ABC):
    """Calls ``close`` when its context ends, however it ends."""

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    @abstractmethod
    def close(self) -> None:
        """End what is shown."""

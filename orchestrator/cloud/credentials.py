"""Where the key pair comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from orchestrator.protocol.signature import Credentials


class CredentialSource(Protocol):
    """Gives the key pair, and gives it anew when it is over."""

    def load(self) -> Credentials:
        """The credentials as they are now.

        Raises:
            CredentialsMissing: If there are none; the text says what to set.
        """
        ...


class Static:
    """Given keys, for the embedded service and for tests."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def load(self) -> Credentials:
        """The given ones."""
        return self._credentials

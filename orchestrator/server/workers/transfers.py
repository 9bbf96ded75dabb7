"""Transfers of a worker elsewhere: it uses the links that the service gave it. Blocking."""

from __future__ import annotations

import http.client
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pathlib import Path

CHUNK = 1 << 20
TIMEOUT_S = 30.0
"""Limit of the wait for the next bytes."""
REACH_TIMEOUT_S = 10.0
TRIES = 3
GONE = 410


class AssignmentOver(Exception):
    """The service has ended this assignment: another worker does the job, or none does."""


class TransferFailed(Exception):
    """The service could not be reached, or the transfer was cut off each time."""


class Links:
    """Sends requests to the links of one assignment.

    Args:
        authority: Certificates that vouch for the service, in PEM; empty: those of the system.
    """

    def __init__(self, authority: str = "") -> None:
        self._authority = authority

    def reach(self, url: str) -> None:
        """Check that the service answers; its answer does not matter.

        Raises:
            TransferFailed: No answer came.
        """
        try:
            connection, _ = self._connect(url, REACH_TIMEOUT_S)
            try:
                connection.request("GET", "/")
                connection.getresponse()
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise TransferFailed(_why(error)) from error

    def get(self, url: str, target: Path) -> None:
        """Read an object into a new file.

        Raises:
            AssignmentOver: The link is no longer valid.
            TransferFailed: The object could not be read.
        """
        for left in reversed(range(TRIES)):
            try:
                with target.open("wb") as file:
                    self._receive(url, file)
            except (OSError, http.client.HTTPException) as error:
                if not left:
                    raise TransferFailed(f"The input could not be read: {_why(error)}") from error
            else:
                return

    def _receive(self, url: str, file: Any) -> None:
        connection, target = self._connect(url)
        try:
            connection.request("GET", target)
            answer = connection.getresponse()
            _check(answer)
            expected, taken = int(answer.headers.get("Content-Length", -1)), 0
            while data := answer.read(CHUNK):
                file.write(data)
                taken += len(data)
            if taken != expected:
                raise http.client.IncompleteRead(b"", expected - taken)
        finally:
            connection.close()

    def put(self, url: str, source: Path) -> None:
        """Send a file.

        Raises:
            AssignmentOver: The link is no longer valid.
            TransferFailed: The file could not be sent.
        """
        for left in reversed(range(TRIES)):
            connection, target = self._connect(url)
            try:
                with source.open("rb") as file:
                    size = str(source.stat().st_size)
                    connection.request("PUT", target, file, {"Content-Length": size})
                    _check(connection.getresponse())
            except (OSError, http.client.HTTPException) as error:
                if not left:
                    raise TransferFailed(f"A stem could not be sent: {_why(error)}") from error
            else:
                return
            finally:
                connection.close()

    def post(self, url: str, body: bytes, timeout_s: float) -> bytes:
        """Send a report once, and return the answer.

        Raises:
            AssignmentOver: The link is no longer valid.
            TransferFailed: No answer came.
        """
        try:
            connection, target = self._connect(url, timeout_s)
            try:
                connection.request("POST", target, body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                _check(answer)
                return answer.read()
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise TransferFailed(f"The service did not take a report: {_why(error)}") from error

    def _connect(
        self, url: str, timeout_s: float = TIMEOUT_S
    ) -> tuple[http.client.HTTPConnection, str]:
        """Return a connection without a proxy, and the target of the request."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        target = f"{parts.path}?{parts.query}"
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, parts.port, timeout=timeout_s), target
        context = ssl.create_default_context(cadata=self._authority or None)
        return (
            http.client.HTTPSConnection(host, parts.port, timeout=timeout_s, context=context),
            target,
        )


def _check(answer: http.client.HTTPResponse) -> None:
    """Check the status of an answer.

    Raises:
        AssignmentOver: It says that the assignment has ended.
        HTTPException: It is an error of the service.
    """
    if answer.status == GONE:
        raise AssignmentOver
    if answer.status >= 300:
        said = answer.read(500).decode("utf-8", "replace")
        raise http.client.HTTPException(f"status {answer.status}: {said}")


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__

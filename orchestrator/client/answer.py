"""What became of one request: an answer, or a failure and what that says about whether the request was sent."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import aiohttp

from orchestrator.errors import (
    ConnectFailed,
    ProtocolError,
    ReplyTimeout,
    SendInDoubt,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.client.wire.request import PreparedRequest

FAILURES = (aiohttp.ClientError, TimeoutError, OSError)
"""How aiohttp says that there is no answer."""

# Raised before the first byte of a request leaves: no address, no connection, no TLS, no tunnel, no free connection in time.
_NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.InvalidURL,
)


class Answer(NamedTuple):
    """A whole answer; header names are looked up without regard to case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def is_success(self) -> bool:
        """2xx."""
        return 200 <= self.status < 300


async def read_whole(content: aiohttp.StreamReader, limit_bytes: int) -> bytes:
    """The body of an answer, to its end.

    Raises:
        ProtocolError: It is larger than ``limit_bytes``; no more of it is read.
    """
    pieces: list[bytes] = []
    size = 0
    while not pieces or not content.at_eof():
        piece = (
            content.read_nowait() if content.is_eof() else await content.readany()
        )  # nearly all come with their heads
        size += len(piece)
        if size > limit_bytes:
            raise ProtocolError(
                f"The service's answer is larger than {limit_bytes} bytes.", b"".join(pieces)
            )
        pieces.append(piece)
    return b"".join(pieces)


def what(prepared: PreparedRequest) -> str:
    """A request in messages: without its query, which may carry a signature."""
    return f"{prepared.method} {prepared.url.partition('?')[0]}"


def failure(prepared: PreparedRequest, error: BaseException) -> TransportError:
    """What a failure of aiohttp says about the request."""
    why = _why(error)
    if isinstance(error, _NOT_SENT):
        return not_sent(prepared, f"no connection, nothing was sent ({why})")
    if isinstance(error, TimeoutError):
        return ReplyTimeout(f"{what(prepared)}: no whole answer in time ({why})")
    return SendInDoubt(
        f"{what(prepared)}: the connection was lost before the whole answer was there ({why})"
    )


def not_sent(prepared: PreparedRequest, why: str) -> ConnectFailed:
    """The failure of a request that is known not to have left."""
    return ConnectFailed(f"{what(prepared)}: {why}")


def harmless(error: BaseException) -> BaseException | None:
    """The cause to keep: not one that carries the request's headers, because signature and token are among them."""
    return None if isinstance(error, aiohttp.ClientResponseError) else error


def _why(error: BaseException) -> str:
    """The reason in a few words: of a connection that was not made, the system's own; the address stands before it anyway."""
    if (
        isinstance(error, aiohttp.ClientConnectorError)
        and not isinstance(error, aiohttp.ClientSSLError)
        and error.os_error.errno
    ):
        number = error.os_error.errno
        return (
            os.strerror(number) if number > 0 else str(error.os_error.strerror)
        )  # below 0: of the name's resolution
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

"""Reading of answers, failures, and what a failure proves: if the request was sent or not."""

from __future__ import annotations

import os
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp

from orchestrator.client.wire.error_codes import PROXY_ADVICE
from orchestrator.errors import (
    CertificateRefused,
    ConnectFailed,
    ProtocolError,
    ReplyTimeout,
    SendInDoubt,
    TransportError,
    TunnelRefused,
)

if TYPE_CHECKING:
    from orchestrator.client.wire.request import PreparedRequest

FAILURES = (aiohttp.ClientError, TimeoutError, OSError)
"""Errors that aiohttp raises instead of an answer."""

# Raised before the first byte of a request leaves: no address, no connection, no TLS, no tunnel,
# no free connection in time.
_NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.InvalidURL,
)


async def read_whole(content: aiohttp.StreamReader, limit_bytes: int) -> bytes:
    """Read the body of an answer to its end.

    Raises:
        ProtocolError: It is larger than ``limit_bytes``; no more of it is read.
    """
    pieces: list[bytes] = []
    size = 0
    while not pieces or not content.at_eof():
        # Nearly all bodies arrive with their heads.
        piece = content.read_nowait() if content.is_eof() else await content.readany()
        size += len(piece)
        if size > limit_bytes:
            raise ProtocolError(
                f"The service's answer is larger than {limit_bytes} bytes.", b"".join(pieces)
            )
        pieces.append(piece)
    return b"".join(pieces)


def failure(prepared: PreparedRequest, error: BaseException) -> TransportError:
    """Return the exception for a failure of aiohttp."""
    why = _why(error)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return CertificateRefused(
            f"{_name(prepared)}: the certificate of the service cannot be verified "
            f"({error.certificate_error}). If a proxy or firewall of your network replaces "
            "certificates, set SSL_CERT_FILE to the file of its certificate authority; also check "
            "the clock of this machine."
        )
    if isinstance(error, _NOT_SENT):
        return not_sent(prepared, f"no connection, nothing was sent ({why})")
    if isinstance(error, TimeoutError):
        return ReplyTimeout(f"{_name(prepared)}: no whole answer in time ({why})")
    return SendInDoubt(
        f"{_name(prepared)}: the connection was lost before the whole answer was there ({why})"
    )


def is_proxy_refusal(error: BaseException) -> bool:
    """Return True if a proxy refused the tunnel because of a missing or wrong password."""
    return (
        isinstance(error, aiohttp.ClientHttpProxyError)
        and error.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
    )


def proxy_refusal() -> TunnelRefused:
    """Return the exception for a proxy that refused a tunnel: nothing was sent."""
    return TunnelRefused(PROXY_ADVICE)


def not_sent(prepared: PreparedRequest, why: str) -> ConnectFailed:
    """Return the exception for a request that is known not to have left."""
    return ConnectFailed(f"{_name(prepared)}: {why}")


def harmless(error: BaseException) -> BaseException | None:
    """Return the cause to keep, or None if it holds the request's headers with the secrets."""
    return None if isinstance(error, aiohttp.ClientResponseError) else error


def _name(prepared: PreparedRequest) -> str:
    """Name a request without its query, which may carry a signature."""
    return f"{prepared.method} {prepared.url.partition('?')[0]}"


def _why(error: BaseException) -> str:
    """Describe an error in a few words; without the address, which precedes it in the message."""
    if (
        isinstance(error, aiohttp.ClientConnectorError)
        and not isinstance(error, aiohttp.ClientSSLError)
        and error.os_error.errno
    ):
        number = error.os_error.errno  # below 0 if the name could not be resolved
        return os.strerror(number) if number > 0 else str(error.os_error.strerror)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

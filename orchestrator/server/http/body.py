"""Request bodies, with limits on their size and on the wait for the next piece."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Protocol

from orchestrator.server.http.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.server.http.request import Call


class BodyLimits(Protocol):
    """Settings that bound bodies."""

    @property
    def max_body_bytes(self) -> int:
        """Largest XML body."""

    @property
    def max_object_bytes(self) -> int:
        """Largest object."""

    @property
    def read_timeout_s(self) -> float:
        """Limit of the wait for the next piece."""


async def pieces(call: Call, limits: BodyLimits) -> AsyncIterator[bytes]:
    """Yield the pieces of an object's body as they arrive.

    Raises:
        Refusal: ``EntityTooLarge``, ``RequestTimeout``, ``IncompleteBody``.
    """
    taken = 0
    await _invite(call)
    while data := await _next(call, limits.read_timeout_s):
        taken += len(data)
        if taken > limits.max_object_bytes:
            raise Refusal(
                "EntityTooLarge", f"An object may have {limits.max_object_bytes} bytes here."
            )
        yield data
    expected = call.request.content_length
    if expected is not None and taken != expected:
        raise Refusal(
            "IncompleteBody", f"The body has {taken} bytes; Content-Length says {expected}."
        )


def demand_length(call: Call, limits: BodyLimits) -> None:
    """Check the announced length of an object's body.

    Raises:
        Refusal: ``MissingContentLength``, ``EntityTooLarge``.
    """
    length = call.request.content_length
    if length is None and call.header("Transfer-Encoding").lower() != "chunked":
        raise Refusal("MissingContentLength", f"{call.method} needs a Content-Length.")
    if (length or 0) > limits.max_object_bytes:
        raise Refusal("EntityTooLarge", f"An object may have {limits.max_object_bytes} bytes here.")


def check_md5(header: str, md5: bytes) -> None:
    """Compare the ``Content-MD5`` of a storage call, if it has one, with the body's.

    Raises:
        Refusal: ``InvalidDigest``, ``BadDigest``.
    """
    if not header:
        return
    try:
        expected = base64.b64decode(header, validate=True)
    except (binascii.Error, ValueError):
        expected = b""
    if len(expected) != 16:  # an MD5 has 16 bytes
        raise Refusal("InvalidDigest", "Content-MD5 is not the Base64 form of 16 bytes.")
    if expected != md5:
        raise Refusal("BadDigest", "Content-MD5 does not match the body that arrived.")


async def read_body(call: Call, limits: BodyLimits, max_bytes: int | None = None) -> bytes:
    """Return the whole body of a request that is not an object, checked against ``Content-MD5``.

    Args:
        call: The request.
        limits: Bounds of bodies.
        max_bytes: Largest body, if it is not that of ``limits``.

    Raises:
        Refusal: ``MissingContentLength``, ``InvalidContent`` (too large, wrong MD5),
            ``RequestTimeout``; on the storage side a wrong MD5 is ``BadDigest``.
    """
    length = call.request.content_length
    if length is None and call.header("Transfer-Encoding").lower() != "chunked":
        raise Refusal("MissingContentLength", f"{call.method} needs a Content-Length.")
    most = max_bytes or limits.max_body_bytes
    if (length or 0) > most:
        raise _too_large(most)
    content = call.request.content
    if content.is_eof():  # the quick way, for nearly all: it arrived with the headers
        body = content.read_nowait()
    else:
        body = await _whole(call, most, limits.read_timeout_s)
    if len(body) > most:
        raise _too_large(most)
    expected = call.header("Content-MD5")
    if expected:
        digest = hashlib.md5(body, usedforsecurity=False).digest()
        if not call.ci:
            check_md5(expected, digest)
        elif base64.b64encode(digest) != expected.encode("utf-8", "replace"):
            raise Refusal("InvalidContent", "Content-MD5 does not match the body that arrived.")
    return body


async def _whole(call: Call, most: int, timeout_s: float) -> bytes:
    """Return a body of at most that many bytes."""
    await _invite(call)
    parts: list[bytes] = []
    left = most
    while data := await _next(call, timeout_s):
        left -= len(data)
        if left < 0:
            raise _too_large(most)
        parts.append(data)
    return b"".join(parts)


def _too_large(most: int) -> Refusal:
    return Refusal("InvalidContent", f"The body may have {most} bytes.", 413)


async def _invite(call: Call) -> None:
    """Answer ``Expect: 100-continue``: only now, when every other check has passed."""
    if call.header("Expect").lower() == "100-continue":
        await call.request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        call.request.writer.output_size = 0  # the interim answer does not count


async def _next(call: Call, timeout_s: float) -> bytes:
    content = call.request.content
    if content.at_eof():
        return b""
    if content.is_eof():  # most bodies arrive with their headers: a timer costs more than the read
        return content.read_nowait()
    try:
        async with asyncio.timeout(timeout_s):
            return await content.readany()
    except TimeoutError:
        raise Refusal(
            "RequestTimeout",
            f"No more bytes of the body arrived for {timeout_s:g} s.",
            headers={"Connection": "close"},
        ) from None

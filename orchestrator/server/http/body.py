"""Request bodies: bounded in size, and in the time that a client may take for the next piece."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from typing import TYPE_CHECKING

from orchestrator.server.http.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.server.http.request import Call
    from orchestrator.server.settings import LocalSettings


async def pieces(call: Call, settings: LocalSettings) -> AsyncIterator[bytes]:
    """The pieces of an object's body as they come.

    Raises:
        Refusal: ``EntityTooLarge``, ``RequestTimeout``, ``IncompleteBody``.
    """
    taken = 0
    await _invite(call)
    while data := await _next(call, settings.read_timeout_s):
        taken += len(data)
        if taken > settings.max_object_bytes:
            raise Refusal(
                "EntityTooLarge", f"An object may have {settings.max_object_bytes} bytes here."
            )
        yield data
    expected = call.request.content_length
    if expected is not None and taken != expected:
        raise Refusal(
            "IncompleteBody", f"The body has {taken} bytes; Content-Length says {expected}."
        )


async def read_body(call: Call, settings: LocalSettings) -> bytes:
    """The whole body of a request that has an XML body or none, checked against ``Content-MD5``.

    Raises:
        Refusal: ``MissingContentLength``, ``InvalidContent`` (too large, wrong MD5), ``RequestTimeout``.
    """
    length = call.request.content_length
    if length is None and call.header("Transfer-Encoding").lower() != "chunked":
        raise Refusal("MissingContentLength", f"{call.method} needs a Content-Length.")
    parts: list[bytes] = []
    left = settings.max_body_bytes
    too_large = Refusal(
        "InvalidContent", f"The body may have {settings.max_body_bytes} bytes.", 413
    )
    if (length or 0) > left:
        raise too_large
    await _invite(call)
    while data := await _next(call, settings.read_timeout_s):
        left -= len(data)
        if left < 0:
            raise too_large
        parts.append(data)
    body = b"".join(parts)
    _check_md5(call.header("Content-MD5"), body)
    return body


async def _invite(call: Call) -> None:
    """Tell a client that waits for it that its body is welcome (``Expect: 100-continue``): only now that nothing else is wrong."""
    if call.header("Expect").lower() == "100-continue":
        await call.request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        call.request.writer.output_size = 0  # what was sent so far is not part of the answer


async def _next(call: Call, timeout_s: float) -> bytes:
    content = call.request.content
    if content.at_eof():
        return b""
    if content.is_eof():  # all of it is here already: most bodies come with their headers, and a timer costs more than reading them
        return content.read_nowait()
    try:
        async with asyncio.timeout(timeout_s):
            return await content.readany()
    except TimeoutError:
        raise Refusal(
            "RequestTimeout",
            f"No further byte of the body came for {timeout_s:g} s.",
            headers={"Connection": "close"},
        ) from None


def _check_md5(header: str, body: bytes) -> None:
    if header:
        given = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest())
        if not hmac.compare_digest(given, header.encode("utf-8", "replace")):
            raise Refusal("InvalidContent", "Content-MD5 does not fit the body that arrived.")

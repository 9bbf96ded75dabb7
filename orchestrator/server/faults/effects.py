"""Effects of a fault on one request: before it is handled, and on its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from aiohttp import web

from orchestrator.server.faults.script import Do, Rule
from orchestrator.server.http.errors import Refusal

if TYPE_CHECKING:
    from orchestrator.domain.ports import Clock
    from orchestrator.server.http.request import Call

GARBAGE = b"<html><head><title>502 Bad Gateway</title></head><body>upstream sent no answer</body>"


def _refusal(rule: Rule) -> Refusal:
    return Refusal(
        rule.code,
        "A scripted fault of the local service.",
        rule.status,
        headers={} if rule.retry_after_s is None else {"Retry-After": f"{rule.retry_after_s:g}"},
        server_time=rule.code in {"RequestTimeTooSkewed", "SignatureExpired"},
    )


def reset_connection(call: Call) -> NoReturn:
    """Reset the connection.

    Raises:
        ConnectionResetError: Always; the server treats it as a client that disconnected.
    """
    transport = call.request.transport
    if transport is not None:
        transport.abort()
    raise ConnectionResetError("A scripted fault.")


async def apply_before(rule: Rule, call: Call, clock: Clock) -> None:
    """Apply a fault before the request is handled.

    Raises:
        Refusal: The fault refuses the request.
        ConnectionResetError: The fault drops the connection.
    """
    if rule.delay_s and rule.do is not Do.DELAY_ANSWER:
        await clock.sleep(rule.delay_s)
    call.skew_s = rule.skew_s
    call.truncated = rule.do is Do.TRUNCATE
    if rule.do is Do.REFUSE:
        raise _refusal(rule)
    if rule.do is Do.DROP:
        reset_connection(call)


async def apply_after(
    rule: Rule, call: Call, response: web.StreamResponse, clock: Clock
) -> web.StreamResponse:
    """Apply a fault to the answer of a request that was handled.

    Raises:
        Refusal: The fault replaces the answer with an error.
        ConnectionResetError: The fault drops the connection.
    """
    if rule.do is Do.DELAY_ANSWER:
        await clock.sleep(rule.delay_s)
    if response.prepared:
        return response
    if rule.do is Do.FAIL_AFTER:
        raise _refusal(rule)
    if rule.do is Do.LOSE_ANSWER:
        reset_connection(call)
    if rule.do is Do.GARBLE:
        return web.Response(status=rule.status or 200, body=GARBAGE, content_type="text/html")
    return response


async def send_half(call: Call, response: web.Response) -> NoReturn:
    """Send an answer's headers and half of its body, then close the connection.

    Raises:
        ConnectionResetError: Always.
    """
    body = response.body if isinstance(response.body, bytes) else b""
    half = web.StreamResponse(status=response.status, headers=response.headers)
    half.content_length = len(body)
    await half.prepare(call.request)
    await half.write(body[: len(body) // 2])
    transport = call.request.transport
    if transport is not None:
        transport.close()
    raise ConnectionResetError("A scripted fault.")

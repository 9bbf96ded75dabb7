"""HTTP application: decodes, verifies, routes and answers every request.

No request can end in a traceback.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http import HttpProcessingError

from orchestrator.server.api.answers import NO_BUCKET
from orchestrator.server.api.control import Control
from orchestrator.server.api.jobs import JobCalls
from orchestrator.server.api.objects import ObjectCalls
from orchestrator.server.api.queues import ActivationCalls, QueueCalls
from orchestrator.server.api.templates import TemplateCalls
from orchestrator.server.api.workers import WorkerCalls
from orchestrator.server.faults.player import apply_after, apply_before, route_of, send_half
from orchestrator.server.http import xml
from orchestrator.server.http.errors import Refusal
from orchestrator.server.http.request import (
    Call,
    address,
    decode_path,
    decode_query,
    is_ci,
    split_target,
)
from orchestrator.server.page.handler import Page

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from aiohttp.web_protocol import RequestHandler

    from orchestrator.server.http.auth import Verifier
    from orchestrator.server.parts import Parts

log = logging.getLogger(__name__)


class App:
    """One handler for all requests."""

    def __init__(self, parts: Parts, verifier: Verifier) -> None:
        self._parts = parts
        self._verifier = verifier
        self._jobs = JobCalls(parts)
        self._objects = ObjectCalls(parts)
        self._templates = TemplateCalls(parts)
        self._queues = QueueCalls(parts)
        self._activation = ActivationCalls(parts)
        self._control = Control(parts)
        self._workers = WorkerCalls(parts, parts.exchange) if parts.exchange is not None else None
        self._page = Page(parts, self._objects)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        now = self._parts.clock.now()
        host = request.headers.get("Host", "")
        call = Call(request, request.method.upper(), host, self._parts.ids.request(now), now)
        try:
            self._decode(call)
            response = await self._serve(call)
        except Refusal as refusal:
            response = self._error(call, refusal)
        except asyncio.CancelledError:
            raise
        except ConnectionError:
            return _dropped(request)
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or str(error)
            # A fault of the disk, not of the code: no traceback.
            log.error("storage failed on %s %s: %s", call.method, call.path, reason)  # noqa: TRY400
            failure = Refusal("InternalError", f"The service's storage failed: {reason}.")
            response = self._error(call, failure)
        except Exception:
            log.exception("request failed: %s %s", call.method, call.path)
            failure = Refusal("InternalError", "The service failed on this request; see its log.")
            response = self._error(call, failure)
        if not response.prepared:
            self._parts.add_headers(response, call)
            if call.truncated and isinstance(response, web.Response):
                try:
                    await send_half(call, response)
                except ConnectionError:
                    return _dropped(request)
        return response

    async def _serve(self, call: Call) -> web.StreamResponse:
        """Verify a request, play the scripted fault, if any, and answer."""
        if self._page.is_for(call):
            return await self._page.answer(call)
        if self._control.is_for(call):
            call.ci = True
            return await self._control.answer(call)
        if self._workers is not None and self._workers.is_for(call):
            return await self._workers.answer(call)
        call.key = self._verifier.verify(call)
        rule = self._parts.player.draw(route_of(call))
        if rule is None:
            return await self._route(call)
        await apply_before(rule, call, self._parts.clock)
        return await apply_after(rule, call, await self._route(call), self._parts.clock)

    def _decode(self, call: Call) -> None:
        call.host, raw = split_target(call.request.raw_path, call.host)
        settings = self._parts.settings
        call.path = decode_path(raw)
        call.query = decode_query(raw)
        found = address(call.host, settings.bucket, settings.region)
        call.bucket, call.region, call.service = found.bucket, found.region, found.service
        call.ci = is_ci(call.method, call.path, call.query, found.service)

    async def _route(self, call: Call) -> web.StreamResponse:
        if not call.ci:
            return await self._objects.answer(call)
        root = call.path[1:].partition("/")[0]
        if root in {"mediabucket", "asrbucket"}:
            return await self._activation.answer(call)
        if not call.bucket:
            raise Refusal("InvalidHost", NO_BUCKET)
        if root == "jobs":
            return await self._jobs.answer(call)
        if root == "template":
            return await self._templates.answer(call)
        if root in {"queue", "asrqueue"}:
            return await self._queues.answer(call)
        if call.method == "PUT" and not root:
            return (
                web.Response()
            )  # PUT / on a .pic. host binds a bucket; every bucket is bound here
        raise Refusal(
            "InvalidUrl", f"{call.method} {call.path[:80]} is not a call of this service."
        )

    def _error(self, call: Call, refusal: Refusal) -> web.Response:
        status = refusal.http_status(ci=call.ci)
        trace = f"{call.request_id}-trace"
        error = {
            "Code": refusal.code,
            "Message": xml.clean(refusal.message),
            "Resource": xml.clean(call.path) or "/",
            "RequestId": call.request_id,
            "TraceId": trace,
        }
        if refusal.server_time:
            error["ServerTime"] = str(int(self._parts.clock.now()))
        headers = {**refusal.headers, ("x-ci-trace-id" if call.ci else "x-cos-trace-id"): trace}
        body = b"" if call.method == "HEAD" else xml.document("Error", error)
        response = web.Response(
            status=status, body=body, content_type="application/xml", headers=headers
        )
        if not call.request.content.at_eof():
            response.force_close()  # do not read the rest of the body
        return response


def _dropped(request: web.BaseRequest) -> web.Response:
    """Return an answer that is never sent: the client disconnected, or a fault dropped it.

    An exception in its place would be logged with a traceback.
    """
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=499)  # the status that proxies log in this case


class _ConnectionLog(logging.LoggerAdapter[logging.Logger]):
    """Log of aiohttp's connections, with one line for a request that is not HTTP.

    Such a request is a fault of the client, so its traceback would say nothing.
    """

    def exception(self, msg: object, *args: object, **more: Any) -> None:
        """Log an error."""
        if not self._is_malformed(args, more.get("exc_info")):
            super().exception(msg, *args, **more)

    def debug(self, msg: object, *args: object, **more: Any) -> None:
        """Log a detail; aiohttp counts some malformed requests as such."""
        if not self._is_malformed(args, more.get("exc_info")):
            super().debug(msg, *args, **more)

    def _is_malformed(self, args: tuple[object, ...], error: object) -> bool:
        if not isinstance(error, HttpProcessingError):
            return False
        # Only the first line: further ones quote the request, and may show a signature.
        reason = (error.message.splitlines() or [""])[0][:200].rstrip(": ")
        self.warning("refused bytes that are not a valid HTTP request from %s: %s", *args, reason)
        return True


class Listener(web.Server):
    """Accepts connections, and closes those that never send a request.

    aiohttp itself starts its timer of idle connections only after a first request.
    """

    def __init__(self, app: App, idle_timeout_s: float) -> None:
        self._app = app
        self._first_request_s = idle_timeout_s
        self._silent: dict[RequestHandler, asyncio.TimerHandle] = {}
        super().__init__(
            self._answer,
            access_log=None,
            logger=_ConnectionLog(log),
            keepalive_timeout=idle_timeout_s,
            lingering_time=1.0,
            auto_decompress=False,  # an object with Content-Encoding is stored as it was sent
            handler_cancellation=False,
        )

    def _answer(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        if self._silent:
            self._forget_timer(request.protocol)
        return self._app(request)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Start the timer of a new connection."""
        super().connection_made(handler, transport)
        self._silent[handler] = asyncio.get_running_loop().call_later(
            self._first_request_s, transport.close
        )

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Forget a closed connection."""
        self._forget_timer(handler)
        super().connection_lost(handler, exc)

    def _forget_timer(self, handler: RequestHandler) -> None:
        """Cancel the timer of a connection: it would keep the connection in memory until then."""
        timer = self._silent.pop(handler, None)
        if timer is not None:
            timer.cancel()

"""The HTTP face: every request is understood, verified, routed and answered here; nothing a client sends ends in a traceback."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from typing import TYPE_CHECKING

from aiohttp import web

from orchestrator.server.api.account import ActivationCalls, QueueCalls, TemplateCalls
from orchestrator.server.api.control import Control
from orchestrator.server.api.jobs import JobCalls
from orchestrator.server.api.objects import ObjectCalls
from orchestrator.server.faults import effects
from orchestrator.server.faults.player import route_of
from orchestrator.server.http import xml
from orchestrator.server.http.errors import Refusal
from orchestrator.server.http.request import Call, address, decode_path, decode_query, is_ci

if TYPE_CHECKING:
    from aiohttp.web_protocol import RequestHandler

    from orchestrator.server.context import Parts
    from orchestrator.server.http.auth import Verifier

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

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        now = self._parts.clock.now()
        host = request.headers.get("Host", "")
        call = Call(
            request,
            request.method.upper(),
            "/",
            [],
            host,
            "",
            "",
            True,
            self._parts.ids.request(now),
            now,
        )
        try:
            self._understand(call)
            response = await self._serve(call)
        except Refusal as refusal:
            response = self._refuse(call, refusal)
        except asyncio.CancelledError:
            raise
        except ConnectionError:
            return _to_nobody(request)
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or str(error)
            log.error("storage failed on %s %s: %s", call.method, call.path, reason)  # noqa: TRY400 - the disk is at fault, not the code
            response = self._refuse(
                call, Refusal("InternalError", f"The service's storage failed: {reason}.")
            )
        except Exception:
            log.exception("request failed: %s %s", call.method, call.path)
            response = self._refuse(
                call,
                Refusal("InternalError", "The service failed on this request; its log says why."),
            )
        if not response.prepared:
            self._parts.dress(response, call)
            if call.cut and isinstance(response, web.Response):
                try:
                    await effects.send_half(call, response)
                except ConnectionError:
                    return _to_nobody(request)
        return response

    async def _serve(self, call: Call) -> web.StreamResponse:
        """Verify, let go wrong what is scripted to, and answer."""
        if self._control.wants(call):
            call.ci = True
            return await self._control.answer(call)
        call.key = self._verifier.verify(call)
        rule = self._parts.player.draw(route_of(call))
        if rule is None:
            return await self._route(call)
        await effects.before(rule, call, self._parts.clock)
        return await effects.after(rule, call, await self._route(call), self._parts.clock)

    def _understand(self, call: Call) -> None:
        raw = call.request.raw_path
        settings = self._parts.settings
        call.path = decode_path(raw)
        call.query = decode_query(raw)
        found = address(call.host, settings.bucket, settings.region)
        call.bucket, call.region = found.bucket, found.region
        call.ci = is_ci(call.method, call.path, call.query, found.service)

    async def _route(self, call: Call) -> web.StreamResponse:
        if not call.ci:
            return await self._objects.answer(call)
        root = call.path[1:].partition("/")[0]
        if root in {"mediabucket", "asrbucket"}:
            return await self._activation.answer(call)
        self._demand_bucket(call)
        if root == "jobs":
            return await self._jobs.answer(call)
        if root == "template":
            return await self._templates.answer(call)
        if root in {"queue", "asrqueue"}:
            return await self._queues.answer(call)
        if call.method == "PUT" and not root:
            return web.Response()  # binding a bucket to the service (PUT / on its .pic. host): every bucket is bound here
        raise Refusal(
            "InvalidUrl", f"{call.method} {call.path[:80]} is not a call of this service."
        )

    @staticmethod
    def _demand_bucket(call: Call) -> None:
        if not call.bucket:
            raise Refusal(
                "InvalidHost",
                "The Host header names no bucket (it is not <bucket>.ci.<region>.myqcloud.com).",
            )

    def _refuse(self, call: Call, refusal: Refusal) -> web.Response:
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
            response.force_close()  # the rest of the body is not worth reading
        return response


def _to_nobody(request: web.BaseRequest) -> web.Response:
    """An answer that is never sent: the client is gone, or a script cut it off. Raised on, it would be logged with a traceback."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=499)  # what proxies write into their logs for it


class Door(web.Server):
    """Accepts connections, and closes those that never send a request."""

    def __init__(self, app: App, idle_timeout_s: float) -> None:
        self._first_request_s = idle_timeout_s
        super().__init__(
            app,
            access_log=None,
            keepalive_timeout=idle_timeout_s,
            lingering_time=1.0,
            auto_decompress=False,  # an object with Content-Encoding is stored as it was sent
            handler_cancellation=False,
        )

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Start the clock of a new connection."""
        super().connection_made(handler, transport)
        asyncio.get_running_loop().call_later(
            self._first_request_s, self._close_if_silent, handler, transport
        )

    @staticmethod
    def _close_if_silent(handler: RequestHandler, transport: asyncio.Transport) -> None:
        if not handler._request_count:  # noqa: SLF001 - aiohttp starts no timer before the first request is complete
            transport.close()

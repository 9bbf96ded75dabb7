"""Calls of workers elsewhere: read the input of an assignment, put its stems, report."""

from __future__ import annotations

import logging
import math
import secrets
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from orchestrator.server.http.body import demand_length, pieces, read_body
from orchestrator.server.http.errors import Refusal
from orchestrator.server.workers.exchange import REPORT, SOURCE

if TYPE_CHECKING:
    from orchestrator.server.http.request import Call
    from orchestrator.server.parts import Parts
    from orchestrator.server.workers.exchange import Assignment, Exchange

log = logging.getLogger("orchestrator.server.workers.node")
MAX_REPORT_BYTES = 64 << 10


class WorkerCalls:
    """Handler of the calls that workers make with their links."""

    def __init__(self, parts: Parts, exchange: Exchange) -> None:
        self._parts = parts
        self._exchange = exchange

    def is_for(self, call: Call) -> bool:
        """Return True if a request is one of a worker."""
        return self._exchange.is_for(call)

    async def answer(self, call: Call) -> web.StreamResponse:
        """Carry out a call.

        Raises:
            Refusal: The link is not valid, or its assignment has ended.
        """
        assignment, what = self._exchange.find(call)
        if (call.method, what) == ("GET", SOURCE):
            return web.FileResponse(assignment.source)
        if (call.method, what) == ("POST", REPORT):
            return await self._report(call, assignment)
        if call.method == "PUT" and what in assignment.outputs:
            return await self._put(call, assignment, what)
        raise Refusal("MethodNotAllowed", "This link is not for such a request.")

    async def _put(self, call: Call, assignment: Assignment, stem: str) -> web.Response:
        """Take a stem; it becomes an object only if the whole assignment succeeds."""
        demand_length(call, self._parts.settings)
        target = assignment.outputs[stem]
        path = target.with_name(f"{target.name}.{secrets.token_hex(4)}")
        try:
            with path.open("xb") as file:  # its sums are computed when it becomes an object
                async for data in pieces(call, self._parts.settings):
                    await self._parts.on_disk(file.write, data)
            if not self._exchange.is_open(assignment):
                raise Refusal("NoSuchUpload", "This assignment has ended: stop it.", 410)
            path.replace(target)
            assignment.stored.add(stem)
        finally:
            path.unlink(missing_ok=True)
        return web.Response()

    async def _report(self, call: Call, assignment: Assignment) -> web.Response:
        """Take progress and lines of the log, and answer with fresh links."""
        report = _read(await read_body(call, self._parts.settings, MAX_REPORT_BYTES))
        if not self._exchange.is_open(assignment):
            raise Refusal("NoSuchUpload", "This assignment has ended: stop it.", 410)
        progress = report.get("progress")
        if isinstance(progress, int | float) and math.isfinite(progress):
            assignment.on_progress(min(max(float(progress), 0.0), 1.0))
        for line in report.get("log", []):
            log.info("%s: %s", assignment.name.rpartition("-")[0], str(line)[:2000])
        body = orjson.dumps(self._exchange.links(assignment))
        return web.Response(body=body, content_type="application/json")


def _read(body: bytes) -> dict[str, Any]:
    try:
        report = orjson.loads(body)
    except orjson.JSONDecodeError:
        report = None
    if not isinstance(report, dict) or not isinstance(report.get("log", []), list):
        raise Refusal("InvalidArgument", "A report is a JSON object.")
    return report

"""Callbacks of finished jobs: their address, their form and their delivery.

Private addresses are refused, so that a client cannot use this machine to reach them.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from typing import TYPE_CHECKING, Any, TypeAlias

import aiohttp
import orjson
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from orchestrator.server.http import xml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.domain.ports import Clock
    from orchestrator.server.faults.player import FaultPlayer
    from orchestrator.server.http.xml import Tree
    from orchestrator.server.jobs.queues import Queues
    from orchestrator.server.jobs.row import JobRow
    from orchestrator.server.settings import CallbackPolicy

log = logging.getLogger(__name__)
DELIVERIES_AT_ONCE = 32
MAX_PENDING = 10_000
"""Pending deliveries; further ones are dropped with a log line."""
Json: TypeAlias = "str | dict[str, Any] | list[Any] | None"


class AddressRefused(OSError):
    """Callbacks may not go to this address."""


def is_allowed(address: str, policy: CallbackPolicy) -> bool:
    """Return True if a callback may go to this IP address."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    if ip.is_loopback:
        return policy.allow_loopback
    return ip.is_global or policy.allow_private


class GuardedResolver(AbstractResolver):
    """Resolves names to allowed addresses only, so that the checked address is the one used."""

    def __init__(self, policy: CallbackPolicy) -> None:
        self._policy = policy
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the allowed addresses of a name.

        Raises:
            AddressRefused: The name has no allowed address.
        """
        found = await self._inner.resolve(host, port, family)
        allowed = [result for result in found if is_allowed(result["host"], self._policy)]
        if not allowed:
            raise AddressRefused(f"{host} is a private address; callbacks do not go there.")
        return allowed

    async def close(self) -> None:
        """Close the inner resolver."""
        await self._inner.close()


def body_of(row: JobRow, form: str) -> tuple[bytes, str]:
    """Return the callback's body and its media type; ``form`` is ``XML`` or ``JSON``."""
    names = row.result["names"] if row.result else None
    detail = row.detail(names=names)
    if form == "JSON":
        tree = {"EventName": "TaskFinish", "JobsDetail": [collapse(detail)]}
        return orjson.dumps(tree), "application/json"
    ordered: Tree = {name: detail[name] for name in sorted(detail)}  # as in the vendor's samples
    body = xml.document("Response", {"EventName": "TaskFinish", "JobsDetail": ordered})
    return body, "application/xml"


def collapse(tree: Tree) -> Json:
    """Return the vendor's JSON form: single values lose their list, empty ones are left out."""
    if tree is None or isinstance(tree, str):
        return tree
    if isinstance(tree, dict):
        inner = {name: collapse(value) for name, value in tree.items()}
        return {name: value for name, value in inner.items() if value not in ("", None, [], {})}
    items = [collapse(item) for item in tree]
    return items[0] if len(items) == 1 else items


def destination(request: Mapping[str, str], notify: Mapping[str, str]) -> tuple[str, str]:
    """Return ``(address, form)`` of the request's settings, else of the queue's.

    An empty address means no callback. A message queue (TDMQ) has the address
    ``tdmq:<region>/<name>``.
    """
    enabled = notify.get("State") == "On" and "TaskFinish" in notify.get("Event", "TaskFinish")
    queue = notify if enabled else {}
    url = request.get("CallBack") or queue.get("Url", "")
    form = request.get("CallBackFormat") or queue.get("ResultFormat") or "XML"
    kind = request.get("CallBackType") or (
        "Url" if request.get("CallBack") else queue.get("Type", "Url")
    )
    if url == "no":
        return "", form
    if kind == "TDMQ":
        source = request if request.get("MqName") else queue
        return f"tdmq:{source.get('MqRegion', '')}/{source.get('MqName', '')}", form
    return url, form


class Callbacks:
    """Delivers callbacks in the background."""

    def __init__(
        self, policy: CallbackPolicy, clock: Clock, queues: Queues, player: FaultPlayer
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._queues = queues
        self._player = player
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(DELIVERIES_AT_ONCE)
        self.delivered = 0
        self.failed = 0

    async def job_ended(self, row: JobRow) -> None:
        """Send the callback of a job that ended, if one is configured."""
        queue = self._queues.get(row.queue_id)
        address, form = destination(row.request.callback, queue.notify if queue else {})
        if not address:
            return
        if address.startswith("tdmq:"):
            log.info("callback of job %s not sent: %s is a message queue", row.job_id, address[5:])
            return
        if len(self._tasks) >= MAX_PENDING:
            self.failed += 1
            log.warning("callback of job %s dropped: %d are pending", row.job_id, MAX_PENDING)
            return
        body, media_type = body_of(row, form)
        for _ in range(self._player.callback_copies()):
            task = asyncio.create_task(self._deliver(row.job_id, address, body, media_type))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=GuardedResolver(self._policy),
                limit=DELIVERIES_AT_ONCE,
                use_dns_cache=False,
            )
            timeout = aiohttp.ClientTimeout(total=self._policy.timeout_s)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=timeout, trust_env=False
            )
        return self._session

    async def _deliver(self, job_id: str, url: str, body: bytes, media_type: str) -> None:
        delay_s = self._player.faults.callbacks.delay_s
        if delay_s:
            await self._clock.sleep(delay_s)
        wait_s = self._policy.retry_wait_s
        for tries_left in range(self._policy.retries, -1, -1):
            reason = await self._try(url, body, media_type)
            if not reason:
                self.delivered += 1
                return
            if tries_left:
                await self._clock.sleep(wait_s)
                wait_s *= 2
            else:
                self.failed += 1
                log.warning("callback of job %s not delivered: %s", job_id, reason)

    async def _try(self, url: str, body: bytes, media_type: str) -> str:
        """Deliver once; return the reason of a failure, or an empty text."""
        async with self._slots:
            try:
                if is_forbidden_literal(url, self._policy):
                    return "it is a private address; callbacks do not go there"
                headers = {"Content-Type": media_type}
                async with self._open().post(
                    url,
                    data=body,
                    headers=headers,
                    allow_redirects=False,  # a redirect could lead to a private address
                ) as response:
                    return "" if response.status < 300 else f"answered {response.status}"
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                return f"{type(error).__name__}: {error}"

    async def close(self) -> None:
        """Drop the pending deliveries."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None


def is_forbidden_literal(url: str, policy: CallbackPolicy) -> bool:
    """Return True if a URL's host is a refused IP address; such a host never gets resolved."""
    try:
        return not is_allowed(URL(url).host or "", policy)
    except ValueError:
        return False  # a name: the resolver checks its addresses

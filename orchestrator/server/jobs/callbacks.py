"""Callbacks of finished jobs: who is told, in which form, and never an address that a stranger could abuse this machine to reach."""

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
Json: TypeAlias = "str | dict[str, Any] | list[Any] | None"


class AddressRefused(OSError):
    """The address is one that callbacks may not go to."""


def is_allowed(address: str, policy: CallbackPolicy) -> bool:
    """Whether a callback may go to this IP address."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    if ip.is_loopback:
        return policy.allow_loopback
    return ip.is_global or policy.allow_private


class GuardedResolver(AbstractResolver):
    """Resolves names, and gives only addresses that are allowed: what was checked is what is connected to."""

    def __init__(self, policy: CallbackPolicy) -> None:
        self._policy = policy
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The allowed addresses of a name.

        Raises:
            AddressRefused: It has none.
        """
        found = await self._inner.resolve(host, port, family)
        allowed = [result for result in found if is_allowed(result["host"], self._policy)]
        if not allowed:
            raise AddressRefused(f"{host} is a private address; callbacks do not go there.")
        return allowed

    async def close(self) -> None:
        """Nothing is kept."""
        await self._inner.close()


def body_of(row: JobRow, form: str) -> tuple[bytes, str]:
    """The callback's body and its media type: ``XML`` or ``JSON``."""
    names = row.result["names"] if row.result else None
    detail = row.detail(names=names)
    if form == "JSON":
        return orjson.dumps(
            {"EventName": "TaskFinish", "JobsDetail": [collapse(detail)]}
        ), "application/json"
    ordered: dict[str, Tree] = {
        name: detail[name] for name in sorted(detail)
    }  # the vendor's samples are alphabetical
    return xml.document(
        "Response", {"EventName": "TaskFinish", "JobsDetail": ordered}
    ), "application/xml"


def collapse(tree: Tree) -> Json:
    """The vendor's JSON form of an element: a repeated one with a single value is that value, and empty ones vanish."""
    if tree is None or isinstance(tree, str):
        return tree
    if isinstance(tree, dict):
        inner = {name: collapse(value) for name, value in tree.items()}
        return {name: value for name, value in inner.items() if value not in ("", None, [], {})}
    items = [collapse(item) for item in tree]
    return items[0] if len(items) == 1 else items


def destination(request: Mapping[str, str], notify: Mapping[str, str]) -> tuple[str, str]:
    """``(address, form)`` by the settings of the request, else of the queue; an empty address: nobody is told.

    A message queue (TDMQ) gives the address ``tdmq:<region>/<name>``.
    """
    on = notify.get("State") == "On" and "TaskFinish" in notify.get("Event", "TaskFinish")
    queue = notify if on else {}
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

    async def tell(self, row: JobRow) -> None:
        """A job ended: tell whoever wants to know."""
        queue = self._queues.get(row.queue_id)
        address, form = destination(row.request.get("callback", {}), queue.notify if queue else {})
        if not address:
            return
        if address.startswith("tdmq:"):
            log.info(
                "job %s would be told to the message queue %s, which does not exist here",
                row.job_id,
                address[5:],
            )
            return
        if len(self._tasks) >= self._policy.max_pending:
            self.failed += 1
            log.warning(
                "callback of job %s dropped: %d deliveries wait already",
                row.job_id,
                len(self._tasks),
            )
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
        delay_s = self._player.callback_delay_s()
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
                log.warning("callback of job %s was not delivered: %s", job_id, reason)

    async def _try(self, url: str, body: bytes, media_type: str) -> str:
        """Deliver once; why it did not work, or empty."""
        async with self._slots:
            try:
                if is_forbidden_literal(url, self._policy):
                    return "it is a private address; callbacks do not go there"
                async with self._open().post(
                    url, data=body, headers={"Content-Type": media_type}, allow_redirects=False
                ) as response:
                    return (
                        "" if response.status < 300 else f"answered {response.status}"
                    )  # a redirect could lead anywhere
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                return f"{type(error).__name__}: {error}"

    async def close(self) -> None:
        """Give up what waits."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None


def is_forbidden_literal(url: str, policy: CallbackPolicy) -> bool:
    """Whether an address is written as an IP address that callbacks may not go to (such ones never reach the resolver)."""
    try:
        host = URL(url).host or ""
        return not is_allowed(host, policy)
    except ValueError:
        return False  # a name: the resolver looks at what it stands for

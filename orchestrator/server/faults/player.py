"""Plays a script of faults: draws the fault of a request, carries out its effects, and counts."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, NoReturn

from aiohttp import web

from orchestrator.server.faults.script import Do, Faults, Route, Rule
from orchestrator.server.http.errors import Refusal

if TYPE_CHECKING:
    from orchestrator.domain.ports import Clock
    from orchestrator.server.http.request import Call


_CI_ROUTES = {
    "template": Route.TEMPLATE,
    "queue": Route.QUEUE,
    "asrqueue": Route.QUEUE,
    "mediabucket": Route.ACTIVATION,
    "asrbucket": Route.ACTIVATION,
}
_OBJECT_ROUTES = {"GET": Route.GET, "HEAD": Route.HEAD, "PUT": Route.PUT, "DELETE": Route.DELETE}


def route_of(call: Call) -> Route:
    """Return the script's name of the route that a request calls."""
    if not call.ci:
        if call.has("uploads") or call.has("uploadId"):
            return Route.MULTIPART
        if call.path == "/":
            return Route.LIST_OBJECTS if call.method == "GET" else Route.BUCKET
        return _OBJECT_ROUTES.get(call.method, Route.ANY)
    root, _, rest = call.path[1:].partition("/")
    if root != "jobs":
        return _CI_ROUTES.get(root, Route.ANY)
    if call.method == "POST":
        return Route.SUBMIT
    if call.method == "PUT":
        return Route.CANCEL
    return Route.QUERY if rest else Route.LIST


class FaultPlayer:
    """Draws the fault of each call, if any."""

    def __init__(self, faults: Faults, clock: Clock, seed: int | None) -> None:
        self._clock = clock
        self._seed = seed
        self.requests: Counter[Route] = Counter()
        """Requests by route."""
        self.played: Counter[str] = Counter()
        """Faults by ``route: do code``."""
        self.set(faults)

    def set(self, faults: Faults) -> None:
        """Start another script."""
        self.faults = faults
        self._started = self._clock.monotonic()
        self._seen: Counter[int] = Counter()
        self._applied: Counter[int] = Counter()
        seed = self._seed if faults.seed is None else faults.seed
        self._callback_dice = self._dice(seed, -1)
        # One generator per rule, so that a rule's draws do not depend on the other rules.
        self._rule_dice = [self._dice(seed, number) for number in range(len(faults.rules))]

    @staticmethod
    def _dice(seed: int | None, number: int) -> random.Random:
        if seed is None:
            return random.SystemRandom()
        return random.Random(f"{seed}/{number}")  # noqa: S311 - draws of faults, not secrets

    def draw(self, route: Route) -> Rule | None:
        """Count the call, and return the rule that applies to it, if any."""
        self.requests[route] += 1
        if not self.faults.rules:
            return None
        elapsed = self._clock.monotonic() - self._started
        for number, rule in enumerate(self.faults.rules):
            if (
                rule.route not in {Route.ANY, route}
                or elapsed < rule.from_s
                or (rule.until_s is not None and elapsed >= rule.until_s)
            ):
                continue
            self._seen[number] += 1
            if self._seen[number] <= rule.skip or (
                rule.times is not None and self._applied[number] >= rule.times
            ):
                continue
            if rule.share < 1 and self._rule_dice[number].random() >= rule.share:
                continue
            self._applied[number] += 1
            self.played[f"{route.value}: {rule.do.value} {rule.code}"] += 1
            return rule
        return None

    def callback_copies(self) -> int:
        """Draw the number of deliveries of a callback: 0, 1 or 2."""
        faults = self.faults.callbacks
        if faults.lose and self._callback_dice.random() < faults.lose:
            self.played["callback: lose"] += 1
            return 0
        if faults.double and self._callback_dice.random() < faults.double:
            self.played["callback: double"] += 1
            return 2
        return 1


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

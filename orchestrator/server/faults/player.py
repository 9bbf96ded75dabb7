"""Plays a script of faults, and counts the requests and the faults played."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

from orchestrator.server.faults.script import Faults, Route, Rule

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

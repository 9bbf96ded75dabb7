"""Control plane: lets a test or a rehearsal inspect and change a running service.

It exists only if a token is set. All calls are under ``/_orchestrator/``, with the token in
``x-control-token`` and JSON in both directions:

* ``GET state`` - requests by route, faults played, jobs by state, duplicates, callbacks
* ``POST reset`` - delete all jobs, templates, queues and counts (``{"objects": true}``: all
  objects too)
* ``POST seed`` - ``{"seed": 7}``: restart the generator of ids
* ``PUT progression`` - ``{"pace": "polls", "finish_after": 2}``
* ``PUT faults`` - a script as in ``faults``
"""

from __future__ import annotations

import asyncio
import hmac
import math
import shutil
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from orchestrator.errors import ManifestError
from orchestrator.server.faults.script import Faults
from orchestrator.server.http.body import read_body
from orchestrator.server.http.errors import Refusal
from orchestrator.server.http.request import BUCKET

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestrator.server.http.request import Call
    from orchestrator.server.parts import Parts

PREFIX = "/_orchestrator/"
TOKEN_HEADER = "x-control-token"  # noqa: S105 - the header's name


def state_of(parts: Parts) -> dict[str, Any]:
    """Return the counts since the start, for the verdict of a rehearsal.

    ``duplicates`` counts jobs beyond the first for the same bucket, input and UserData. With the
    client's job key in UserData, each of them is a job that was charged twice.
    """
    return {
        "requests": {route.value: count for route, count in parts.player.requests.items()},
        "faults": dict(parts.player.played),
        "jobs": parts.store.counts(),
        "duplicates": parts.store.duplicates(),
        "callbacks": {"delivered": parts.callbacks.delivered, "failed": parts.callbacks.failed},
    }


class Control:
    """Handler of the control plane."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def is_for(self, call: Call) -> bool:
        """Return True if a request is for the control plane and the service has one."""
        return bool(self._parts.settings.control_token) and call.path.startswith(PREFIX)

    async def answer(self, call: Call) -> web.StreamResponse:
        """Check the token and carry out the call.

        Raises:
            Refusal: ``AccessDenied`` without the token, ``InvalidArgument`` for an invalid body.
        """
        expected = self._parts.settings.control_token
        if not hmac.compare_digest(
            call.header(TOKEN_HEADER).encode("utf-8", "replace"), expected.encode()
        ):
            raise Refusal(
                "AccessDenied", f"The control plane needs its token in {TOKEN_HEADER}.", 403
            )
        acts: dict[tuple[str, str], Callable[[Any], Awaitable[None]]] = {
            ("POST", "reset"): self._reset,
            ("POST", "seed"): self._seed,
            ("PUT", "progression"): self._progression,
            ("PUT", "faults"): self._faults,
        }
        name = call.path[len(PREFIX) :]
        if (call.method, name) != ("GET", "state"):
            act = acts.get((call.method, name))
            if act is None:
                raise Refusal(
                    "InvalidUrl",
                    f"{call.method} {call.path[:80]} is not a call of the control plane.",
                )
            await act(await self._json(call))
        return web.json_response(body=orjson.dumps(state_of(self._parts)))

    async def _json(self, call: Call) -> Any:
        body = await read_body(call, self._parts.settings)
        try:
            return orjson.loads(body) if body else {}
        except orjson.JSONDecodeError as error:
            raise Refusal("InvalidContent", f"The body is not JSON: {error}.") from None

    async def _reset(self, data: Any) -> None:
        parts = self._parts
        await parts.scheduler.drop_all()
        await parts.store.clear()
        await parts.templates.clear()
        await parts.queues.clear()
        parts.player.requests.clear()
        parts.player.played.clear()
        parts.player.set(parts.player.faults)
        parts.callbacks.delivered = parts.callbacks.failed = 0
        if isinstance(data, dict) and data.get("objects") is True:
            await asyncio.get_running_loop().run_in_executor(parts.disk, self._remove_objects)

    def _remove_objects(self) -> None:
        self._parts.uploads.forget_unused_since(math.inf)
        for folder in self._parts.settings.root.iterdir():
            if BUCKET.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
                shutil.rmtree(folder)
                folder.mkdir()  # the bucket itself stays

    async def _seed(self, data: Any) -> None:
        seed = data.get("seed") if isinstance(data, dict) else None
        if not isinstance(seed, int):
            raise Refusal("InvalidArgument", 'The body must be {"seed": <whole number>}.')
        self._parts.ids.seed(seed, self._parts.store.total())

    async def _progression(self, data: Any) -> None:
        script = self._script({"progression": data})
        if script.progression is not None:
            self._parts.scheduler.progression = script.progression
            self._parts.scheduler.wake()

    async def _faults(self, data: Any) -> None:
        script = self._script(data)
        self._parts.player.set(script)
        if script.seed is not None:
            self._parts.ids.seed(script.seed, self._parts.store.total())
        if script.progression is not None:
            self._parts.scheduler.progression = script.progression
        self._parts.scheduler.wake()

    @staticmethod
    def _script(data: Any) -> Faults:
        try:
            return Faults.parse(data)
        except ManifestError as error:
            raise Refusal("InvalidArgument", str(error)) from error

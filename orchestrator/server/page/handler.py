"""Answers a browser: the page at ``/`` for those who know the control token, and a form for others.

Scripts and styles are files of the service; the policy allows nothing else, and nothing inline.
"""

from __future__ import annotations

import functools
import hmac
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from aiohttp import web

from orchestrator.server.api.control import PREFIX
from orchestrator.server.http.body import read_body
from orchestrator.server.http.errors import Refusal
from orchestrator.server.http.key_pairs import Grant, KeyPair
from orchestrator.server.page.facts import Facts
from orchestrator.server.page.links import Links

if TYPE_CHECKING:
    from jinja2 import Environment

    from orchestrator.server.api.objects import ObjectCalls
    from orchestrator.server.http.request import Call
    from orchestrator.server.parts import Parts

PAGE, MEDIA, LOGIN = f"{PREFIX}page", f"{PREFIX}media/", f"{PREFIX}login"
COOKIE = "orchestrator_page"
MAX_FORM_BYTES = 4096
_ASSETS = {f"{PAGE}/page.css": "text/css", f"{PAGE}/page.js": "text/javascript"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; media-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_READER = KeyPair("page", "", grants=(Grant(write=False),))
"""Key pair of a request with a link of the page: it reads, and never writes."""


class Page:
    """Handler of the page. It exists only if the service has a control token."""

    def __init__(self, parts: Parts, objects: ObjectCalls) -> None:
        token = parts.settings.control_token
        self._parts = parts
        self._objects = objects
        self._links = Links(token, MEDIA)
        self._facts = Facts(parts, self._links)

    def is_for(self, call: Call) -> bool:
        """Return True if a request is for the page.

        At ``/`` that is a browser without a signature, on a host that is not the vendor's.
        """
        if not self._parts.settings.control_token:
            return False
        if call.path == "/":
            is_signed = call.header("Authorization") or any(
                name not in {"bucket", "after"} for name, _ in call.query
            )
            wants_page = call.method == "GET" and "text/html" in call.header("Accept")
            return wants_page and not is_signed and not call.service
        return call.path.startswith((f"{PAGE}/", MEDIA)) or call.path == LOGIN

    async def answer(self, call: Call) -> web.StreamResponse:
        """Carry out a call of the page.

        Raises:
            Refusal: ``AccessDenied`` for a link that is not valid; ``InvalidUrl``.
        """
        path, is_read = call.path, call.method in {"GET", "HEAD"}
        if path == LOGIN and call.method == "POST":
            return await self._log_in(call)
        if is_read and path in _ASSETS:
            body = _asset(path.rpartition("/")[2])
            return web.Response(body=body, content_type=_ASSETS[path], headers=_HEADERS)
        if is_read and path.startswith(MEDIA):
            return await self._media(call)
        if is_read and path in {"/", f"{PAGE}/part"}:
            return await self._shown(call, is_part=path != "/")
        raise Refusal("InvalidUrl", f"{call.method} {path[:80]} is not a call of the page.")

    async def _log_in(self, call: Call) -> web.StreamResponse:
        body = await read_body(call, self._parts.settings, MAX_FORM_BYTES)
        given = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0]
        expected = self._parts.settings.control_token
        if not hmac.compare_digest(given.strip().encode("utf-8", "replace"), expected.encode()):
            return _written("login.html.j2", 403, is_wrong=True)
        response = web.Response(status=303, headers={"Location": "/"})
        is_https = self._parts.settings.tls is not None
        response.set_cookie(
            COOKIE, self._links.cookie, httponly=True, samesite="Strict", secure=is_https
        )
        return response

    async def _shown(self, call: Call, *, is_part: bool) -> web.StreamResponse:
        given = call.request.cookies.get(COOKIE, "")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self._links.cookie.encode()):
            return _written("login.html.j2", 401, is_wrong=False)
        facts = await self._facts.now(call.now, call.param("bucket"), call.param("after"))
        return _written("part.html.j2" if is_part else "page.html.j2", 200, **facts)

    async def _media(self, call: Call) -> web.StreamResponse:
        until, signature = call.param("until"), call.param("signature")
        call.bucket, key = self._links.open(call.path, until, signature, call.now)
        call.path, call.query, call.ci, call.key = f"/{key}", [], False, _READER
        return await self._objects.answer(call)


def _written(name: str, status: int, **facts: Any) -> web.Response:
    text = _templates().get_template(name).render(facts)
    return web.Response(status=status, text=text, content_type="text/html", headers=_HEADERS)


@functools.cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("orchestrator.server.page"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@functools.cache
def _asset(name: str) -> bytes:
    return (files("orchestrator.server.page") / "templates" / name).read_bytes()

"""Handlers of ``/template``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.server.api.answers import (
    MAX_PAGE,
    method_not_allowed,
    page_answer,
    paging,
    words,
    xml_answer,
)
from orchestrator.server.http import xml
from orchestrator.server.http.auth import demand
from orchestrator.server.http.body import read_body
from orchestrator.server.http.errors import Refusal
from orchestrator.server.jobs import templates
from orchestrator.server.jobs.row import TAG

if TYPE_CHECKING:
    from aiohttp import web

    from orchestrator.server.http.request import Call
    from orchestrator.server.http.xml import Tree
    from orchestrator.server.parts import Parts


class TemplateCalls:
    """Creates, updates, lists and deletes templates."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._templates = parts.templates

    async def answer(self, call: Call) -> web.StreamResponse:
        """Route by method."""
        template_id = call.path[len("/template") :].strip("/")
        demand(call, call.bucket, write=call.method != "GET")
        if call.method == "GET" and not template_id:
            return self._list(call)
        if call.method == "POST" and not template_id:
            return await self._save(call, self._parts.ids.new("t1"), call.now)
        if call.method == "PUT" and template_id:
            stored = self._templates.get(template_id, call.bucket)
            return await self._save(call, template_id, stored.created_at)
        if call.method == "DELETE" and template_id:
            self._templates.get(template_id, call.bucket)
            await self._templates.delete(template_id)
            return xml_answer({"RequestId": call.request_id, "TemplateId": template_id})
        raise method_not_allowed(call)

    async def _save(self, call: Call, template_id: str, created_at: float) -> web.StreamResponse:
        name, sound = templates.read(xml.read(await read_body(call, self._parts.settings)))
        stored = templates.StoredTemplate(
            template_id, call.bucket, name, sound, created_at, call.now
        )
        await self._templates.save(stored)
        return xml_answer({"RequestId": call.request_id, "Template": stored.tree()})

    def _list(self, call: Call) -> web.StreamResponse:
        ids = words(call, "ids")
        if ids:
            return self._by_ids(call, ids)
        page, size = paging(call)
        total, found = 0, list[templates.StoredTemplate]()
        # There are neither official templates here nor templates of another kind.
        if (
            call.param("tag", "All") in {"All", TAG}
            and call.param("category", "Custom") == "Custom"
        ):
            total, found = self._templates.page(call.bucket, call.param("name"), page, size)
        return page_answer(call, total, "TemplateList", [stored.tree() for stored in found])

    def _by_ids(self, call: Call, ids: list[str]) -> web.StreamResponse:
        found: list[Tree] = []
        missing: list[str] = []
        for template_id in ids[:MAX_PAGE]:
            try:
                found.append(self._templates.get(template_id, call.bucket).tree())
            except Refusal:
                missing.append(template_id)
        tree: dict[str, Tree] = {"RequestId": call.request_id, "TemplateList": found}
        if missing:
            tree["NonExistTIDs"] = {"TemplateId": missing}
        return xml_answer(tree)

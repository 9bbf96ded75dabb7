"""Parts that several handlers share: the XML answer, pages, and refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from orchestrator.server.http import xml
from orchestrator.server.http.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchestrator.server.http.request import Call
    from orchestrator.server.http.xml import Tree, Written

MAX_PAGE = 100  # the vendor documents no limit for these lists; this is that of its job list
_HEAD = f"{xml.DECLARATION}<Response>"
NO_BUCKET = "The Host header names no bucket (it is not <bucket>.ci.<region>.myqcloud.com)."


def xml_answer(tree: Tree) -> web.Response:
    """Return a 200 with ``Response`` as its document."""
    return web.Response(body=xml.document("Response", tree), content_type="application/xml")


def jobs_answer(shown: Iterable[Written], missing: Sequence[str] = ()) -> web.Response:
    """Return a 200 with the elements of jobs, and the ids of jobs that do not exist."""
    rest = [xml.leaf("NonExistJobIds", job_id) for job_id in missing] if missing else ()
    text = "".join((_HEAD, *shown, *rest, "</Response>"))
    return web.Response(body=text.encode(), content_type="application/xml")


def method_not_allowed(call: Call) -> Refusal:
    """Return the refusal of a method that a path does not have."""
    message = f"{call.method} {call.path[:80]} is not a call of this service."
    return Refusal("MethodNotAllowed", message)


def paging(call: Call) -> tuple[int, int]:
    """Return the number and the size of the requested page."""
    return call.number("pageNumber", 1, 1, 999_999_999), call.number("pageSize", 10, 1, MAX_PAGE)


def page_answer(
    call: Call, total: int, name: str, entries: Sequence[Tree], extra: dict[str, Tree] | None = None
) -> web.Response:
    """Return one page of a list, with its entries in repeated elements of that name."""
    page, size = paging(call)
    head = {"TotalCount": str(total), "PageNumber": str(page), "PageSize": str(size)}
    return xml_answer({"RequestId": call.request_id, **head, name: list(entries), **(extra or {})})


def words(call: Call, name: str) -> list[str]:
    """Return the comma-separated words of a parameter."""
    return [word for word in call.param(name).split(",") if word]

"""Puts the body of a request into a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from orchestrator.server.http.body import check_md5, pieces
from orchestrator.server.storage.metadata import Sums

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.server.http.request import Call
    from orchestrator.server.parts import Parts


async def receive(parts: Parts, call: Call, path: Path) -> Sums:
    """Write the body to a new file, and check it against ``Content-MD5``.

    Raises:
        Refusal: The body is too large, cut, late, or not what ``Content-MD5`` says.
    """
    sums = Sums()
    with path.open("xb") as file:
        async for data in pieces(call, parts.settings):
            await parts.on_disk(_take, file, sums, data)
    check_md5(call.header("Content-MD5"), sums.md5)
    return sums


def _take(file: BinaryIO, sums: Sums, data: bytes) -> None:
    file.write(data)
    sums.add(data)

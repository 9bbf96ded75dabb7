"""Fixtures that more than one folder of tests needs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioresponses import aioresponses


@pytest.fixture
def fake_http(monkeypatch: pytest.MonkeyPatch) -> Iterator[aioresponses]:
    """aioresponses, mended.

    Its release 0.7.9 does not give ``stream_writer``, which aiohttp's response class asks for since 3.14. A release that does makes this
    shim step aside by itself.
    """
    from inspect import getsource, signature

    from aiohttp import ClientResponse
    from aioresponses import aioresponses, core

    if "stream_writer" in signature(ClientResponse.__init__).parameters and "stream_writer" not in getsource(core):
        monkeypatch.setattr(core, "ClientResponse", partial(ClientResponse, stream_writer=Mock()))
    with aioresponses() as fake:
        yield fake

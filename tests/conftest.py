"""Fixtures that more than one folder of tests needs."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioresponses import aioresponses

# A developer's shell must not change a result. What chooses tests, or how many, stays.
OWN_VARIABLES = ("TENCENTCLOUD_", "TCCLI_", "ORCH_", "ORCHESTRATOR_")
CHOOSING_VARIABLES = ("ORCH_TEST_", "ORCH_SEED", "ORCHESTRATOR_CACHE_DIR")
for _name in list(os.environ):
    if _name.startswith(OWN_VARIABLES) and not _name.startswith(CHOOSING_VARIABLES):
        del os.environ[_name]

# The same examples in every run, and none of them timed: what fails here fails everywhere. ORCH_TEST_EXPLORE=1 looks for new ones.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("exploring", deadline=None)
settings.load_profile("exploring" if os.environ.get("ORCH_TEST_EXPLORE") else "steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of this project's tests."""
    parser.addoption(
        "--soak",
        action="store_true",
        default=False,
        help="run the tests that load the local service for minutes",
    )


@pytest.fixture
def fake_http(monkeypatch: pytest.MonkeyPatch) -> Iterator[aioresponses]:
    """aioresponses, mended.

    Its release 0.7.9 does not give ``stream_writer``, which aiohttp's response class asks for since 3.14. A release that does makes this
    shim step aside by itself.
    """
    from inspect import getsource, signature

    from aiohttp import ClientResponse
    from aioresponses import aioresponses, core

    if "stream_writer" in signature(
        ClientResponse.__init__
    ).parameters and "stream_writer" not in getsource(core):
        monkeypatch.setattr(core, "ClientResponse", partial(ClientResponse, stream_writer=Mock()))
    with aioresponses() as fake:
        yield fake

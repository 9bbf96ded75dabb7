"""Fixtures and settings shared by all tests."""

from __future__ import annotations

import gc
import os
import sys
from functools import partial
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioresponses import aioresponses

    from tests.postgres_server import PostgresServer

# A developer's environment must not change a result; variables that select tests stay.
OWN_VARIABLES = ("TENCENTCLOUD_", "TCCLI_", "ORCH_", "ORCHESTRATOR_")
SELECTING_VARIABLES = ("ORCH_TEST_", "ORCH_SEED", "ORCHESTRATOR_CACHE_DIR")
for _name in list(os.environ):
    if _name.startswith(OWN_VARIABLES) and not _name.startswith(SELECTING_VARIABLES):
        del os.environ[_name]
# Runs of tests share nothing with each other, nor with those of the developer.
os.environ["ORCHESTRATOR_STATE_DIR"] = "off"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# Every run uses the same examples without a deadline, so a failure repeats on every machine.
# ORCH_TEST_EXPLORE=1 draws new examples.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("exploring", deadline=None)
settings.load_profile("exploring" if os.environ.get("ORCH_TEST_EXPLORE") else "steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of this project's tests."""
    parser.addoption(
        "--soak",
        action="store_true",
        default=False,
        help="run the tests that load the local service for minutes",
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect garbage rarely, and never look again at what the collection of tests has made.

    Looking took a sixth of the processor time of the unit tests.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(20_000)
        gc.enable()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Yield a PostgreSQL server; each test takes a schema of its own in it."""
    from tests.postgres_server import PostgresServer

    with PostgresServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _no_command_outlives_its_test() -> Iterator[None]:
    yield
    playground = sys.modules.get("tests.e2e.playground")
    while playground is not None and playground.STARTED:
        with playground.STARTED.pop() as process:  # closes its pipes, and waits for it
            process.kill()


@pytest.fixture
def fake_http(monkeypatch: pytest.MonkeyPatch) -> Iterator[aioresponses]:
    """Yield aioresponses, patched if it lacks support for aiohttp 3.14.

    Its release 0.7.9 does not pass ``stream_writer``, which aiohttp's response class needs since
    3.14. A release that passes it is not patched.
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

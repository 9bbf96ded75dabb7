"""Ctrl-C while the database of the ledger is out of reach: the command says why it waits."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

import pytest

from orchestrator.server.pace import Pace, Progression
from tests.e2e.playground import until
from tests.unit.ledger.postgres.cut_proxy import CutProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.playground import Going, Playground, RunningService
    from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.slow


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[CutProxy]:
    with CutProxy(postgres.port) as proxy:
        yield proxy


def ledger(postgres: PostgresServer, proxy: CutProxy) -> str:
    return postgres.url().replace(f":{postgres.port}/", f":{proxy.port}/")


def leave(running: Going) -> str:
    """Press Ctrl-C again; return what the command said."""
    running.send(signal.SIGINT)
    done = running.finish(15)
    assert done.code == 130
    return done.err


@pytest.mark.parametrize("option", ["--verbose", "--quiet"])
def test_a_run_says_that_it_waits_for_the_database(
    here: Playground,
    service: RunningService,
    postgres: PostgresServer,
    proxy: CutProxy,
    option: str,
) -> None:
    service.pace(Progression(Pace.HOLD))
    here.write("a.mp3")
    options = ["--ledger", ledger(postgres, proxy)]
    running = here.start("run", "album.yaml", option, *options)
    until(service.jobs, "the job is made")
    proxy.is_down = True
    proxy.cut()
    running.send(signal.SIGINT)
    running.wait_for("waits for the database", 10)

    said = leave(running)

    assert f"127.0.0.1 port {proxy.port}" in said
    assert "Press Ctrl-C again to leave now" in said
    assert "aborted by SIGINT. Nothing is lost" in said


def test_a_run_that_waits_for_its_turn_says_so_too(
    here: Playground, service: RunningService, postgres: PostgresServer, proxy: CutProxy
) -> None:
    service.pace(Progression(Pace.HOLD))
    here.write("a.mp3")
    first = here.start("run", "album.yaml", "--ledger", postgres.url(schema="two"), "-v")
    first.wait_for("submitted  a.mp3")
    url = ledger(postgres, proxy).partition("?")[0] + "?schema=two"
    second = here.start("run", "album.yaml", "--ledger", url, "--wait")
    second.wait_for("This run waits")
    proxy.is_down = True
    proxy.cut()
    second.send(signal.SIGINT)
    second.wait_for("Interrupted before the run began", 10)

    assert "Press Ctrl-C again to leave now" in leave(second)
    first.send(signal.SIGINT)
    assert first.finish().code == 130


def test_a_server_that_does_not_answer_at_the_start_can_be_left(
    here: Playground, service: RunningService
) -> None:
    here.write("a.mp3")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://x@127.0.0.1:{silent.getsockname()[1]}/x"
        running = here.start("run", "album.yaml", "--ledger", url)
        with silent.accept()[0]:  # and nothing more
            running.send(signal.SIGINT)
            running.wait_for("Interrupted before the run began", 5)
            leave(running)

"""Fixtures: a fresh service and a fresh folder for each test of the installed command."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from orchestrator.server.settings import LocalSettings
from tests.e2e.playground import KEYS, QUICK, Playground, RunningService

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Serve(Protocol):
    """Function that starts a local service with changed settings."""

    def __call__(self, **changes: Any) -> RunningService: ...


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Function that starts local services with simulated work; they end with the test."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def start(**changes: Any) -> RunningService:
            settings = LocalSettings(
                tmp_path / "root",
                credentials=(KEYS,),
                progression=QUICK,
                durable=False,
                max_concurrent=20,
            )
            return stack.enter_context(RunningService(replace(settings, **changes)))

        yield start


@pytest.fixture
def service(serve: Serve) -> RunningService:
    """A service whose simulated work takes no time."""
    return serve()


@pytest.fixture
def here(tmp_path: Path, service: RunningService) -> Playground:
    """A folder whose manifests name the service."""
    folder = tmp_path / "work"
    folder.mkdir()
    return Playground(folder, service)

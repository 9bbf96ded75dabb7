"""What is said before a cluster is used, and the address of the service that its nodes get."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from orchestrator.domain.clock import SystemClock
from orchestrator.errors import ConfigError
from orchestrator.server.settings import LocalSettings, RaySettings
from orchestrator.server.workers import ray
from orchestrator.server.workers.exchange import Exchange
from orchestrator.server.workers.protocol import WorkerLost, WorkTask
from orchestrator.server.workers.ray import RayWorkers, demand_ray, reachable_url

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("missing", "address", "is_refused"),
    [
        ("ray", "", True),
        ("ray", "ray://head:10001", True),
        ("grpc", "ray://head:10001", True),
        ("grpc", "", False),  # only the client of a cluster elsewhere needs it
    ],
)
def test_a_missing_extra_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch, missing: str, address: str, is_refused: bool
) -> None:
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else object()
    )
    if not is_refused:
        demand_ray(RaySettings(address))
        return
    with pytest.raises(ConfigError, match=r"pip install 'voiceseparate-orchestrator\[ray,local\]'"):
        demand_ray(RaySettings(address))


async def test_a_service_that_nodes_elsewhere_cannot_reach_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "demand_ray", lambda _: None)
    settings = LocalSettings(tmp_path, ray=RaySettings("ray://10.9.8.7:10001"))
    workers = RayWorkers(settings, SystemClock(), Exchange(SystemClock()))
    with pytest.raises(ConfigError, match=r"cannot reach this service on 127\.0\.0\.1.*--listen"):
        await workers.open(lambda: None)
    await workers.close()


async def test_a_job_without_a_connection_waits_without_a_counted_start(tmp_path: Path) -> None:
    settings = LocalSettings(tmp_path, ray=RaySettings())
    workers = RayWorkers(settings, SystemClock(), Exchange(SystemClock()))
    with pytest.raises(WorkerLost) as lost:
        await workers.run(WorkTask("in", {}, ""), lambda _: None)
    assert not lost.value.is_counted
    assert workers.capacity == 0


@pytest.mark.parametrize(
    ("url", "address", "reached"),
    [
        ("http://10.0.0.5:8080", "ray://head:10001", "http://10.0.0.5:8080"),
        ("http://0.0.0.0:8080", "", "http://127.0.0.1:8080"),
        ("https://0.0.0.0:8080", "ray://127.0.0.1:10001", "https://127.0.0.1:8080"),
    ],
)
def test_nodes_get_an_address_that_leads_here(url: str, address: str, reached: str) -> None:
    assert reachable_url(url, address) == reached

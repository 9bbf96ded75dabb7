"""A job alone gets all cores; jobs in a batch share them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from orchestrator.separation.cores import threads_for, usable_cores

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("cores", "workers", "jobs", "threads"),
    [
        (2, 2, 1, 2),  # a single file uses the whole machine
        (2, 2, 2, 1),
        (2, 2, 500, 1),
        (16, 16, 3, 5),
        (16, 4, 500, 4),  # fewer workers than cores: each has more
        (2, 8, 8, 1),  # more workers than cores
        (8, 8, 0, 8),
    ],
)
def test_the_jobs_that_run_or_wait_share_the_cores(
    cores: int, workers: int, jobs: int, threads: int
) -> None:
    assert threads_for(cores, workers=workers, jobs=jobs) == threads


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("150000 100000\n", 2),
        ("10000 100000\n", 1),
        ("max 100000\n", 3),
        ("9900000 100000\n", 3),
        ("?", 3),
        (None, 3),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has both limits")
def test_affinity_and_the_limit_of_a_container_both_count(
    limit: str | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4, 5, 6})
    quota = tmp_path / "cpu.max"
    if limit is not None:
        quota.write_text(limit)
    assert usable_cores(quota) == expected

"""Cores that this process may use, and the threads that a job gets of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")
"""Limit of a container's processor time in its own view: quota and period (cgroup v2)."""


def usable_cores(quota: Path = _QUOTA) -> int:
    """Return the number of cores, within the affinity of this process and its container's limit."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text().split()
        cores = min(cores, -(-int(allowed) // int(period)))
    except (OSError, ValueError):  # no container, or no limit ("max")
        pass
    return max(cores, 1)


def threads_for(cores: int, *, workers: int, jobs: int) -> int:
    """Return the threads of a job that starts now.

    A job that is alone gets all cores. In a batch each job gets its share, because two jobs of one
    thread get more done than two threads of one job.

    Args:
        cores: Usable cores.
        workers: Most jobs that run at once.
        jobs: Jobs that run or wait, with this one.
    """
    return max(1, cores // max(1, min(workers, jobs)))

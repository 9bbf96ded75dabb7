"""Runs a Ray cluster of two nodes on this machine until standard input ends.

Usage: ``ray_cluster.py``. It prints one JSON line with the address and the process of the head's
raylet. Each line of standard input adds a node, with the variables in that JSON object; it is
answered with the process of its raylet.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

MEMORY = 80 << 20  # Ray's smallest object store; nothing is kept in it


def main(out: int) -> None:
    """Run the cluster."""
    from ray.cluster_utils import Cluster

    def say(**content: object) -> None:
        os.write(out, json.dumps(content).encode() + b"\n")

    small: dict[str, Any] = {
        "num_cpus": 1,
        "object_store_memory": MEMORY,
        "include_dashboard": False,
    }
    port = int(os.environ["CLIENT_PORT"])
    cluster = Cluster(
        initialize_head=True, head_node_args={**small, "ray_client_server_port": port}
    )
    try:
        say(address=f"ray://127.0.0.1:{port}", head=raylet_of(cluster.head_node))
        while line := sys.stdin.readline():
            node = cluster.add_node(**small, env_vars=json.loads(line))
            say(raylet=raylet_of(node))
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call,unused-ignore]


def raylet_of(node: object) -> int:
    processes = node.all_processes["raylet"]  # type: ignore[attr-defined]
    pid: int = processes[0].process.pid
    return pid


if __name__ == "__main__":
    answers = os.dup(1)
    os.dup2(2, 1)
    folder = tempfile.mkdtemp(prefix="orch-ray-")
    Path(folder, "ray").mkdir()  # Ray's cluster utility writes there before it makes it
    os.environ.update(RAY_TMPDIR=folder, RAY_USAGE_STATS_ENABLED="0")
    try:
        main(answers)
    finally:
        shutil.rmtree(folder, ignore_errors=True)

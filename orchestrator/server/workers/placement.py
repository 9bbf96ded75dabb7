"""Choice of the node for a job: pure decisions on what is known of the nodes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


@dataclass(frozen=True, slots=True)
class Need:
    """Resources of one job."""

    cpus: float
    gpus: float
    memory_bytes: int


@dataclass(slots=True)
class Node:
    """One node of the cluster.

    Attributes:
        node_id: Its id.
        name: Its address, for messages.
        cpus: Its processors.
        gpus: Its graphics processors.
        memory_bytes: Memory that it offers to jobs.
        free_bytes: Memory that was free when it was last asked.
        asked_at: Time of that answer.
        workers: Workers that run there.
        fault: Reason why no job may run there, or empty.
        is_checked: Its versions and model were compared.
        held_until: End of a pause after a fault.
    """

    node_id: str
    name: str
    cpus: float
    gpus: float = 0
    memory_bytes: float = math.inf
    free_bytes: float = math.inf
    asked_at: float = -math.inf
    workers: int = 0
    fault: str = ""
    is_checked: bool = False
    held_until: float = -math.inf


@dataclass(slots=True)
class Board:
    """All nodes, by id."""

    need: Need
    nodes: dict[str, Node] = field(default_factory=dict)

    def slots(self, node: Node) -> int:
        """Return the number of workers for which a node has resources."""
        need = self.need
        parts = [(node.cpus, need.cpus), (node.gpus, need.gpus)]
        parts.append((node.memory_bytes, need.memory_bytes))
        fits = [have / wanted for have, wanted in parts if wanted]
        # A part of 0.1 three times is 0.30000000000000004.
        return math.floor(min(fits) + 1e-9) if fits else 1

    def usable(self, now: float) -> Iterable[Node]:
        """Yield the nodes that may get jobs."""
        for node in self.nodes.values():
            if node.is_checked and not node.fault and now >= node.held_until:
                yield node

    def capacity(self, now: float) -> int:
        """Return the number of jobs that can run at once."""
        return sum(max(node.workers, self._room(node)) for node in self.usable(now))

    def _room(self, node: Node) -> int:
        """Return the workers that a node can have, by its resources and its free memory."""
        need = self.need.memory_bytes
        more = math.inf if not need or math.isinf(node.free_bytes) else node.free_bytes // need
        return int(min(self.slots(node), node.workers + more))

    def choose(self, now: float, avoid: Collection[str]) -> Node | None:
        """Return the node for one more worker: the one with the most free memory.

        A node of ``avoid``, which has lost this job before, is taken only if there is no other.
        """
        fit = [node for node in self.usable(now) if node.workers < self._room(node)]
        if not fit:
            return None
        return max(fit, key=lambda node: (node.node_id not in avoid, node.free_bytes, node.node_id))

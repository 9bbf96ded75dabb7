"""The node for a job: with room, with free memory, and not the one that lost it before."""

from __future__ import annotations

import math

import pytest

from orchestrator.server.workers.placement import Board, Need, Node

GB = 1 << 30


def board(*nodes: Node, need: Need | None = None) -> Board:
    for node in nodes:
        node.is_checked = True
    return Board(need or Need(1, 0, GB), {node.node_id: node for node in nodes})


def node(name: str, cpus: float = 4, *, free_gb: float = 100, gpus: float = 0) -> Node:
    return Node(name, name, cpus, gpus, memory_bytes=100 * GB, free_bytes=free_gb * GB)


def chosen(board: Board, *avoid: str, now: float = 0) -> str | None:
    found = board.choose(now, avoid)
    return found.node_id if found else None


def test_the_node_with_the_most_free_memory_gets_the_job() -> None:
    assert chosen(board(node("a", free_gb=3), node("b", free_gb=9), node("c", free_gb=5))) == "b"


def test_a_node_without_enough_free_memory_gets_none() -> None:
    """Ray counts what was reserved; other programs use memory, too."""
    full = board(node("a", free_gb=0.9))
    assert (chosen(full), full.capacity(0)) == (None, 0)


@pytest.mark.parametrize(
    ("need", "slots"),
    [
        (Need(1, 0, GB), 4),
        (Need(2, 0, GB), 2),
        (Need(0.1, 0, 0), 40),
        (Need(1, 0.5, GB), 2),
        (Need(1, 2, GB), 0),
        (Need(1, 0, 60 * GB), 1),
    ],
)
def test_a_node_has_room_for_as_many_jobs_as_its_scarcest_resource_allows(
    need: Need, slots: int
) -> None:
    assert board(node("a", gpus=1), need=need).capacity(0) == slots


def test_workers_take_the_room_of_their_node() -> None:
    a, b = node("a", 2, free_gb=50), node("b", 2, free_gb=9)
    a.workers = 2
    both = board(a, b)
    assert (chosen(both), both.capacity(0)) == ("b", 4)
    b.workers = 2
    assert chosen(both) is None


def test_a_busy_node_keeps_its_workers_when_its_memory_is_used_up() -> None:
    a = node("a", 4, free_gb=0)
    a.workers = 3
    assert board(a).capacity(0) == 3


def test_a_node_that_lost_the_job_is_the_last_choice() -> None:
    both = board(node("a", free_gb=9), node("b", free_gb=3))
    assert chosen(both, "a") == "b"
    assert chosen(both, "a", "b") == "a"


def test_a_node_with_a_fault_or_a_pause_or_unchecked_gets_none() -> None:
    a, b, c = node("a"), node("b"), node("c")
    three = board(a, b, c)
    a.fault, b.held_until, c.is_checked = "another version", 10, False
    assert (chosen(three), three.capacity(0)) == (None, 0)
    assert chosen(three, now=10) == "b"


def test_a_system_with_unknown_free_memory_has_its_resources() -> None:
    unknown = node("a", 3, free_gb=math.inf)
    assert board(unknown).capacity(0) == 3

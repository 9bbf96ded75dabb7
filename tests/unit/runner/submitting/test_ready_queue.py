"""The ready queue: no job is lost or returned twice, levels go first, and no job starves."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orchestrator.runner.submitting.ready_queue import LaneKey, ReadyQueue, lane_of
from orchestrator.testing.builders import make_job, make_spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.domain.job import Job

NEVER = 10**9  # pops until a level ages


def job(number: int, level: int = 0, group: str = "a", seq: int | None = None) -> Job:
    return make_job(
        number, spec=make_spec(number, level=level, group=group), seq=number if seq is None else seq
    )


def queue_of(*jobs: Job, age_after: int = NEVER) -> ReadyQueue:
    queue = ReadyQueue(age_after)
    for one in jobs:
        queue.push(one)
    return queue


def drain(queue: ReadyQueue) -> list[int]:
    return [queue.pop().id for _ in range(len(queue))]


def test_a_higher_level_goes_first_even_if_it_came_later() -> None:
    queue = queue_of(job(1), job(2, level=1), job(3))
    assert queue.pop().id == 2
    queue.push(job(4, level=2))

    assert drain(queue) == [4, 1, 3]


def test_inside_a_lane_jobs_keep_the_order_of_the_manifest() -> None:
    assert drain(queue_of(job(1, seq=30), job(2, seq=10), job(3, seq=20))) == [2, 3, 1]


def test_groups_of_one_level_take_turns_whatever_their_sizes() -> None:
    queue = queue_of(
        *(job(number, group="huge") for number in range(1, 101)),
        *(job(number, group="small") for number in range(200, 203)),
    )

    assert {200, 201, 202} <= set(drain(queue)[:7])


def test_a_group_does_not_catch_up_for_the_time_it_was_empty() -> None:
    queue = queue_of(*(job(number, group="a") for number in range(1, 101)))
    for _ in range(50):
        queue.pop()
    for number in range(200, 250):
        queue.push(job(number, group="b"))

    shares = Counter(
        "b" if number >= 200 else "a" for number in (queue.pop().id for _ in range(20))
    )
    assert shares == {"a": 10, "b": 10}


def test_a_group_that_was_alone_does_not_yield_more_than_its_share_to_a_new_one() -> None:
    queue = queue_of(*(job(number, group="a") for number in range(1, 51)))
    drain(queue)
    for number in range(100, 120):
        queue.push(job(number, group="b"))
    for number in range(200, 220):
        queue.push(job(number, group="a"))

    shares = Counter(
        "a" if number >= 200 else "b" for number in (queue.pop().id for _ in range(20))
    )
    assert shares == {"a": 10, "b": 10}


def test_a_level_that_was_passed_over_often_moves_up_by_one() -> None:
    queue = queue_of(job(1), *(job(number, level=1) for number in range(2, 100)), age_after=10)

    order = drain(queue)

    assert order.index(1) == 20, (
        "10 passes lift it to level 1, which is still preferred; 20 lift it above"
    )


def test_popping_an_empty_queue_is_an_index_error() -> None:
    with pytest.raises(IndexError, match="empty"):
        ReadyQueue(1).pop()


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abc")), max_size=60), st.integers(1, 5)
)
def test_a_low_level_waits_for_a_bounded_number_of_pops(
    kinds: list[tuple[int, str]], age_after: int
) -> None:
    """The lowest level is served once in about ``3 * age_after`` pops of higher levels."""
    queue = queue_of(
        *(job(number, level, group) for number, (level, group) in enumerate(kinds, 10)),
        job(1, 0, "z"),
        age_after=age_after,
    )
    popped = 0
    while queue.pop().id != 1:
        popped += 1
        queue.push(job(1000 + popped, 2))

    assert popped <= (3 * age_after + 2) * (1 + sum(level == 0 for level, _ in kinds))


class Queue(RuleBasedStateMachine):
    """The queue against a plain dictionary of the jobs in it."""

    @initialize(age_after=st.sampled_from([1, 2, 7, NEVER]))
    def begin(self, age_after: int) -> None:
        self.queue = ReadyQueue(age_after)
        self.is_strict = age_after == NEVER
        self.held: dict[int, Job] = {}
        self.number = 0
        self.ahead: Counter[tuple[LaneKey, str]] = Counter()
        """By lane and other group of its level: pops of that group while the lane waited."""
        self.passed: Counter[int] = Counter()
        """By level: pops of higher levels while it waited."""
        # Level 0 waits for level 2 (3 lifts), or for a level 1 that has itself aged (4 lifts).
        self.most_passed = 4 * age_after + 2

    @rule(level=st.integers(0, 2), group=st.sampled_from(["a", "b", "c"]), seq=st.integers(0, 50))
    def push(self, level: int, group: str, seq: int) -> None:
        self.number += 1
        self.held[self.number] = job(self.number, level, group, seq)
        self.queue.push(self.held[self.number])

    @precondition(lambda self: self.held)
    @rule()
    def pop(self) -> None:
        popped = self.queue.pop()
        assert self.held.pop(popped.id) is popped, "it was not in the queue, or came out twice"
        same_lane = [one for one in self.held.values() if lane_of(one) == lane_of(popped)]
        assert all((popped.seq, popped.id) < (one.seq, one.id) for one in same_lane)
        if self.is_strict:
            assert all(one.spec.level <= popped.spec.level for one in self.held.values())
        self.note_waiting(lane_of(popped))

    def note_waiting(self, popped: LaneKey) -> None:
        waiting = {lane_of(one) for one in self.held.values()} - {popped}
        for lane in {lane for lane, _ in self.ahead} - waiting:
            self.ahead = Counter(
                {pair: count for pair, count in self.ahead.items() if pair[0] != lane}
            )
        self.ahead.update((lane, popped.share) for lane in waiting if lane.level == popped.level)
        levels = {lane.level for lane in waiting} - {popped.level}
        self.passed = Counter(
            {level: self.passed[level] + (level < popped.level) for level in levels}
        )

    @invariant()
    def no_group_and_no_level_starves(self) -> None:
        if hasattr(self, "queue"):
            # A group that takes turns may lead by one, and by one more if its name sorts first.
            assert max(self.ahead.values(), default=0) <= 2, f"a group is shut out: {self.ahead}"
            assert max(self.passed.values(), default=0) <= self.most_passed, (
                f"a level starves: {self.passed}"
            )

    @invariant()
    def it_holds_what_was_pushed_and_not_popped(self) -> None:
        if hasattr(self, "queue"):
            assert len(self.queue) == len(self.held)
            assert {one.id for one in self.queue.jobs()} == set(self.held)
            lanes = Counter(lane_of(one) for one in self.held.values())
            assert all(self.queue.size_of(lane) == count for lane, count in lanes.items())
            assert self.queue.size_of(LaneKey(0, "unknown")) == 0

    def teardown(self) -> None:
        if hasattr(self, "queue"):
            assert sorted(drain(self.queue)) == sorted(self.held)


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def _pop_lowest(queue: ReadyQueue) -> int:
    return min(number for number, level in queue._levels.items() if level.order)


def _pop_highest(queue: ReadyQueue) -> int:
    return max(number for number, level in queue._levels.items() if level.order)


def _forget_turns(queue: ReadyQueue, served: int) -> None:
    for level in queue._levels.values():
        level.turn = 0
        for lane in level.lanes.values():
            lane.served = 0
        level.order = sorted((0, share) for _, share in level.order)
        level.passed = 0 if served else level.passed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "broken"),
    [("_best_level", _pop_lowest), ("_best_level", _pop_highest), ("_note_passed", _forget_turns)],
)
def test_the_state_machine_finds_a_queue_that_ignores_levels_ageing_or_shares(
    monkeypatch: pytest.MonkeyPatch, method: str, broken: Callable[..., object]
) -> None:
    """A check that cannot fail proves nothing."""
    monkeypatch.setattr(ReadyQueue, method, broken)
    thorough = settings(
        max_examples=300,
        stateful_step_count=60,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Queue, settings=thorough)


@given(st.data())
def test_groups_that_always_wait_have_shares_that_differ_by_at_most_one(
    data: st.DataObject,
) -> None:
    groups = data.draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True))
    queue = queue_of(
        *(
            job(100 * at + number, group=group)
            for at, group in enumerate(groups, 1)
            for number in range(30)
        )
    )
    taken = data.draw(st.integers(1, 20 * len(groups)))

    served = Counter(queue.pop().spec.group for _ in range(taken))

    assert max(served.values()) - min(served[group] for group in groups) <= 1

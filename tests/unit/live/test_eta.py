"""Time left, on simulated runs of several shapes in virtual time.

Each run is a list of moments and events. The tally is asked every few seconds, and its answer is
compared with the moment at which the run really ended.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from orchestrator.domain import events as ev
from orchestrator.domain.spec import JobKey
from orchestrator.domain.states import JobState
from orchestrator.live.tally import Tally
from tests.unit.live.samples import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable

TOLERANCE = 0.25


@dataclass
class Shape:
    """A run to simulate.

    Attributes:
        lengths: Length of each file, or None if the manifest does not know it.
        run_s: Run time of a file of a length.
        slots: Jobs that the service runs at once.
        submits_per_s: Rate of sending.
        in_flight: Jobs at the service at once.
        poll_s: How late a state is seen.
        sees_running: The service names the start of a job, and polls are quick enough to see it.
        tells: The service says how much of a job is done.
        fails: Share of jobs that fail, at half of their time.
        slower_from: Job from which on all take ``slower`` times as long.
        slower: See there.
        starts_at: Time that passes before the first job is sent.
    """

    lengths: list[float | None]
    run_s: Callable[[int, float], float]
    slots: int = 10**9
    submits_per_s: float = 100.0
    in_flight: int = 10**9
    poll_s: float = 1.0
    sees_running: bool = True
    tells: bool = False
    fails: float = 0.0
    slower_from: int = 10**9
    slower: float = 1.0
    starts_at: float = 0.0
    true_lengths: list[float] = field(default_factory=list)


def events_of(shape: Shape) -> list[tuple[float, ev.Event]]:
    """Simulate: jobs are sent in order, wait for a slot, run, end."""
    rng = random.Random(7)
    lengths = shape.true_lengths or [length or 60.0 for length in shape.lengths]
    known = [length for length in shape.lengths if length is not None]
    number = len(lengths)
    said: list[tuple[float, ev.Event]] = [
        (0.0, ev.RunStarted("r", "r.jsonl", resumed=False)),
        (0.0, ev.JobsPlanned(new=number, sized=len(known), media_s=sum(known))),
        (0.0, ev.PlanFinished(number)),
    ]
    free: list[float] = []  # when a slot is free
    flying: list[float] = []  # when a job that was sent has ended
    sent_at = shape.starts_at
    for index, length in enumerate(lengths):
        key, name = JobKey(f"v1.{index}"), f"in/{index}.mp3"
        sent_at += 1 / shape.submits_per_s
        if len(flying) >= shape.in_flight:
            sent_at = max(sent_at, heapq.heappop(flying) + shape.poll_s)
        start = max(sent_at, heapq.heappop(free) if len(free) >= shape.slots else 0.0)
        slower = shape.slower if index >= shape.slower_from else 1.0
        run_s = shape.run_s(index, length) * slower
        fails = rng.random() < shape.fails
        end = start + (run_s / 2 if fails else run_s)
        heapq.heappush(free, end)
        heapq.heappush(flying, end)
        said += [
            (sent_at, ev.JobSending(key, name, 0, 1, shape.lengths[index])),
            (sent_at + 0.1, ev.JobAccepted(key, name, f"j{index}")),
        ]
        if shape.sees_running and run_s > shape.poll_s:
            seen = max(start, sent_at + 0.1) + shape.poll_s * rng.random()
            said.append((seen, ev.JobMoved(key, name, JobState.RUNNING)))
            at = seen + shape.poll_s
            while shape.tells and at < end:
                part = int(100 * (at - start) / run_s) / 100
                said.append((at, ev.JobProgressed(key, name, part)))
                at += shape.poll_s
        state = JobState.FAILED if fails else JobState.SUCCEEDED
        ran_s = float(round(end - start)) if shape.sees_running else None
        seen_end = end + shape.poll_s * rng.random()
        said.append((seen_end, ev.JobEnded(key, name, state, ran_s=ran_s)))
    return sorted(said, key=lambda pair: pair[0])


def estimates(shape: Shape) -> tuple[float, list[tuple[float, float | None]]]:
    """Return how long the run took, and pairs of a moment and the time left as it was shown."""
    said = events_of(shape)
    whole_s = said[-1][0]
    clock = ManualClock()
    tally = Tally(clock)
    began_at = clock.at
    shown: list[tuple[float, float | None]] = []
    moments = iter([*((whole_s * part / 100) for part in range(1, 100)), float("inf")])
    moment = next(moments)
    for at, event in said:
        while at > moment:
            clock.at = began_at + moment
            shown.append((moment, tally.eta_s))
            moment = next(moments)
        clock.at = began_at + at
        tally.emit(event)
    return whole_s, shown


def even(seconds: float) -> Callable[[int, float], float]:
    return lambda _, __: seconds


def by_length(factor: float, overhead_s: float = 0.0) -> Callable[[int, float], float]:
    return lambda _, length: overhead_s + factor * length


def drawn(low: float, high: float, number: int, seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    return [low * (high / low) ** rng.random() for _ in range(number)]


MIXED = drawn(20, 3600, 150)
EVENER = drawn(120, 600, 150)
SHAPES = {
    "steady, two slots": Shape([60.0] * 50, even(30.0), slots=2),
    "five files on two slots": Shape([60.0] * 5, even(60.0), slots=2, poll_s=2.0),
    "nine files on two slots, as the service says": Shape(
        [60.0] * 9, even(60.0), slots=2, tells=True, poll_s=2.0
    ),
    "one file, as the service says": Shape([300.0], even(170.0), slots=1, tells=True, poll_s=5.0),
    "three files of unlike lengths, as the service says": Shape(
        [60.0, 600.0, 120.0], by_length(0.3), slots=1, tells=True, poll_s=5.0
    ),
    "limited by the rate, unlimited service": Shape([60.0] * 1000, even(120.0), submits_per_s=4.0),
    "limited by the rate, short jobs": Shape(
        [60.0] * 1000, even(2.0), submits_per_s=7.0, poll_s=5.0
    ),
    "all at once in a queue, never seen to run": Shape(
        [60.0] * 400, even(5.0), slots=4, sees_running=False
    ),
    "limited by jobs in flight": Shape([60.0] * 400, even(20.0), in_flight=20),
    "unlike lengths, in random order": Shape([*MIXED], by_length(0.1, 5.0), slots=4),
    "unlike lengths, the longest first": Shape(
        [*sorted(MIXED, reverse=True)], by_length(0.1, 5.0), slots=4
    ),
    "unlike lengths, the shortest first": Shape([*sorted(MIXED)], by_length(0.1, 5.0), slots=4),
    "lengths unknown": Shape(
        [None] * 300, by_length(0.5), slots=4, true_lengths=drawn(60, 600, 300)
    ),
    "half of the lengths unknown": Shape(
        [length if index % 2 else None for index, length in enumerate(EVENER)],
        by_length(0.2),
        slots=3,
        true_lengths=EVENER,
    ),
    "some jobs fail": Shape([60.0] * 200, even(30.0), slots=5, fails=0.2),
    "a service that becomes slower early": Shape(
        [60.0] * 300, even(10.0), slots=4, slower_from=30, slower=3.0
    ),
    "a long look at the service first": Shape(
        [60.0] * 100, even(10.0), slots=4, starts_at=120.0
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_from_a_third_of_the_run_on_the_time_left_is_right_within_a_quarter(name: str) -> None:
    whole_s, shown = estimates(SHAPES[name])
    late = [(at, left) for at, left in shown if at >= whole_s / 3]
    wrong = [
        (f"{at / whole_s:.0%}", round(left), round(whole_s - at))
        for at, left in late
        # A few seconds are nothing that anyone would notice.
        if left is not None
        and abs(left - (whole_s - at)) > max(TOLERANCE * (whole_s - at), 0.02 * whole_s, 2.0)
    ]

    assert wrong == [], f"(moment, shown, true) in a run of {whole_s:.0f} s"
    assert sum(left is not None for _, left in late) >= 0.5 * len(late), "it is shown at all"

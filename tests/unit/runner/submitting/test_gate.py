"""The gate announces each pause and each outage once, and their ends once."""

from __future__ import annotations

import random
from typing import Any

from orchestrator.domain.events import SubmitPaused, SubmitResumed
from orchestrator.runner.settings import RunnerSettings
from orchestrator.runner.submitting.circuit_breaker import OPENS_AFTER
from orchestrator.runner.submitting.gate import Gate
from tests.simulation.doubles import Recorder


class Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def monotonic(self) -> float:
        return self.at


def make_gate() -> tuple[Gate, Clock, Recorder]:
    clock, sink = Clock(), Recorder()
    ports: Any = type(
        "Ports",
        (),
        {"clock": clock, "sink": sink, "settings": RunnerSettings(), "rng": random.Random(1)},
    )
    return Gate(ports), clock, sink


async def test_a_pause_is_announced_once_and_its_end_once() -> None:
    gate, clock, sink = make_gate()
    gate.pause(10.0, "the queue is full")
    gate.pause(5.0, "shorter than what is left")
    assert gate.pause_left_s() == 10.0

    clock.at = 10.0
    assert (gate.pause_left_s(), gate.pause_left_s()) == (0.0, 0.0)

    assert sink.events == [
        SubmitPaused("the queue is full", 10.0),
        SubmitResumed("the pause has ended"),
    ]


async def test_an_outage_is_announced_once_and_the_recovery_after_an_answer_only() -> None:
    gate, _, sink = make_gate()
    for _ in range(OPENS_AFTER):
        gate.breaker.failed("reset")
    gate.announce_outage()
    gate.announce_outage()
    gate.breaker.probed()
    gate.announce_recovery()
    assert [type(event) for event in sink.events] == [SubmitPaused], "a probe proves little"

    gate.breaker.succeeded()
    gate.announce_recovery()
    gate.announce_recovery()

    assert [type(event) for event in sink.events] == [SubmitPaused, SubmitResumed]
    assert "reset" in str(sink.events[0])

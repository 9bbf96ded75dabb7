"""Everything that a seed draws: weather, settings, the changing manifest, and scenarios."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from orchestrator.domain.states import JobState
from orchestrator.runner.settings import RunnerSettings
from orchestrator.testing.builders import make_spec
from orchestrator.testing.oddities import Echo, Oddities
from orchestrator.testing.weather import FILMS, Fault, Spell, Trouble, Weather

if TYPE_CHECKING:
    import random

    from orchestrator.domain.spec import JobKey, JobSpec

RETRIES: list[frozenset[JobState]] = [
    frozenset(),
    frozenset({JobState.FAILED}),
    frozenset({JobState.FAILED, JobState.REJECTED, JobState.CANCELLED, JobState.UNFINISHED}),
]
"""Values of ``--retry``."""


def draw_weather(rng: random.Random) -> Weather:
    """Draw a weight for each fault, delays, capacity and spells: from no fault to a storm."""
    weights = {fault: rng.choice([0, 0, 0.2, 1.0]) for fault in Fault}
    weights[Fault.NONE] = rng.choice([2.0, 4.0, 10.0])
    return Weather(
        faults=weights,
        query_fails=rng.choice([0, 0.1, 0.4]),
        job_fails=rng.choice([0, 0.1]),
        job_falters=rng.choice([0, 0.1, 0.3]),
        latency_s=rng.choice([0.001, 0.05, 1.0]),
        reply_timeout_s=rng.choice([2.0, 10.0, 18.0]),
        listing_lag_s=rng.choice([0.0, 5.0, 19.0]),
        job_s=rng.choice([0.5, 20.0, 90.0]),
        concurrency=rng.choice([1, 3, 50]),
        spells=tuple(_draw_spell(rng) for _ in range(rng.choice([0, 0, 1, 2]))),
        oddities=_draw_oddities(rng),
    )


def _draw_oddities(rng: random.Random) -> Oddities:
    """Draw odd ways of answering: half of the services have none."""
    if rng.random() < 0.5:
        return Oddities()
    return Oddities(
        echo=rng.choice([Echo.EXACT, Echo.SPACED, Echo.UPPER, Echo.PLUS]),
        early_echo=rng.choice(list(Echo)),
        early_until=rng.choice([0.0, 0.0, 30.0, 300.0]),
        has_foreign_jobs=rng.random() < 0.5,
        needs_queue=rng.random() < 0.2,
        least_lag_s=rng.choice([0.0, 0.0, 50.0]),
        mix_ups=rng.choice([0.0, 0.0, 0.1]),
        odd_states=rng.choice([0.0, 0.1]),
        refused_queries=rng.choice([0.0, 0.1]),
        odd_for_s=rng.choice([5.0, 100.0]),
        nameless=rng.choice([0.0, 0.3, 1.0]),
        late_stems_s=rng.choice([0.0, 1.0]),
    )


def _draw_spell(rng: random.Random) -> Spell:
    begins_at = rng.uniform(0, 60)
    return Spell(rng.choice(list(Trouble)), begins_at, begins_at + rng.choice([3.0, 30.0, 120.0]))


def draw_settings(rng: random.Random, weather: Weather) -> RunnerSettings:
    """Draw the runner's bounds, from one connection to more than needed."""
    return RunnerSettings(
        in_flight=rng.choice([1, 4, 50]),
        connections=rng.choice([1, 3, 16]),
        attempts=4,
        initial_s=0.5,
        cap_s=10,
        settle_s=20,
        reply_timeout_s=weather.reply_timeout_s,
        window=rng.choice([2, 5, 100]),
        age_after=rng.choice([2, 5, 50]),
        queries=rng.choice([1, 4]),
        heads=rng.choice([1, 4]),
        stem_wait_s=2,
        heartbeat_s=rng.choice([5.0, 60.0]),
    )


class Manifest:
    """The jobs that the user asks for; they may change between two processes.

    Args:
        rng: Source of all random draws.
        after: Number of the last job of another manifest.
    """

    def __init__(self, rng: random.Random, after: int = 0) -> None:
        self._rng = rng
        self._after = after
        self._last = after + rng.choice([2, 8, 8, 25, 50])
        self._films = rng.choice([0.0, 0.0, 0.3])
        self._gone: list[JobSpec] = []  # removed; they may come back
        self.specs = [self._new(number) for number in range(after + 1, self._last + 1)]

    @property
    def keys(self) -> set[JobKey]:
        """Keys of the jobs in the manifest."""
        return {spec.key for spec in self.specs}

    def owns(self, key: JobKey) -> bool:
        """Return True if this manifest has, or once had, the job with this key."""
        return self._after < int(key.removeprefix("v1.test")) <= self._last

    def _new(self, number: int) -> JobSpec:
        spec = make_spec(
            number, level=self._rng.choice([0, 0, 1, 2]), group=self._rng.choice(["", "a", "b"])
        )
        if not self._rng.random() < self._films:
            return spec
        return replace(spec, media=replace(spec.media, bucket=FILMS))

    def _remove(self) -> None:
        self._gone.append(self.specs.pop(self._rng.randrange(len(self.specs))))

    def change(self) -> None:
        """Add, remove, bring back and shuffle jobs, and change levels and groups."""
        rng = self._rng
        for _ in range(rng.choice([0, 1, 3])):
            self._remove()
            self._last += 1
            self.specs.append(self._new(self._last))
        if len(self.specs) > 1 and rng.random() < 0.5:
            self._remove()
        if self._gone and rng.random() < 0.3:
            self.specs.append(self._gone.pop(rng.randrange(len(self._gone))))
        if rng.random() < 0.5:
            rng.shuffle(self.specs)
        for at in rng.sample(range(len(self.specs)), min(rng.choice([0, 2]), len(self.specs))):
            self.specs[at] = replace(
                self.specs[at], level=rng.choice([0, 1, 2]), group=rng.choice(["", "a", "b"])
            )


class Ending(Enum):
    """End of a process, unless its jobs end first."""

    WELL = "undisturbed"
    CRASH = "killed"
    POWER_CUT = "killed, and the report loses the bytes that were not synced"
    SIGNAL = "interrupted"
    ABORT = "interrupted twice"
    LEDGER_FULL = "the ledger's disk is full"
    DEADLINE = "deadline"
    WINDOW = "the window closes"
    FAILURES = "max_failures"
    COST = "max_cost"
    PROXY = "a proxy begins to want a password"
    KEYS = "the temporary key expires, and no fresh one follows"
    CLOCK = "the clock is wrong, and the service does not state its time"


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that happens to one process. Times are seconds from its start.

    Attributes:
        ending: End of the process.
        at_s: Time of the ending.
        after: The same as a count: turns of the loop, changes of the ledger, failures, cost.
        within: Place of the crash among the steps of its turn; for ``ABORT``, the seconds between
            the two interrupts.
        clock_error_s: Error of this machine's clock.
        clock_set: Time at which the clock is set, and its error from then on; or None.
        renewed_at_s: Time at which the temporary key expires and a fresh one follows, or None.
        rival_at_s: Time at which a second run tries to use the same ledger, or None.
        is_called_back: The service sends callbacks, some of them twice or never.
    """

    ending: Ending
    at_s: float
    after: int
    within: float
    clock_error_s: float
    clock_set: tuple[float, float] | None
    renewed_at_s: float | None
    rival_at_s: float | None
    is_called_back: bool

    @property
    def has_steady_clock(self) -> bool:
        """True if the runner's clock is neither set nor corrected."""
        return self.clock_set is None and abs(self.clock_error_s) < 900


_CLOCK_ERRORS_S = [0.0, 0.0, 0.0, -600.0, 600.0, -3600.0, 3600.0]
"""Drawn clock errors; the service accepts up to 900 s."""


def draw_scenario(rng: random.Random, *, ends_well: bool) -> Scenario:
    """Draw the scenario of the next process; nearly half of them are crashes."""
    bad = [ending for ending in Ending if ending is not Ending.WELL]
    ending = Ending.WELL if ends_well else rng.choice(bad + [Ending.CRASH] * 6)
    error_s = rng.choice(_CLOCK_ERRORS_S)
    is_set = rng.random() < 0.3
    if ending is Ending.CLOCK:
        error_s, is_set = rng.choice([-3600.0, 3600.0]), False
    return Scenario(
        ending=ending,
        at_s=10 ** rng.uniform(-1.5, 2),
        after=int(10 ** rng.uniform(0.5, 3.2)),
        within=rng.random(),
        clock_error_s=error_s,
        clock_set=(rng.uniform(0, 60), rng.choice(_CLOCK_ERRORS_S)) if is_set else None,
        renewed_at_s=rng.uniform(0, 60) if rng.random() < 0.2 else None,
        rival_at_s=rng.uniform(0, 30) if rng.random() < 0.2 else None,
        is_called_back=rng.random() < 0.5,
    )

"""Odd but plausible ways in which a service answers about jobs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from orchestrator.domain.remote import RemoteJob, RemoteState

if TYPE_CHECKING:
    import random

LONG_AGO = 1e9
"""Creation time of foreign jobs, seconds since the epoch: before any of ours."""


class Echo(Enum):
    """Form in which ``UserData`` comes back."""

    EXACT = "as it was sent"
    SPACED = "between line breaks"
    UPPER = "in upper case"
    PLUS = "with + for a space"
    CUT = "cut after a few characters"
    EMPTY = "not at all"

    def of(self, text: str) -> str:
        """Return the echo of a text."""
        match self:
            case Echo.SPACED:
                return f"\n   {text}\n "
            case Echo.UPPER:
                return text.upper()
            case Echo.PLUS:
                return text.replace(" ", "+")
            case Echo.CUT:
                return text[:8]
            case Echo.EMPTY:
                return ""
            case _:
                return text


@dataclass(frozen=True, slots=True)
class Oddities:
    """Oddities of one service; by default it has none.

    Attributes:
        echo: Form in which ``UserData`` comes back.
        early_echo: The same until ``early_until``, monotonic.
        has_foreign_jobs: Lists show jobs of other programs, in states that no page names, and about
            the same objects.
        needs_queue: Lists are refused without a queue id.
        least_lag_s: Shortest time until an accepted job is listed.
        mix_ups: Share of submit answers that carry the id of the job accepted before.
        odd_states: Share of jobs that are in an unknown state for a while.
        refused_queries: Share of jobs whose queries are refused for a while.
        odd_for_s: Length of that while.
        nameless: Share of finished jobs whose answer names no file.
        late_stems_s: Time from the end of a job until its stems are seen.
    """

    echo: Echo = Echo.EXACT
    early_echo: Echo = Echo.EXACT
    early_until: float = 0.0
    has_foreign_jobs: bool = False
    needs_queue: bool = False
    least_lag_s: float = 0.0
    mix_ups: float = 0.0
    odd_states: float = 0.0
    refused_queries: float = 0.0
    odd_for_s: float = 60.0
    nameless: float = 0.0
    late_stems_s: float = 0.0

    def echo_of(self, text: str, now: float) -> str:
        """Return how ``UserData`` comes back at this instant."""
        return (self.early_echo if now < self.early_until else self.echo).of(text)

    def foreign_jobs(self, about: str) -> tuple[RemoteJob, ...]:
        """Return jobs of other programs, as a list shows them.

        Args:
            about: The input object that is asked for, or empty.
        """
        if not self.has_foreign_jobs:
            return ()
        running = RemoteState.RUNNING
        if about:
            return (
                RemoteJob("jforeign3", running, user_data="v1.other0000001", input_object=about),
                RemoteJob("jforeign4", running, input_object=about, created_at=LONG_AGO),
            )
        return (
            RemoteJob(
                "jforeign1", RemoteState.UNKNOWN, input_object="a.mov", state_word="Auditing"
            ),
            RemoteJob("jforeign2", running, user_data="v1.", input_object="b.mov"),
        )


@dataclass(slots=True)
class OddJob:
    """Oddities that were drawn for one job; instants are monotonic."""

    has_odd_state_until: float = 0.0
    is_refused_until: float = 0.0
    is_nameless: bool = False

    @classmethod
    def draw(cls, oddities: Oddities, rng: random.Random, now: float) -> OddJob:
        """Draw the oddities of a job that was accepted now."""
        until = now + oddities.odd_for_s
        return cls(
            until if rng.random() < oddities.odd_states else 0.0,
            until if rng.random() < oddities.refused_queries else 0.0,
            rng.random() < oddities.nameless,
        )

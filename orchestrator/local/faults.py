"""Faults that a rehearsal scripts."""

from __future__ import annotations


class Faults:
    """No faults."""

    def listing_lag_s(self) -> float:
        """How long new jobs stay out of listings."""
        return 0.0

    def date_skew_s(self) -> float:
        """How far the answers' ``Date`` is off."""
        return 0.0

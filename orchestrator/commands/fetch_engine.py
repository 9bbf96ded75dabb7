"""Fetch and convert the weights of the separation engine, once."""

from __future__ import annotations

from orchestrator.separation.install.fetch import fetch_engine

__all__ = ["fetch_engine"]

"""Processes of our own: what they need to start, and words for how they ended."""

from __future__ import annotations

import os
import signal
import sys


def environment() -> dict[str, str]:
    """Return variables with which a child finds this process's modules.

    Some may be on a path that only this process has.
    """
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def ending(code: int) -> str:
    """Return how a process ended, from its return code (negative: the number of a signal)."""
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"


def last_output(output: bytes | bytearray) -> str:
    """Return a sentence with the last line of what a process wrote, after a space; or nothing."""
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return f" Its last output: {lines[-1][:300]}" if lines else ""

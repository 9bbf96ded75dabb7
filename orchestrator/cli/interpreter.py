"""Interpreter settings for a run and for the local service.

They belong to the process; a library must not touch them.
"""

from __future__ import annotations

import gc
import sys
from typing import Any

_SWITCH_S = 0.0005
_GC_THRESHOLDS = (20_000, 50, 50)


def tune() -> None:
    """Set the process up for many small objects and two threads.

    The ledger's thread must win the interpreter's lock a few times for each commit. By default it
    waits up to 5 ms each time while the event loop is busy, and every job waits for its commits.
    The collector searches a million young objects for cycles that are not there; with its defaults
    it takes a quarter of the time of planning and of reading the ledger.
    """
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def loop_factory() -> Any:
    """Return uvloop's event loop where it is installed (the extra ``fast``), else None."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop

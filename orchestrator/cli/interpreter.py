"""Interpreter settings for a command, and for what works for long: a run, the local service.

They belong to the process; a library must not touch them.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Any

_SWITCH_S = 0.0005
_GC_THRESHOLDS = (20_000, 50, 50)
_GC_THRESHOLD_WHILE_LOADING = 200_000
"""Young objects; what a command loads is 130,000 at most."""


def start_quickly() -> None:
    """Set the process up to load many modules, all of which stay.

    With its defaults the collector searches them 160 times before a small plan is there. Plugins of
    pydantic have no work here, and a search for them reads the metadata of each installed package.
    """
    gc.set_threshold(_GC_THRESHOLD_WHILE_LOADING)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def tune() -> None:
    """Set the process up for many small objects and two threads.

    The ledger's thread must win the interpreter's lock a few times for each commit. By default it
    waits up to 5 ms each time while the event loop is busy, and every job waits for its commits.
    The collector searches a million young objects for cycles that are not there; with its defaults
    it takes a quarter of the time of planning and of reading the ledger. What is loaded stays, so
    it is never searched; a last search of it would take longer than opening the ledger.
    """
    sys.setswitchinterval(_SWITCH_S)
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def end_quickly() -> None:
    """Leave what is left to the operating system.

    The interpreter would search it for cycles as it ends, for a sixth of the time of a small plan.
    Files and connections are closed where they are used, not by the collector.
    """
    gc.freeze()


def loop_factory() -> Any:
    """Return uvloop's event loop where it is installed (the extra ``fast``), else None."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop

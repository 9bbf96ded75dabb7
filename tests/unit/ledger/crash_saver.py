"""Work on a ledger until killed, and print each acknowledged save (run by ``test_crash.py``)."""

from __future__ import annotations

import asyncio
import os
import sys

from orchestrator.domain.run import Holder
from orchestrator.domain.states import JobState, Step
from orchestrator.ledger import open_ledger
from orchestrator.testing.builders import make_specs


async def main(path: str) -> None:
    """Send, accept and finish jobs, many at a time; print a line for each save that returned."""
    ledger = open_ledger(path)
    await ledger.acquire(Holder("worker-1", os.getpid(), 1_700_000_000.0))
    run = await ledger.begin_run("crash", 1_700_000_000.0, "r")
    first = 1 + (await ledger.counts(run)).total
    jobs = [
        job
        for job in await ledger.add(run, make_specs(400, first))
        if job.state is JobState.PLANNED
    ]

    async def carry_out(part: slice) -> None:
        for job in jobs[part]:
            for step in (Step.SEND, Step.ACCEPT, Step.SUCCEED):
                job.step(step)
                if step is Step.SEND:
                    job.intent_at = 1_700_000_000.0
                    await ledger.intend([job])
                else:
                    await ledger.save([job])
                os.write(1, f"{job.spec.key} {job.state} {job.row}\n".encode())

    await asyncio.gather(*(carry_out(slice(start, None, 20)) for start in range(20)))
    os.write(1, b"end\n")
    await asyncio.Event().wait()


asyncio.run(main(sys.argv[1]))

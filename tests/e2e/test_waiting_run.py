"""``run --wait``: a second run waits for the ledger instead of ending with exit code 5."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from orchestrator.server.pace import Pace, Progression
from tests.e2e.playground import QUICK

if TYPE_CHECKING:
    from tests.e2e.playground import Playground, RunningService

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_run_that_waits_resumes_the_work_of_the_one_before(
    here: Playground, service: RunningService, how: signal.Signals, code: int
) -> None:
    service.pace(Progression(Pace.HOLD))
    service.store("a.mp3")
    here.write("a.mp3", limits={"timeout_s": 1})
    first = here.start("run", "album.yaml", "--log-json")
    first.wait_for('"job_accepted"')
    second = here.start("run", "album.yaml", "--wait", "--json")
    second.wait_for("This run waits until it ends, because of --wait.")
    first.send(how)
    assert first.finish().code == code
    service.pace(QUICK)
    done = second.finish()

    assert done.code == 0, done.err
    assert done.err.count("--wait") <= 1, "it says so once"
    assert (done.json()["jobs"]["succeeded"], len(service.jobs())) == (1, 1)

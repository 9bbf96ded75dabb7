"""Signals: the first stops in order, the second at once. Neither loses or duplicates a job."""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from orchestrator.server.pace import Pace, Progression

if TYPE_CHECKING:
    from tests.e2e.playground import Playground, RunningService

pytestmark = pytest.mark.slow
COUNT = 12
INTERRUPTED_WHILE_LOADING = """
import sys
from orchestrator.cli import main

class Interrupted:
    def find_spec(self, name, path, target=None):
        if name == sys.argv[1]:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_leaves_remote_jobs_running_and_running_again_resumes_the_run(
    here: Playground, service: RunningService, number: signal.Signals
) -> None:
    service.pace(Progression(Pace.HOLD))
    here.write(*(f"in/{index}.mp3" for index in range(COUNT)), limits={"in_flight": 5})
    running = here.start("run", here.path.name, "--verbose")
    for _ in range(5):
        running.wait_for("submitted  in/")
    running.send(number)

    stopped = running.finish()

    assert stopped.code == 130
    assert f"interrupted by {number.name}" in stopped.err
    assert "Run again to resume." in stopped.err.splitlines()[-1]
    assert Counter(job.state.value for job in service.jobs()) == {"Submitted": 5}
    first = here.summary()
    assert (
        first["exit_code"],
        first["complete"],
        first["jobs"]["submitted"],
        first["jobs"]["planned"],
    ) == (130, False, 5, COUNT - 5)

    service.pace(Progression(Pace.IMMEDIATE))
    assert here.run().code == 0
    assert here.summary()["run"] == first["run"]
    assert len(here.reports()) == 1
    assert len(here.rows()) == COUNT
    assert Counter(service.keys()) == Counter(row["key"] for row in here.rows())


def test_each_ctrl_c_says_at_once_what_happens_now(
    here: Playground, service: RunningService
) -> None:
    service.spoil({"route": "submit", "do": "delay_answer", "delay_s": 25, "times": 1})
    here.write("in/a.mp3", "in/b.mp3", limits={"connections": 1})
    running = here.start("run", here.path.name, "--stats", "1s")
    running.wait_for("1 queued, 1 waiting")
    running.send(signal.SIGINT)
    running.wait_for("Press Ctrl-C again to abort at once.")
    running.send(signal.SIGINT)

    stopped = running.finish(15)

    assert stopped.code == 130
    (last,) = [line for line in stopped.err.splitlines() if "aborted" in line]
    assert last == stopped.err.splitlines()[-1], "one sentence, and nothing after it"
    assert "Nothing is lost: the next run looks up the requests" in last


def test_a_run_under_nohup_outlives_its_terminal(here: Playground, service: RunningService) -> None:
    service.pace(Progression(Pace.HOLD))
    here.write("in/a.mp3")
    running = here.start(
        "run", here.path.name, "-v", prefix=["bash", "-c", 'trap "" HUP; exec "$@"', "sh"]
    )
    running.wait_for("submitted  in/")
    running.send(signal.SIGHUP)
    service.pace(Progression(Pace.IMMEDIATE))

    assert running.finish().code == 0


def test_a_second_signal_stops_at_once_while_an_answer_is_awaited(
    here: Playground, service: RunningService
) -> None:
    service.spoil({"route": "submit", "do": "delay_answer", "delay_s": 25, "times": 1})
    here.write("in/a.mp3", "in/b.mp3", limits={"connections": 1})
    running = here.start("run", here.path.name, "--log-json")
    running.wait_for('"job_sending"')
    running.send(signal.SIGINT)
    running.wait_for('"stopping"')
    running.send(signal.SIGINT)

    stopped = running.finish(15)

    assert stopped.code == 130
    assert json.loads(stopped.err.splitlines()[-1])["text"].startswith("aborted by SIGINT.")
    status = here.do("status", here.path.name, "--json").json()
    assert status["holder"] is None
    assert (
        status["jobs"]["submitting"] + status["jobs"]["in_doubt"] + status["jobs"]["planned"] == 2
    )
    assert len(service.jobs()) <= 1


@pytest.mark.parametrize("module", ["typer", "orchestrator.cli.app", "orchestrator.errors"])
def test_an_interrupt_while_the_command_is_loading_causes_no_traceback(
    here: Playground, service: RunningService, module: str
) -> None:
    here.write("in/a.mp3")

    done = here.do(
        "plan", here.path.name, prefix=[sys.executable, "-c", INTERRUPTED_WHILE_LOADING, module]
    )

    assert (done.code, done.out, done.err) == (130, "", "orchestrator: interrupted\n")

"""Jobs that a stopped run did not send: kept, finished, dropped, cancelled by the command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.server.pace import Pace, Progression

if TYPE_CHECKING:
    from tests.e2e.playground import Playground, RunningService

pytestmark = pytest.mark.slow

FIRST = [f"in/first/{name}.mp3" for name in "abcdef"]
SECOND = [f"in/second/{name}.mp3" for name in "xy"]


def stop_in_the_middle(here: Playground, service: RunningService, **keys: Any) -> None:
    """Leave a run that has sent one of its six jobs."""
    here.write(*FIRST, **keys)
    done = here.run("--max-cost", "0.1")  # enough for one
    assert done.code == 6, done.err
    assert len(service.jobs()) == 1


def made(service: RunningService) -> list[str]:
    return sorted(job.input_object for job in service.jobs())


def test_leftovers_are_kept_and_counted_until_the_manifest_names_them_again(
    here: Playground, service: RunningService
) -> None:
    stop_in_the_middle(here, service)
    here.write(*SECOND)
    plan = here.do("plan", here.path.name, "--json").json()
    assert plan["left"] == 5
    assert "5 jobs, neither sent nor cancelled (leftovers: keep)" in " ".join(
        here.do("plan", here.path.name).out.split()
    )

    second = here.run()

    assert second.code == 0, second.err
    assert "5 jobs of earlier runs were not sent and are not in this manifest" in second.err
    assert "left               5  of earlier runs" in second.out
    assert here.summary()["left"] == 5
    assert here.do("status", here.path.name, "--json").json()["left"] == 5
    assert "left               5  of earlier runs" in here.do("status", here.path.name).out
    assert len(made(service)) == 3

    here.write(*FIRST)
    third = here.run()
    assert third.code == 0, third.err
    assert made(service) == sorted(FIRST + SECOND)
    assert here.summary()["left"] == 0
    assert here.do("status", here.path.name, "--json").json()["left"] == 0


def test_leftovers_are_finished_by_the_next_run_with_their_rows(
    here: Playground, service: RunningService
) -> None:
    stop_in_the_middle(here, service)
    here.write(*SECOND, leftovers="finish")

    done = here.run()

    assert done.code == 0, done.err
    assert "5 left by earlier runs sent too" in done.err
    assert made(service) == sorted(FIRST + SECOND)
    assert sorted(row["input"]["object"] for row in here.rows()) == sorted(FIRST + SECOND)
    assert here.summary()["left"] == 0


def test_dropped_jobs_that_are_named_again_are_done_at_once(
    here: Playground, service: RunningService
) -> None:
    """Even while the run that dropped them is open, which then ends with their rows."""
    stop_in_the_middle(here, service, leftovers="drop")
    service.pace(Progression(Pace.SECONDS, finish_after=3))
    here.write(*SECOND, leftovers="drop")
    dropped = here.run("--deadline", "1s")
    assert dropped.code == 6
    assert "5 left the manifest" in dropped.err
    report = {"path": "reports/{run}.jsonl", "rows": "all"}
    here.write(*FIRST, *SECOND, leftovers="drop", report=report)

    done = here.run()

    assert done.code == 0, done.err
    assert made(service) == sorted(FIRST + SECOND)
    states = {row["input"]["object"]: row["state"] for row in here.rows()}
    assert [states[name] for name in FIRST].count("succeeded") == 5


def test_cancel_left_cancels_exactly_the_leftovers(
    here: Playground, service: RunningService
) -> None:
    stop_in_the_middle(here, service)
    here.write(*SECOND, FIRST[5])  # the last one is still wanted
    before = [path.read_bytes() for path in here.reports()]

    done = here.do("cancel", here.path.name, "--left", "--json")

    assert done.json() == {"left": 4, "others": 0}
    assert [path.read_bytes() for path in here.reports()] == before
    assert here.do("cancel", here.path.name, "--left").out == "cancelled, left by earlier runs: 0\n"
    assert here.run().code == 0
    assert made(service) == sorted([FIRST[0], FIRST[5], *SECOND])
    here.write(*FIRST)
    assert here.run().code == 0, "what is named again is done"
    assert made(service) == sorted(FIRST + SECOND)


def test_cancel_without_left_leaves_the_leftovers_alone(
    here: Playground, service: RunningService
) -> None:
    stop_in_the_middle(here, service)
    service.pace(Progression(Pace.SECONDS, finish_after=3))
    here.write(*SECOND, limits={"in_flight": 1})
    assert here.run("--deadline", "1s").code == 6

    done = here.do("cancel", here.path.name, "--json").json()

    assert done["unsent"] == 1
    assert here.do("status", here.path.name, "--json").json()["left"] == 5


def test_two_manifests_of_one_name_leave_each_others_jobs_alone(
    here: Playground, service: RunningService
) -> None:
    stop_in_the_middle(here, service, leftovers="finish")
    first = here.path
    here.path = here.folder / "other.yaml"
    here.write(*SECOND, leftovers="drop")

    done = here.run()

    assert done.code == 0, done.err
    assert "Named by ../album.yaml, which uses the same ledger" in done.err
    assert here.summary()["left"] == 5
    cancelled = here.do("cancel", here.path.name, "--left", "--json").json()
    assert cancelled == {"left": 0, "others": 5}
    here.path = first
    here.write("in/third.mp3", leftovers="finish")
    assert here.run().code == 0
    assert made(service) == sorted([*FIRST, *SECOND, "in/third.mp3"])


def test_a_part_of_a_manifest_settles_no_leftovers(
    here: Playground, service: RunningService
) -> None:
    stop_in_the_middle(here, service, leftovers="drop")

    done = here.run("--limit", "2")

    assert done.code == 7, done.err
    assert here.summary()["jobs"]["planned"] == 4
    assert here.run().code == 0
    assert made(service) == sorted(FIRST)

"""A canary as a user sees it: exit code, reason, summary, and what was paid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.server.settings import MissingInput

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Serve
    from tests.e2e.playground import Playground, RunningService

pytestmark = pytest.mark.slow

NAMES = [f"in/{name}.mp3" for name in "abcdefgh"]


def test_the_rest_follows_a_canary_that_passed(here: Playground, service: RunningService) -> None:
    here.write(*NAMES, canary=3)

    done = here.run()

    assert done.code == 0, done.err
    assert "canary: in/a.mp3, in/b.mp3, in/c.mp3 must succeed before the rest is sent" in done.err
    assert "canary passed: 3 jobs succeeded; sending the rest" in done.err
    assert "canary: passed (3 of 3 succeeded)" in done.out
    assert here.summary()["canary"] == {
        "result": "passed", "jobs": 3, "succeeded": 3, "reason": "",
    }  # fmt: skip
    assert len(service.jobs()) == 8


def test_a_failed_canary_ends_with_6_and_nothing_else_is_paid(
    here: Playground, serve: Serve, tmp_path: Path
) -> None:
    strict = here.service = serve(root=tmp_path / "strict", missing_input=MissingInput.FAIL)
    here.write(*NAMES)

    done = here.run("--canary", "2")

    assert done.code == 6
    reason = done.err.splitlines()[-1]
    assert reason.startswith("orchestrator: stopped: the canary failed: in/")
    assert reason.endswith("Run again to resume.")
    assert len(strict.jobs()) == 2
    summary = here.summary()
    assert summary["canary"]["result"] == "failed"
    assert summary["stopped"] == summary["canary"]["reason"]
    assert summary["stopped_by"] == "canary"
    assert here.run("--canary", "2").code == 6, "the next two"
    assert len(strict.jobs()) == 4
    assert here.run("--canary", "0").code == 1
    assert len(strict.jobs()) == 8


def test_a_limit_makes_a_smaller_canary(here: Playground, service: RunningService) -> None:
    here.write(*NAMES, canary=5)

    done = here.run("--limit", "2")

    assert done.code == 0, done.err
    assert "canary: passed (2 jobs, all that there were, succeeded)" in done.out
    assert "Canary: 5 jobs must succeed" in here.do("plan", here.path.name).out
    assert "Canary: 1 job must succeed" in here.run("--dry-run", "--canary", "1").out
    assert here.run("--dry-run", "--canary", "0", "--json").code == 0
    assert len(service.jobs()) == 2


@pytest.mark.parametrize(
    ("value", "hint"),
    [("-1", "whole number"), ("1001", "from 1 to 1000"), ("few", "--canary few: write a whole")],
)
def test_a_wrong_canary_is_refused(here: Playground, value: str, hint: str) -> None:
    here.write(*NAMES)

    done = here.run("--canary", value)

    assert done.code == 2
    assert hint in done.err
    assert not (here.folder / ".orchestrator").exists()

"""``plan --objects``, and the question before an expensive run."""

from __future__ import annotations

import json
import os
import pty
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from orchestrator.server.settings import MissingInput
from tests.e2e.playground import Playground

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Serve

pytestmark = pytest.mark.slow


def test_a_plan_lists_what_changes_and_why(serve: Serve, tmp_path: Path) -> None:
    strict = serve(root=tmp_path / "strict", missing_input=MissingInput.FAIL)
    here = Playground(tmp_path, strict)
    strict.store("in/a.mp3")
    strict.store("in/b.mp3")
    here.write("in/a.mp3", "in/b.mp3", "in/gone.mp3")
    assert here.run().code == 1
    here.write({"object": "in/a.mp3", "etag": "new"}, "in/b.mp3", "in/c.mp3", "in/gone.mp3")
    name = here.path.name

    plan = here.do("plan", name, "--objects", "--retry", "failed").out
    lines = plan.split("\n\n", maxsplit=1)[0].splitlines()

    assert [line[:2] for line in lines] == ["~ ", "+ ", "> "]
    assert lines[0].startswith('~ in/a.mp3: etag none -> "new"  (album.yaml:')
    assert lines[1].startswith("+ in/c.mp3  (album.yaml:")
    assert "failed ResourceNotFound" in lines[2]
    assert "plan of album" in plan
    assert "in/gone.mp3" not in here.do("plan", name, "--objects").out
    found = [
        json.loads(line) for line in here.do("plan", name, "--objects", "--json").out.splitlines()
    ]
    assert [line["sign"] for line in found[:-1]] == ["~", "+"]
    assert found[-1]["jobs"]["total"] == 4


@pytest.mark.parametrize(
    ("answer", "options", "code"), [("n", (), 6), ("y", (), 0), ("", ("--yes",), 0)]
)
def test_an_expensive_run_is_confirmed_on_a_terminal(
    here: Playground, answer: str, options: tuple[str, ...], code: int
) -> None:
    costs = {"object": "in/a.mp3", "duration_s": 600}
    here.write(costs, confirm_above=0.05, price={"per_minute": 0.1, "currency": "CNY"})
    own, theirs = pty.openpty()
    os.write(own, f"{answer}\n".encode())
    metrics = here.folder / "orchestrator.prom"
    options = (*options, "--metrics-file", str(metrics))

    running = here.start("run", here.path.name, *options, stdin=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    with suppress(OSError):  # the terminal has no writer any more
        while part := os.read(own, 100_000):
            said += part
    os.close(own)
    running.process.communicate(timeout=60)

    assert running.process.returncode == code, said
    assert (b"1 job, cost: about 2.00 CNY" in said) is ("--yes" not in options)
    assert f'orchestrator_run_exit_code{{manifest="album"}} {code}.0' in metrics.read_text()
    assert bool(here.reports()) is (code == 0)
    if code:
        assert b"not confirmed: nothing was sent" in said


def test_without_a_terminal_there_is_no_question(here: Playground) -> None:
    costs = {"object": "in/a.mp3", "duration_s": 600}
    here.write(costs, confirm_above=0.05, price={"per_minute": 0.1, "currency": "CNY"})

    assert here.run().code == 0

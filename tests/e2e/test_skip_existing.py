"""Objects whose stems are in their bucket already: skipped on request, and never paid for."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.e2e.playground import Playground, RunningService


def test_a_new_ledger_skips_what_has_its_stems_and_sends_the_rest(
    here: Playground, service: RunningService
) -> None:
    for name in ("a", "b", "c"):
        service.store(f"in/{name}.mp3")
    here.write("in/a.mp3", "in/b.mp3", lookback=0)
    assert here.run().code == 0
    shutil.rmtree(here.folder / ".orchestrator")
    here.write("in/a.mp3", "in/b.mp3", "in/c.mp3", lookback=0, report={"rows": "all"})

    plan = here.do("plan", here.path.name, "--skip-existing", "--json").json()
    assert (plan["jobs"]["done"], plan["jobs"]["new"], plan["jobs"]["to_do"]) == (2, 1, 1)
    ran = here.run("--skip-existing", "--json")

    assert ran.code == 0, ran.err
    assert [job.input_object for job in service.jobs()][2:] == ["in/c.mp3"]
    summary = json.loads(ran.out)
    assert (summary["jobs"]["skipped"], summary["jobs"]["succeeded"]) == (2, 1)
    assert summary["calls"]["submits"] == 1
    rows = {row["input"]["object"]: row for row in here.rows()}
    skipped = rows["in/a.mp3"]
    assert (skipped["state"], skipped["attempts"], skipped["job_id"]) == ("skipped", 0, "")
    assert skipped["message"] == "Its stems were in their bucket before a job was sent for them."
    assert {file["object"] for file in skipped["files"]} == {
        "stems/a/voice.mp3",
        "stems/a/background.mp3",
    }

    again = here.run()
    assert again.code == 0
    assert len(service.jobs()) == 3, "the ledger knows them as done"


def test_the_manifest_may_ask_for_it_and_verify_done_makes_a_lost_stem_again(
    here: Playground, service: RunningService
) -> None:
    service.store("in/a.mp3")
    for stem in ("voice", "background"):
        service.store(f"stems/a/{stem}.mp3")
    here.write("in/a.mp3", skip_existing=True)

    assert here.run().code == 0
    assert service.jobs() == []

    (service.settings.root / "media-1250000000/stems/a/voice.mp3").unlink()
    assert here.run("--verify-done").code == 0
    assert [job.input_object for job in service.jobs()] == ["in/a.mp3"]


def test_an_empty_or_missing_stem_is_made(here: Playground, service: RunningService) -> None:
    for name in ("a", "b"):
        service.store(f"in/{name}.mp3")
    service.store("stems/a/voice.mp3")
    service.store("stems/b/voice.mp3")
    service.store("stems/b/background.mp3", b"")
    here.write("in/a.mp3", "in/b.mp3", skip_existing=True)

    assert here.run().code == 0

    assert len(service.jobs()) == 2


def test_a_flag_that_is_not_true_or_false_is_refused(here: Playground) -> None:
    here.write("in/a.mp3", skip_existing="yes")

    refused = here.do("validate", here.path.name)

    assert refused.code == 2
    assert 'Expected true or false here, not "yes".' in refused.err
    assert 'Did you mean "true"?' in refused.err

"""``orchestrator init``: the manifest that it writes can be planned at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.playground import Playground

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_becomes_a_manifest_that_can_be_planned_at_once(tmp_path: Path) -> None:
    here = Playground(tmp_path)
    (tmp_path / "My Talks").mkdir()
    (tmp_path / "My Talks/a.mp3").write_bytes(b"a")

    written = here.do("init", "My Talks")
    planned = here.do("plan", "my-talks.yaml", "--json")
    again = here.do("init", "My Talks")

    assert (written.code, written.err) == (0, "")
    assert written.out == "my-talks.yaml: written\nnext: orchestrator plan my-talks.yaml\n"
    assert planned.json()["jobs"]["new"] == 1
    assert again.code == 2
    assert again.err.count("\n") == 1
    assert "is not overwritten" in again.err


def test_a_bucket_of_an_unknown_region_leaves_one_thing_to_do(tmp_path: Path) -> None:
    here = Playground(tmp_path)

    written = here.do("init", "cos://media-1250000000/in/", "-o", "-")
    here.path.write_text(written.out)
    checked = here.do("validate", here.path.name)
    here.path.write_text(written.out.replace("region: REGION", "region: ap-chongqing"))
    corrected = here.do("validate", here.path.name)

    assert written.code == 0
    assert written.err.startswith("orchestrator: Write the bucket's region")
    assert checked.code == 2
    assert "region" in checked.err
    assert corrected.code == 0

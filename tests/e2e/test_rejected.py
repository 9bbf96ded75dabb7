"""Objects that cannot be requested: each is rejected with its reason, and the others are done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

if TYPE_CHECKING:
    from tests.e2e.playground import Playground, RunningService

pytestmark = pytest.mark.slow

LIST = b"""object;level
in/good.mp3;2.0
in/urgent.mp3;urgent
/in/slash.mp3;
in//two.mp3;
other/good.mp3;
;

in/caf\xe9.mp3;
in/${ext}.mp3;
in/last.mp3;
"""


def _why(rows: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    return {
        row["input"]["object"]: (row["code"], row["message"])
        for row in rows
        if row["state"] == "rejected"
    }


def test_wrong_rows_are_rejected_and_the_others_are_done(
    here: Playground, service: RunningService
) -> None:
    (here.folder / "l.csv").write_bytes(LIST)
    here.write({"list": "l.csv"})

    done = here.run()

    assert done.code == 1, done.err
    rows = here.rows()
    assert sorted(row["input"]["object"] for row in rows if row["state"] == "succeeded") == [
        "in/good.mp3",
        "in/last.mp3",
    ]
    assert len(service.jobs()) == 2
    why = _why(rows)
    assert {name: code for name, (code, _) in why.items()} == {
        "in/urgent.mp3": "InvalidRow",
        "/in/slash.mp3": "InvalidObjectName",
        "in//two.mp3": "InvalidObjectName",
        "other/good.mp3": "OutputTaken",
        "": "InvalidRow",
        "in/${ext}.mp3": "InvalidOutputName",
    }
    assert "l.csv:3: " in why["in/urgent.mp3"][1]
    assert '"in/good.mp3"' in why["other/good.mp3"][1]
    assert "0xe9" in why[""][1]
    schema = here.do("schema", "report").json()
    for row in rows:
        jsonschema.validate(row, schema, format_checker=jsonschema.FormatChecker())
    assert here.summary()["jobs"]["rejected"] == 6


def test_names_with_any_byte_are_rejected_one_by_one(
    here: Playground, service: RunningService
) -> None:
    odd = [bytes([byte]) for byte in range(256) if byte not in b"\n\r" and not 32 <= byte < 127]
    names = [b"in/" + byte + b".mp3" for byte in odd]
    (here.folder / "l.jsonl").write_bytes(
        b'{"object": "in/good.mp3"}\n{"object": "in/\\u0000.mp3"}\n{"object": "in/\\ud800.mp3"}\n'
    )
    (here.folder / "l.txt").write_bytes(b"\n".join([*names, b"in/last.mp3"]))
    here.write({"list": "l.txt"}, {"list": "l.jsonl"})

    done = here.run()

    assert done.code == 1, done.err
    states = [row["state"] for row in here.rows()]
    assert states.count("succeeded") == 2
    assert states.count("rejected") == len(names) + 1  # both lists name the one with NUL
    assert len(service.jobs()) == 2


def test_a_rejected_row_is_rejected_again_until_it_is_corrected(
    here: Playground, service: RunningService
) -> None:
    (here.folder / "l.csv").write_bytes(b"object,level\nin/a.mp3,9\nin/b.mp3,1\n")
    here.write({"list": "l.csv"})
    assert here.run().code == 1
    assert here.run().code == 1
    assert here.run("--retry", "rejected").code == 1
    assert len(service.jobs()) == 1
    (here.folder / "l.csv").write_bytes(b"object,level\nin/a.mp3,2\nin/b.mp3,1\n")

    done = here.run()

    assert done.code == 0, done.err
    assert len(service.jobs()) == 2


def test_plan_counts_and_names_rejected_rows_and_validate_calls_them_faults(
    here: Playground,
) -> None:
    (here.folder / "l.csv").write_bytes(LIST)
    here.write({"list": "l.csv"})

    planned = here.do("plan", here.path.name)
    checked = here.do("validate", here.path.name)

    assert planned.code == 0, planned.err
    assert "rejected" in planned.out
    assert "l.csv:3: The level" in planned.out
    assert "semicolons" in planned.out
    assert checked.code == 2
    assert checked.err.count("\n") == 6


def test_a_canary_and_a_budget_do_not_wait_for_rejected_rows(
    here: Playground, service: RunningService
) -> None:
    (here.folder / "l.txt").write_text("/a.mp3\n/b.mp3\n")
    here.write({"list": "l.txt"}, canary=2)
    assert here.run().code == 1
    assert here.summary()["jobs"]["rejected"] == 2
    (here.folder / "l.txt").write_text("/c.mp3\n/d.mp3\nin/e.mp3\n")

    done = here.run("--max-failures", "1")

    assert done.code == 6
    assert "max_failures" in done.err
    assert service.jobs() == []


def test_a_filter_that_matches_nothing_is_said_and_changes_no_exit_code(
    here: Playground, service: RunningService
) -> None:
    here.write(
        "in/song [live].mp3",
        "in/b.mp3",
        rules=[{"when": {"object": "IN/*"}, "level": 2}],
    )

    done = here.run()
    assert done.code == 0
    assert (
        'This rule matches no object. Only the case differs from "in/song [live].mp3"' in done.err
    )
    done = here.run("--only", "in/none*")
    assert (done.code, done.err.count("matches no object")) == (0, 1)
    here.path.with_name("new.yaml").write_text(here.path.read_text().replace("album", "new"))
    assert here.do("run", "new.yaml", "--only", "in/song [live].mp3").code == 0
    assert len(service.jobs()) == 2

"""Data on standard output, messages on standard error, progress only on a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.playground import Playground, RunningService

pytestmark = pytest.mark.slow
VERBS = ("run", "plan", "validate", "status", "cancel", "serve", "schema", "fetch-engine")


def test_a_quiet_run_that_succeeds_says_nothing(here: Playground) -> None:
    here.write("in/a.mp3")

    done = here.run("--quiet")

    assert (done.code, done.out, done.err) == (0, "", "")
    assert len(here.rows()) == 1


def test_json_goes_to_standard_output_alone_and_lines_to_standard_error(here: Playground) -> None:
    here.write("in/a.mp3")

    done = here.run("--json")

    assert done.json()["jobs"]["succeeded"] == 1
    assert all(line.startswith("orchestrator: ") for line in done.err.splitlines())
    assert "\x1b" not in done.err + done.out, "no colours, no cursor movements in a pipe"


def test_the_log_is_one_json_object_per_event_in_order(
    here: Playground, service: RunningService
) -> None:
    service.spoil({"route": "submit", "do": "lose_answer", "times": 1})
    here.write("in/a.mp3")

    done = here.run("--log-json", "--json")

    events = [json.loads(line) for line in done.err.splitlines()]
    names = [event["event"] for event in events]
    assert names[0] == "run_started"
    wanted = ["job_sending", "job_in_doubt", "job_adopted", "job_ended"]
    assert [name for name in names if name in wanted] == wanted
    assert all(event["timestamp"].endswith("Z") for event in events)
    assert done.json()["jobs"]["succeeded"] == 1


def test_a_quiet_run_still_names_the_error_that_stops_it(here: Playground) -> None:
    here.write("in/a.mp3")

    done = here.run("--quiet", env={"TENCENTCLOUD_SECRET_KEY": "wrong"})

    assert done.code == 3
    assert len(done.err.splitlines()) == 1


def test_a_quiet_run_with_failures_prints_the_summary_and_the_first_ten(
    here: Playground, service: RunningService
) -> None:
    service.spoil({"route": "submit", "do": "refuse", "code": "InvalidArgument", "times": 12})
    here.write(*(f"in/{number}.mp3" for number in range(14)))

    done = here.run("--quiet")

    assert done.code == 1
    assert "12" in done.out
    assert "rejected" in done.out
    failures = [line for line in done.err.splitlines() if "rejected in/" in line]
    assert len(failures) == len(done.err.splitlines()) == 10
    assert all("InvalidArgument" in line for line in failures)
    assert len(here.run("--quiet").err.splitlines()) == 10, (
        "they have failed until they are retried"
    )


def test_a_json_log_is_json_to_its_last_line(here: Playground) -> None:
    here.write("in/a.mp3")

    refused = here.run("--log-json", env={"TENCENTCLOUD_SECRET_KEY": "wrong"})
    locked = here.run("--log-json", "--report", str(here.folder))

    assert (refused.code, locked.code) == (3, 4)
    for done in (refused, locked):
        events = [json.loads(line) for line in done.err.splitlines()]
        assert events[-1]["event"] == "complaint"
        assert events[-1]["text"]


def test_a_run_whose_report_is_refused_does_not_say_that_it_starts(here: Playground) -> None:
    here.write("in/a.mp3")

    done = here.run("--report", str(here.folder))

    assert done.code == 4
    assert "starting" not in done.err


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_the_caller_closed_change_only_the_output(
    here: Playground, service: RunningService, closed: str
) -> None:
    """A daemon may start the command so; a socket could take the place of a closed stream."""
    here.write("in/a.mp3")
    prefix = ["bash", "-c", f'"$@" {closed}', "sh"]

    assert here.run(prefix=prefix).code == 0
    assert here.summary()["jobs"]["succeeded"] == 1
    for arguments in (("plan", "album.yaml"), ("status", "album.yaml", "--json"), ("--help",)):
        done = here.do(*arguments, prefix=prefix)
        assert (done.code, done.err) == (0, ""), arguments


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize(
    "arguments", [("--help",), ("run", "--help"), ("schema", "report"), ("plan", "album.yaml")]
)
def test_help_and_data_on_a_full_disk_cause_one_line_of_error(
    here: Playground, arguments: tuple[str, ...]
) -> None:
    here.write("in/a.mp3")

    done = here.do(*arguments, prefix=["bash", "-c", '"$@" > /dev/full', "sh"])

    assert done.code == 4
    assert len(done.err.splitlines()) == 1
    assert "No space left on device" in done.err


@pytest.mark.parametrize(
    "arguments", [("schema", "manifest"), ("plan", "album.yaml"), ("plan", "album.yaml", "--json")]
)
def test_a_reader_that_closes_the_pipe_early_is_not_an_error(
    here: Playground, arguments: tuple[str, ...]
) -> None:
    here.write("in/a.mp3")

    done = here.do(*arguments, prefix=["bash", "-o", "pipefail", "-c", '"$@" | true', "sh"])

    assert (done.code, done.out, done.err) == (0, "", "")


def test_a_reader_that_closes_the_pipe_early_does_not_change_the_exit_code_of_a_run(
    here: Playground, service: RunningService
) -> None:
    here.write("in/a.mp3", "in/b.mp3")
    service.spoil({"route": "submit", "do": "refuse", "code": "InvalidArgument", "times": 1})
    shell = ["bash", "-o", "pipefail", "-c", '"$@" 2>&1 | true', "sh"]

    done = here.run(prefix=shell)
    again = here.run("--retry", "all", prefix=shell)

    assert (done.code, again.code) == (1, 0)
    assert here.summary()["jobs"]["succeeded"] == 1


def test_a_full_disk_behind_standard_output_causes_one_line(here: Playground) -> None:
    here.write("in/a.mp3")

    with Path("/dev/full").open("w") as full:
        done = here.do("plan", here.path.name, stdout=full)

    assert done.code == 4
    assert done.err == "orchestrator: Standard output cannot be written: No space left on device.\n"


def test_a_rehearsal_of_lost_answers_prints_no_logs_of_the_service(
    here: Playground,
) -> None:
    script = "progression: {pace: immediate}\nfaults:\n" + "".join(
        f"  - {{route: submit, do: {do}, times: 1}}\n"
        for do in ("lose_answer", "drop", "truncate", "garble", "fail_after")
    )
    (here.folder / "faults.yaml").write_text(script)
    here.write(*(f"in/{number}.mp3" for number in range(6)))

    done = here.run("--rehearse", "faults.yaml")

    assert done.code == 0, done.err
    assert "5 played" in done.out
    assert [line for line in done.err.splitlines() if not line.startswith("orchestrator: ")] == []


def on_terminal(here: Playground, *arguments: str) -> tuple[int, str, str]:
    """Run the command with a terminal as standard error.

    Returns:
        Exit code, standard output, and the text that the terminal received.
    """
    main, side = pty.openpty()
    os.set_blocking(main, False)
    environment = {**here._environment({}), "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    command = [sys.executable, "-m", "orchestrator", *arguments]
    process = subprocess.Popen(
        command, cwd=here.folder, env=environment, stdin=side, stdout=subprocess.PIPE, stderr=side
    )
    os.close(side)
    shown = b""
    while process.poll() is None:
        try:
            shown += os.read(main, 65536)
        except (BlockingIOError, OSError):
            process.poll()
    with suppress(OSError):  # output between the last read and the end
        shown += os.read(main, 65536)
    out = process.communicate()[0].decode()
    os.close(main)
    return process.returncode, out, shown.decode()


def test_a_plan_counts_on_a_terminal_while_it_reads(here: Playground) -> None:
    (here.folder / "names.txt").write_text("".join(f"in/{number}.mp3\n" for number in range(3000)))
    here.write({"list": "names.txt"})

    code, out, text = on_terminal(here, "plan", here.path.name)

    assert code == 0
    assert "3,000 jobs read" in text
    assert text.endswith("\r\x1b[K"), "it is removed at the end"
    assert "\x1b" not in out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_for_itself_and_its_options(here: Playground, verb: str) -> None:
    done = here.do(verb, "--help")

    assert done.code == 0
    assert done.err == ""
    assert done.out.startswith(f"Usage: orchestrator {verb}")
    options = done.out.partition("Options:")[2].splitlines()
    named = [index for index, line in enumerate(options) if line.startswith("  -")]
    for index in named:
        words = options[index].split("  ", 3)
        assert len([word for word in words if word.strip()]) > 1 or options[index + 1].startswith(
            "      "
        ), options[index]
    assert all(len(line) <= 80 for line in done.out.splitlines())


def test_the_list_of_verbs_fits_without_being_cut_off(here: Playground) -> None:
    done = here.do("--help")

    assert done.code == 0
    assert all(f"  {verb} " in done.out for verb in VERBS)
    assert "..." not in done.out.partition("Commands:")[2]
    assert here.do("--version").out.startswith("orchestrator 0.")

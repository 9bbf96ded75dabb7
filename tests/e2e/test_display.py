"""The display of a run on a real terminal, and of a run of another process."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING, Self

import pytest
from rich.cells import cell_len

from orchestrator.server.pace import Pace, Progression
from tests.e2e.playground import PATIENCE_S, until

if TYPE_CHECKING:
    from types import TracebackType

    from tests.e2e.playground import Playground, RunningService

pytestmark = pytest.mark.slow
CONTROL = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]")


class OnTerminal:
    """A command whose standard error is a terminal of a given size.

    Args:
        here: Where it runs.
        arguments: Its arguments.
        columns: Width of the terminal.
    """

    def __init__(self, here: Playground, *arguments: str, columns: int = 80) -> None:
        self._main, side = pty.openpty()
        self._set_columns(columns)
        environment = {**here._environment({"COLUMNS": None, "NO_COLOR": None}), "TERM": "xterm"}
        command = [sys.executable, "-m", "orchestrator", *arguments]
        self._shown = b""
        self.process = subprocess.Popen(
            command,
            cwd=here.folder,
            env=environment,
            stdin=side,
            stdout=subprocess.PIPE,
            stderr=side,
            text=True,
        )
        os.close(side)

    def _set_columns(self, columns: int) -> None:
        fcntl.ioctl(self._main, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def resize(self, columns: int) -> None:
        """Give the terminal another width, as dragging its window does."""
        self._set_columns(columns)
        self.process.send_signal(signal.SIGWINCH)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self._main)

    @property
    def text(self) -> str:
        """Everything that the terminal has received."""
        while select.select([self._main], [], [], 0.02)[0]:
            try:
                self._shown += os.read(self._main, 65536)
            except OSError:  # the other side is closed
                break
        return self._shown.decode()

    def wait_for(self, text: str) -> None:
        """Read until the terminal shows a text."""
        until(lambda: text in self.text, f"the terminal shows {text!r}")

    def wait_for_more(self, start: int, text: str, times: int) -> None:
        """Read until the terminal has shown a text this number of times behind a place."""
        until(lambda: self.text[start:].count(text) >= times, f"{text!r} is shown again")

    def finish(self) -> tuple[int, str]:
        """Return exit code and standard output."""
        until(lambda: (self.text, self.process.poll())[1] is not None, "the command ends")
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out


def test_a_terminal_shows_files_counts_and_failures_and_is_clean_at_the_end(
    here: Playground, service: RunningService
) -> None:
    service.pace(Progression(Pace.HOLD))
    service.spoil({"route": "submit", "do": "refuse", "code": "InvalidArgument", "times": 1})
    long = "in/a folder with a rather long name/and a file in it that has one too.mp3"
    here.write(long, "in/a.mp3", "in/b.mp3", limits={"connections": 1})

    with OnTerminal(here, "run", here.path.name, columns=60) as running:
        running.wait_for("1 of 3, 1 failed, 2 queued")
        service.pace(Progression(Pace.IMMEDIATE))
        code, out = running.finish()
        text = running.text

    assert code == 1
    plain = CONTROL.sub("", text)
    assert plain.count("InvalidArgument: ") == 1, "written once, above the display"
    assert re.search(r"queued in/\S+ +0:0\d", plain), "files are named"
    assert "0:01 elapsed" in plain
    pictures = [line for line in plain.replace("\r", "\n").split("\n") if "elapsed" in line]
    assert pictures
    assert all(cell_len(line) < 60 for line in pictures)
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h"), "the cursor is back"
    assert "3 jobs in" in out
    assert "\x1b" not in out


def test_the_display_follows_a_terminal_that_is_resized(
    here: Playground, service: RunningService
) -> None:
    service.pace(Progression(Pace.HOLD))
    long = "in/a folder with a rather long name/and a file in it that has one too.mp3"
    here.write(long, "in/b.mp3")

    with OnTerminal(here, "run", here.path.name, columns=120) as running:
        running.wait_for(long)
        widths = []
        for columns in (50, 100):
            running.resize(columns)
            before = len(running.text)
            # The picture that was being drawn may still have the old width.
            running.wait_for_more(before, "elapsed", 3)
            _, _, after = running.text[before:].partition("elapsed")
            plain = CONTROL.sub("", after).replace("\r", "\n").split("\n")
            widths.append(max(cell_len(line) for line in plain if "elapsed" in line))
        service.pace(Progression(Pace.IMMEDIATE))
        code, out = running.finish()

    assert code == 0
    assert 40 < widths[0] < 50 < widths[1] < 100
    assert "2 jobs in" in out


def test_another_terminal_shows_the_run_until_ctrl_c_or_its_end(
    here: Playground, service: RunningService
) -> None:
    service.pace(Progression(Pace.HOLD))
    here.write("in/a.mp3", "in/b.mp3")
    running = here.start("run", here.path.name, "--verbose")
    running.wait_for("submitted  in/")
    running.wait_for("submitted  in/")

    with (
        OnTerminal(here, "status", here.path.name, "--watch") as left,
        OnTerminal(here, "status", here.path.name, "--watch") as stays,
    ):
        left.wait_for("0 of 2, 2 queued")
        left.process.send_signal(signal.SIGINT)
        assert left.finish() == (0, "")

        stays.wait_for("queued in/b.mp3")
        service.pace(Progression(Pace.IMMEDIATE))
        code, out = stays.finish()

    assert running.finish().code == 0
    assert code == 0
    assert re.match(r"run album-\S+: ended\n", out)
    refused = here.do("status", here.path.name, "--watch", "--json")
    assert (refused.code, "--watch" in refused.err) == (2, True)


def test_a_run_that_is_piped_writes_its_counts_at_an_interval(
    here: Playground, service: RunningService
) -> None:
    service.pace(Progression(Pace.HOLD))
    here.write("in/a.mp3", "in/b.mp3")
    running = here.start("run", here.path.name, "--stats", "1s")
    running.wait_for("Z 0 of 2, 2 queued")
    service.pace(Progression(Pace.IMMEDIATE))

    done = running.finish()
    silent = here.run("--stats", "0")
    refused = here.run("--stats", "soon")

    assert done.code == 0
    assert "submitted" not in done.err
    assert [line.split()[1] for line in silent.err.splitlines()] == ["starting", "planned"]
    assert (refused.code, "--stats soon: write a duration" in refused.err) == (2, True)

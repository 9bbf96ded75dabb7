"""Mistakes of a first day: each message says what is wrong, where, and what to do next.

``tests/golden/cli/wrong-inputs.txt`` has the commands with their messages. The commands run in this
process, as a new user has them: in an empty home, without an engine and without keys.
"""

from __future__ import annotations

import re
import shlex
import socket
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from orchestrator import cli

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "cli" / "wrong-inputs.txt"
CLOUD = """\
service: tencent
bucket: media-1250000000
region: ap-chongqing
inputs: [{object: in/a.mp3}]
defaults: {output: {voice: "s/{stem}.mp3"}}
"""
FILES = {
    "nightly.yaml": "inputs: [{folder: talks}]\n",
    "cloud.yaml": CLOUD,
    "no-account.yaml": CLOUD.replace("media-1250000000", "media"),
    "region.yaml": CLOUD.replace("ap-chongqing", "eu-nowhere"),
    "misspelt.yaml": CLOUD.replace("ap-chongqing", "ap-chonqing"),
    "mapping.yaml": "inputs: {folder: talks}\n",
    "word.yaml": "inputs: [{folder: talks}]\nlimits: {submit_per_s: fast}\n",
    "key.yaml": "inputs: [{folder: talks}]\nlimit: {submit_per_s: 3}\n",
    "bracket.yaml": "inputs: [{folder: talks]\n",
    "tab.yaml": "inputs:\n\t- folder: talks\n",
    "empty.yaml": "",
    "no-folder.yaml": "inputs: [{folder: talk}]\n",
    "no-list.yaml": "bucket: talks\ninputs: [{list: missing.csv}]\n",
    "codec.yaml": "inputs: [{folder: talks}]\ndefaults: {operation: {audio: {codec: ogg}}}\n",
    "stem.yaml": 'inputs: [{folder: talks}]\ndefaults: {output: {voice: "{stemm}.mp3"}}\n',
    "param.yaml": "inputs: [{folder: talks}]\nparams: {date: }\n",
    "flag.yaml": "inputs: [{folder: talks}]\nskip_existing: yes\n",
    "report.yaml": "inputs: [{folder: talks}]\nreport: talks/a.mp3/report.jsonl\n",
    "notes.db": "hello",
    "notes.txt": "hello",
    "report.jsonl": "hello\n",
    "talks/a.mp3": "not really",
}


class Case(NamedTuple):
    """A command, its exit code, and what it writes to standard error and output."""

    command: str
    code: int
    text: str


def cases() -> list[Case]:
    parts = re.split(
        r"^\$ orchestrator ?(.*)\n\[exit (\d+)\]\n", GOLDEN.read_text(), flags=re.MULTILINE
    )
    groups = zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
    return [Case(command, int(code), text.strip()) for command, code, text in groups]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files, and the environment of a new user."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        database.execute("CREATE TABLE notes (text)")
    for name in ("TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY", "ORCHESTRATOR_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home/.cache"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], here: Path, port: int = 0) -> str:
    """Return what was written, without what differs from machine to machine."""
    out, err = capsys.readouterr()
    text = re.sub(r"[\w.-]+\.onnx", "WEIGHTS", (err + out).replace(str(here), "HERE"))
    if port:
        text = text.replace(str(port), "PORT")
    if "Error: " in text:  # the usage in front of it is the library's
        text = text[text.index("Error: ") :]
    lines = [line for line in text.splitlines() if not line.startswith("ok ")]  # of doctor
    return "\n".join(lines).strip()


def outcome(command: str) -> int:
    """Run a command in this process, and return its exit code."""
    sys.argv = ["orchestrator", *shlex.split(command)]
    with pytest.raises(SystemExit) as end:
        cli._main()
    return int(end.value.code or 0)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.command)
def test_a_mistake_is_answered_with_what_where_and_what_next(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: Case,
) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv)
    command, port = case.command, 0
    with closing(socket.socket()) as taken:
        if "PORT" in command:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            command = command.replace("PORT", str(port))
        code = outcome(command)

    assert said(capsys, here, port) == case.text
    assert code == case.code
    assert not (here / ".orchestrator").exists(), "a mistake leaves nothing behind"
    assert "Traceback" not in case.text


def test_there_are_many_mistakes_and_every_verb_is_among_them() -> None:
    verbs = {case.command.split()[0] for case in cases() if case.command}
    every = "cancel doctor fetch-engine init plan report run runs schema separate serve status"

    assert {*every.split(), "validate"} <= verbs
    assert len(cases()) >= 30

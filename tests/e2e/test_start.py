"""A command loads only what it needs, and lets the collector rest while it does."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = """\
service: {ci: "http://127.0.0.1:9", cos: "http://127.0.0.1:9"}
bucket: media-1250000000
region: ap-chongqing
inputs: [{object: a.mp3}]
defaults:
  output: {voice: "voice.${ext}", background: "background.${ext}"}
"""
COMMAND = """\
import atexit, gc, json, os, sys

parsed = []
collected = []

def watch(event, details):
    if event == "compile" and details[1] == "<unknown>":  # a text that was parsed
        parsed.append(str(details[0])[:60])

def report():
    facts = {
        "modules": sorted(sys.modules),
        "parsed": parsed,
        "collections": len(collected),
        "tracked": len(gc.get_objects()),
        "young": gc.get_threshold()[0],
    }
    sys.stderr.write("\\n" + json.dumps(facts) + "\\n")

sys.addaudithook(watch)
gc.callbacks.append(lambda phase, _: collected.append(1) if phase == "start" else None)
atexit.register(report)
sys.argv[0] = "orchestrator"
from orchestrator.cli import main
main()
"""
SHOWS_RUNS = ("jinja2", "rich", "prometheus_client", "orchestrator.live.server")
SEPARATES = ("numpy", "av", "openvino", "onnxruntime", "onnx", "ray")
EXTRAS = ("apprise", "pyarrow", "psycopg", "trustme")
SENDS = ("aiohttp", "uvloop", "orchestrator.client.service", "orchestrator.runner.runner")
READS = ("yaml", "asyncio", "sqlite3", "orchestrator.manifest.load", "orchestrator.commands.plan")
RUNS = ("orchestrator.domain.events", "tenacity")
SCHEMA = ("orchestrator.manifest.schema.json_schema",)
OTHER_VERBS = ("orchestrator.cli.init", "orchestrator.cli.report", "orchestrator.cli.serve")
HELP = (*SHOWS_RUNS, *SEPARATES, *EXTRAS, *SENDS, *SCHEMA, "orchestrator.server", *READS)
OFFLINE = (*SHOWS_RUNS, *SEPARATES, *EXTRAS, *SENDS, *SCHEMA, "orchestrator.server", *OTHER_VERBS)


def facts_of(folder: Path, *arguments: str) -> dict[str, Any]:
    (folder / "m.yaml").write_text(MANIFEST)
    done = subprocess.run(
        [sys.executable, "-P", "-c", COMMAND, *arguments],
        cwd=folder,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "TENCENTCLOUD_SECRET_ID": "AKIDEXAMPLEEXAMPLEEXAMPLE",
            "TENCENTCLOUD_SECRET_KEY": "exampleSecretKeyExample0123456789",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    facts: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
    return {**facts, "code": done.returncode, "output": done.stdout}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "code", "unneeded"),
    [
        ("--help", 0, (*HELP, "pydantic")),
        ("run --help", 0, (*HELP, *OTHER_VERBS)),
        ("validate m.yaml", 0, (*OFFLINE, "sqlite3", "orchestrator.ledger")),
        ("plan m.yaml", 0, (*OFFLINE, *RUNS)),
        ("status m.yaml", 0, (*OFFLINE, *RUNS)),
        (
            "run m.yaml --deadline 0.1s",
            6,
            (*SHOWS_RUNS, *SEPARATES, *EXTRAS, *SCHEMA, *OTHER_VERBS),
        ),
    ],
)
def test_a_command_loads_what_it_needs(
    tmp_path: Path, line: str, code: int, unneeded: tuple[str, ...]
) -> None:
    facts = facts_of(tmp_path, *line.split())

    assert facts["code"] == code
    assert set(unneeded) & set(facts["modules"]) == set()
    # The texts below the keys of a manifest are for its JSON Schema alone.
    assert [text for text in facts["parsed"] if "Settings" in text] == []
    # With the collector's defaults, help has 33 and a plan 170.
    assert facts["collections"] < 10
    # What is left at the end is frozen, so that the interpreter does not search it.
    assert facts["tracked"] < 1000


@pytest.mark.slow
def test_the_collector_looks_for_cycles_more_often_in_a_run_than_while_it_loads(
    tmp_path: Path,
) -> None:
    run = facts_of(tmp_path, "run", "m.yaml", "--deadline", "0.1s")
    plan = facts_of(tmp_path, "plan", "m.yaml")

    assert run["young"] <= 20_000 < plan["young"]


@pytest.mark.slow
def test_the_schema_reads_the_texts_of_the_keys(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, "schema")

    assert any("Settings" in text for text in facts["parsed"])


def test_a_worker_waits_for_its_first_file_with_little_loaded() -> None:
    rooms = "orchestrator.server.workers.process, orchestrator.server.workers.separate"
    code = f"import sys, {rooms}; print({{*{(*READS, *SEPARATES, *SENDS)}}} & set(sys.modules))"

    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "set()"

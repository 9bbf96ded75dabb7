"""The documents match the code and the files."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest
import typer.main
import yaml

from orchestrator.cli.app import VERBS as NAMES
from orchestrator.cli.app import app_with
from orchestrator.commands.exit_codes import ExitCode
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.job import LOST_BY_SERVICE, STEM_MISSING
from orchestrator.live.metrics import Metrics
from orchestrator.live.tally import Tally
from orchestrator.manifest.planning.planner import (
    INVALID_OBJECT_NAME,
    INVALID_OUTPUT_NAME,
    INVALID_ROW,
    OUTPUT_TAKEN,
)
from orchestrator.reporting.row import ROW_STATES, Row
from tests.documents import blocks, files, page, tables
from tests.repository import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.playground import Playground, RunningService


def test_the_generated_parts_of_the_documents_match_the_code() -> None:
    done = subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "write_docs.py", "--check"], check=False
    )

    assert done.returncode == 0, "run scripts/write_docs.py"


def anchor(heading: str) -> str:
    """Return the anchor that a heading gets: lower case, without punctuation, with hyphens."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_document_that_is_linked_exists_and_has_the_heading() -> None:
    for path in [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")]:
        text = path.read_text(encoding="utf-8")
        for link, heading in re.findall(r"\]\(([^)#:\s]*)(?:#([^)]*))?\)", text):
            target = (path.parent / link) if link else path
            assert target.exists(), f"{path.name} links to {link}"
            if heading:
                lines = target.read_text(encoding="utf-8").splitlines()
                anchors = {anchor(line.lstrip("#").strip()) for line in lines if line[:1] == "#"}
                assert heading in anchors, f"{path.name} links to {link}#{heading}"


@pytest.mark.slow
@pytest.mark.engine
def test_the_python_example_of_the_readme_separates_the_demo_media(tmp_path: Path) -> None:
    shutil.copytree(
        REPOSITORY / "manifests",
        tmp_path / "manifests",
        ignore=shutil.ignore_patterns("stems", ".service", ".orchestrator"),
    )
    (tmp_path / "manifests/media/demo-1250000000/input/lecture.mp3").unlink()  # the long one
    program = re.search(
        r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert program is not None

    done = subprocess.run(
        [sys.executable, "-c", program[1]], cwd=tmp_path, check=True, capture_output=True, text=True
    )

    total, *lines = done.stdout.splitlines()
    assert total == "7 jobs"
    assert len(lines) == 7
    assert all(line.startswith("succeeded input/") for line in lines)
    assert not done.stderr


# --- docs/environment.md

OURS = re.compile(r"\b(?:ORCHESTRATOR|TENCENTCLOUD|TCCLI)_[A-Z_]+\b")


def variables_of(tree: ast.Module) -> Iterator[str]:
    """Environment variables of a module: read or set by their name, or kept in a constant."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if OURS.fullmatch(text):
                yield text
            case (
                ast.Subscript(ast.Attribute(attr="environ"), ast.Constant(value=str(text)))
                | ast.Call(
                    ast.Attribute(ast.Attribute(attr="environ"), attr="get"),
                    [ast.Constant(value=str(text)), *_],
                )
                | ast.Compare(ast.Constant(value=str(text)), [_], [ast.Attribute(attr="environ")])
                | ast.BinOp(ast.Attribute(attr="environ"), _, ast.Dict([ast.Constant(str(text))]))
                | ast.Dict([None, ast.Constant(str(text))], [ast.Attribute(attr="environ"), _])
            ):
                yield text
            case _:
                pass


def test_the_page_of_environment_variables_has_each_that_the_program_knows() -> None:
    known = {
        name
        for path in (REPOSITORY / "orchestrator").rglob("*.py")
        for name in variables_of(ast.parse(path.read_text(encoding="utf-8")))
    }
    said = set(re.findall(r"`([A-Z][A-Z_0-9]+)", page("environment.md")))

    assert {"PYTHONUTF8", "ORT_DISABLE_TELEMETRY", "TMPDIR", "TCCLI_PROFILE"} <= known
    assert known - said == set(), "not on the page"
    named_by_a_user = {"ORCHESTRATOR_NOTIFY_URL"}
    assert {name for name in said if OURS.fullmatch(name)} - known == named_by_a_user


# --- docs/manifest.md


def test_every_key_of_a_manifest_has_a_row() -> None:
    said = {
        name
        for table in tables(page("manifest.md"))
        for row in table
        for name in re.findall(r"^`(\w+)|, `(\w+)`", row[0])
        for name in name
    }
    schema = json.loads((REPOSITORY / "manifests/manifest.schema.json").read_text())

    assert set(schema["properties"]) - said == set()


# --- docs/operations.md


def test_the_table_of_exit_codes_has_each_code() -> None:
    rows = tables(page("operations.md"))[0]

    assert [int(row[0]) for row in rows] == [int(code) for code in ExitCode]


def test_alerts_watch_metrics_that_exist() -> None:
    (text,) = files(page("operations.md"), "yaml").values()
    registry = Metrics(Tally(SystemClock()), "nightly").registry
    names = {sample.name for metric in registry.collect() for sample in metric.samples}
    rules = yaml.safe_load(text)["groups"][0]["rules"]
    used = {name for rule in rules for name in re.findall(r"orchestrator_\w+", rule["expr"])}

    assert len(used) == 3
    assert used <= names


# --- docs/troubleshooting.md


def text_of(node: ast.AST) -> str | None:
    """Return a text of the program, with ``…`` for each value in it."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(
                part.value if isinstance(part, ast.Constant) else "…"  # type: ignore[misc]
                for part in parts
            )
        case _:
            return None


def texts_of_the_program() -> Iterator[str]:
    """Yield every text in the product's source, without docstrings."""
    for path in (REPOSITORY / "orchestrator").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if id(node) not in docstrings and (text := text_of(node)):
                yield " ".join(text.split())


def test_each_message_that_is_explained_is_one_of_the_program() -> None:
    texts = set(texts_of_the_program())
    *by_message, by_sight = tables(page("troubleshooting.md"))
    of_the_shell = "orchestrator: command not found"
    messages = [row[0].strip("`") for table in by_message for row in table]

    assert not any("`" in row[0] for row in by_sight)
    assert len(messages) > 40
    for message in messages:
        parts = [re.escape(part) for part in re.split(r" ?… ?", message)]
        wanted = re.compile(".*".join(parts))
        is_known = any(wanted.search(text) for text in texts)
        assert is_known or message == of_the_shell, message


# --- docs/reports.md


def test_the_page_about_reports_has_each_field_state_and_code_of_our_own() -> None:
    fields, states, codes = tables(page("reports.md"))

    assert [name for row in fields for name in re.findall(r"`(\w+)`", row[0])] == list(
        Row.__annotations__
    )
    assert {row[0].strip("`") for row in states} == set(ROW_STATES)
    ours = {
        LOST_BY_SERVICE,
        STEM_MISSING,
        INVALID_ROW,
        INVALID_OBJECT_NAME,
        INVALID_OUTPUT_NAME,
        OUTPUT_TAKEN,
    }
    assert ours <= {name for row in codes for name in re.findall(r"`(\w+)`", row[0])}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
def test_each_jq_command_understands_a_report(here: Playground, service: RunningService) -> None:
    service.spoil(
        {"route": "submit", "do": "lose_answer", "times": 1},
        {"route": "submit", "do": "refuse", "code": "InvalidArgument", "skip": 1, "times": 1},
    )
    here.write("in/a.mp3", "in/b.mp3", "in/c.mp3", limits={"submit_per_s": 20})
    assert here.run().code == 1
    (report,) = here.reports()
    shutil.copy(report, here.folder / "report.jsonl")
    shutil.copy(report.with_suffix(".summary.json"), here.folder / "report.summary.json")
    commands = [
        line
        for block in blocks(page("reports.md"), "sh")
        for line in block.splitlines()
        if line.startswith("jq ")
    ]

    assert len(commands) == 7
    said = [
        subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=here.folder,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for command in commands
    ]
    failed, by_state, _, unchecked, _, adopted, summary = said
    assert failed.startswith("rejected\tInvalidArgument\tin/")
    assert json.loads(by_state) == {"rejected": 1, "succeeded": 2}
    assert unchecked == ""
    assert adopted.startswith("in/")
    assert json.loads(summary)["failed"] == {"rejected": {"InvalidArgument": 1}}


def test_the_index_lists_every_page() -> None:
    index = page("README.md")
    pages = {path.name for path in (REPOSITORY / "docs").glob("*.md")} - {"README.md"}

    assert {name for name in pages if f"({name})" not in index} == set()


# --- commands in all documents

VERBS = typer.main.get_group(app_with(NAMES)).commands
GENERAL = {"--version", "--help", "--install-completion", "--show-completion"}
OPTIONS = {name: {each for p in verb.params for each in p.opts} for name, verb in VERBS.items()}
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def commands_of(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the verb and the options of each call of the program in code, also inside a line."""
    code = "\n".join(re.findall(r"```.*?```|`[^`\n…]+`", text, re.DOTALL)).replace("\\\n", " ")
    pattern = r"(?:^|[\s`/$(])orchestrator ((?:[a-z][a-z-]*|--[a-z-]+))((?: [^\n|;&#`<>]*)?)"
    for verb, rest in re.findall(pattern, code):
        if not verb.startswith("--"):
            yield verb, re.findall(r"(?<=\s)(--[a-z-]+|-[a-z])(?=[\s=]|$)", rest)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_of_a_document_has_a_verb_and_options_that_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    for verb, options in commands_of(text):
        assert verb in OPTIONS, verb
        assert set(options) <= OPTIONS[verb] | {"--help"}, f"orchestrator {verb} {options}"
    named = set(re.findall(r"`(--[a-z][a-z-]+)", text))
    of_others = {"--force", "--resume", "--joblog", "--disable-usage-stats"}  # uv, parallel, ray
    of_bench = {"--against", "--end", "--quick", "--postgres", "--short", "--batch"}
    known = set().union(GENERAL, of_others, of_bench, *OPTIONS.values())
    assert named - known == set()


def test_commands_are_found() -> None:
    text = (
        "`x | orchestrator run a.yaml --max-cost 4` ```sh\nbin/orchestrator plan --json  # b\n```"
    )

    assert list(commands_of(text)) == [("run", ["--max-cost"]), ("plan", ["--json"])]


# --- docs/install.md


def test_every_extra_has_a_row() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    said = {row[0].strip("`") for row in tables(page("install.md"))[1]}

    assert said == set(project["project"]["optional-dependencies"])

"""A run that is refused before its first job leaves nothing behind."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from orchestrator.commands.options import CallbackAddress, LiveAddress, RunOptions
from orchestrator.commands.run import run_manifest
from orchestrator.errors import ConfigError, CredentialsMissing, OrchestratorError, ReportError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PATIENCE_S = 30.0
REMOTE = """
service: {ci: "http://127.0.0.1:1", cos: "http://127.0.0.1:1"}
bucket: media-1250000000
region: ap-chongqing
report: {path: deep/reports/run.jsonl, html: true}
inputs: [{object: a.mp3, output: {voice: "s/{stem}.aac"}}]
"""
LOCAL = """
service: {local: {buckets: {stems: out/stems}}}
report: {path: deep/reports/run.jsonl, html: true}
inputs: [{folder: in, output: {bucket: stems, voice: "{stem}.aac"}}]
"""


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TENCENTCLOUD_SECRET_ID", "AKIDEXAMPLEEXAMPLEEXAMPLE")
    monkeypatch.setenv("TENCENTCLOUD_SECRET_KEY", "exampleSecretKeyExample0123456789")
    path = tmp_path / "m.yaml"
    path.write_text(REMOTE)
    return path


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def refused(manifest: Path, options: RunOptions, kind: type[OrchestratorError]) -> str:
    """Run, and return the error; nothing may be made or changed."""
    before = sorted(manifest.parent.rglob("*"))
    with pytest.raises(kind) as raised:
        asyncio.run(asyncio.wait_for(run_manifest(manifest, options=options), _PATIENCE_S))
    assert sorted(manifest.parent.rglob("*")) == before
    return str(raised.value)


def test_the_address_of_the_page_is_taken(manifest: Path, taken: int) -> None:
    """Neither the folder of the report nor a ledger is made."""
    options = RunOptions(live=LiveAddress("127.0.0.1", taken))

    said = refused(manifest, options, ConfigError)

    assert said.startswith(f"--live 127.0.0.1:{taken}: cannot listen there: ")


def test_the_address_for_callbacks_is_taken(manifest: Path, taken: int) -> None:
    """It is found before a ledger is made."""
    options = RunOptions(callbacks=CallbackAddress("127.0.0.1", taken))

    said = refused(manifest, options, ConfigError)

    assert said.startswith(f"--callback-listen 127.0.0.1:{taken}: cannot listen there: ")


def test_there_is_no_key_pair(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the report was made before, and goes again."""
    monkeypatch.setenv("HOME", str(manifest.parent))
    monkeypatch.delenv("TENCENTCLOUD_SECRET_ID")
    monkeypatch.delenv("TENCENTCLOUD_SECRET_KEY")

    refused(manifest, RunOptions(), CredentialsMissing)


def test_a_folder_that_was_there_stays(manifest: Path, taken: int) -> None:
    """Also if it is empty: the user made it."""
    (manifest.parent / "deep").mkdir()

    refused(manifest, RunOptions(live=LiveAddress("127.0.0.1", taken)), ConfigError)


def test_the_page_would_replace_a_link_that_leads_nowhere(manifest: Path) -> None:
    """A link may lead to a disk that is not connected."""
    folder = manifest.parent / "deep/reports"
    folder.mkdir(parents=True)
    (folder / "run.html").symlink_to("/absent/disk/page.html")

    said = refused(manifest, RunOptions(), ReportError)

    link = folder / "run.html"
    assert said.startswith(f"{link} is a symbolic link that leads nowhere (to /absent/disk/")


@pytest.mark.engine
@pytest.mark.parametrize("link", ["out", "out/stems"])
def test_the_stems_would_go_behind_a_link_that_leads_nowhere(manifest: Path, link: str) -> None:
    """The folders of the stems are checked before a ledger is made."""
    (manifest.parent / "in").mkdir()
    (manifest.parent / "in/a.wav").touch()
    manifest.write_text(LOCAL)
    broken = manifest.parent / link
    broken.parent.mkdir(exist_ok=True)
    broken.symlink_to("/absent/disk")

    said = refused(manifest, RunOptions(), ConfigError)

    assert f"{broken} is a symbolic link that leads nowhere (to /absent/disk)" in said


@pytest.mark.engine
def test_the_root_of_the_service_is_a_file(manifest: Path) -> None:
    """It is found before a ledger is made, and before the folders of the stems are."""
    (manifest.parent / "in").mkdir()
    (manifest.parent / "in/a.wav").touch()
    (manifest.parent / "root").touch()
    manifest.write_text(LOCAL.replace("{local: {", "{local: {root: root, "))

    assert "root is a file" in refused(manifest, RunOptions(), ConfigError)

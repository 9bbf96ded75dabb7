"""Installed packages with engines, for tests."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

from tests.repository import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = REPOSITORY / "tests/example_plugin"
STAGED = """
import ctypes, os, signal, sys
{at_import}
def create(threads):
    {at_load}
    return Engine()
class Engine:
    runtime, stems = "none", ("voice",)
    def separate(self, blocks):
        for block in blocks:
            {at_work}
            yield {{"voice": block}}
"""


def install_example(folder: Path) -> Path:
    """Build the example package, and install it into a folder, which is returned."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")],
        cwd=EXAMPLE,
        check=True,
        capture_output=True,
    )
    (wheel,) = (folder / "dist").iterdir()
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def install(folder: Path, name: str, code: str, version: str = "1.0") -> None:
    """Install a package with one engine, made by the function ``create`` of ``code``."""
    module = name.replace("-", "_")
    (folder / f"{module}.py").write_text(code)
    information = folder / f"{module}-{version}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    )
    (information / "entry_points.txt").write_text(
        f"[orchestrator.engines]\n{name} = {module}:create\n"
    )


def install_staged(folder: Path, name: str, **stages: str) -> None:
    """Install an engine that runs these statements: ``at_import``, ``at_load``, ``at_work``."""
    usual = {"at_import": "", "at_load": "pass", "at_work": "pass"}
    install(folder, name, STAGED.format(**{**usual, **stages}))

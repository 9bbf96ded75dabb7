"""The exit code in the metrics file of a run that ends with an error."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING

import pytest
import typer

from orchestrator.cli.run import measured
from orchestrator.commands.options import ManifestSource
from orchestrator.domain.clock import SystemClock
from orchestrator.errors import CredentialsMissing, ManifestError
from orchestrator.live.tally import Tally

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

MANIFEST = """
version: 1
inputs: [{folder: .}]
limits: {submit_per_s: 7}
"""


def tally() -> Tally:
    return Tally(SystemClock())


def _measured(path: Path) -> AbstractContextManager[object]:
    manifest = path.with_name("archive.yaml")
    manifest.write_text(MANIFEST)
    return measured(path, ManifestSource(manifest), tally())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SystemExit(130), 130),
        (KeyboardInterrupt(), 130),
        (asyncio.CancelledError(), 130),
        (typer.Exit(6), 6),
        (typer.Abort(), 1),
        (ValueError("a defect"), 7),
        (OSError(errno.ENOSPC, "full"), 4),
        (CredentialsMissing("no key"), 3),
    ],
)
def test_each_error_leaves_its_exit_code(tmp_path: Path, error: BaseException, code: int) -> None:
    path = tmp_path / "orchestrator.prom"

    with pytest.raises(type(error)), _measured(path):
        raise error

    assert f'orchestrator_run_exit_code{{manifest="archive"}} {code:.1f}' in path.read_text()


def test_a_file_that_cannot_be_written_at_the_end_hides_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()

    def fail() -> None:
        folder.rename(tmp_path / "away")
        raise CredentialsMissing("no key")

    with pytest.raises(CredentialsMissing), _measured(folder / "orchestrator.prom"):
        fail()
    assert "Cannot write the metrics file" in capsys.readouterr().err


def test_the_rate_limit_of_the_manifest_is_known_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "orchestrator.prom"

    with _measured(path):
        assert 'orchestrator_rate_limit{manifest="archive"} 7.0' in path.read_text()


def test_a_manifest_that_cannot_be_read_keeps_the_name_that_an_earlier_file_knows(
    tmp_path: Path,
) -> None:
    path = tmp_path / "orchestrator.prom"
    with _measured(path):
        pass
    broken = tmp_path / "renamed.yaml"
    broken.write_text("version: [")

    with pytest.raises(ManifestError), measured(path, source := ManifestSource(broken), tally()):
        source.load()

    assert 'orchestrator_run_exit_code{manifest="archive"} 2.0' in path.read_text()

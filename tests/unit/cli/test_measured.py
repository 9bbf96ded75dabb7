"""The exit code in the metrics file of a run that ends with an error."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING

import pytest
import typer

from orchestrator.cli.run import measured
from orchestrator.errors import CredentialsMissing

if TYPE_CHECKING:
    from pathlib import Path


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

    with pytest.raises(type(error)), measured(path):
        raise error

    assert f"orchestrator_run_exit_code {code:.1f}" in path.read_text()


def test_a_file_that_cannot_be_written_at_the_end_hides_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()

    def fail() -> None:
        folder.rename(tmp_path / "away")
        raise CredentialsMissing("no key")

    with pytest.raises(CredentialsMissing), measured(folder / "orchestrator.prom"):
        fail()
    assert "Cannot write the metrics file" in capsys.readouterr().err

"""``scripts/bench quality`` reports what is known of small files."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.demucs_models import write_shares
from tests.quality import level_db, si_sdr_db
from tests.repository import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.separation.conftest import Media


def test_the_figures_of_known_sounds() -> None:
    """A tenth of noise is 20 dB; a scaled stem is perfect, and its level is the scale."""
    draw = np.random.default_rng(1)
    truth = draw.standard_normal((50_000, 2)).astype(np.float32)
    noise = draw.standard_normal((50_000, 2)).astype(np.float32)
    assert si_sdr_db(truth + noise * np.float32(0.1), truth) == pytest.approx(20, abs=0.2)
    assert si_sdr_db(truth * 2, truth) > 100
    assert level_db(truth * np.float32(0.1), truth) == pytest.approx(-20, abs=1e-4)
    assert level_db(truth * 0, truth) == -np.inf


@pytest.mark.slow
@pytest.mark.parametrize(
    "form", ["{}/mixture.wav {}/vocals.wav {}/drums.wav", "{}.wav {}.voice.wav"]
)
def test_both_forms_of_folders_are_measured(form: str, media: Media, tmp_path: Path) -> None:
    """An engine that takes four tenths as the voice leaks as much, and gains nothing."""
    mixture, voice, *drums = (
        tmp_path / "own" / name for name in form.format(*["song"] * 3).split()
    )
    voice.parent.mkdir(parents=True)
    sound = media.tones(1)
    rest = sound[::-1].copy() / 2
    media.encode(mixture, (sound + rest) / 2)
    media.encode(voice, sound / 2)
    for path in drums:
        media.encode(path, rest / 2)
    model = write_shares(tmp_path / "four.onnx")
    done = subprocess.run(
        [
            sys.executable, REPOSITORY / "scripts/bench_quality.py", "--json",
            "--folder", tmp_path / "own", "--engine", model,
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows = {row["stem"]: row for row in json.loads(done.stdout)}
    assert set(rows) == {"voice", "background"} | ({"drums"} if drums else set())
    assert rows["voice"]["gain_db"] == pytest.approx(0, abs=0.01)
    assert rows["voice"]["leak_db"] == pytest.approx(20 * np.log10(0.4), abs=0.01)
    assert rows["background"]["leak_db"] == pytest.approx(20 * np.log10(0.6), abs=0.01)
    assert rows["voice"]["file"] == str(mixture.relative_to(tmp_path / "own"))

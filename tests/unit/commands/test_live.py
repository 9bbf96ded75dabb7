"""Files that the live page of a local run serves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from orchestrator.commands.live import LiveRun
from orchestrator.domain.clock import SystemClock
from orchestrator.live.tally import Tally
from orchestrator.manifest import load_manifest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shown(tmp_path: Path) -> LiveRun:
    path = tmp_path / "m.yaml"
    path.write_text(
        "version: 1\nname: m\nservice: {local: {root: media}}\nbucket: tapes\n"
        "region: ap-chongqing\ndefaults: {output: {voice: 's/{stem}/v.mp3'}}\n"
        "inputs: [{object: a.mp3}]\n"
    )
    (tmp_path / "media" / "tapes").mkdir(parents=True)
    for name in ("private.mp3", "media/private.mp3", "media/tapes/a.mp3", "media/tapes/a.txt"):
        (tmp_path / name).write_bytes(b"sound")
    ports = SimpleNamespace(clock=SystemClock(), submit_limiter=SimpleNamespace(rate_per_s=1.0))
    manifest = load_manifest(path)
    nothing: Any = None
    tally = Tally(SystemClock())
    return LiveRun(manifest, cast("Any", ports), tally, dict, nothing, str(tmp_path / "l.db"))


def test_a_sound_in_a_bucket_is_served(shown: LiveRun, tmp_path: Path) -> None:
    assert shown.media("tapes", "a.mp3") == tmp_path / "media/tapes/a.mp3"


@pytest.mark.parametrize(
    ("bucket", "key"),
    [
        ("tapes", "a.txt"),
        ("tapes", "../private.mp3"),
        ("tapes", "\0.mp3"),
        ("tapes", "x" * 300 + ".mp3"),
        (".", "private.mp3"),
        ("..", "private.mp3"),
        ("tapes/../..", "private.mp3"),
        ("/", "etc/a.mp3"),
    ],
)
def test_nothing_else_is(shown: LiveRun, bucket: str, key: str) -> None:
    assert shown.media(bucket, key) is None


def test_an_absolute_bucket_is_not_one(shown: LiveRun, tmp_path: Path) -> None:
    assert shown.media(str(tmp_path), "private.mp3") is None

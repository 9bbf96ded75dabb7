"""Print the results of the demo: one line per file, the paths, and the next steps."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from orchestrator.commands.resources import ledger_path, local_root
from orchestrator.manifest import load_manifest


def newest_report(folder: Path, name: str) -> Path | None:
    """Return the path of the newest report."""
    reports = sorted(folder.glob(f"{name}-*.jsonl"), key=lambda path: path.stat().st_mtime)
    return reports[-1] if reports else None


def main() -> int:
    """Print the table of a manifest's newest report."""
    manifest = load_manifest(Path(sys.argv[1]))
    report = newest_report(Path(manifest.report).parent, manifest.name)
    if report is None:
        print("no report was written")
        return 1
    root = local_root(manifest, ledger_path(manifest)) / (manifest.bucket or "")
    table = Table(box=None, pad_edge=False)
    for title in ("file", "seconds", "voice", "background", "state"):
        justify: Literal["left", "right"] = "right" if title == "seconds" else "left"
        table.add_column(title, justify=justify, overflow="fold")
    for line in report.read_text().splitlines():
        row = json.loads(line)
        stems = {
            file["stem"]: f"{file['size_bytes'] / 1000:,.0f} kB"
            for file in row["files"]
            if file["size_bytes"]
        }
        seconds = f"{row['media_duration_s']:.1f}" if row["media_duration_s"] else "-"
        state = row["state"] if not row["code"] else f"{row['state']}: {row['code']}"
        table.add_row(
            row["input"]["object"],
            seconds,
            stems.get("voice", "-"),
            stems.get("background", "-"),
            state,
        )
    console = Console()
    console.print()
    console.print(table)
    here = Path.cwd()
    console.print(f"\nstems:  {shown(root / 'stems', here)}", soft_wrap=True, highlight=False)
    console.print(f"report: {shown(report, here)}", soft_wrap=True, highlight=False)
    page = report.with_suffix(".html")
    if page.exists():
        console.print(f"page:   {page.resolve().as_uri()}", soft_wrap=True, highlight=False)
    console.print(
        "\nTry next:\n"
        "  scripts/demo                                     skips the finished jobs\n"
        "  .venv/bin/orchestrator plan manifests/demo.yaml  shows jobs, calls and cost\n"
        "Then copy manifests/demo.yaml, list your own files in it, and run the copy.",
        highlight=False,
        soft_wrap=True,
    )
    return 0


def shown(path: Path, here: Path) -> str:
    """Return the path relative to ``here`` if possible."""
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


if __name__ == "__main__":
    raise SystemExit(main())

"""The report of a run as a page: its rows, its totals, the places of its sounds, its waveforms."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.commands.history import entry_of, pace_of, spending
from orchestrator.commands.report import ALL_RUNS, chosen_run, next_rows, usual_states, write_rows
from orchestrator.commands.resources import ledger_path, state_folder
from orchestrator.commands.stems import bucket_folders
from orchestrator.commands.waveforms import LIMIT_S, Drawings, draw
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.states import TERMINAL
from orchestrator.domain.wording import counted
from orchestrator.durable import replacing
from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.ledger import open_ledger
from orchestrator.live.pace import pace_series
from orchestrator.manifest import EndpointSettings
from orchestrator.reporting.page.places import Places
from orchestrator.reporting.page.totals import Tallies, facts_of
from orchestrator.reporting.page.writer import PageWriter, check_page_path, page_path
from orchestrator.reporting.row import instant

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import BinaryIO

    from orchestrator.commands.options import ManifestSource
    from orchestrator.domain.ports import Clock, Ledger
    from orchestrator.domain.run import Run
    from orchestrator.manifest import Manifest
    from orchestrator.reporting.page.places import Links
    from orchestrator.reporting.row import FolderOf, Row

LONGEST_LINKS_S = 7 * 86400.0
"""Longest life of a page's links. Whoever has the page can read the files; a week is enough."""


@dataclass(frozen=True, slots=True)
class PageOptions:
    """Choices for a page.

    Attributes:
        folder: Its folder; files on this machine are named from there.
        run: Id of a run, ``last`` or ``all``.
        states: Only rows in these states; the usual ones if there are none.
        links_s: Time for which it links to files of a remote service; None for no links.
        is_live: It is served while the run works; only known waveforms are in it.
        progress: Called with the number of files whose waveforms were looked up.
    """

    folder: Path
    run: str = "last"
    states: Collection[str] = ()
    links_s: float | None = None
    is_live: bool = False
    progress: Callable[[int], None] = lambda _: None


async def write_page(
    source: ManifestSource,
    file: BinaryIO,
    options: PageOptions,
    *,
    ledger: str | None = None,
    clock: Clock | None = None,
) -> list[str]:
    """Write the page of a run.

    Returns:
        Sentences about what it lacks; the page has them, too.

    Raises:
        ConfigError: If there is no such run, or links cannot be made.
        OrchestratorError: If the manifest is faulty or the ledger cannot be read.
    """
    manifest = source.load()
    return await _write(manifest, ledger_path(manifest, ledger), file, options, clock)


async def _write(
    manifest: Manifest, location: str, file: BinaryIO, options: PageOptions, clock: Clock | None
) -> list[str]:
    clock = clock or SystemClock()
    folder_of = bucket_folders(manifest, location)
    links = _links(manifest, options, clock)
    places = Places(options.folder, folder_of, links, is_served=options.is_live)
    opened = open_ledger(location, read_only=True)
    with PageWriter(places) as writer:
        try:
            wanted = frozenset(options.states or usual_states(manifest))
            is_whole, last_row = True, 0
            if options.is_live:
                last_row = await _write_numbered(opened, writer, wanted, folder_of)
            else:
                is_whole = await write_rows(opened, writer, options.run, wanted, folder_of)
            totals = await _totals(opened, manifest, options, writer.totals)
        finally:
            await opened.close()
        drawings = Drawings()
        if writer.heard:
            limit_s = 0.0 if options.is_live else LIMIT_S
            cache = state_folder(manifest, location) / f"{manifest.name}.waveforms.db"
            drawings = await asyncio.to_thread(
                draw, writer.heard, cache, clock, limit_s=limit_s, progress=options.progress
            )
        lacks = _lacks(writer.totals, is_whole=is_whole, undrawn=drawings.missing)
        if not drawings.is_able:
            lacks.append(
                "Waveforms need the extra local: pip install 'voiceseparate-orchestrator[local]'."
            )
        totals["notes"] += lacks
        totals |= {"written_text": instant(clock.now()), "is_linked": links is not None}
        totals |= {"is_live": options.is_live, "last_row": last_row}
        writer.finish(file, totals, drawings.by_key)
    return lacks


async def _write_numbered(
    ledger: Ledger, writer: PageWriter, states: Collection[str], folder_of: FolderOf | None
) -> int:
    """Write the rows of the last run, and return the number of the last of them."""
    run, after_row = await ledger.last_run(), 0
    if run is None:
        return after_row
    while (page := await next_rows(ledger, run, after_row, folder_of))[0]:
        rows, after_row = page
        writer.write([each for each in rows if each["state"] in states])
    return after_row


async def live_page(
    manifest: Manifest, location: str, run: str, clock: Clock, file: BinaryIO
) -> None:
    """Write the page of a run that works, for a server.

    Raises:
        OrchestratorError: If the ledger cannot be read.
    """
    await _write(manifest, location, file, PageOptions(Path("/"), run, is_live=True), clock)


async def live_totals(manifest: Manifest, location: str, run: str) -> dict[str, Any]:
    """Return the totals of such a page as they are now; all rows of the run are read for them.

    Raises:
        OrchestratorError: If the ledger cannot be read.
    """
    opened = open_ledger(location, read_only=True)
    tallies = Tallies()
    try:
        wanted = frozenset(usual_states(manifest))
        await write_rows(opened, _Counting(tallies), run, wanted, None)
        options = PageOptions(Path("/"), run, is_live=True)
        return await _totals(opened, manifest, options, tallies.as_dict())
    finally:
        await opened.close()


class _Counting:
    """Counts rows instead of writing them."""

    def __init__(self, tallies: Tallies) -> None:
        self._tallies = tallies

    def write(self, rows: Sequence[Row]) -> None:
        """Count these rows."""
        self._tallies.add(rows)


def _lacks(totals: Mapping[str, Any], *, is_whole: bool, undrawn: int) -> list[str]:
    """Return sentences about what a page lacks."""
    lacks = []
    if totals["rows"] < totals["jobs"]:
        lacks.append(
            f"The table has {totals['rows']:,} of {totals['jobs']:,} jobs, as many as a browser "
            "handles well. Totals and throughput count all. --format jsonl or parquet has every "
            "row, and --state failed narrows the page."
        )
    if not is_whole:
        lacks.append("The report of this run is gone or damaged: some jobs may be missing.")
    if undrawn:
        lacks.append(
            f"Waveforms of {counted(undrawn, 'file')} were not drawn, to save time. "
            "Write the page again to draw more."
        )
    return lacks


def _links(manifest: Manifest, options: PageOptions, clock: Clock) -> Links | None:
    """Return what signs the links of a page.

    Raises:
        ConfigError: If links cannot be made, or are not needed.
    """
    if options.links_s is None:
        return None
    if manifest.is_local:
        raise ConfigError(
            "--links: the files are on this machine, and the page finds them there. "
            "Leave --links out."
        )
    if isinstance(manifest.service, EndpointSettings):
        raise ConfigError(
            "--links: a browser can only reach the vendor's own addresses, not the endpoint "
            f"{manifest.service.cos}. Leave --links out."
        )
    if options.links_s > LONGEST_LINKS_S:
        raise ConfigError("--links: whoever has the page can read the files. Write at most 7d.")
    from orchestrator.client.credentials import Discovered
    from orchestrator.client.links import SignedLinks

    credentials = Discovered(profile=manifest.profile).load()
    return SignedLinks(credentials, clock.now(), options.links_s)


async def _totals(
    ledger: Ledger, manifest: Manifest, options: PageOptions, totals: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the totals of a page: of its rows, and what the ledger knows of the run."""
    runs = await ledger.runs(ALL_RUNS)
    chosen = chosen_run(runs, options.run)
    of_page = runs if chosen is None else [chosen]
    entry = await _entry(ledger, of_page)
    still = {"open": 0, "left": 0}
    if runs and of_page[0] is runs[0]:
        counts = await ledger.counts(runs[0])
        ended = sum(number for state, number in counts.by_state.items() if state in TERMINAL)
        still = {"open": sum(counts.by_state.values()) - ended, "left": counts.left}
        usage = [each for run in of_page for each in await ledger.usage(run)]
        spent = spending(manifest, usage).as_dict()
    else:  # the ledger has each job once, as its last run left it
        spent = {name: entry.get(name) for name in ("minutes", "cost")}
    facts = facts_of(
        totals,
        manifest=manifest.name,
        run="all" if chosen is None else chosen.id,
        entry=entry,
        spending=spent,
        still=still,
        only=options.states,
    )
    notes = [f"The run stopped: {entry['stopped']}"] if entry.get("stopped") else []
    return {**totals, **facts, "pace": await _pace(ledger, of_page), "notes": notes}


async def _entry(ledger: Ledger, runs: Sequence[Run]) -> dict[str, Any]:
    """Return what the history keeps of a run; of several, their times and calls together."""
    entries = [await entry_of(ledger, run) for run in runs]
    if len(runs) == 1:
        return {"opened_at": instant(runs[0].opened_at), **entries[0]}
    calls: Counter[str] = Counter()
    for entry in entries:
        calls.update(entry.get("calls", {}))
    return {
        "opened_at": instant(runs[-1].opened_at) if runs else None,
        "elapsed_s": sum(entry.get("elapsed_s", 0.0) for entry in entries),
        "calls": dict(calls) or None,
    }


async def _pace(ledger: Ledger, runs: Sequence[Run]) -> dict[str, Any] | None:
    series = pace_series()
    for run in runs:
        if (part := await pace_of(ledger, run)) is not None:
            series.absorb(part)
    return series.as_dict()


async def write_beside(
    source: ManifestSource, run: Run, *, ledger: str | None = None, clock: Clock | None = None
) -> tuple[Path, list[str]]:
    """Write the page of a run beside its report; return its path, and what it lacks.

    Raises:
        OrchestratorError: If it cannot be written, or another file has its name.
    """
    path = page_path(Path(run.report))
    check_page_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            options = PageOptions(path.parent, run.id)
            return path, await write_page(source, file, options, ledger=ledger, clock=clock)
    except OSError as error:
        raise OrchestratorError(
            f"Cannot write the page {path}: {error.strerror or error}."
        ) from error

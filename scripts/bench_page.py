"""Measure the report page with 100,000 rows in Debian's Chromium: size, opening, filter, sorting.

The rows are like those of a real run: each has its own key, job id and MD5 sums, 3 % of the jobs
failed. The page is written by the product and opened from disk, several times; the median counts.
Opening ends when the whole table can be used. A filter ends when the next picture is on the screen.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench_table import memory_mb, show, within
from page_samples import many_rows, write_sample
from playwright.sync_api import Page, sync_playwright

MAX_OPEN_S, MAX_FILTER_MS, MAX_MB = 3.0, 100.0, 60.0
SEARCHES = ("episode 4", "timeout", "zzz", "f3", "")
TIMED = """(words) => new Promise((done) => {
  const search = document.getElementById("search"), began = performance.now();
  search.value = words;
  search.dispatchEvent(new Event("input", { bubbles: true }));
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)));
})"""
SORTED = """(name) => new Promise((done) => {
  const began = performance.now();
  document.querySelector(`#heads [data-name="${name}"] button`).click();
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)));
})"""


def write(path: Path, count: int) -> float:
    """Write a page; return the seconds that it took without making the rows."""
    made = many_rows(count)
    began = perf_counter()
    write_sample(path, made)
    return perf_counter() - began


def opened(page: Page, path: Path) -> float:
    """Return the seconds until the page can be used."""
    began = perf_counter()
    page.goto(path.as_uri())
    page.locator("body[data-ready=yes]").wait_for()
    return perf_counter() - began


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--browser", default="/usr/bin/chromium")
    parser.add_argument("--quick", action="store_true", help="open it once only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        wrote_s = write(path, options.rows)
        peak, size_mb = memory_mb("VmHWM"), path.stat().st_size / 1e6
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=options.browser, args=["--no-sandbox"]
            )
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            times = [opened(page, path) for _ in range(1 if options.quick else 5)]
            filters = [page.evaluate(TIMED, words) for _ in range(3) for words in SEARCHES]
            sorts = [page.evaluate(SORTED, name) for name in ("object", "sound", "took", "took")]
            browser.close()
    show(
        f"report page with {options.rows:,} rows",
        ("", "seconds"),
        [
            ("written", f"{wrote_s:.2f}"),
            ("opened (median)", f"{median(times):.2f}"),
            ("filtered (median)", f"{median(filters) / 1000:.3f}"),
            ("filtered (slowest of 15)", f"{max(filters) / 1000:.3f}"),
            ("sorted (slowest)", f"{max(sorts) / 1000:.3f}"),
        ],
        [
            within("opening", median(times), MAX_OPEN_S, "s"),
            within("filter (median)", median(filters), MAX_FILTER_MS, "ms"),
            within("file", size_mb, MAX_MB, "MB"),
            f"peak memory of writing, with all rows in memory: {peak:.0f} MB",
        ],
    )
    is_good = median(times) <= MAX_OPEN_S and median(filters) <= MAX_FILTER_MS and size_mb <= MAX_MB
    return 0 if is_good else 1


if __name__ == "__main__":
    raise SystemExit(main())

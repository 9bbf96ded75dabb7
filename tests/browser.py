"""Debian's Chromium, driven by playwright, for tests of pages."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_MS = 20_000
"""Longest wait for anything: a busy machine is slow to decode a sound."""


def chromium() -> str:
    """Return the path of Chromium; skip the test if there is none."""
    pytest.importorskip("playwright", reason="playwright is not installed (group dev)")
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    return found


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Yield a browser; sounds may start without a click."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    arguments = ["--autoplay-policy=no-user-gesture-required", "--mute-audio"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium refuses its sandbox to root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A page in the browser, with everything that went wrong on it.

    Attributes:
        page: The page.
        problems: Errors and warnings of its console, and errors of its script.
        requests: Addresses that it asked for.
    """

    def __init__(self, browser: Browser, **options: Any) -> None:
        self._context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, **options}
        )
        self.page: Page = self._context.new_page()
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def open(self, path: Path) -> Page:
        """Open a file, and wait until it can be used."""
        return self.follow(path.as_uri())

    def follow(self, address: str) -> Page:
        """Open an address, and wait until the page can be used."""
        self.page.goto(address)
        self.page.locator("body[data-ready=yes]").wait_for()
        return self.page

    def wait(self, condition: str) -> None:
        """Wait until an expression is true.

        Playwright's own ``wait_for_function`` needs ``eval``, which the page's policy forbids.
        """
        is_true = self.page.evaluate(
            f"""async () => {{
              const end = performance.now() + {PATIENCE_MS};
              while (!({condition})) {{
                if (performance.now() > end) return false;
                await new Promise((again) => setTimeout(again, 10));
              }}
              return true;
            }}"""
        )
        assert is_true, f"never true: {condition}"

    def close(self) -> None:
        """Close the page."""
        self._context.close()

"""Make the pictures of docs/images: the report page in both themes, on a desktop and a phone."""

from __future__ import annotations

import argparse
import base64
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from page_samples import nightly_pace, nightly_rows, write_sample
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parent.parent
QUALITY = 82
NIGHT_S = 1080


def demo_page(folder: Path) -> Path:
    """Separate the demo in a folder of its own, and return its page."""
    shutil.copytree(ROOT / "manifests" / "media", folder / "media")
    shutil.copy(ROOT / "manifests" / "demo.yaml", folder)
    command = [sys.executable, "-m", "orchestrator", "run", "demo.yaml", "--quiet"]
    subprocess.run(command, cwd=folder, check=True)
    return next((folder / "reports").glob("*.html"))


@contextmanager
def opened(browser: Browser, path: Path, **options: Any) -> Iterator[Page]:
    """Yield an opened page; dates look the same on every machine."""
    context = browser.new_context(
        device_scale_factor=1.5, locale="en-GB", timezone_id="UTC", **options
    )
    page = context.new_page()
    page.goto(path.as_uri())
    page.locator("body[data-ready=yes]").wait_for()
    yield page
    context.close()


def take(page: Page, path: Path) -> None:
    """Take a picture of what is in view, as WebP."""
    session = page.context.new_cdp_session(page)
    found = session.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
    path.write_bytes(base64.b64decode(found["data"]))
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


def listen(page: Page, name: str) -> None:
    """Play a job for a second and a half, so that the wave has a beginning."""
    page.get_by_role("button", name=f"Play {name}").click()
    page.wait_for_timeout(1500)
    page.locator("#play").click()


def main() -> int:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--browser", default=shutil.which("chromium") or "/usr/bin/chromium")
    options = parser.parse_args()
    images = ROOT / "docs" / "images"
    images.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        night, demo = Path(name) / "nightly.html", demo_page(Path(name))
        write_sample(night, nightly_rows(), nightly_pace(NIGHT_S))
        arguments = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--mute-audio"]
        browser = playwright.chromium.launch(executable_path=options.browser, args=arguments)
        for scheme in ("light", "dark"):
            desktop = {"width": 1280, "height": 1180}
            with opened(browser, night, viewport=desktop, color_scheme=scheme) as page:
                take(page, images / f"page-{scheme}.webp")
        player = {"width": 1280, "height": 640}
        with opened(browser, demo, viewport=player, color_scheme="light") as page:
            listen(page, "input/interview.flac")
            take(page, images / "player.webp")
        phone = {"width": 390, "height": 780}
        with opened(browser, demo, viewport=phone, color_scheme="dark") as page:
            listen(page, "input/lesson.ogg")
            take(page, images / "phone.webp")
        browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

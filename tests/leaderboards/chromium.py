"""Headless Chromium for the tests of boards, and pictures of a board for the documentation.

    python -m tests.leaderboards.chromium runs/NAME/index.html docs/board

writes docs/board-{1400,420}-{light,dark}.png.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)


def start(profile: Path) -> Any:
    """Return a driver that logs the console and all requests. The caller quits it."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for option in (*OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER, env=dict(os.environ)))


def look(browser: Any, width: int, scheme: str) -> None:
    """Set the width of the window in CSS pixels and the system's colours, "light" or "dark"."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def visit(browser: Any, address: str) -> None:
    """Open a page anew and wait for its scripts: a driver may answer while those have not run."""
    loaded = "return location.href !== 'about:blank' && document.readyState === 'complete'"
    browser.get("about:blank")
    until(lambda: browser.execute_script("return location.href === 'about:blank'"))
    browser.get(address)
    until(lambda: browser.execute_script(loaded))


def show_plot(browser: Any) -> None:
    """Scroll to the first plot until it is drawn: a page that is still being laid out moves it out of sight again."""
    scroll = "document.querySelector('.plot').scrollIntoView()"
    until(lambda: browser.execute_script(f"{scroll}; return 'drawn' in document.querySelector('.canvas').dataset"))


def asked(browser: Any, page: Path) -> set[str]:
    """Return the addresses that a page has asked for since the last look, and all that the browser went to.

    What the browser fetches on its own account, or late for an earlier page, is not among them.
    """
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    own = [each for each in sent if each["documentURL"].startswith(page.as_uri()) or each.get("type") == "Document"]
    return {each["request"]["url"] for each in own if not each["request"]["url"].startswith("chrome")}


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for a condition; an AssertionError if it does not come to pass."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this did not come to pass in time"
        time.sleep(0.05)


def first_paint(browser: Any, page: Path, *, loads: int = 5) -> float:
    """Return after how many seconds a page shows its first content, the median of some loads from disk."""
    found = []
    entry = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    for _ in range(loads):
        visit(browser, page.resolve().as_uri())
        until(lambda: browser.execute_script(entry) is not None)
        found.append(browser.execute_script(entry) / 1000)
    return median(found)


def picture(browser: Any, page: Path, target: Path, *, width: int, scheme: str, height: int | None = None) -> None:
    """Write a PNG of the page from its top, the whole of it or `height` pixels."""
    look(browser, width, scheme)
    visit(browser, page.resolve().as_uri())
    if browser.find_elements("css selector", ".plot"):
        show_plot(browser)
    whole = browser.execute_script("scrollTo(0, 0); return document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": min(whole, height or whole), "scale": 1}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    target.write_bytes(base64.b64decode(shot["data"]))


def main(page: Path, stem: str) -> None:
    """Picture a page at both widths and in both colours."""
    with tempfile.TemporaryDirectory() as profile:
        browser = start(Path(profile))
        try:
            for width in (1400, 420):
                for scheme in ("light", "dark"):
                    picture(browser, page, Path(f"{stem}-{width}-{scheme}.png"), width=width, scheme=scheme)
        finally:
            browser.quit()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

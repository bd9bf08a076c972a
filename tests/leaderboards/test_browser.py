"""The page in headless Chromium: sorting, search, theme, downloads, narrow screens, and no request off the disk."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from leaderboards import site
from tests.leaderboards.boards import score, write_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM and CHROMEDRIVER),
        reason="chromium or chromedriver is not installed: the page was not looked at in a browser",
    ),
]
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
)
GENERATORS = ("upsample-nearest", "checkerboard", "shadow-swap", "latent-grid")
ATTACK = '"><img src=x onerror="window.hit=1"><script>window.hit=1</script>'


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: no browser test was run")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER, env=dict(os.environ)))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    """Return a board of three detectors (one with a hostile name, one with a long one) and both baselines."""
    rows, accuracy = [], {"npr@scenes": 0.7, ATTACK: 0.9, "x" * 80: 0.8, "constant": 0.99, "file-metadata": 0.52}
    for model, value in accuracy.items():
        for slice in ("all", "macro", *(f"generator:{name}" for name in (*GENERATORS, ATTACK))):
            rows += [score(model, metric, value, slice=slice, interval=(value - 0.01, value + 0.01))
                     for metric in ("acc", "balanced_acc", "real_acc", "fake_acc")]  # fmt: skip
        rows.append(score(model, "ap", None if model == ATTACK else 1.5 - value, reason="verdicts only"))
    skipped = [{"model": ATTACK, "dataset": None, "reason": ATTACK + " " + "y" * 300}]
    folder = tmp_path_factory.mktemp("board")
    return site.build([write_run(folder / "run", rows, skipped=skipped, packages={ATTACK: "1"})], folder)


@pytest.fixture
def opened(browser, index):
    """Open the board at 1400 px in light colours, with nothing remembered from another test."""
    look(browser, 1400, "light")
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(index.as_uri())
    browser.execute_script("localStorage.clear()")
    browser.get(index.as_uri())
    return browser


def look(browser, width, scheme):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def find(browser, selector):
    return browser.find_element("css selector", selector)


def models(browser, body="detectors"):
    rows = f"[...document.querySelectorAll('.overview tbody.{body} tr[data-search]')]"
    return browser.execute_script(f"return {rows}.filter(row => !row.hidden).map(row => row.cells[0].dataset.value)")


def test_a_click_on_a_head_sorts_and_a_second_turns_the_order(opened):
    assert models(opened) == [ATTACK, "x" * 80, "npr@scenes"]
    head = find(opened, ".overview thead th:nth-child(2)")
    assert head.get_attribute("aria-sort") == "descending"
    find(opened, ".overview thead th:nth-child(2) button").click()
    assert models(opened) == ["npr@scenes", "x" * 80, ATTACK]
    assert head.get_attribute("aria-sort") == "ascending"


def test_what_is_undefined_is_last_in_both_orders_and_baselines_stay(opened):
    for expected in (["npr@scenes", "x" * 80, ATTACK], ["x" * 80, "npr@scenes", ATTACK]):
        find(opened, ".overview thead th:nth-child(3) button").click()
        assert models(opened) == expected
        assert models(opened, "baselines") == ["constant", "file-metadata"]
    assert opened.execute_script("return document.querySelectorAll('.overview [aria-sort]').length") == 1


def test_a_head_sorts_by_keyboard_too(opened):
    from selenium.webdriver.common.keys import Keys

    find(opened, ".overview thead th:nth-child(1) button").send_keys(Keys.ENTER)
    assert models(opened) == [ATTACK, "npr@scenes", "x" * 80]
    assert "Sorted by Model, ascending" in find(opened, "#status").get_attribute("textContent")


def test_search_hides_the_others_and_keeps_the_baselines(opened):
    find(opened, "#search").send_keys("NPR")
    assert models(opened) == ["npr@scenes"]
    assert models(opened, "baselines") == ["constant", "file-metadata"]
    find(opened, "#search").send_keys("nothing")
    assert models(opened) == []
    assert find(opened, ".nothing").is_displayed()


def test_the_theme_follows_the_system_until_the_reader_chooses(opened, index):
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = opened.execute_script(ground)
    look(opened, 1400, "dark")
    dark = opened.execute_script(ground)
    assert light != dark
    find(opened, "#theme").click()
    assert opened.execute_script(ground) == light
    opened.get(index.as_uri())
    assert opened.execute_script(ground) == light


def test_the_metric_switch_shows_one_heatmap_at_a_time(opened):
    shown = "return [...document.querySelectorAll('.panel')].map(panel => !panel.hidden)"
    assert opened.execute_script(shown) == [True, False, False]
    find(opened, ".switch label:nth-of-type(3)").click()
    assert opened.execute_script(shown) == [False, False, True]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 420])
def test_the_page_never_scrolls_sideways(opened, width, scheme):
    look(opened, width, scheme)
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("ending", ["csv", "md", "tex"])
def test_a_download_is_the_file_beside_the_page(opened, index, tmp_path, ending):
    opened.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    find(opened, f"[data-file='set-overview.{ending}']").click()
    loaded = tmp_path / f"set-overview.{ending}"
    deadline = time.monotonic() + 10
    while not loaded.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert loaded.read_bytes() == (index.parent / "exports" / loaded.name).read_bytes()


def test_nothing_is_asked_off_the_disk_no_error_is_logged_and_no_smuggled_script_runs(opened, index):
    find(opened, "#search").send_keys("x")
    assert [entry for entry in opened.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    events = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    asked = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert asked == {index.as_uri()}
    assert opened.execute_script("return window.hit") is None
    assert opened.execute_script("return document.images.length") == 0

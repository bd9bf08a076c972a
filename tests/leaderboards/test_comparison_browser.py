"""Two runs image by image in headless Chromium: filters, keys, pictures from disk, and no smuggled script."""

from __future__ import annotations

import pytest

from fdr_bench.compare.comparison import Side, compare
from fdr_bench.compare.samples import shown_sets
from fdr_bench.scored_slices import Settings
from leaderboards.side_by_side import write_comparison
from tests.leaderboards.chromium import CHROMEDRIVER, CHROMIUM, asked, look, start, until, visit
from tests.leaderboards.comparisons import ATTACK, two_runs
from tests.runs import renamed

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM and CHROMEDRIVER),
        reason="chromium or chromedriver is not installed: the comparison was not looked at in a browser",
    ),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    pytest.importorskip("selenium", reason="selenium is not installed: the comparison was not looked at in a browser")
    browser = start(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.quit()


def text(browser, selector):
    return browser.find_element("css selector", selector).get_attribute("textContent")


def choose(browser, name, value):
    browser.execute_script(
        "const field = document.forms[0].elements[arguments[0]]; field.value = arguments[1];"
        "field.dispatchEvent(new Event('input', {bubbles: true}))", name, value,
    )  # fmt: skip


def shown(browser, name):
    until(lambda: browser.find_elements("css selector", "#detail h2") and text(browser, "#detail h2") == name)


def test_two_runs_are_compared_image_by_image(browser, tmp_path):
    from selenium.webdriver.common.keys import Keys

    runs = two_runs(tmp_path)
    found = compare(Side(runs[0]), Side(runs[1]), settings=Settings(100, 0.95, 0))
    page = write_comparison(shown_sets(found), tmp_path / "out" / "page.html", names=("monday", ATTACK))
    look(browser, 1400, "light")
    browser.get_log("browser"), browser.get_log("performance")
    visit(browser, page.as_uri())
    shown(browser, "0_real/0.png")  # the flipped ones are shown at first
    assert text(browser, "#count") == "2 of 6 images."
    assert text(browser, "#detail .outcome") == "▲ only B right"
    until(lambda: browser.execute_script("return [...document.images].every(each => each.naturalWidth > 0)"))
    rows = browser.execute_script(
        "return [...document.querySelectorAll('.answers tbody tr')].map(row => [row.cells[1].textContent, "
        "row.cells[3].textContent])"
    )
    assert rows == [["fake", "✗ wrong"], ["real", "✓ right"]]
    browser.find_element("css selector", "#grid").send_keys(Keys.ARROW_RIGHT)
    shown(browser, "one/1_fake/0.png")
    assert text(browser, "#detail .outcome") == "▼ only A right"
    choose(browser, "show", "worse")
    assert text(browser, "#count") == "1 of 6 images."
    shown(browser, "one/1_fake/0.png")
    browser.find_element("css selector", "#outcomes .outcome-wrong").click()
    assert text(browser, "#count") == "2 of 6 images."
    shown(browser, "0_real/1.png")
    assert ATTACK in text(browser, "#detail .words")
    address = browser.current_url
    visit(browser, address)
    shown(browser, "0_real/1.png")
    assert text(browser, "#count") == "2 of 6 images."
    choose(browser, "pair", "1")  # the scorer, the same in both runs
    choose(browser, "show", "all")
    assert text(browser, "#count") == "6 of 6 images."
    tables = "return [...document.querySelectorAll('[data-pair]')].map(part => !part.hidden)"
    assert browser.execute_script(tables) == [False, True]
    assert browser.execute_script("return window.hit") is None
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    assert [url for url in asked(browser, page) if not url.startswith((page.parent.as_uri(), "about:"))] == []
    for width in (1400, 1000, 640, 420, 320):
        look(browser, width, "light")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_long_names_leave_a_narrow_page_as_wide_as_the_screen(browser, tmp_path):
    long = "detector-of-a-long-name@" + "preset" * 8
    runs = [renamed(run, tmp_path / f"long-{run.name}", "writer", long) for run in two_runs(tmp_path)]
    found = compare(Side(runs[0], long), Side(runs[1], long), settings=Settings(100, 0.95, 0))
    page = write_comparison(shown_sets(found), tmp_path / "out" / "page.html", names=("monday", "tuesday"))
    visit(browser, page.as_uri())
    shown(browser, "0_real/0.png")
    for width in (1400, 641, 420, 320):
        look(browser, width, "light")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width

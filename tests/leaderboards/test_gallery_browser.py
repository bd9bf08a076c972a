"""The gallery in headless Chromium: filters, keys, marks, pictures from disk, and thousands of samples without lag."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from fdr_bench.examples import write_examples
from leaderboards import site
from tests.galleries import write_gallery_run
from tests.leaderboards.boards import SETTINGS, score, write_run
from tests.leaderboards.chromium import CHROMEDRIVER, CHROMIUM, asked, look, start, until, visit
from tests.runs import write_lines

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM and CHROMEDRIVER),
        reason="chromium or chromedriver is not installed: the gallery was not looked at in a browser",
    ),
]
ATTACK = '"><img src=x onerror="window.hit=1"><script>window.hit=1</script>'
MANY = 5000


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    pytest.importorskip("selenium", reason="selenium is not installed: the gallery was not looked at in a browser")
    browser = start(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> tuple[Path, Path]:
    """Return two galleries: six images with a hostile generator and a writer, and 5,000 samples without pictures."""
    folder = tmp_path_factory.mktemp("gallery")
    run = write_gallery_run(folder / "run", folder / "images", generators=("one", "two"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fdr_bench.examples._encoder", lambda: None)
        write_examples(run)
    path = run / "datasets" / "photos" / "examples.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[3]["answers"]["writer"]["pieces"].append([ATTACK, ATTACK])
    rows[3]["caption"] = rows[3]["answers"]["scorer"]["error"] = ATTACK
    write_lines(path, rows)
    scores = [score(name, "acc", 0.5, n=6, dataset="photos") for name in ("writer", "scorer")]
    (run / "scores.json").write_text(json.dumps({"schema": 1, "run": "run", "settings": SETTINGS, "scores": scores}))
    many = write_run(folder / "many", [score("a", "acc", 0.5)])
    words = [["The shadow falls in an inconsistent direction. " * 10, "Inconsistent Lighting and Shadows"]]
    write_lines(many / "datasets" / "set" / "examples.jsonl", (
        {"id": f"{n:05}", "label": "fake", "generator": "g", "truth": [], "reference": words,
         "answers": {"a": {"call": "real" if n % 10 else "fake", "score": 0.2, "pieces": words, "claims": []}}}
        for n in range(MANY)
    ))  # fmt: skip
    site.build([run], folder / "out")
    site.build([many], folder / "out-many")
    return folder / "out" / "examples-photos.html", folder / "out-many" / "examples-set.html"


def text(browser, selector):
    return browser.find_element("css selector", selector).get_attribute("textContent")


def choose(browser, name, value):
    browser.execute_script(
        "const field = document.forms[0].elements[arguments[0]]; field.value = arguments[1];"
        "field.dispatchEvent(new Event('input', {bubbles: true}))", name, value,
    )  # fmt: skip


def shown(browser, name):
    until(lambda: browser.find_elements("css selector", "#detail h2") and text(browser, "#detail h2") == name)


def press(browser, key):
    browser.find_element("css selector", "#grid").send_keys(key)


def test_filters_keys_marks_and_pictures(browser, pages):
    from selenium.webdriver.common.keys import Keys

    look(browser, 1400, "light")
    browser.get_log("browser"), browser.get_log("performance")
    visit(browser, pages[0].as_uri())
    shown(browser, "0_real/0.png")
    loaded = "return document.images.length > 6 && [...document.images].every(each => each.naturalWidth > 0)"
    until(lambda: browser.execute_script(loaded))
    press(browser, Keys.ARROW_RIGHT)
    shown(browser, "0_real/1.png")
    press(browser, Keys.END)
    shown(browser, "two/1_fake/3.png")
    assert "refused" in text(browser, ".answers")
    choose(browser, "show", "wrong")
    choose(browser, "model", "0")
    assert text(browser, "#count") == "2 of 6 images."  # the writer calls both reals fake
    choose(browser, "model", "1")
    assert text(browser, "#count") == "4 of 6 images."  # the scorer calls every fake real
    choose(browser, "model", "0")
    choose(browser, "show", "all")
    names = browser.execute_script("return [...document.forms[0].attribute.options].map(each => each.text)")
    choose(browser, "attribute", str(names.index("Irregular Image Edges") - 1))
    choose(browser, "how", "missed")
    assert text(browser, "#count") == "3 of 6 images."  # of the four fakes one has no text
    shown(browser, "one/1_fake/0.png")
    assert "Irregular Image Edges" in text(browser, "mark.missed")
    assert "Inconsistent Lighting and Shadows" in text(browser, "mark.matched")
    assert "Anomalous Image Texture" in text(browser, "mark.extra")
    press(browser, Keys.ARROW_RIGHT)
    shown(browser, "one/1_fake/2.png")
    assert ATTACK in text(browser, "#detail")
    address = browser.current_url
    visit(browser, address)
    shown(browser, "one/1_fake/2.png")
    assert text(browser, "#count") == "3 of 6 images."
    assert browser.execute_script("return window.hit") is None
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    assert [url for url in asked(browser, pages[0]) if not url.startswith((pages[0].parent.as_uri(), "about:"))] == []
    for width in (1400, 1000, 640, 420, 320):
        look(browser, width, "light")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_thousands_of_samples_cost_what_a_screenful_costs(browser, pages):
    look(browser, 1400, "light")
    visit(browser, pages[1].as_uri())
    shown(browser, "00000")
    tiles = "return document.querySelectorAll('.tile').length"
    assert browser.execute_script(tiles) < 60
    began = time.monotonic()
    spent = browser.execute_script(
        "const began = performance.now();"
        "const field = document.forms[0].elements.show; field.value = 'right';"
        "field.dispatchEvent(new Event('input', {bubbles: true})); return performance.now() - began"
    )
    assert text(browser, "#count") == "500 of 5,000 images."
    assert spent < 1000, f"filtering took {spent:.0f} ms"  # a few milliseconds where nothing else runs
    choose(browser, "show", "all")
    browser.execute_script("document.getElementById('grid').scrollTop = 1e7")
    until(
        lambda: browser.execute_script("return [...document.querySelectorAll('.tile')].some(t => t.title === '04999')")
    )
    assert browser.execute_script(tiles) < 60
    assert time.monotonic() - began < 30

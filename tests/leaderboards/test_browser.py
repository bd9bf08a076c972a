"""The page in headless Chromium: sorting, search, theme, downloads, narrow screens, and no request off the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from fdr_bench.scoring import score_run
from leaderboards import site
from tests.leaderboards.boards import score, write_run
from tests.leaderboards.chromium import CHROMEDRIVER, CHROMIUM, asked, look, show_plot, start, until, visit
from tests.runs import make_run, read_lines, write_lines

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM and CHROMEDRIVER),
        reason="chromium or chromedriver is not installed: the page was not looked at in a browser",
    ),
]
GENERATORS = ("upsample-nearest", "checkerboard", "shadow-swap", "latent-grid")
ATTACK = '"><img src=x onerror="window.hit=1"><script>window.hit=1</script>'


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    pytest.importorskip("selenium", reason="selenium is not installed: the page was not looked at in a browser")
    browser = start(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.quit()


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
    """Open the board at 1400 px in light colours; what it remembers is wiped afterwards."""
    look(browser, 1400, "light")
    browser.get_log("browser"), browser.get_log("performance")
    visit(browser, index.as_uri())
    yield browser
    browser.execute_script("localStorage.clear()")


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


def test_printed_numbers_move_with_the_model_that_they_are_of(browser, tmp_path):
    known = {
        name: {"detector": name.partition("@")[0], "preset": "official"} for name in ("npr@official", "univfd@official")
    }
    rows = [score(name, "acc", value, dataset="mmfr") for name, value in zip(known, (0.5, 0.4), strict=True)]
    visit(browser, site.build([write_run(tmp_path / "run", rows, models=known)], tmp_path).as_uri())
    script = "return [...document.querySelectorAll('.overview tbody.detectors tr')].map(row => row.cells[0].innerText)"
    firsts = lambda: [cell.split("\n")[0].partition(" (")[0] for cell in browser.execute_script(script)]  # noqa: E731
    assert firsts() == ["npr@official", "printed: NPR", "univfd@official", "printed: UniFD"]
    find(browser, ".overview thead th:nth-child(2) button").click()
    assert firsts() == ["univfd@official", "printed: UniFD", "npr@official", "printed: NPR"]


def test_ranks_sort_and_the_address_keeps_that_order(browser, tmp_path):
    run = make_run(tmp_path / "run", 160, models=("npr@scenes", "univfd@scenes", "constant"), failures=0.0)
    path = run / "npr@scenes" / "fdr-scenes-test" / "predictions.jsonl"
    write_lines(path, [{**row, "score": 0.9 if "1_fake" in str(row["id"]) else 0.1} for row in read_lines(path)])
    score_run(run, resamples=2)
    visit(browser, site.build([run], tmp_path / "out").as_uri())
    assert models(browser) == ["npr@scenes", "univfd@scenes"]
    head = find(browser, ".overview thead th[data-key=rank]")
    assert head.get_attribute("aria-sort") == "ascending"
    ranks = (
        "return [...document.querySelectorAll('.overview tbody.detectors td.rank .number')].map(cell => cell.innerText)"
    )
    assert browser.execute_script(ranks) == ["1", "2"]
    find(browser, ".overview thead th[data-key=rank] button").click()
    assert models(browser) == ["univfd@scenes", "npr@scenes"]
    address = browser.current_url
    assert "rank" in address
    visit(browser, address)
    assert models(browser) == ["univfd@scenes", "npr@scenes"]
    assert browser.execute_script(ranks) == ["2", "1"]


def test_the_command_that_compares_follows_the_choice(browser, tmp_path):
    run = make_run(tmp_path / "run", 60, models=("npr@scenes", "univfd@scenes", "it's"), failures=0.0)
    score_run(run, resamples=2)
    visit(browser, site.build([run], tmp_path / "out").as_uri())
    command = lambda: find(browser, "#offer code").text  # noqa: E731
    assert command().startswith("fdr-bench report runs/run --compare ") and len(command().split()) == 6
    browser.execute_script(
        "const [first, second] = document.querySelectorAll('#offer select');"
        "for (const [field, name] of [[first, 'npr@scenes'], [second, `it's`]]) {"
        "  field.value = [...field.options].find(option => option.text === name).value;"
        "  field.dispatchEvent(new Event('change', {bubbles: true})); }"
    )
    assert command() == """fdr-bench report runs/run --compare npr@scenes 'it'"'"'s'"""


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


def test_columns_are_chosen_and_the_address_keeps_what_the_reader_set(opened, index):
    shown = (
        "return [...document.querySelectorAll('.overview thead th')].filter(th => !th.hidden).map(th => th.dataset.key)"
    )
    everything = opened.execute_script(shown)
    assert everything[:3] == ["model", "acc", "ap"]
    find(opened, ".columns summary").click()
    find(opened, "[data-columns='set-overview'] input[value='acc']").click()
    assert opened.execute_script(shown) == [key for key in everything if key != "acc"]
    assert (
        find(opened, ".columns-shown").get_attribute("textContent")
        == f" {len(everything) - 2} of {len(everything) - 1}"
    )
    cells = "return [...document.querySelectorAll('.overview tbody.detectors tr')].map(row => row.cells[1].hidden)"
    assert opened.execute_script(cells) == [True, True, True]
    find(opened, "h1").click()  # elsewhere: the choice closes
    assert not find(opened, "[data-columns='set-overview']").is_displayed()
    find(opened, ".overview thead th:nth-child(1) button").click()
    find(opened, "#search").send_keys("s")
    find(opened, ".switch label:nth-of-type(2)").click()
    address = opened.current_url
    visit(opened, address)
    assert opened.execute_script(shown) == [key for key in everything if key != "acc"]
    assert models(opened) == [ATTACK, "npr@scenes"]  # by name, and those with an s
    assert find(opened, ".overview thead th:nth-child(1)").get_attribute("aria-sort") == "ascending"
    assert opened.execute_script("return [...document.querySelectorAll('.panel')].map(panel => !panel.hidden)")[1]
    find(opened, ".columns summary").click()
    find(opened, "[data-columns='set-overview'] button").click()
    assert opened.execute_script(shown) == everything


def test_an_address_of_another_board_breaks_nothing(opened, index):
    visit(
        opened,
        index.as_uri() + "#sort=gone:ascending:acc&sort=set-overview:sideways:acc&hide=gone:x&show=gone:1&search=npr",
    )
    assert models(opened) == ["npr@scenes"]
    assert [entry for entry in opened.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_the_theme_follows_the_system_until_the_reader_chooses(opened, index):
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = opened.execute_script(ground)
    look(opened, 1400, "dark")
    dark = opened.execute_script(ground)
    assert light != dark
    find(opened, "#theme").click()
    assert opened.execute_script(ground) == light
    visit(opened, index.as_uri())
    assert opened.execute_script(ground) == light


def test_the_metric_switch_shows_one_heatmap_at_a_time(opened):
    shown = "return [...document.querySelectorAll('.panel')].map(panel => !panel.hidden)"
    assert opened.execute_script(shown) == [True, False, False]
    find(opened, ".switch label:nth-of-type(3)").click()
    assert opened.execute_script(shown) == [False, False, True]


def test_the_page_never_scrolls_sideways(opened):
    show_plot(opened)
    for width in (1400, 900, 641, 640, 420, 320):
        look(opened, width, "light")
        assert opened.execute_script("return document.documentElement.scrollWidth") <= width


def test_a_download_is_the_file_beside_the_page(opened, index, tmp_path):
    opened.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    for name in ("set-overview.csv", "set-overview.md", "set-overview.tex"):
        find(opened, f"[data-file='{name}']").click()
        until((tmp_path / name).exists)
        assert (tmp_path / name).read_bytes() == (index.parent / "exports" / name).read_bytes()


def test_the_plot_is_drawn_when_it_comes_into_view_and_follows_metric_and_theme(opened):
    assert opened.execute_script("return window.Plotly") is None
    show_plot(opened)
    assert len(opened.find_elements("css selector", ".canvas .legend .traces")) == 4  # three detectors, file-metadata
    assert ATTACK in find(opened, ".canvas .legend").get_attribute("textContent")
    find(opened, ".switch label:nth-of-type(3)").click()
    assert find(opened, ".plot-metric").text == "Balanced ACC"
    ink = "return getComputedStyle(document.querySelector('.canvas .legendtext')).fill"
    light = opened.execute_script(ink)
    find(opened, "#theme").click()
    until(lambda: opened.execute_script(ink) != light)


def test_nothing_is_asked_off_the_disk_no_error_is_logged_and_no_smuggled_script_runs(opened, index):
    find(opened, "#search").send_keys("x")
    show_plot(opened)
    assert [entry for entry in opened.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    assert asked(opened, index) == {index.as_uri()}
    assert opened.execute_script("return window.hit") is None
    assert opened.execute_script("return document.images.length") == 0

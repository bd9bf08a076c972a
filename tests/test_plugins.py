"""Plugins are found without importing them, loaded one at a time, and each way of failing has its own message."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fdr_bench import plugins
from fdr_bench.errors import MissingExtra, PluginError, UsageError
from fdr_bench.plugins import DETECTORS, ModelSpec
from tests.installed import Site, detector_source


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path, monkeypatch)


def row(name: str) -> plugins.Found:
    return next(found for found in plugins.discover(DETECTORS) if found.name == name)


# ---------------------------------------------------------------- finding


def test_a_third_partys_package_adds_a_detector(site):
    site.add_plugin_package()
    found = row("checkerboard")
    assert (found.distribution, found.version, found.problem) == ("checkerboard-detector", "0.3.0", None)
    assert "checkerboard" in plugins.all_names()
    assert "checkerboard_detector" not in sys.modules  # finding imports nothing
    assert plugins.load_detector("checkerboard").card.title == "Checkerboard energy"


def test_the_detectors_of_this_repository_enter_by_the_same_door():
    assert row("npr").target == "baselines.npr:NPR"
    assert row("npr").distribution == "fdr-bench"


def test_a_broken_plugin_is_a_row_with_its_reason_and_hides_no_other(site):
    site.add_detector("broken-one", "broken", "1 / 0")
    site.add_plugin_package()
    rows = {listed.found.name: listed for listed in plugins.list_detectors()}
    assert rows["broken"].card is None
    assert "ZeroDivisionError: division by zero" in rows["broken"].found.problem
    assert "broken_one_module.py, line 1" in rows["broken"].found.problem
    assert rows["checkerboard"].card.name == "checkerboard"


def test_of_a_package_that_is_on_the_path_twice_the_first_counts(site):
    site.add_detector("twice", "twice", detector_source("twice"))
    other = site.folder / "behind"
    (other / "Twice-0.1.dist-info").mkdir(parents=True)
    (other / "Twice-0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: Twice\nVersion: 0.1\n")
    (other / "Twice-0.1.dist-info" / "entry_points.txt").write_text("[fdr_bench.detectors]\ntwice = old:It\n")
    sys.path.append(str(other))
    try:
        assert row("twice").version == "1.0"
        assert row("twice").problem is None
    finally:
        sys.path.remove(str(other))


def test_a_package_whose_entry_points_cannot_be_read_is_a_row(site):
    site.add("garbled", "[fdr_bench.detectors]\nthis is no entry point\n", {})
    assert "entry_points.txt of garbled cannot be read" in row("(garbled)").problem
    assert "(garbled)" not in plugins.all_names()


def test_a_half_removed_package_is_passed_over(site):
    (site.folder / "-ip-1.0.dist-info").mkdir()
    (site.folder / "-ip-1.0.dist-info" / "entry_points.txt").write_text("[fdr_bench.detectors]\nghost = ghost:It\n")
    assert "ghost" not in plugins.all_names()


@pytest.mark.parametrize("line", ["odd = no_colon_here", "odd@name = mod:It", "odd = a b:c"])
def test_a_malformed_declaration_says_so(site, line):
    site.add("odd-one", f"[fdr_bench.detectors]\n{line}\n", {})
    (found,) = [found for found in plugins.discover(DETECTORS) if found.distribution == "odd-one"]
    assert "letters, digits" in found.problem or "module:attribute" in found.problem
    with pytest.raises(PluginError, match="declared wrongly"):
        plugins.load(DETECTORS, found.name)


# ---------------------------------------------------------------- names


def test_two_packages_with_one_name_are_both_shown_and_the_bare_name_is_refused(site):
    site.add_detector("first-lab", "same", detector_source("same", body="    lab = 1"))
    site.add_detector("second_lab", "same", detector_source("same", body="    lab = 2"))
    rows = [found for found in plugins.discover(DETECTORS) if found.name == "same"]
    assert [found.distribution for found in rows] == ["first-lab", "second_lab"]
    assert all("offered by 2 packages: first-lab 1.0, second_lab 1.0" in found.problem for found in rows)
    with pytest.raises(PluginError, match="Choose one: 'first-lab/same' or 'second_lab/same'"):
        plugins.load_detector("same")
    assert plugins.load_detector("second-lab/same").lab == 2  # package names compare as PEP 503 says
    assert {"first-lab/same", "second_lab/same"} < set(plugins.all_names())


def test_a_clash_with_a_built_in_name_does_not_replace_it(site):
    site.add_detector("impostor", "npr", detector_source("npr"))
    with pytest.raises(PluginError, match=r"fdr-bench \S+, impostor 1.0"):
        plugins.load_detector("npr")


def test_an_unknown_name_gets_the_nearest_and_the_command_that_lists(site):
    with pytest.raises(PluginError) as caught:
        plugins.load_detector("univfdd")
    assert str(caught.value) == (
        "no detector is called 'univfdd'. Did you mean 'univfd'? 'fdr-bench list models' shows all."
    )


def test_a_name_of_another_package_is_unknown(site):
    with pytest.raises(PluginError, match=r"no detector is called 'stranger/npr'\. Did you mean"):
        plugins.load_detector("stranger/npr")


def test_an_unknown_name_of_another_group_names_its_noun():
    with pytest.raises(PluginError, match=r"no dataset is called 'folder'\. Did you mean 'folders'"):
        plugins.load(plugins.DATASETS, "folder")


# ---------------------------------------------------------------- loading


def failure(site: Site, source: str, **options: object) -> PluginError:
    site.add_detector("lab", "it", source, **options)
    with pytest.raises(PluginError) as caught:
        plugins.load_detector("it")
    return caught.value


def test_a_missing_dependency_is_named_with_the_command_that_installs_it(site):
    error = failure(site, "import nowhere_to_be_found.part")
    assert isinstance(error, MissingExtra)
    assert "the package of 'nowhere_to_be_found' is not installed. Install it: pip install nowhere_to_be_found" in str(
        error
    )


def test_a_missing_dependency_that_an_extra_brings_names_the_extra(site):
    error = failure(site, "import nowhere_at_all", requires=["nowhere-at-all>=2; extra == 'full'"])
    assert isinstance(error, MissingExtra)
    assert str(error).endswith("Install it: pip install 'lab[full]'")


def test_a_module_whose_package_has_another_name_gets_that_name(site, monkeypatch):
    monkeypatch.setitem(plugins._PACKAGE_OF, "nowhere_cv", "opencv-python-headless")
    assert "pip install opencv-python-headless" in str(failure(site, "import nowhere_cv"))


def test_a_missing_module_of_the_plugin_itself_is_an_incomplete_package(site):
    site.add("lab", "[fdr_bench.detectors]\nit = lab_that_is_gone.deep:It\n", {})
    with pytest.raises(PluginError) as caught:
        plugins.load_detector("it")
    assert not isinstance(caught.value, MissingExtra)
    assert "its module 'lab_that_is_gone.deep' does not exist" in str(caught.value)
    assert "pip install --force-reinstall lab" in str(caught.value)


def test_a_missing_part_of_an_installed_package_is_not_cured_by_installing(site):
    error = failure(site, "import json.no_such_part")
    assert not isinstance(error, MissingExtra)
    assert "No module named 'json.no_such_part'" in str(error)


@pytest.mark.parametrize(
    ("source", "reason", "line"),
    [
        ("x = 1\ndef (:", "SyntaxError", 2),
        ("\n\nfrom json import nothing_like_it", "ImportError: cannot import name 'nothing_like_it'", 3),
        ("raise KeyError('gone')", "KeyError: 'gone'", 1),
        ("import sys\nsys.exit('I leave')", "SystemExit: I leave", 2),
    ],
)
def test_a_failure_during_import_has_its_reason_and_place(site, source, reason, line):
    message = str(failure(site, source))
    assert reason in message
    assert f"lab_module.py, line {line})" in message
    assert message.startswith("detector 'it' of lab 1.0 cannot be loaded: ")


def test_a_missing_attribute_gets_the_nearest_name(site):
    message = str(failure(site, detector_source("it").replace("class It", "class Itt")))
    assert "has no 'It'. Did you mean 'Itt'?" in message


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("It = 3", "is not a detector: 3 cannot be called"),
        ("class It: pass", "It has no 'card'"),
        ("class It:\n  card = {'name': 'it'}", "its card is a dict"),
        (detector_source("other"), "the card is called 'other' and the entry point 'it'"),
        (detector_source("it").replace('"none"', '" "'), "the card has no paper"),
        (detector_source("it").replace('"MIT"', '"MIT", threshold=1.5'), "threshold 1.5 is not a number in"),
        (detector_source("it").replace('"MIT"', '"MIT", threshold=float("nan")'), "threshold nan"),
        (detector_source("it").replace('"MIT"', '"MIT", presets={"a b": None}'), "preset 'a b' may have letters"),
        (detector_source("it").replace('"MIT"', '"MIT", presets={"a": 1}'), "preset 'a' is a int"),
        (detector_source("it").replace("def predict", "def guess"), "neither predict(images) nor predict_set"),
    ],
)
def test_what_is_no_detector_is_refused_with_the_reason(site, source, reason):
    assert reason in str(failure(site, source))


# ---------------------------------------------------------------- files


def test_a_file_serves_without_being_packaged(tmp_path):
    (tmp_path / "beside_the_file.py").write_text("NAME = 'mine'")
    path = tmp_path / "mine.py"
    path.write_text(detector_source("mine", before="from beside_the_file import NAME"))
    factory = plugins.load_file(f"{path}:It")
    assert factory.card.name == "mine"
    assert sys.modules[factory.__module__].__file__ == str(path)
    sys.path.remove(str(tmp_path))


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("mine.py", "wants FILE.py:Class"),
        ("mine:It", "wants FILE.py:Class"),
        ("mine.py:1x", "wants FILE.py:Class"),
        ("gone.py:It", "there is no file"),
    ],
)
def test_a_wrong_plugin_option_is_a_usage_error(tmp_path, monkeypatch, location, reason):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=reason):
        plugins.load_file(location)


def test_a_file_that_fails_says_where(tmp_path):
    (tmp_path / "mine.py").write_text("\nraise OSError('disk')")
    with pytest.raises(PluginError, match=r"OSError: disk \(.*mine\.py, line 2\)"):
        plugins.load_file(f"{tmp_path}/mine.py:It")
    sys.path.remove(str(tmp_path))


def test_a_plugins_version_changes_with_the_package_or_the_file(site, tmp_path):
    site.add_plugin_package()
    assert plugins.version_of("checkerboard") == "checkerboard-detector 0.3.0"
    path = tmp_path / "mine.py"
    path.write_text("one")
    before = plugins.version_of(f"{path}:It")
    path.write_text("two")
    assert before != plugins.version_of(f"{path}:It")


# ---------------------------------------------------------------- model specs


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("npr", ("npr", None, None)),
        ("npr@scenes", ("npr", "scenes", None)),
        ("npr:crop", ("npr", None, "crop")),
        (" npr@scenes:crop ", ("npr", "scenes", "crop")),
        ("lab/npr@v1.2", ("lab/npr", "v1.2", None)),
    ],
)
def test_a_model_is_written_as_name_preset_view(text, spec):
    assert ModelSpec.parse(text) == ModelSpec(*spec)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "its name is empty"),
        ("@scenes", "its name is empty"),
        ("npr@", "its preset is empty"),
        ("npr@:crop", "its preset is empty"),
        ("npr:", "its view is empty"),
        ("npr@a@b", "may each appear once"),
        ("npr:crop@a", "may each appear once"),
        ("/npr", "its name is empty"),
        ("npr@../x", "its preset '../x' may have"),
        ("a b", "its name 'a b' may have"),
    ],
)
def test_what_is_no_model_is_a_usage_error(text, reason):
    with pytest.raises(UsageError) as caught:
        ModelSpec.parse(text)
    assert reason in str(caught.value)
    assert "such as npr@scenes" in str(caught.value)

"""Families: a prefix makes a detector out of any model's name, with options and prompts that go into the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from fdr_bench import catalogue, families, models, plugins, session
from fdr_bench.errors import PluginError, UsageError
from fdr_bench.plan import Asked
from fdr_bench.plugins import ModelSpec
from fdr_bench.store import read_json, read_rows
from tests.installed import Site
from tests.pictures import make_folders
from tests.test_runner import Quiet

FAMILY = """
from fdr_bench.families import Failure, card_name
from fdr_bench.prompts.presets import presets
from fdr_bench.types import DetectorCard, Prediction

class Echo:
    options = {"prompt": "what is asked", "temperature": "of sampling", "repeats": "of each image", "pause": "between"}

    def __init__(self, name, options):
        self.settings = options
        settings = {"model": name, "temperature": options.get("temperature", "0")}
        made, self.prompts = presets(options.get("prompt"), settings, repeats=int(options.get("repeats", 1)))
        self.card = DetectorCard(
            name=card_name("echo", name), paper="none", licence="MIT", presets=made, reasons=True
        )

    def __call__(self, *, preset, device, weights, view):
        return Answering(self.prompts[preset, view or next(iter(self.card.presets[preset].views))])

class Answering:
    def __init__(self, prompt):
        self.prompt = prompt

    def predict(self, images):
        return [
            Prediction(verdict="fake", raw=self.prompt.text) if image.getpixel((0, 0))[0] % 4
            else Failure("out of paper", "the fourth was asked for")
            for image in images
        ]
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    (tmp_path / "site").mkdir()
    made = Site(tmp_path / "site", monkeypatch)
    made.add("echo-family", "[fdr_bench.families]\necho = echo_family:Echo\n", {"echo_family": FAMILY})
    return made


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return make_folders(tmp_path / "pictures", n=4, generators=("alpha",))


def candidate(text: str, **options: str) -> models.Candidate:
    return models.candidates((text,), (), {}, options)[0][0]


def resolved(text: str, **options: str) -> models.Resolved:
    found = candidate(text, **options)
    return models.resolve_model(found, models.preset_of(found, None, "official"), None, "cpu", "")


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("echo:gpt-4o", ("echo:gpt-4o", None, None)),
        ("echo:Qwen/Qwen2.5-VL-7B-Instruct", ("echo:Qwen/Qwen2.5-VL-7B-Instruct", None, None)),
        ("echo:qwen2.5vl:7b", ("echo:qwen2.5vl:7b", None, None)),
        ("echo:qwen2.5vl:7b@staged", ("echo:qwen2.5vl:7b", "staged", None)),
        ("echo:/models/mine@staged:fake-first", ("echo:/models/mine", "staged", "fake-first")),
        ("echo:claude@20260101@verdict", ("echo:claude@20260101", "verdict", None)),
        ("npr@scenes:crop", ("npr", "scenes", "crop")),  # as ever
        ("npr:crop", ("npr", None, "crop")),
    ],
)
def test_what_stands_behind_a_familys_prefix_is_the_models_name(site, text, spec):
    assert families.parse(text) == ModelSpec(*spec)


@pytest.mark.parametrize(("text", "reason"), [("echo:", "names no model"), ("echo:a@b c", "behind the '@'")])
def test_a_family_without_a_name_or_with_a_wrong_preset_is_a_usage_error(site, text, reason):
    with pytest.raises(UsageError, match=reason):
        families.parse(text)


def test_a_misspelt_family_is_named_whatever_its_models_name(site):
    with pytest.raises(PluginError, match=r"no detector or family is called 'ecco'\. Did you mean 'echo'"):
        families.parse("ecco:Qwen/Qwen2.5-VL")


def test_a_family_is_listed_shown_and_not_among_all(site):
    assert "echo:NAME" in [row["model"] for row in catalogue.models()]
    assert not any(name.startswith("echo") for name in plugins.all_names())
    card = catalogue.card("echo:org/model")
    assert card["name"] == "echo-org-model"
    assert card["options"]["pause"] == "between"
    assert list(card["presets"]) == ["reasoned", "staged", "verdict", "yes-no"]


def test_an_option_that_no_model_knows_names_the_nearest(site):
    with pytest.raises(UsageError, match=r"has an option 'tempreature'\. Did you mean 'temperature'"):
        candidate("echo:a", tempreature="1")
    with pytest.raises(UsageError, match="none of this run's is one"):
        candidate("constant", temperature="1")
    both, _ = models.candidates(("echo:a", "constant"), (), {}, {"temperature": "1"})
    assert [each.options for each in both] == [{"temperature": "1"}, {}]


def test_what_a_prediction_depends_on_is_in_its_key_and_nothing_else(site, tmp_path):
    usual = resolved("echo:a")
    assert usual.key == resolved("echo:a@reasoned").key == resolved("echo:a", pause="3").key
    (tmp_path / "mine.txt").write_text("Real or fake?")
    mine = resolved("echo:a", prompt=str(tmp_path / "mine.txt"))
    (tmp_path / "mine.txt").write_text("Real or fake? Say.")
    others = [
        mine,
        resolved("echo:a", prompt=str(tmp_path / "mine.txt")),
        resolved("echo:a@verdict"),
        resolved("echo:a@verdict:fake-first"),
        resolved("echo:a", temperature="1"),
        resolved("echo:b"),
    ]
    assert len({usual.key, *(each.key for each in others)}) == 7
    assert others[3].label == "echo-a@verdict:fake-first"
    assert resolved("echo:a", prompt="verdict:fake-first").key == others[3].key
    assert mine.entry["settings"]["prompt_sha256"] != others[1].entry["settings"]["prompt_sha256"]


def test_a_run_of_a_family_stores_answers_failures_and_settings(site, pictures, tmp_path):
    asked = Asked(models=("echo:a@verdict",), data=(f"folders:{pictures}",), options={"repeats": "2"}, batch=4)
    finished = session.run(asked, out=tmp_path / "run", workers=2, progress=Quiet())
    assert sorted(finished.manifest["models"]) == ["echo-a@verdict", "echo-a@verdict:real-first.2"]
    assert finished.manifest["models"]["echo-a@verdict:real-first.2"]["settings"]["repeat"] == 2
    for label in finished.manifest["models"]:
        (path,) = (tmp_path / "run" / label).glob("*/predictions.jsonl")
        rows = list(read_rows(path))
        assert len(rows) == 8
        failed = [row["error"] for row in rows if "error" in row]
        assert set(failed) <= {"out of paper: the fourth was asked for"}
        assert finished.manifest["failures"][f"{label}/pictures"] == len(failed)
        assert all(row["verdict"] == "fake" for row in rows if "error" not in row)
    assert read_json(tmp_path / "run" / "spec.json")["asked"]["options"] == {"repeats": "2"}


@pytest.mark.parametrize("repeats", ["0", "101", "two"])
def test_repeats_are_a_whole_number(site, repeats):
    with pytest.raises((UsageError, PluginError)):
        families.repeats({"repeats": repeats})


def test_a_family_that_is_none_says_so(site):
    site.add("odd-family", "[fdr_bench.families]\nodd = odd_family:Odd\n", {"odd_family": "class Odd: pass"})
    with pytest.raises(PluginError, match="must be callable and have 'options'"):
        families.load_detector("odd:a")

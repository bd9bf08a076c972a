"""FDR-Scenes as a set on disk: MMFR's layout, the cache, and what a request may say."""

import json
import threading

import numpy as np
import pytest
from PIL import Image

from fdr_bench.data import scenes
from fdr_bench.data.scenes import materialise as writing
from fdr_bench.data.scenes import open_scenes, parse
from fdr_bench.data.scenes.generators import GENERATORS
from fdr_bench.data.scenes.materialise import SetPlan, materialise
from fdr_bench.data.scenes.phrases import AUTHENTIC
from fdr_bench.data.scenes.sample import CAMERA, Recipe, make_sample
from fdr_bench.data.scenes.violations import KINDS
from fdr_bench.errors import UsageError

REQUEST = "test?size=32&fakes=1&reals=3"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("FDR_BENCH_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def dataset(cache):
    return open_scenes(REQUEST)


@pytest.fixture(scope="module")
def folder(cache, dataset):
    return scenes.scenes_folder(parse(REQUEST))


def test_reals_are_shared_and_fakes_have_their_generator(dataset):
    assert dataset.name == "fdr-scenes-test"
    reals = [sample for sample in dataset.samples if sample.label == "real"]
    fakes = [sample for sample in dataset.samples if sample.label == "fake"]
    assert len(reals) == 3 and {sample.generator for sample in reals} == {None}
    assert sorted(sample.generator for sample in fakes) == sorted(GENERATORS)


def test_the_polarity_is_that_of_the_folder_and_of_the_conclusion(dataset, folder):
    conclusions = {
        record["image"]: record["conversations"][1]["value"]
        for record in json.loads((folder / "forgery_reasoning_cot.json").read_text())
    }
    for sample in dataset.samples:
        assert ("/1_fake/" in sample.id) == (sample.label == "fake") != ("/0_real/" in sample.id)
        assert conclusions[sample.id].endswith(f"<CONCLUSION> This image is {sample.label}. </CONCLUSION>")


def test_samples_are_the_pure_function_of_their_index(dataset):
    for sample in dataset.samples[:4]:
        source, _, name = sample.id.split("/")
        made = make_sample(Recipe(split="test", size=32), source, int(name.removesuffix(".jpg")))
        assert sample.image.read() == made.jpeg
        assert sample.attributes == made.attributes and sample.caption == made.caption
        assert sample.image.size == len(made.jpeg)


def test_the_reference_joins_the_sentences_in_sorted_attribute_order(dataset):
    for sample in dataset.samples:
        assert set(sample.attributes) == set(KINDS if sample.label == "fake" else AUTHENTIC)
        wanted = [sample.attributes[name] for name in sorted(sample.attributes) if sample.attributes[name]]
        assert sample.reasoning == " ".join(wanted)


def test_the_files_follow_mmfr(folder):
    for source in (CAMERA, *GENERATORS):
        listed = json.loads((folder / source / f"{source}_reasoning.json").read_text())
        images = {path.relative_to(folder).as_posix() for path in (folder / source).glob("*/*.jpg")}
        assert set(listed) == images
    for record in json.loads((folder / "forgery_reasoning_cot.json").read_text()):
        assert (folder / record["image"]).is_file()
        human, answer = record["conversations"]
        assert (human["from"], answer["from"]) == ("human", "gpt")
        assert human["value"].startswith("<image>\n") and "<REASONING>" in answer["value"]
    assert set(json.loads((folder / "captions.json").read_text())) == {
        path.relative_to(folder).as_posix() for path in folder.glob("*/?_*/*.jpg")
    }


def test_region_masks_are_small_pictures_of_the_same_size(dataset):
    for sample in dataset.samples:
        assert bool(sample.regions) == (sample.label == "fake")
        for attribute, path in (sample.regions or {}).items():
            assert sample.attributes[attribute]
            mask = Image.open(path)
            assert mask.size == (32, 32) and np.asarray(mask).any()


def test_a_set_is_rendered_once(dataset, monkeypatch):
    monkeypatch.setattr(writing, "_write", lambda *_: pytest.fail("rendered again"))
    again = open_scenes(REQUEST)
    assert again.fingerprint == dataset.fingerprint


def test_what_a_killed_process_left_is_removed_and_a_failure_leaves_nothing(tmp_path, monkeypatch):
    plan = SetPlan(recipe=Recipe(split="test", size=32), counts={CAMERA: 2})
    left = tmp_path / "set.partial-dead"
    left.mkdir()
    (left / "half.jpg").write_bytes(b"\xff\xd8")
    real_dump = writing._dump
    monkeypatch.setattr(writing, "_dump", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        materialise(plan, tmp_path / "set")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set.lock"]
    monkeypatch.setattr(writing, "_dump", real_dump)
    assert (materialise(plan, tmp_path / "set") / "set.json").is_file()


def test_two_at_once_render_one_set(tmp_path, monkeypatch):
    plan = SetPlan(recipe=Recipe(split="test", size=32), counts={CAMERA: 3})
    written = []
    write = writing._write
    monkeypatch.setattr(writing, "_write", lambda *arguments: (written.append(1), write(*arguments)))
    threads = [threading.Thread(target=materialise, args=(plan, tmp_path / "set")) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written == [1]


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_pictures_of_the_last_version_are_taken_over_and_their_words_written_anew(tmp_path, monkeypatch):
    plan = SetPlan(recipe=Recipe(split="test", size=32), counts={CAMERA: 2, "tiled-synthesis": 2})
    whole = materialise(plan, tmp_path / "v4")
    expected = contents(whole)
    told = json.loads((whole / "set.json").read_text())
    # Version 4 wrote down no drawing, and said other words.
    (whole / "set.json").write_text(json.dumps({"version": "4", "recipe": told["recipe"], "counts": told["counts"]}))
    (whole / "captions.json").write_text("{}")
    monkeypatch.setattr(writing, "make_sample", lambda *_: pytest.fail("drawn again"))
    assert contents(materialise(plan, tmp_path / "v5")) == expected


@pytest.mark.parametrize("change", ["drawing", "recipe"])
def test_pictures_of_another_drawing_or_recipe_are_left_alone(tmp_path, monkeypatch, change):
    plan = SetPlan(recipe=Recipe(split="test", size=32), counts={CAMERA: 1})
    whole = materialise(plan, tmp_path / "one")
    told = json.loads((whole / "set.json").read_text())
    told[change] = "none" if change == "drawing" else told["recipe"] | {"seed": 9}
    (whole / "set.json").write_text(json.dumps(told))
    made = []
    make = writing.make_sample
    monkeypatch.setattr(writing, "make_sample", lambda *job: (made.append(job[1:]), make(*job))[1])
    materialise(plan, tmp_path / "two")
    assert made == [(CAMERA, 0)]


def test_a_larger_set_draws_only_what_is_new_or_lost(tmp_path, monkeypatch):
    recipe = Recipe(split="test", size=32)
    small = materialise(SetPlan(recipe=recipe, counts={CAMERA: 2, "tiled-synthesis": 1}), tmp_path / "small")
    (small / "camera/0_real/00000.jpg").unlink()
    made = []
    make = writing.make_sample
    monkeypatch.setattr(writing, "make_sample", lambda *job: (made.append(job[1:]), make(*job))[1])
    plan = SetPlan(recipe=recipe, counts={CAMERA: 3, "tiled-synthesis": 1})
    large = materialise(plan, tmp_path / "large")
    assert made == [(CAMERA, 0), (CAMERA, 2)]
    assert contents(large) == contents(materialise(plan, tmp_path / "elsewhere" / "alone"))
    listed = [record["id"] for record in json.loads((large / "forgery_reasoning_cot.json").read_text())]
    assert listed == [*(f"camera/0_real/0000{n}" for n in range(3)), "tiled-synthesis/1_fake/00000"]


def test_without_hard_links_pictures_are_copied(tmp_path, monkeypatch):
    plan = SetPlan(recipe=Recipe(split="test", size=32), counts={CAMERA: 1})
    one = materialise(plan, tmp_path / "one")
    monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(PermissionError("no hard links here")))
    assert contents(materialise(plan, tmp_path / "two")) == contents(one)


@pytest.mark.slow
def test_processes_of_their_own_make_the_same_set(tmp_path, monkeypatch):
    plan = SetPlan(recipe=Recipe(split="test", size=32), counts={CAMERA: 30, "tiled-synthesis": 30})
    together = materialise(plan, tmp_path / "parallel" / "set")
    monkeypatch.setattr(writing, "SERIAL", 1000)
    alone = materialise(plan, tmp_path / "serial" / "set")
    files = sorted(path.relative_to(alone) for path in alone.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(together) for path in together.rglob("*") if path.is_file())
    assert all((alone / path).read_bytes() == (together / path).read_bytes() for path in files)


def test_defaults_of_the_splits():
    test, train, val = parse(""), parse("train"), parse("val")
    assert (test.fakes, test.reals, test.generators) == (50, 100, tuple(GENERATORS))
    assert (train.fakes, train.reals) == (10_000, 10_000) and len(train.generators) == 1
    assert (val.fakes, val.reals, val.generators) == (500, 500, train.generators)


def test_options_are_read():
    wanted = parse("train?generator=dct-bottleneck+tiled-synthesis&n=40&size=64&seed=7&violation=0.5&fingerprint=2")
    assert wanted.generators == ("dct-bottleneck", "tiled-synthesis")
    assert (wanted.fakes, wanted.reals, wanted.size, wanted.seed) == (10, 20, 64, 7)
    assert (wanted.violation, wanted.fingerprint) == (0.5, 2.0)


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("tests", "Did you mean 'test'?"),
        ("test?sise=3", "Did you mean 'size'?"),
        ("train?generator=dct-botleneck", "Did you mean 'dct-bottleneck'?"),
        ("test?size=big", "a whole number from 32 to 1024"),
        ("test?size=8", "a whole number from 32 to 1024"),
        ("test?violation=-1", "a strength from 0"),
    ],
)
def test_a_wrong_request_says_what_was_expected(rest, said):
    with pytest.raises(UsageError, match=said.replace("?", r"\?")):
        parse(rest)

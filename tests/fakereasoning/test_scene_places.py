"""What was drawn in a picture of FDR-Scenes, violations included: its scene, and light and shadow of each solid."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from fakereasoning.places import Place, Shown, words_here
from fakereasoning.scene_places import altered, looks, scenes_drawn, strikes, wrong_with
from fakereasoning.scene_views import of_each_scene
from fakereasoning.sketches import ASPECTS
from fdr_bench.data import open_dataset
from fdr_bench.data.scenes.scene import Scene, random_scene, stream
from fdr_bench.data.scenes.striking import stated, striking
from fdr_bench.data.scenes.violations import ALTERED, KINDS, LIGHTING, Violation, violate


def scene_of(number: int) -> Scene:
    return random_scene(stream("scene", number))


def fact(kind: str, **given: object) -> dict[str, object]:
    attribute = next(attribute for attribute, kinds in KINDS.items() if kind in kinds)
    return asdict(Violation(attribute=attribute, kind=kind, solid=0, strength=0.8)) | given


def after(scene: Scene, kind: str) -> set[str]:
    """Return how the first solid looks behind a violation."""
    there = altered(scene, [fact(kind)])
    return set(looks(there, there.solids[0]))


def test_the_scene_of_a_fake_is_found_again_by_its_facts():
    kinds = set()
    for number in range(24):
        scene = scene_of(number)
        made = violate(scene, 64, np.random.default_rng(number))
        # As they are written: places are lists there.
        facts = [asdict(one) | {"place": one.place and list(one.place)} for one in made.violations]
        assert altered(scene, facts) == made.scene
        kinds |= {str(one["kind"]) for one in facts}
    assert len(kinds & ALTERED) > 6 and kinds - ALTERED


@pytest.mark.parametrize("number", range(5))
def test_light_and_shadow_are_told_as_they_are_drawn(number):
    scene = scene_of(number)
    plain = set(looks(scene, scene.solids[0]))
    toward, away = ("right", "left") if scene.light[0] > 0 else ("left", "right")
    assert {f"lit on the {toward}", f"shadow on the {away}"} <= plain
    assert after(scene, "shadow-towards-light") == plain - {f"shadow on the {away}"} | {f"shadow on the {toward}"}
    assert after(scene, "lit-from-wrong-side") == plain - {f"lit on the {toward}"} | {f"lit on the {away}"}
    assert after(scene, "shadow-missing") == {word for word in plain if "shadow" not in word}
    assert after(scene, "shadow-shorter") <= plain <= after(scene, "shadow-longer")
    # A retouched picture has the scene that it had.
    assert after(scene, "wobbles") == plain
    others = altered(scene, [fact(kind) for kind in KINDS[LIGHTING]])
    assert others.solids[1:] == scene.solids[1:]


def test_shadows_reach_in_steps():
    scene = scene_of(1)
    counts = set()
    for up in (0.2, 0.5, 1.0, 3.0):
        low = replace(scene, light=(1.0, up, 0.0))
        counts.add(sum(word.startswith("shadow of") for word in looks(low, low.solids[0])))
    assert len(counts) >= 3


def test_a_solid_has_what_a_sketch_would_say_of_it():
    for number in range(20):
        scene = scene_of(number)
        found = striking(scene)
        said = [strikes(scene, solid) for solid in scene.solids]
        for aspect, (name, _) in ASPECTS.items():
            told = [solid for solid, words in zip(scene.solids, said, strict=True) if f"told of {aspect}" in words]
            assert told == ([found[name].solid] if name in stated(found) else [])
        assert sum("patterned" in words for words in said) == 1
        for solid in scene.solids:
            called = [word for word in looks(scene, solid) if word.startswith("called ")]
            assert called == [f"called {solid.colours[0]}"]


def test_every_picture_has_its_solids_as_places(tmp_path, monkeypatch):
    monkeypatch.setenv("FDR_BENCH_CACHE", str(tmp_path))
    dataset = open_dataset("scenes:train?size=32&n=12")
    shown = scenes_drawn(dataset)
    assert set(shown) == {sample.image.location for sample in dataset.samples}
    for one in shown.values():
        assert one.things and sum("largest" in thing.words for thing in one.things) == 1
        assert all(thing.words for thing in one.things) and one.behind


def test_what_is_wrong_is_said_of_the_solid_that_it_is_wrong_with():
    facts = [fact("sinks") | {"solid": 1, "other": 0}, fact("wobbles") | {"solid": 1, "other": None}]
    facts.append(fact("smeared") | {"solid": None, "other": None})
    assert [wrong_with(number, facts) for number in range(3)] == [["sinks"], ["sinks", "wobbles"], []]


def test_the_faults_of_a_set_stand_at_its_solids(tmp_path, monkeypatch):
    monkeypatch.setenv("FDR_BENCH_CACHE", str(tmp_path))
    dataset = open_dataset("scenes:train?size=32&n=24")
    shown = scenes_drawn(dataset)
    kinds = {kind for kinds in KINDS.values() for kind in kinds}
    met = 0
    for sample, facts in of_each_scene(dataset, lambda drawn: drawn.facts):
        said = [word for thing in shown[sample.image.location].things for word in thing.words if word in kinds]
        solids = [(fact["kind"], fact[role]) for fact in facts for role in ("solid", "other")]
        expected = [kind for kind, number in solids if number is not None]
        assert sorted(said) == sorted(expected)
        met += len(said)
    assert met > 6


def test_without_a_codec_each_phrase_is_a_word_by_itself():
    ball = Place(across=0.375, down=0.375, half_width=0.05, half_height=0.05, words=("red", "lit on the left"))
    cone = Place(across=0.875, down=0.375, half_width=0.05, half_height=0.05, words=("lit on the left", "green"))
    here = words_here({"a": Shown([ball, cone], ("sand",))}, ["a"], None, 4)
    assert len(here.ids) == 4 and here.names == ("green", "lit on the left", "red", "sand")
    assert here.told.tolist() == [[False, True, True, False], [True, True, False, False]]
    assert here.behind.tolist() == [[False, False, False, True]]

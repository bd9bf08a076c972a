"""What a viewer notices first: the annotations of photographed scenes follow from the picture."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from fdr_bench.data.scenes.language import AUTHENTICITY, authenticity_attributes
from fdr_bench.data.scenes.phrases import NOUNS
from fdr_bench.data.scenes.render import render
from fdr_bench.data.scenes.sample import CAMERA, Recipe, make_sample
from fdr_bench.data.scenes.scene import random_scene, stream, sun
from fdr_bench.data.scenes.striking import apparent_size, outline_contrast, shadow_reach, stated, striking

TEXTURE = "Natural and Consistent Image Texture"
LIGHTING = "Consistent Lighting and Shadows"


def scene(number):
    return random_scene(stream("scene", "striking", number))


@pytest.mark.parametrize("number", range(12))
def test_the_apparent_size_of_a_solid_is_its_share_of_the_pixels(number):
    for solid in scene(number).solids:
        alone = replace(scene(number), solids=(solid,))
        pixels = (render(alone, 96, antialias=False).solid == 0).mean()
        assert apparent_size(alone, solid) == pytest.approx(pixels, rel=0.2, abs=0.002)


def test_the_choice_of_attributes_and_solids_has_no_chance_in_it():
    for number in range(30):
        one, other = (authenticity_attributes(scene(number), stream("words", n)) for n in (0, 1))
        assert [name for name in one if one[name]] == [name for name in other if other[name]]
        found = striking(scene(number))
        for name in AUTHENTICITY:
            for text in filter(None, (one[name], other[name])):
                named = re.findall(rf"(\w+) (?:{'|'.join(n for nouns in NOUNS.values() for n in nouns)})", text)
                assert set(named) <= {found[name].solid.colours[0]}


def test_three_to_five_attributes_are_stated_none_of_them_rarely_or_always():
    count = 600
    sets = [stated(striking(scene(number))) for number in range(count)]
    assert {len(each) for each in sets} == {3, 4, 5}
    for name, times in Counter(name for each in sets for name in each).items():
        assert 0.4 < times / count < 0.95, name
    assert set().union(*sets) == set(AUTHENTICITY)


def test_the_texture_is_that_of_a_patterned_solid_and_else_the_largest_is_named():
    number = next(n for n in range(100) if len(scene(n).solids) == 3)
    solids = sorted(scene(number).solids, key=lambda solid: apparent_size(scene(number), solid))
    small, middle, large = (replace(solid, material="matte") for solid in solids)

    def chosen(*materials):
        painted = tuple(
            replace(solid, material=kind) for solid, kind in zip((small, middle, large), materials, strict=True)
        )
        return striking(replace(scene(number), solids=painted))

    assert chosen("striped", "grainy", "matte")[TEXTURE].solid.colour == small.colour
    assert chosen("striped", "checked", "matte")[TEXTURE].solid.colour == middle.colour
    plain = chosen("matte", "matte", "matte")
    assert plain[TEXTURE].solid.colour == large.colour and plain[TEXTURE].plainness < 1
    assert all(each.solid.colour == large.colour for name, each in plain.items() if name != TEXTURE)


def test_a_low_sun_from_the_side_shows_in_shadows_and_a_high_one_behind_does_not():
    low, high = (replace(scene(0), light=sun(*angles)) for angles in ((np.pi / 2, 0.45), (0.4, 1.0)))
    # Across the picture a shadow is the height over the tangent of the elevation, here in widths of the solid.
    solid = scene(0).solids[0]
    assert shadow_reach(low, solid) == pytest.approx(solid.height / np.tan(0.45) / (2 * solid.radius))
    assert striking(low)[LIGHTING].plainness > 1 > striking(high)[LIGHTING].plainness


def test_an_outline_shows_where_colours_differ():
    solid = replace(scene(0).solids[0], colour="blue")
    grassy = replace(scene(0), ground_colour="grassy")
    brown, blue = (replace(solid, colour=colour, material="matte") for colour in ("brown", "blue"))
    assert outline_contrast(grassy, brown) < outline_contrast(grassy, blue)
    # Half of a striped solid's outline has either colour, whichever of them is the first.
    for one, other in ((brown, blue), (blue, brown)):
        striped = replace(one, second_colour=other.colour, material="striped")
        mean = (outline_contrast(grassy, brown) + outline_contrast(grassy, blue)) / 2
        assert outline_contrast(grassy, striped) == pytest.approx(mean)


@pytest.mark.parametrize("material", ["striped", "checked"])
@pytest.mark.parametrize("shape", ["box", "cone", "cylinder", "sphere"])
def test_of_two_colours_neither_covers_more_and_words_name_the_brighter_first(material, shape):
    shares = []
    for number in range(24):
        painted = replace(
            scene(number).solids[0], shape=shape, material=material, colour="white", second_colour="brown", lean=0.0
        )
        shown = render(replace(scene(number), solids=(painted,)), 96, antialias=False)
        flat = replace(painted, material="matte")
        white = render(replace(scene(number), solids=(flat,)), 96, antialias=False).light
        on_it = shown.solid == 0
        shares.append((shown.light[on_it].sum(axis=1) > 0.6 * white[on_it].sum(axis=1)).mean())
    assert 0.4 < np.mean(shares) < 0.6
    solid = replace(scene(0).solids[0], material=material)
    for colours in (("brown", "white"), ("white", "brown")):
        one = replace(solid, colour=colours[0], second_colour=colours[1])
        assert one.colours == ("white", "brown")
        assert replace(one, material="matte").colours == colours[:1]


def test_pictures_are_those_of_the_drawing_whatever_the_version_says_of_them(monkeypatch):
    before = make_sample(Recipe(split="unit", size=32), CAMERA, 0)
    monkeypatch.setattr("fdr_bench.data.scenes.scene.VERSION", "other")
    assert make_sample(Recipe(split="unit", size=32), CAMERA, 0).jpeg == before.jpeg
    monkeypatch.setattr("fdr_bench.data.scenes.sample.DRAWING", "other")
    assert make_sample(Recipe(split="unit", size=32), CAMERA, 0).jpeg != before.jpeg

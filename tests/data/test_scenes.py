"""FDR-Scenes sample by sample: determinism, faint fingerprints, regions, rays."""

import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fdr_bench.data.scenes import render as rendering
from fdr_bench.data.scenes import sample as sampling
from fdr_bench.data.scenes.camera import imitate, photograph, random_shot
from fdr_bench.data.scenes.generators import FAMILIES, GENERATORS, Fingerprint
from fdr_bench.data.scenes.render import render
from fdr_bench.data.scenes.sample import CAMERA, Recipe, make_sample
from fdr_bench.data.scenes.scene import random_scene, stream
from fdr_bench.data.scenes.violations import LEAST_SHARE, MOST_SHARE

RECIPE = Recipe(split="unit", size=64)


def everything(sample):
    """One hash over all that a sample holds."""
    digest = hashlib.sha256(sample.jpeg)
    regions = {name: mask.tobytes() for name, mask in sorted(sample.regions.items())}
    digest.update(repr((sample[1:5], regions, sample.question, sample.chain_of_thought)).encode())
    return digest.hexdigest()


def test_a_sample_depends_on_nothing_but_its_recipe_source_and_index():
    jobs = [(CAMERA, 0), ("dct-bottleneck", 3), (CAMERA, 1), ("tiled-synthesis", 3)]
    forward = {job: everything(make_sample(RECIPE, *job)) for job in jobs}
    np.random.seed(1)
    backward = {job: everything(make_sample(RECIPE, *job)) for job in reversed(jobs)}
    assert forward == backward
    assert len(set(forward.values())) == len(jobs)


@pytest.mark.parametrize("change", [{"seed": 1}, {"split": "other"}, {"size": 48}])
def test_another_seed_split_or_size_gives_another_picture(change):
    other = Recipe(**{"split": "unit", "size": 64, **change})
    assert make_sample(RECIPE, CAMERA, 0).jpeg != make_sample(other, CAMERA, 0).jpeg


def test_strengths_change_the_violations_but_not_the_scene():
    usual = make_sample(RECIPE, "patch-vocabulary", 5)
    none = make_sample(
        Recipe(split="unit", size=64, violation_strength=0, fingerprint_strength=0), "patch-vocabulary", 5
    )
    assert usual.facts and not none.facts and not none.regions
    assert [s.colour for s in usual.scene.solids] == [s.colour for s in none.scene.solids]


def test_ten_generators_stand_in_three_or_more_families():
    assert len(GENERATORS) == 10
    assert set(FAMILIES) == set(GENERATORS)
    assert len(set(FAMILIES.values())) >= 3


def psnr(one, other):
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other.astype(float)) ** 2))


def eight_bit(image):
    return np.clip(np.rint(image), 0, 255)


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_fingerprint_is_faint_and_present(generator):
    for index in range(4):
        light = render(random_scene(stream("scene", index)), 128, antialias=False).light
        clean, grain = imitate(light, random_shot(stream("shot", index)), stream("grain", index))
        trace = Fingerprint(generator, 128, "trace", index).change(clean + grain)
        assert 32 <= psnr(eight_bit(clean + grain + trace), eight_bit(clean + grain)) <= 42
        assert 32 <= psnr(eight_bit(clean + grain + trace), eight_bit(clean)) <= 42


def test_doubling_the_fingerprint_strength_costs_six_decibels():
    image = 40 + 150 * stream("picture").random((64, 64, 3)).astype(np.float32)
    trace = Fingerprint("nearest-upsampling", 64, "trace")
    one, two = trace.change(image), trace.change(image, strength=2.0)
    np.testing.assert_allclose(two, 2 * one, rtol=1e-5)


def test_generated_noise_has_the_power_of_camera_noise_in_every_channel():
    # A flat grey picture: all that varies is noise.
    light = np.full((256, 256, 3), 0.25, dtype=np.float32)
    shot = random_shot(stream("shot", 1))
    taken = photograph(light, shot, stream("a"))
    made = sum(imitate(light, shot, stream("b")))
    inner = (slice(60, 196), slice(60, 196))
    detail = [picture[inner] - picture[inner].mean(axis=(0, 1)) for picture in (taken, made)]
    for channel in range(3):
        assert detail[0][..., channel].std() == pytest.approx(detail[1][..., channel].std(), rel=0.08)
        # The spectra agree too: neighbours correlate alike.
        along = [np.mean(d[:, 1:, channel] * d[:, :-1, channel]) / d[..., channel].var() for d in detail]
        assert along[0] == pytest.approx(along[1], abs=0.05)


def test_both_classes_are_jpegs_of_the_same_qualities_and_sizes():
    tables = {CAMERA: set(), "fake": set()}
    for index in range(14):
        for source in (CAMERA, list(GENERATORS)[index % 10]):
            image = Image.open(io.BytesIO(make_sample(Recipe(split="unit", size=32), source, index).jpeg))
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (32, 32))
            tables["fake" if source != CAMERA else CAMERA].add(image.quantization[0][0])
    # Qualities 85 to 96 have a first entry of 5 down to 1.
    assert tables[CAMERA] | tables["fake"] <= {1, 2, 3, 4, 5}
    assert len(tables[CAMERA] & tables["fake"]) >= 3


def test_a_generated_file_is_as_long_as_a_photograph_of_its_scene_would_be():
    apart = []
    for index in range(6):
        source = list(GENERATORS)[index % 10]
        key = (sampling.DRAWING, 0, "unit", source, index)
        sample = make_sample(RECIPE, source, index)
        shot, encoding = random_shot(stream("shot", *key)), sampling._random_encoding(stream("encoding", *key))
        light = sampling.violate(random_scene(stream("scene", *key)), 64, stream("violation", *key)).light
        twin = sampling.encode(photograph(light, shot, stream("twin", *key)), encoding)
        apart.append(len(sample.jpeg) / len(twin) - 1)
    assert np.median(np.abs(apart)) < 0.01
    assert np.max(np.abs(apart)) < 0.15


def test_every_region_is_present_local_and_belongs_to_a_stated_attribute():
    for index in range(12):
        sample = make_sample(RECIPE, list(GENERATORS)[index % 10], index)
        stated = {name for name, text in sample.attributes.items() if text}
        assert 1 <= len(sample.facts) <= 3
        assert stated == {fact.attribute for fact in sample.facts} == set(sample.regions)
        for mask in sample.regions.values():
            assert mask.shape == (64, 64) and mask.dtype == bool
            assert LEAST_SHARE <= mask.mean() <= MOST_SHARE


def test_a_sample_costs_few_rays(monkeypatch):
    rays = []
    trace = rendering._trace

    def counting(scene, noise, x, y, size):
        rays.append(len(x))
        return trace(scene, noise, x, y, size)

    monkeypatch.setattr(rendering, "_trace", counting)
    for index in range(6):
        make_sample(RECIPE, list(GENERATORS)[index], index)
    # One ray a pixel, four more at edges, and a few half-size looks for regions; fewer at larger sizes.
    assert sum(rays) / (6 * 64 * 64) < 3.5


def test_a_sphere_lies_where_perspective_puts_it():
    # Half a metre above the origin is what the viewer looks at: a sphere there covers the middle of the picture.
    scene = random_scene(stream("scene", 0))
    ball = replace(scene.solids[0], shape="sphere", radius=0.5, height=1.0, x=0.0, z=0.0)
    scene = replace(scene, solids=(ball,), eye_height=2.0, eye_distance=7.0, focal=1.5)
    met = render(scene, 128, antialias=False).solid == 0
    rows, columns = np.nonzero(met)
    assert rows.mean() == pytest.approx(63.5, abs=1) and columns.mean() == pytest.approx(63.5, abs=1)
    # Distance to its middle is sqrt(7² + 1.5²) = 7.159 m; its outline is asin(0.5 / 7.159) off the axis, whose tangent
    # 0.0700 times focal 1.5 × 1.6 is 0.1680 of half the picture: a radius of 10.75 pixels.
    assert np.sqrt(met.sum() / np.pi) == pytest.approx(10.75, abs=0.3)

"""Decoding agrees with Pillow's plain conversion or says why not; views agree with a naive twin."""

import hashlib
import io
import math
import os
import pickle
import resource
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageFile

from fdr_bench.data import open_dataset
from fdr_bench.errors import ImageError
from fdr_bench.images import MAX_PIXELS, apply_view, decode, geometry
from fdr_bench.types import CenterCrop, DropOdd, Reflect, Resize, Tile, View
from tests.awkward import OK, claiming_png, encoded, make_awkward, photograph

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def awkward(tmp_path_factory):
    root = tmp_path_factory.mktemp("awkward")
    return root, make_awkward(root)


def test_every_awkward_file_is_a_sample(awkward):
    root, expected = awkward
    assert {sample.id for sample in open_dataset(f"folders:{root}").samples} == set(expected)


@pytest.mark.filterwarnings("ignore")  # Pillow's, from the plain conversion that is compared with
def test_every_awkward_file_decodes_as_pillow_converts_it_or_fails_with_its_reason(awkward):
    root, expected = awkward
    for sample in open_dataset(f"folders:{root}").samples:
        if expected[sample.id] == OK:
            image = decode(sample.image.read(), sample.image.location)
            with Image.open(root / sample.id) as plain:
                assert image.pixels.tobytes() == plain.convert("RGB").tobytes(), sample.id
        else:
            with pytest.raises(ImageError) as caught:
                decode(sample.image.read(), sample.image.location)
            assert expected[sample.id] in str(caught.value)
            assert sample.image.location in str(caught.value)


def test_pillow_warnings_about_a_file_stay_quiet(awkward):
    root, _ = awkward  # warnings are errors here: byte transparency would raise
    decode((root / "0_real" / "palette_transparent.png").read_bytes(), "x")


def test_exif_rotation_is_ignored_and_no_metadata_is_left(awkward):
    root, _ = awkward
    image = decode((root / "0_real" / "exif_rotated.jpg").read_bytes(), "x").pixels
    assert image.size == (96, 64)  # as stored; shown upright it would be 64 x 96
    assert image.info == {} and len(image.getexif()) == 0
    assert type(image) is Image.Image  # a JpegImageFile would carry its quantisation tables
    assert not hasattr(image, "quantization") and not getattr(image, "filename", "")
    assert pickle.loads(pickle.dumps(image)).tobytes() == image.tobytes()


def test_an_animation_gives_its_first_frame(awkward):
    root, _ = awkward
    for name in ("animated.png", "animated.webp"):
        image = decode((root / "0_real" / name).read_bytes(), name).pixels
        assert image.tobytes() == photograph(96, 64, 1).tobytes()


def test_metadata_is_the_files_own():
    payload = encoded(photograph(40, 30), "JPEG", quality=80)
    image = decode(payload, "x")
    assert image.sha256 == hashlib.sha256(payload).hexdigest()
    assert image.metadata[:5] == ("JPEG", "RGB", 40, 30, len(payload))
    # Quality 80 scales Annex K's first luminance step, 16, by (200 - 2 * 80) % = 40 %: (16 * 40 + 50) // 100 = 6.
    assert len(image.metadata.quantisation) == 2 and image.metadata.quantisation[0][0] == 6
    assert decode(encoded(photograph(40, 30), "WEBP"), "named.png").metadata.format == "WEBP"
    assert decode(encoded(photograph(8, 8).convert("L"), "PNG"), "x").metadata.mode == "L"


def test_truncation_fails_even_where_a_plugin_made_pillow_lenient(monkeypatch):
    payload = encoded(photograph(96, 64), "JPEG")
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ImageError, match="truncated"):
        decode(payload[: len(payload) // 2], "x")
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_threads_decode_at_once_and_leave_pillows_settings_as_they_were(awkward, monkeypatch):
    root, _ = awkward
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    before = list(warnings.filters)
    samples = open_dataset(f"folders:{root}").samples * 4

    def outcome(sample):
        try:
            return hashlib.sha256(decode(sample.image.read(), "x").pixels.tobytes()).hexdigest()
        except ImageError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, samples)) == [outcome(sample) for sample in samples]
    assert warnings.filters == before and ImageFile.LOAD_TRUNCATED_IMAGES is True


@pytest.mark.parametrize("limit", [None, 89_478_485])
def test_a_bomb_is_refused_whatever_pillows_own_limit_is(monkeypatch, limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match="bomb"):
        decode(claiming_png(60_000, 60_000), "x")
    # 60,000² pixels would be 14 GB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
    assert limit == Image.MAX_IMAGE_PIXELS


def test_the_pixel_limit_admits_12000_squared():
    assert 12_000**2 < MAX_PIXELS < 60_000**2


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the peak of memory is read from /proc")
def test_a_12k_png_decodes_in_under_two_gigabytes(tmp_path):
    path = tmp_path / "huge.png"
    path.write_bytes(encoded(Image.new("RGB", (12_000, 12_000), (9, 99, 199)), "PNG", compress_level=1))
    program = (
        "import re, sys; from fdr_bench.images import decode\n"
        "image = decode(open(sys.argv[1], 'rb').read(), 'x').pixels\n"
        "assert image.size == (12000, 12000) and image.getpixel((11999, 11999)) == (9, 99, 199)\n"
        # Not ru_maxrss, which a program inherits from the one that started it.
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read()).group(1))"
    )
    result = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    # Pillow holds 4 bytes a pixel: 576 MB decoded and as much again for the plain copy.
    assert int(result.stdout) < 2_000_000


def view(*steps):
    return View(steps=steps, mean=MEAN, std=STD)


def test_values_are_normalised_per_channel_in_float32():
    image = Image.new("RGB", (2, 1))
    image.putpixel((0, 0), (255, 0, 51))
    array = apply_view(view(), image)
    assert array.shape == (3, 1, 2) and array.dtype == np.float32 and array.flags.c_contiguous
    # 255: (1 - 0.485) / 0.229; 0: -0.456 / 0.224; 51: (0.2 - 0.406) / 0.225
    assert array[:, 0, 0] == pytest.approx([2.2489083, -2.0357143, -0.9155556], abs=1e-6)


def naive(image):
    scaled = np.asarray(image).astype(np.float32).transpose(2, 0, 1) / np.float32(255)
    return (scaled - np.array(MEAN, np.float32)[:, None, None]) / np.array(STD, np.float32)[:, None, None]


def test_channels_come_in_the_views_order_and_over_its_divisor():
    image = Image.new("RGB", (2, 1), (255, 0, 51))
    raw = View(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), order="bgr", divisor=1.0)
    assert apply_view(raw, image)[:, 0, 0].tolist() == [51.0, 0.0, 255.0]
    blue_first = View(mean=(0.5, 0.25, 0.0), std=(1.0, 2.0, 4.0), order="bgr")
    # 51 / 255 - 0.5; (0 - 0.25) / 2; 255 / 255 / 4
    assert apply_view(blue_first, image)[:, 0, 1] == pytest.approx([-0.3, -0.125, 0.25], abs=1e-7)
    assert apply_view(raw, image).flags.c_contiguous


def test_the_lookup_gives_the_same_bits_as_arithmetic_on_the_image():
    image = photograph(61, 47)
    assert np.array_equal(apply_view(view(), image), naive(image))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((600, 400), (384, 256)), ((400, 600), (256, 384)), ((91, 137), (256, 385)), ((300, 300), (256, 256))],
)
def test_resizing_by_the_shorter_side_truncates_the_longer(size, expected):
    # 256 * 137 / 91 = 385.4 -> 385
    assert geometry(view(Resize(256)), photograph(*size)).size == expected


@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
def test_resizing_is_pillows_own_filter(name):
    image = photograph(70, 50)
    expected = image.resize((40, 30), getattr(Image.Resampling, name.upper()))
    assert geometry(view(Resize((30, 40), name)), image).tobytes() == expected.tobytes()


@pytest.mark.parametrize(("width", "left"), [(225, 0), (227, 2), (229, 2), (226, 1)])
def test_a_crop_starts_at_the_even_half(width, left):
    # (225 - 224) / 2 = 0.5 -> 0; 1.5 -> 2; 2.5 -> 2; 1.0 -> 1
    image = photograph(width, 224)
    assert np.array_equal(geometry(view(CenterCrop(224)), image), np.asarray(image)[:, left : left + 224])


@pytest.mark.parametrize(("width", "left"), [(225, 0), (227, 1), (229, 2), (226, 1)])
def test_a_crop_may_start_at_the_half_rounded_down(width, left):
    image = photograph(width, 224)
    assert np.array_equal(geometry(view(CenterCrop(224, half="down")), image), np.asarray(image)[:, left : left + 224])


def test_a_small_image_is_padded_with_black_the_odd_pixel_to_the_right_and_below():
    image = Image.new("RGB", (5, 3), (255, 255, 255))
    cropped = np.asarray(geometry(view(CenterCrop(8)), image))
    # 3 columns too few: 1 left, 2 right; 5 rows too few: 2 above, 3 below.
    expected = np.zeros((8, 8, 3), np.uint8)
    expected[2:5, 1:6] = 255
    assert np.array_equal(cropped, expected)


def test_only_the_short_side_is_padded():
    image = photograph(20, 4)
    cropped = np.asarray(geometry(view(CenterCrop(8)), image))
    assert np.array_equal(cropped[2:6], np.asarray(image)[:, 6:14]) and not cropped[:2].any()


@pytest.mark.parametrize("size", [(100, 300), (224, 30), (30, 30), (224, 224), (500, 400)])
def test_tiling_repeats_without_mirroring_until_both_sides_reach(size):
    image = photograph(*size)
    times = math.ceil(224 / size[1]), math.ceil(224 / size[0]), 1
    assert np.array_equal(geometry(view(Tile(224)), image), np.tile(np.asarray(image), times))


def test_a_reflected_image_does_not_repeat_its_border_and_has_the_odd_pixel_after_it():
    image = Image.new("RGB", (4, 1))
    image.putdata([(value, 0, 0) for value in (10, 20, 30, 40)])
    reflected = np.asarray(geometry(view(Reflect(7)), image))[:, :, 0]
    # 3 columns too few: 1 before, 2 after. The only row is all its mirror images.
    assert reflected.tolist() == [[20, 10, 20, 30, 40, 30, 20]] * 7


@pytest.mark.parametrize("size", [(2, 3), (1, 1), (9, 40), (60, 45), (50, 50), (80, 51)])
def test_reflecting_mirrors_as_often_as_needed(size):
    image = photograph(*size)
    missing = [max(50 - side, 0) for side in (size[1], size[0])]
    around = [(lack // 2, lack - lack // 2) for lack in missing]
    expected = np.pad(np.asarray(image), [*around, (0, 0)], mode="reflect")
    assert np.array_equal(geometry(view(Reflect(50)), image), expected)


def test_odd_rows_and_columns_are_dropped_at_the_end():
    image = photograph(7, 5)
    assert np.array_equal(geometry(view(DropOdd()), image), np.asarray(image)[:4, :6])


def test_steps_run_in_order_and_leave_the_image_alone():
    image = photograph(120, 80)
    before = image.tobytes()
    array = apply_view(view(Resize(60), CenterCrop(50)), image)
    assert np.array_equal(array, naive(image.resize((90, 60), Image.Resampling.BILINEAR).crop((20, 5, 70, 55))))
    assert image.tobytes() == before


def test_decoding_costs_little_more_than_pillow_alone():
    payload = encoded(photograph(128, 128), "JPEG")
    rounds = range(200)

    def seconds(function):
        start = os.times().user
        for _ in rounds:
            function()
        return os.times().user - start

    bare = min(seconds(lambda: Image.open(io.BytesIO(payload)).convert("RGB")) for _ in range(3))
    ours = min(seconds(lambda: decode(payload, "x")) for _ in range(3))
    assert ours / len(rounds) < 1e-3 or ours < 2 * bare

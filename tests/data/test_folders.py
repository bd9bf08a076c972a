"""Class folders: spellings, levels around them, names, what is left out, and what is refused."""

import os
import sys
import time
import unicodedata

import pytest

from fdr_bench.data import open_dataset
from fdr_bench.errors import DataError, ImageError, UsageError
from tests.data.trees import facts, grow


def opened(root, options=""):
    return open_dataset(f"folders:{root}{options}")


@pytest.mark.parametrize(
    ("real", "fake"),
    [
        ("0_real", "1_fake"),
        ("real", "fake"),
        ("REAL", "FAKE"),
        ("Real", "AI-generated"),
        ("nature", "ai"),
        ("0_nature", "1_ai"),
        ("natural", "generated"),
        ("authentic", "synthetic"),
        ("human", "AI"),
        ("1_real", "0_fake"),  # the name decides, not the number
    ],
)
def test_the_fields_spellings_are_known(tmp_path, real, fake):
    grow(tmp_path, [f"{real}/a.png", f"{fake}/a.png"])
    assert {sample.id: sample.label for sample in opened(tmp_path).samples} == {
        f"{real}/a.png": "real",
        f"{fake}/a.png": "fake",
    }


def test_a_generator_and_a_semantic_class_stand_above_the_class(tmp_path):
    grow(tmp_path, ["progan/cat/0_real/1.png", "progan/cat/1_fake/1.png", "stylegan/1_fake/1.png"])
    assert facts(opened(tmp_path)) == [
        ("progan/cat/0_real/1.png", "real", "progan", "cat"),
        ("progan/cat/1_fake/1.png", "fake", "progan", "cat"),
        ("stylegan/1_fake/1.png", "fake", "stylegan", None),
    ]


def test_generators_below_the_class_are_told_by_being_under_fake_only(tmp_path):
    grow(tmp_path, ["real/coco/1.png", "fake/alpha/1.png", "fake/beta/cat/1.png"])
    dataset = opened(tmp_path)
    assert facts(dataset) == [
        ("fake/alpha/1.png", "fake", "alpha", None),
        ("fake/beta/cat/1.png", "fake", "beta", "cat"),
        ("real/coco/1.png", "real", None, "coco"),
    ]
    assert any("read as generators" in note for note in dataset.notes)


def test_semantic_classes_below_both_labels_are_no_generators(tmp_path):
    grow(tmp_path, ["real/cat/1.png", "real/dog/1.png", "fake/cat/1.png", "fake/dog/1.png"])
    assert {(sample.generator, sample.category) for sample in opened(tmp_path).samples} == {
        (None, "cat"),
        (None, "dog"),
    }
    said = opened(tmp_path, "?below=generator")
    assert {sample.generator for sample in said.samples} == {"cat", "dog"}


def test_a_generator_below_both_labels_is_known_by_its_name(tmp_path):
    grow(tmp_path, ["real/stylegan2/1.png", "fake/stylegan2/1.png"])
    assert {sample.generator for sample in opened(tmp_path).samples} == {"stylegan2"}


def test_genimages_layout_with_splits_and_classes(tmp_path):
    grow(
        tmp_path,
        [
            f"Midjourney/imagenet_midjourney/{split}/{name}/1.png"
            for split in ("train", "val")
            for name in ("ai", "nature")
        ],
    )
    assert {(sample.generator, sample.category) for sample in opened(tmp_path).samples} == {
        ("Midjourney", "imagenet_midjourney")
    }


def test_splits_are_neither_generator_nor_class(tmp_path):
    grow(tmp_path, ["train/REAL/1.png", "test/FAKE/1.png"])
    assert {(sample.generator, sample.category) for sample in opened(tmp_path).samples} == {(None, None)}


def test_fakes_without_a_generator_level_take_the_one_that_is_named(tmp_path):
    grow(tmp_path, ["0_real/1.png", "1_fake/1.png"])
    assert [sample.generator for sample in opened(tmp_path).samples] == [None, None]
    assert [sample.generator for sample in opened(tmp_path, "?generator=sd14").samples] == [None, "sd14"]


def test_reals_of_a_source_without_fakes_are_shared(tmp_path):
    grow(tmp_path, ["coco/0_real/1.png", "flux/1_fake/1.png", "sd/1_fake/1.png"])
    dataset = opened(tmp_path)
    assert facts(dataset)[0] == ("coco/0_real/1.png", "real", None, "coco")
    assert any("count for every generator" in note for note in dataset.notes)


def test_what_pictures_show_is_no_class_below_a_class(tmp_path):
    grow(tmp_path, ["real/nature/1.png", "fake/nature/1.png", "fake/human/1.png"])
    assert {sample.id: sample.label for sample in opened(tmp_path).samples} == {
        "real/nature/1.png": "real",
        "fake/nature/1.png": "fake",
        "fake/human/1.png": "fake",
    }


def test_a_path_of_both_classes_is_refused(tmp_path):
    grow(tmp_path, ["real/fake/1.png"])
    with pytest.raises(DataError, match="states both classes"):
        opened(tmp_path)


def test_folders_that_are_no_classes_are_named_with_the_known_spellings(tmp_path):
    grow(tmp_path, ["originale/1.png", "kopien/1.png"])
    with pytest.raises(DataError, match=r"2 images are unknown.*kopien, originale.*0_real and 1_fake, real and fake"):
        opened(tmp_path)


def test_a_misspelt_class_does_not_shrink_the_set(tmp_path):
    grow(tmp_path, ["sd/Realz/1.png", "sd/1_fake/1.png"])
    with pytest.raises(DataError, match=r"'Realz' .*beside the class folder '1_fake'"):
        opened(tmp_path)


def test_images_in_no_class_folder_are_left_out_with_a_note(tmp_path):
    grow(tmp_path, ["sd/0_real/1.png", "sd/1_fake/1.png", "examples/1.png", "cover.png"])
    dataset = opened(tmp_path)
    assert len(dataset.samples) == 2
    assert any("1 image(s) in the folder examples" in note for note in dataset.notes)
    assert any("1 image(s) in the top folder" in note for note in dataset.notes)


def test_files_that_are_no_images_by_name_are_left_out_with_a_note(tmp_path):
    grow(tmp_path, ["0_real/1.png", "1_fake/1.png", "0_real/manifest.csv", "0_real/Thumbs.db", "1_fake/.DS_Store"])
    grow(tmp_path, ["1_fake/._1.png", "1_fake/._own.png"])  # an attribute file of 1.png; the other stands alone
    dataset = opened(tmp_path)
    assert [sample.id for sample in dataset.samples] == ["0_real/1.png", "1_fake/._own.png", "1_fake/1.png"]
    assert any(note.startswith("4 file(s)") for note in dataset.notes)


def test_an_empty_class_folder_is_noted(tmp_path):
    grow(tmp_path, ["1_fake/1.png"])
    (tmp_path / "0_real").mkdir()
    assert "the class folder 0_real holds no image" in opened(tmp_path).notes


def test_ids_are_nfc_whatever_the_file_system_wrote(tmp_path):
    decomposed = unicodedata.normalize("NFD", "é.png")
    grow(tmp_path, [f"0_real/{decomposed}"])
    sample = opened(tmp_path).samples[0]
    assert sample.id == "0_real/é.png"
    assert sample.image.read()


def test_two_names_that_differ_in_normalisation_alone_are_refused(tmp_path):
    grow(tmp_path, [f"0_real/{unicodedata.normalize(form, 'é.png')}" for form in ("NFC", "NFD")])
    if len(os.listdir(tmp_path / "0_real")) == 1:
        pytest.skip("this file system normalises names itself")
    with pytest.raises(DataError, match="Unicode"):
        opened(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_no_utf8_is_kept_and_printable(tmp_path):
    (tmp_path / "0_real").mkdir()
    with open(os.fsencode(tmp_path / "0_real") + b"/caf\xe9.png", "wb") as stream:
        stream.write(b"x")
    sample = opened(tmp_path).samples[0]
    assert sample.id == "0_real/caf\\xe9.png"
    assert sample.id.encode("utf-8") and sample.image.read() == b"x"


def test_linked_folders_are_followed_but_not_in_a_circle(tmp_path):
    store = grow(tmp_path / "store", ["1.png"])
    root = grow(tmp_path / "set", ["0_real/1.png"])
    os.symlink(store, root / "1_fake")
    os.symlink(root, root / "0_real" / "again")
    dataset = opened(root)
    assert [sample.id for sample in dataset.samples] == ["0_real/1.png", "1_fake/1.png"]
    assert any("leads back" in note for note in dataset.notes)


def test_a_link_to_itself_fails_as_a_sample(tmp_path):
    grow(tmp_path, ["0_real/1.png"])
    os.symlink("loop.png", tmp_path / "0_real" / "loop.png")
    sample = opened(tmp_path).samples[1]
    assert (sample.id, sample.image.size) == ("0_real/loop.png", -1)
    with pytest.raises(ImageError, match="dangling link"):
        sample.image.read()


def test_a_pipe_fails_instead_of_waiting(tmp_path):
    (tmp_path / "0_real").mkdir()
    os.mkfifo(tmp_path / "0_real" / "pipe.png")
    with pytest.raises(ImageError, match="pipe"):
        opened(tmp_path).samples[0].image.read()


def test_a_folder_named_like_an_image_above_the_classes_is_walked_into(tmp_path):
    grow(tmp_path, ["gen.png/0_real/1.png", "gen.png/1_fake/1.png"])
    assert opened(tmp_path).samples[0].generator == "gen.png"


def test_unknown_options_and_paths_are_usage_errors(tmp_path):
    grow(tmp_path, ["0_real/1.png"])
    with pytest.raises(UsageError, match=r"no option 'generater'.*Did you mean 'generator'"):
        opened(tmp_path, "?generater=x")
    with pytest.raises(UsageError, match="expected 'generator' or 'category'"):
        opened(tmp_path, "?below=x")
    with pytest.raises(UsageError, match="is not there"):
        opened(tmp_path / "nowhere")


@pytest.mark.slow
def test_listing_100_000_files_takes_about_a_second(tmp_path):
    for label in ("0_real", "1_fake"):
        (tmp_path / label).mkdir()
        for number in range(50_000):
            os.close(os.open(tmp_path / label / f"{number:06d}.png", os.O_CREAT | os.O_WRONLY))
    start = time.process_time()
    dataset = opened(tmp_path)
    assert len(dataset.samples) == 100_000
    assert time.process_time() - start < 3

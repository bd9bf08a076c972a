"""What is known of the real sets beside the repository holds; skipped where they are not there."""

import csv
import hashlib
import random
from collections import Counter
from pathlib import Path

import pytest

from fdr_bench.data import open_dataset
from fdr_bench.data.inspect import inspect_dataset
from fdr_bench.images import decode

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real sets are not at {DATA}")


def manifest(name):
    with open(DATA / name / "manifest.csv", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(
    "name",
    [
        "dragon_openfake_proxy",
        "flux_imagen_recraft",
        "gangen_began",
        "genimage_mini",
        "paired_gpt_gemini",
        "playground_mixed",
        "progan_mini",
    ],
)
def test_ids_labels_generators_and_bytes_are_the_manifests(name):
    dataset = open_dataset(f"folders:{DATA / name}")
    rows = {row["path"]: row for row in manifest(name)}
    assert {sample.id: (sample.label, sample.image.size) for sample in dataset.samples} == {
        path: (row["label"], int(row["bytes"])) for path, row in rows.items()
    }
    assert all(sample.generator == sample.id.split("/")[0] for sample in dataset.samples)
    for sample in random.Random(0).sample(list(dataset.samples), 5):
        image = decode(sample.image.read(), sample.image.location)
        row = rows[sample.id]
        assert image.sha256 == row["sha256"]
        assert (image.metadata.format, image.metadata.mode) == (row["format"], row["mode"])
        assert image.pixels.size == (int(row["width"]), int(row["height"]))


def test_mmfr_mini_has_its_ten_sets():
    dataset = open_dataset(f"mmfr:{DATA / 'mmfr_mini'}")
    counts = Counter((sample.generator, sample.label) for sample in dataset.samples)
    names = ["stablediffusion", "dalle3", "if", "midjourney", "kandinsky", "pixart", "flux", "gpt4o"]
    names += ["styleganxl", "gigagan"]
    assert counts == {
        (name, label): 3 + (name == "if" and label == "fake") for name in names for label in ("real", "fake")
    }


def test_mmfr_minis_training_images_have_their_annotation():
    dataset = open_dataset(f"mmfr:{DATA / 'mmfr_mini' / 'annotated_train'}")
    cat = next(sample for sample in dataset.samples if sample.id == "annotated_train/1_fake/diffusiondb_cat.png")
    assert len(dataset.samples) == 4 and all(sample.reasoning for sample in dataset.samples)
    # Lighting comes before Semantic in the alphabet; the three attributes without a text are passed over.
    assert cat.reasoning.startswith("The shadows cast by the cat") and cat.reasoning.endswith("which is unrealistic.")
    assert sum(text is None for text in cat.attributes.values()) == 3


def test_cifakes_parquet_has_the_polarity_of_its_folders():
    dataset = open_dataset(f"parquet:{DATA / 'cifake' / 'parquet' / 'full_train.parquet'}")
    assert Counter(sample.label for sample in dataset.samples) == {"fake": 48_702, "real": 50_000}
    known = {row["sha256"]: row["label"] for row in manifest("cifake")}
    checked = Counter()
    for sample in dataset.samples[:10_000]:
        label = known.get(hashlib.sha256(sample.image.read()).hexdigest())
        if label is not None:
            assert sample.label == label
            checked[label] += 1
    assert min(checked["real"], checked["fake"]) > 50


def test_basenames_of_both_classes_are_both_kept():
    samples = open_dataset(f"folders:{DATA / 'progan_mini'}").samples
    assert Counter(sample.label for sample in samples) == {"real": 20, "fake": 20}
    assert len({sample.id.rsplit("/", 1)[1] for sample in samples}) == 20


def test_the_real_file_in_both_generators_folders_is_found():
    duplicates = inspect_dataset(open_dataset(f"folders:{DATA / 'paired_gpt_gemini'}"))["duplicates"]
    assert (duplicates["groups"], duplicates["across_generators"], duplicates["across_labels"]) == (3, 3, 0)


def test_cifakes_known_duplicates_are_found():
    facts = inspect_dataset(open_dataset(f"folders:{DATA / 'cifake' / 'duplicates_demo'}"))
    assert (facts["duplicates"]["groups"], facts["duplicates"]["images"]) == (24, 48)
    assert (facts["real"], facts["fake"]) == (0, 48)


def test_sizes_give_playground_mixed_away_and_not_cifake():
    assert inspect_dataset(open_dataset(f"folders:{DATA / 'playground_mixed'}"))["shortcuts"]["pixels"] == 1.0
    shortcuts = inspect_dataset(open_dataset(f"folders:{DATA / 'cifake' / 'test'}"))["shortcuts"]
    assert max(shortcuts.values()) < 0.6


def test_pictures_with_the_label_written_in_them_are_left_out_with_a_note():
    notes = open_dataset(f"folders:{DATA / 'flux_imagen_recraft'}").notes
    assert any("label_leak_example" in note for note in notes)

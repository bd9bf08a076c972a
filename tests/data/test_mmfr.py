"""MMFR's evaluation sets with their annotations, and its training conversations."""

import json
import shutil
import tarfile

import pytest

from fdr_bench.data import open_dataset
from fdr_bench.errors import DataError, ImageError, UsageError
from tests.data.trees import PNG, facts, grow

PATHS = [
    f"{name}/{label}/{number}.png" for name in ("dalle3", "flux") for label in ("0_real", "1_fake") for number in "12"
]
NOTES = {
    "dalle3/1_fake/1.png": {
        "Low Image Quality": "Blurred.",
        "Anomalous Image Texture": "Waxy skin.",
        "Irregular Image Edges": None,
    },
    "dalle3/0_real/2.png": {"Smooth and Natural Image Edges": None},
}


@pytest.fixture
def root(tmp_path):
    grow(tmp_path / "evaluation_sets", PATHS)
    (tmp_path / "evaluation_sets" / "dalle3" / "dalle3_reasoning.json").write_text(json.dumps(NOTES))
    return tmp_path


def test_the_sets_are_the_generators_and_ids_are_relative_to_their_folder(root):
    dataset = open_dataset(f"mmfr:{root}")
    assert facts(dataset) == [
        (path, {"0": "real", "1": "fake"}[path.split("/")[1][0]], path.split("/")[0], None) for path in PATHS
    ]
    assert open_dataset(f"mmfr:{root}/evaluation_sets").fingerprint == dataset.fingerprint
    assert open_dataset(str(root)).spec == f"mmfr:{root}"  # a bare path is recognised


def test_annotations_are_attributes_and_the_joined_reference(root):
    samples = {sample.id: sample for sample in open_dataset(f"mmfr:{root}").samples}
    fake = samples["dalle3/1_fake/1.png"]
    assert fake.attributes == NOTES["dalle3/1_fake/1.png"]
    # In the order of the attributes' names, nulls passed over.
    assert fake.reasoning == "Waxy skin. Blurred."
    assert samples["dalle3/0_real/2.png"].reasoning is None
    assert samples["dalle3/0_real/2.png"].attributes == {"Smooth and Natural Image Edges": None}
    assert samples["flux/0_real/1.png"].attributes is None


def test_one_set_alone_keeps_its_ids(root):
    alone = open_dataset(f"mmfr:{root}/evaluation_sets/dalle3")
    assert facts(alone) == facts(open_dataset(f"mmfr:{root}"))[:4]
    assert sum(sample.reasoning is not None for sample in alone.samples) == 1


@pytest.mark.parametrize("prefix", ["evaluation_sets/", "/data/mmfr/evaluation_sets/", "./"])
def test_annotations_may_be_relative_to_any_folder_and_lie_beside_the_set(root, prefix):
    (root / "evaluation_sets" / "dalle3" / "dalle3_reasoning.json").unlink()
    notes = {prefix + key: value for key, value in NOTES.items()}
    (root / "evaluation_sets" / "dalle3_reasoning.json").write_text("\ufeff" + json.dumps(notes), encoding="utf-8")
    dataset = open_dataset(f"mmfr:{root}")
    assert sum(sample.attributes is not None for sample in dataset.samples) == 2
    assert "2 of 8 images have a reasoning annotation" in dataset.notes


def test_annotations_that_fit_no_image_and_unequal_classes_are_noted(root):
    (root / "evaluation_sets" / "dalle3" / "1_fake" / "1.png").unlink()
    notes = open_dataset(f"mmfr:{root}").notes
    assert "1 annotation(s) name no image here, such as dalle3/1_fake/1.png" in notes
    assert any("the set 'dalle3' has 2 real and 1 fake" in note for note in notes)


@pytest.mark.parametrize("content", ['{"a": {"b": 1}}', "[1, 2]", '{"a": ', ""])
def test_annotations_of_another_shape_are_refused_by_name(root, content):
    (root / "evaluation_sets" / "dalle3" / "dalle3_reasoning.json").write_text(content)
    with pytest.raises(DataError, match=r"dalle3_reasoning\.json: not as expected at .*attribute: text or null"):
        open_dataset(f"mmfr:{root}")


def test_sets_beside_the_evaluation_sets_are_named(root):
    grow(root, ["annotated_train/0_real/1.png"])
    assert any("annotated_train" in note for note in open_dataset(f"mmfr:{root}").notes)


def test_a_tar_of_the_sets_is_the_same_dataset(root, tmp_path_factory):
    path = tmp_path_factory.mktemp("tar") / "mmfr.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(root, arcname="MMFR")
    packed, unpacked = open_dataset(f"mmfr:{path}"), open_dataset(f"mmfr:{root}")
    assert packed.fingerprint == unpacked.fingerprint
    assert [sample.reasoning for sample in packed.samples] == [sample.reasoning for sample in unpacked.samples]


def row(image, conclusion, *more):
    answer = (
        "<CAPTION> A cat. </CAPTION>\n<REASONING> From low-level perspective: fur. </REASONING>\n"
        f"<CONCLUSION> {conclusion} </CONCLUSION>"
    )
    turns = [{"from": "human", "value": "<image>\nReal or fake?"}, {"from": "gpt", "value": answer}, *more]
    return {"image": image, "conversations": turns, "id": 7}


def conversations(folder, rows):
    path = folder / "train.json"
    path.write_text(json.dumps(rows))
    return path


def test_training_conversations_have_label_caption_and_reasoning(tmp_path):
    images = grow(tmp_path / "images", ["sd/a.png", "laion/b.png"])
    path = conversations(tmp_path, [row("sd/a.png", "This image is fake."), row("laion/b.png", "This image is real.")])
    dataset = open_dataset(f"mmfr:{path}?images={images}")
    assert facts(dataset) == [("laion/b.png", "real", None, None), ("sd/a.png", "fake", None, None)]
    assert {(sample.caption, sample.reasoning) for sample in dataset.samples} == {
        ("A cat.", "From low-level perspective: fur.")
    }
    assert dataset.samples[0].image.read() == PNG


def test_images_lie_beside_the_json_unless_said(tmp_path):
    grow(tmp_path, ["a.png"])
    path = conversations(tmp_path, [row("a.png", "This image is real."), row("gone.png", "This image is fake.")])
    here, gone = open_dataset(str(path)).samples
    assert here.image.read() == PNG and here.image.size == len(PNG)
    with pytest.raises(ImageError, match="No such file"):
        gone.image.read()


def test_rows_without_a_class_are_noted_and_repeated_images_kept(tmp_path):
    grow(tmp_path, ["a.png"])
    rows = [
        row("a.png", "This image is real."),
        row("a.png", "This image is fake."),
        row("a.png", "I cannot say."),
        row("a.png", "This image is real. No, this image is fake."),
    ]
    dataset = open_dataset(f"mmfr:{conversations(tmp_path, rows)}")
    assert [(sample.id, sample.label) for sample in dataset.samples] == [("a.png", "real"), ("a.png#2", "fake")]
    assert "2 row(s) state no class and are left out: 3, 4" in dataset.notes


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"a": 1}, "Expected a list of"),
        ([{"image": "a.png"}], "not as expected at 0 > conversations"),
        ([{"image": "a.png", "conversations": [{"from": "human", "value": "?"}]}], "row 1 has no answer"),
        ([row("a.png", "Who knows.")], "no answer states a class"),
    ],
)
def test_a_json_of_another_shape_is_refused_with_the_row(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        open_dataset(f"mmfr:{conversations(tmp_path, rows)}")


def test_usage_errors(tmp_path, root):
    path = conversations(tmp_path, [row("a.png", "This image is real.")])
    with pytest.raises(UsageError, match="the image folder"):
        open_dataset(f"mmfr:{path}?images={tmp_path}/nowhere")
    with pytest.raises(UsageError, match="goes with a training json"):
        open_dataset(f"mmfr:{root}?images={tmp_path}")
    shutil.rmtree(root / "evaluation_sets")
    with pytest.raises(UsageError, match="is not there"):
        open_dataset(f"mmfr:{root}/evaluation_sets")

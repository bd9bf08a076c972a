"""Records out of training data, and what of them is learnt."""

import json

import pytest
import torch

from fakereasoning.prompts import IGNORE, IMAGE_TOKEN, OFFICIAL_TRAIN_IDS, QUESTION
from fakereasoning.records import Encoded, Record, collate, encode, read_records, tokenizer_texts
from fakereasoning.tokenizer import LlamaCodec
from fdr_bench.data import open_dataset
from fdr_bench.data.files import FileImage
from fdr_bench.errors import DataError, UsageError
from tests.data.trees import PNG, grow
from tests.fakereasoning.spoken import answer, codec
from tests.fakereasoning.test_tokenizer import llama

SCENES = "scenes:train?size=32&n=6"


def record(**changes) -> Record:
    given = {"id": "a.png", "image": FileImage("a.png", 1), "question": None, "answer": answer(1), "label": "fake"}
    return Record(**{**given, **changes})


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FDR_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        open_dataset(SCENES)
        yield


@pytest.fixture
def training(tmp_path):
    """A training json with images: real, fake, without a class, and a second conversation on the first image."""
    grow(tmp_path, ["train/1.png", "train/2.png", "train/3.png"])
    rows = [("train/1.png", answer(0)), ("train/2.png", answer(1)), ("train/3.png", "no idea"), ("train/1.png", "x")]
    rows[3] = ("train/1.png", answer(2))
    content = [
        {"image": image, "conversations": [{"from": "human", "value": f"<image>\nQ{number}?"}, {"value": text}]}
        for number, (image, text) in enumerate(rows)
    ]
    (tmp_path / "cot.json").write_text(json.dumps(content))
    return tmp_path


# ---------------------------------------------------------------- reading


def test_the_records_of_a_training_json_have_its_answers_labels_and_images(training):
    records = read_records(f"mmfr:{training}/cot.json")
    assert [(one.id, one.label, one.question) for one in records] == [
        ("train/1.png", "real", None),
        ("train/1.png#2", "real", None),
        ("train/2.png", "fake", None),
    ]
    assert [one.answer for one in records] == [answer(0), answer(2), answer(1)]
    assert records[2].image.read() == PNG


def test_the_questions_of_the_data_are_there_when_asked_for(training):
    records = read_records(open_dataset(f"mmfr:{training}/cot.json"), questions="recorded")
    assert [one.question for one in records] == ["<image>\nQ0?", "<image>\nQ3?", "<image>\nQ1?"]


@pytest.mark.usefixtures("scenes")
def test_the_records_of_the_scenes_are_their_chains_of_thought():
    records, samples = read_records(SCENES), open_dataset(SCENES).samples
    assert [one.id for one in records] == [sample.id for sample in samples]
    for one, sample in zip(records, samples, strict=True):
        assert one.label == sample.label
        assert one.attributes == sample.attributes
        assert one.generator == sample.generator
        assert f"<CONCLUSION> This image is {sample.label}. </CONCLUSION>" in one.answer
        assert f"<CAPTION> {sample.caption} </CAPTION>" in one.answer
        assert all(sentence in one.answer for sentence in sample.attributes.values() if sentence)


@pytest.mark.usefixtures("scenes")
def test_a_set_without_answers_is_refused(tmp_path):
    grow(tmp_path / "set", ["0_real/1.png", "1_fake/2.png"])
    with pytest.raises(UsageError, match="has no answers to learn from: expected scenes:train"):
        read_records(f"folders:{tmp_path / 'set'}")


def test_a_damaged_training_json_is_named(tmp_path):
    (tmp_path / "cot.json").write_text('[{"image": "1.png"}]')
    with pytest.raises(DataError, match=r"cot\.json: not as expected at 0 > conversations"):
        read_records(f"mmfr:{tmp_path}/cot.json")


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize("question", [None, "<image>\nIs it fake?"])
def test_what_is_learnt_is_the_answer_and_eos_token_by_token(question):
    ids, labels = encode(record(question=question), codec())
    words = codec().encode(f"\n{QUESTION if question is None else 'Is it fake?'}\n")
    expected = [codec().bos, IMAGE_TOKEN, *words, *codec().encode(answer(1)), codec().eos]
    assert ids == expected
    start = 2 + len(words)
    assert labels == [IGNORE] * start + expected[start:]
    assert codec().decode(labels[start : start + 1]) == "<SUMMARY>"
    assert labels[-1] == codec().eos


def test_with_llamas_tokenizer_labels_begin_and_end_as_in_the_official_training():
    ids, labels = encode(record(), LlamaCodec(llama(), OFFICIAL_TRAIN_IDS))
    assert ids[:77] == list(OFFICIAL_TRAIN_IDS)
    # The first label is " <" of the first tag, the last one eos.
    assert labels[:77] == [IGNORE] * 77 and labels[77:] == ids[77:]
    assert (labels[77], labels[-1], labels[77:].count(2)) == (529, 2, 1)


def test_a_long_record_is_cut_at_the_right():
    whole = encode(record(), codec())
    for length in (3, 20, len(whole.input_ids), 10_000):
        cut = encode(record(), codec(), length)
        assert cut == (whole.input_ids[:length], whole.labels[:length])
    assert set(encode(record(), codec(), 5).labels) == {IGNORE}


# ---------------------------------------------------------------- batches


def test_rows_are_padded_on_the_side_that_is_asked_for():
    rows = [Encoded([1, 2, 3], [IGNORE, 2, 3]), Encoded([4], [4])]
    right, left = collate(rows, pad=9), collate(rows, pad=9, side="left")
    assert right.input_ids.tolist() == [[1, 2, 3], [4, 9, 9]]
    assert right.labels.tolist() == [[IGNORE, 2, 3], [4, IGNORE, IGNORE]]
    assert right.attention_mask.tolist() == [[True, True, True], [True, False, False]]
    assert left.input_ids.tolist() == [[1, 2, 3], [9, 9, 4]]
    assert left.labels.tolist() == [[IGNORE, 2, 3], [IGNORE, IGNORE, 4]]
    assert left.attention_mask.tolist() == [[True, True, True], [False, False, True]]
    assert (right.input_ids.dtype, right.attention_mask.dtype) == (torch.int64, torch.bool)


def test_padding_is_masked_even_where_the_pad_token_stands_in_a_row():
    batch = collate([Encoded([9, 9], [9, 9]), Encoded([9], [9])], pad=9)
    assert batch.attention_mask.sum(dim=1).tolist() == [2, 1]
    assert batch.labels.tolist() == [[9, 9], [9, IGNORE]]


def test_a_tokenizer_learns_from_questions_and_answers():
    texts = tokenizer_texts([record(), record(question="Where?", answer="There.")])
    assert texts == [f"\n{QUESTION}\n", answer(1), "\nWhere?\n", "There."]

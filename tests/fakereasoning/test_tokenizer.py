"""The byte-level tokenizer: nothing is lost, tags are whole, and text makes no special token."""

import random

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from fakereasoning.cpm import OFFICIAL_CPM
from fakereasoning.prompts import IMAGE_TOKEN, OFFICIAL_EVAL_IDS, OFFICIAL_TRAIN_IDS, QUESTION, TAGS
from fakereasoning.tokenizer import (
    LEAST_VOCABULARY,
    ByteLevelCodec,
    LlamaCodec,
    load_codec,
    load_llama_tokenizer,
    load_tokenizer,
    train_tokenizer,
)
from fdr_bench.errors import UsageError, WeightsError
from tests.fakereasoning.spoken import answer, answers, codec

AWKWARD = [
    "",
    " ",
    "  two  spaces \n\n\t and\ttabs ",
    "Grüße, 你好, 😀 and a\u0301 \u200b\u202e",
    "\x00\x07\x1b[31m",
    "</s><pad><unk><s> are four pieces of text",
    "Ġ is what the bytes' alphabet writes for a space",
    "<SUMMARY></SUMMARY><SUMMARY> unclosed <CONCLUSION",
    "<image>",
]


# ---------------------------------------------------------------- round trip


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_text_comes_back_as_it_was(text):
    assert codec().decode(codec().encode(text)) == text


def test_random_text_comes_back_as_it_was():
    drawn = random.Random(0)
    for _ in range(200):
        characters = [chr(drawn.choice([drawn.randrange(32, 127), drawn.randrange(1, 0xD800)])) for _ in range(40)]
        text = "".join(characters)
        assert codec().decode(codec().encode(text)) == text


def test_chains_of_thought_that_were_not_trained_on_come_back_and_end_with_eos():
    for number in range(400, 460):
        ids = codec().answer(answer(number))
        assert codec().decode(ids) == answer(number)
        assert (ids[-1], ids.count(codec().eos)) == (codec().eos, 1)


def test_bytes_that_are_no_text_are_shown_as_such():
    (first, second) = codec().encode("é") if len(codec().encode("é")) == 2 else (None, None)
    assert codec().decode([first]) == "\ufffd"
    assert codec().decode([first, second]) == "é"


# ---------------------------------------------------------------- tokens


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_is_one_token_wherever_it_stands(tag):
    (alone,) = codec().encode(tag)
    assert codec().encode(f"x{tag}y").count(alone) == 1
    assert codec().decode([alone]) == tag


def test_text_never_makes_a_special_token():
    special = {codec().pad, codec().bos, codec().eos, codec().tokenizer.token_to_id("<unk>")}
    assert len(special) == 4
    assert not special & set(codec().encode("<pad> <s> </s> <unk>"))


def test_special_tokens_and_the_image_are_left_out_of_the_text():
    ids = [codec().bos, IMAGE_TOKEN, *codec().encode("A ball."), codec().eos, codec().pad]
    assert codec().decode(ids) == "A ball."


def test_the_words_of_the_conclusion_are_one_token_each():
    cpm = codec().cpm
    assert [codec().decode([i]) for i in cpm.pattern] == ["<CONCLUSION>", " This", " image", " is"]
    assert [codec().decode(ids) for ids in (cpm.real, cpm.fake)] == [" real", " fake"]


def test_the_prompt_is_bos_the_image_and_the_question_in_at_most_sixteen_tokens():
    ids = codec().prompt()
    assert ids[:2] == [codec().bos, IMAGE_TOKEN]
    assert codec().decode(ids) == f"\n{QUESTION}\n"
    assert len(ids) <= 16
    assert codec().prompt("<image>\nWhat colour is the ball?")[2:] == codec().encode("\nWhat colour is the ball?\n")


def test_an_answer_is_short_for_the_small_model():
    lengths = [len(codec().answer(answer(number))) for number in range(400, 460)]
    assert sum(lengths) / 60 < 180
    assert max(lengths) < 256


# ---------------------------------------------------------------- training


def test_the_vocabulary_is_as_large_as_asked_for_and_no_larger():
    assert codec().vocabulary == 1024
    assert max(codec().tokenizer.get_vocab().values()) == 1023
    assert train_tokenizer(["a"], vocabulary=LEAST_VOCABULARY).vocabulary == LEAST_VOCABULARY


def test_equal_texts_give_an_equal_tokenizer_in_any_order():
    texts = list(answers(60))
    one, other = (train_tokenizer(given, vocabulary=400) for given in (texts, texts[::-1]))
    assert one.tokenizer.to_str() == other.tokenizer.to_str()


def test_too_small_a_vocabulary_is_refused():
    with pytest.raises(UsageError, match=f"expected at least {LEAST_VOCABULARY}"):
        train_tokenizer(["a"], vocabulary=200)


# ---------------------------------------------------------------- files


def test_a_saved_tokenizer_is_the_same_and_the_transformers_library_reads_it(tmp_path):
    codec().save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    text = answer(401) + " </s>"
    assert loaded.encode(text) == codec().encode(text)
    assert (loaded.pad, loaded.bos, loaded.eos) == (codec().pad, codec().bos, codec().eos)
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    assert theirs.encode(answer(401)) == codec().encode(answer(401))
    assert theirs.decode(theirs.encode(answer(401)), clean_up_tokenization_spaces=False) == answer(401)


@pytest.mark.parametrize("content", [None, "", "{}", "no json", "[1, 2]"])
def test_a_missing_or_foreign_tokenizer_file_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(WeightsError, match=r"tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_without_the_special_tokens_or_the_tags_is_refused():
    with pytest.raises(WeightsError, match="no <pad> token"):
        ByteLevelCodec(Tokenizer(models.BPE()))
    bare = Tokenizer(models.BPE())
    bare.add_special_tokens(["<pad>", "<s>", "</s>", "<unk>"])
    with pytest.raises(WeightsError, match="no token for <SUMMARY>, </SUMMARY>"):
        ByteLevelCodec(bare)


# ---------------------------------------------------------------- Llama


PIECES = {
    **{"<unk>": 0, "<s>": 1, "</s>": 2, "<0x0A>": 13},
    **{"▁Is": 50, "▁it": 51, "▁real": 1855, "?": 29973, "▁fake": 25713, ".": 29889, "<": 29966, "▁<": 529},
    **{"CON": 6007, "CL": 6154, "US": 3308, "ION": 2725, ">": 29958, "▁This": 910, "▁image": 1967, "▁is": 338},
    **{"▁A": 319, "SS": 1799, "IST": 9047, "ANT": 13566, ":": 29901, "▁": 29871, "a": 29874, "Is": 3624, "▁a": 263},
}


def llama(pieces: dict[str, int] = PIECES) -> Tokenizer:
    """Return a tokenizer that cuts as Llama-2's does, with its ids for the few pieces that the tests need."""
    merges, vocabulary = [], dict(pieces)
    for piece in sorted(pieces, key=len):
        if piece.startswith("<") and len(piece) > 2:
            continue
        for end in range(1, len(piece)):
            for part in (piece[:end], piece[end]):
                vocabulary.setdefault(part, 40_000 + len(vocabulary))
            vocabulary.setdefault(piece[: end + 1], 40_000 + len(vocabulary))
            if (piece[:end], piece[end]) not in merges:
                merges.append((piece[:end], piece[end]))
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


@pytest.fixture
def llama_folder(tmp_path):
    llama().save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_the_llama_prompts_are_the_official_ids(llama_folder):
    assert load_llama_tokenizer(llama_folder).prompt() == list(OFFICIAL_EVAL_IDS)
    assert load_llama_tokenizer(llama_folder, ids=OFFICIAL_TRAIN_IDS).prompt() == list(OFFICIAL_TRAIN_IDS)


def test_another_question_takes_the_place_behind_the_image_and_the_assistant_stays(llama_folder):
    ids = load_llama_tokenizer(llama_folder).prompt("<image>\nIs it real?")
    image = OFFICIAL_EVAL_IDS.index(IMAGE_TOKEN)
    assert ids[: image + 1] == list(OFFICIAL_EVAL_IDS[: image + 1])
    # A lone space mark, the newline, "Is" without one, " it", " real", "?", and the assistant as it ends every prompt.
    assert ids[image + 1 :] == [29871, 13, 3624, 51, 1855, 29973, *OFFICIAL_EVAL_IDS[-5:]]


def test_a_llama_answer_begins_as_behind_a_space_and_ends_with_eos(llama_folder):
    loaded = load_llama_tokenizer(llama_folder)
    ids = loaded.answer("<CONCLUSION> This image is fake.")
    assert ids == [529, *OFFICIAL_CPM.pattern, 25713, 29889, 2]
    assert loaded.decode(ids) == "<CONCLUSION> This image is fake."
    assert loaded.cpm == OFFICIAL_CPM


def test_a_tokenizer_that_is_not_llamas_is_refused(tmp_path):
    codec().save(tmp_path)
    with pytest.raises(WeightsError, match="not the Llama-2 tokenizer"):
        load_llama_tokenizer(tmp_path)
    with pytest.raises(WeightsError, match=r"tokenizer\.json or tokenizer\.model"):
        load_llama_tokenizer(tmp_path / "nowhere")


@pytest.mark.parametrize("ids", [OFFICIAL_EVAL_IDS, OFFICIAL_TRAIN_IDS])
def test_a_written_folder_records_its_prompt_and_another_may_take_its_place(tmp_path, ids):
    LlamaCodec(llama(), ids).save(tmp_path)
    assert load_codec(tmp_path).prompt() == list(ids)
    assert load_codec(tmp_path, ids=OFFICIAL_TRAIN_IDS).prompt() == list(OFFICIAL_TRAIN_IDS)
    assert load_codec(tmp_path).encode("<CONCLUSION>") == [529, *OFFICIAL_CPM.pattern[:5]]


def test_a_folder_without_a_prompt_has_the_released_inferences(llama_folder):
    assert load_codec(llama_folder).prompt() == list(OFFICIAL_EVAL_IDS)


def test_a_small_models_folder_has_its_own_tokenizer_whatever_prompt_is_asked_for(tmp_path):
    codec().save(tmp_path)
    assert load_codec(tmp_path, ids=OFFICIAL_TRAIN_IDS).prompt() == codec().prompt()


@pytest.mark.parametrize("content", ["{}", '{"ids": [1, 2]}', '{"ids": ["-200"]}', '{"ids": -200}', "no json"])
def test_a_damaged_prompt_is_named(llama_folder, content):
    (llama_folder / "prompt.json").write_text(content)
    with pytest.raises(WeightsError, match=r"prompt\.json"):
        load_codec(llama_folder)


def test_a_prompt_has_exactly_one_image():
    with pytest.raises(UsageError, match="has 0 images, expected one"):
        LlamaCodec(llama(), [1, 2, 3])

"""Fourteen families of vision-language models, tiny and offline: what they read, and that a batch changes no answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from baselines._vlm_answering import Answerer, Question, Said
from baselines._vlm_loading import Loaded, load
from tests.baselines.made import picture
from tests.baselines.tiny_vlm_families import FAMILIES
from tests.baselines.tiny_vlms import write

WORDS = {"real": "real", "fake": "fake"}
VERDICT = Question(text="Q?", words=WORDS)
STAGED = Question(text="Explain.", system="Look well.", words=WORDS, lead="this image is", stage="CONCLUSION")
QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
HELPFUL = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
PUBLISHED = {
    "llava": "USER: <image>\nQ? ASSISTANT:",
    "llava_onevision": f"{HELPFUL}<|im_start|>user\n<image>\nQ?<|im_end|>\n<|im_start|>assistant\n",
    "qwen2_5_vl": f"{HELPFUL}<|im_start|>user\n{QWEN_IMAGE}Q?<|im_end|>\n<|im_start|>assistant\n",
    "qwen3_vl": f"<|im_start|>user\n{QWEN_IMAGE}Q?<|im_end|>\n<|im_start|>assistant\n",
    "internvl": "<|im_start|>user\n<IMG_CONTEXT>\nQ?<|im_end|>\n<|im_start|>assistant\n",
    "glm4v": "[gMASK]<sop><|user|>\n<|begin_of_image|><|image|><|end_of_image|>Q?<|assistant|>\n",
    "deepseek_vl": "You are a helpful language and vision assistant. You are able to understand the visual content "
    "that the user provides, and assist the user with a variety of tasks using natural language.\n\n"
    "User: <image_placeholder>Q?\n\nAssistant:",
    "gemma3": "<bos><start_of_turn>user\n<start_of_image>Q?<end_of_turn>\n<start_of_turn>model\n",
    "idefics3": "<|begin_of_text|>User:<image>Q?<end_of_utterance>\nAssistant:",
    "idefics2": "User:<image>Q?<end_of_utterance>\nAssistant:",
}
PUBLISHED |= {
    "deepseek_vl_hybrid": PUBLISHED["deepseek_vl"],
    "glm46v": PUBLISHED["glm4v"],
    "qwen2_vl": PUBLISHED["qwen2_5_vl"],
    "qwen3_5": PUBLISHED["qwen3_vl"],
}
SIZES = ((60, 40), (40, 60), (64, 64), (90, 30))


@pytest.fixture(scope="module", params=FAMILIES)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(write(request.param, tmp_path_factory.mktemp(request.param)))


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    return [picture(width, height, seed) for seed, (width, height) in enumerate(SIZES)]


def kind(loaded: Loaded) -> str:
    return str(loaded.model.config.model_type)


def spread(said: list[Said]) -> int:
    """How many different things were said, texts and scores together."""
    return len({(each.text, round(each.score or 0, 6)) for each in said})


def test_the_prompt_is_laid_out_as_the_family_published_it(loaded: Loaded) -> None:
    assert Answerer(loaded, VERDICT, max_tokens=1).prompt == PUBLISHED[kind(loaded)]
    told = Answerer(loaded, STAGED, max_tokens=1).prompt
    assert told.index("Look well.") < told.index("Explain.")
    assert "helpful" not in told  # a system text takes the place of the usual one


@pytest.mark.parametrize("question", [VERDICT, STAGED], ids=["one word", "staged"])
def test_a_batch_says_what_each_image_alone_gives(
    loaded: Loaded, images: list[Image.Image], question: Question
) -> None:
    answerer = Answerer(loaded, question, max_tokens=10)
    together = answerer.answer(images)
    alone = [answerer.answer([image])[0] for image in images]
    assert [each.text for each in together] == [each.text for each in alone]
    assert [each.score for each in together] == pytest.approx([each.score for each in alone], abs=1e-5)
    assert {each.score_source for each in together} == {"cpm-forced" if question.lead else "label_logits"}
    assert spread(together) == len(images)  # it looks at them: equal answers would be equal in any batch
    assert answerer.answer([]) == []


def test_the_score_is_the_share_of_the_words_that_the_next_token_gives(
    loaded: Loaded, images: list[Image.Image]
) -> None:
    answerer = Answerer(loaded, VERDICT, max_tokens=1)
    vocabulary = loaded.processor.tokenizer.get_vocab()
    mass = {"real": 0.0, "fake": 0.0}
    with torch.no_grad():
        shares = loaded.model(**answerer.inputs(images[:1])).logits[0, -1].double().softmax(0)
    for token, index in vocabulary.items():
        if (word := token.replace("Ġ", " ").strip().lower()) in mass:
            mass[word] += float(shares[index])
    expected = mass["fake"] / (mass["real"] + mass["fake"])
    assert answerer.answer(images[:1])[0].score == pytest.approx(expected, abs=1e-5)


def test_a_verdict_that_was_not_written_is_read_behind_an_appended_conclusion(
    loaded: Loaded, images: list[Image.Image]
) -> None:
    answerer = Answerer(loaded, STAGED, max_tokens=4)
    tokenizer = loaded.processor.tokenizer
    inputs = answerer.inputs(images[:1])
    with torch.no_grad():
        out = loaded.model.generate(**inputs, max_new_tokens=4, do_sample=False)
        ids = [index for index in out[0, inputs["input_ids"].shape[1] :].tolist() if index not in answerer.special]
        start = "\n<CONCLUSION> This image is" if tokenizer.decode(ids).strip() else "<CONCLUSION> This image is"
        more = torch.tensor([[*ids, *tokenizer(start, add_special_tokens=False)["input_ids"]]])
        longer = {
            name: torch.cat(
                [values, more if name == "input_ids" else torch.full_like(more, name == "attention_mask")], 1
            )
            if name in ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
            else values
            for name, values in inputs.items()
        }
        logits = loaded.model(**longer).logits[0, -1].double()
    assert answerer.tokens is not None
    real, fake = (logits[list(each)].logsumexp(0) for each in answerer.tokens)
    said = answerer.answer(images[:1])[0]
    assert said.score_source == "cpm-forced" and said.truncated
    assert said.score == pytest.approx(float((fake - real).sigmoid()), abs=1e-5)


def test_half_precision_is_used_where_it_is_asked_for(tmp_path: Path, images: list[Image.Image]) -> None:
    model = load(write("llava", tmp_path), precision="bf16")
    assert model.model.dtype == torch.bfloat16
    said = Answerer(model, VERDICT, max_tokens=3).answer(images)
    assert all(each.score is not None and 0 <= each.score <= 1 for each in said)

"""FakeShield's first stage and LLaVA's own layout, tiny: tensors, prompt, tags, and the reading of answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from baselines._fakeshield import DTG_VIEW, START, load, read_answer, read_wording, tagger
from baselines._llava_original import load_original
from baselines._resnet import ResNet
from baselines._vlm_answering import Answerer, Question
from baselines._vlm_loading import load as load_vlm
from baselines.fakeshield import WAYS, FakeShield
from fdr_bench.errors import UsageError, WeightsError
from fdr_bench.images import apply_view
from fdr_bench.weights import resolve_preset
from tests.baselines.made import picture
from tests.baselines.tiny_llava import words, write_original

# As the authors' program has it, in other words.
PROGRAM = """
raise SystemExit("this file is read, not run")
inp = input("asked: ")
inp = ""
inp = "Was it tampered with?"
if label == 0:
    inp = "Tag zero. " + inp
elif label == 1:
    inp = "Tag one. " + inp
elif label == 2:
    inp = "Tag two. " + inp
if image is not None:
    inp = MARK + inp
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("fakeshield-v1-22b")
    write_original(place / "DTE-FDM")
    torch.manual_seed(1)
    torch.save(ResNet(outputs=3).state_dict(), place / "DTG.pth")
    (place / "cli.py").write_text(PROGRAM)
    return place


@pytest.mark.parametrize("tower_inside", [False, True])
def test_the_authors_layout_gives_what_the_same_weights_give_in_transformers(
    tower_inside: bool, tmp_path: Path
) -> None:
    network = write_original(tmp_path, tower_inside=tower_inside)
    loaded = load_vlm(tmp_path)
    answerer = Answerer(loaded, Question(text="Is it real?", words={"real": "real", "fake": "fake"}), max_tokens=2)
    inputs = answerer.inputs([picture(30, 30)])
    with torch.no_grad():
        expected = network(**inputs).logits
        found = loaded.model(**inputs).logits
    assert torch.equal(found, expected)


def test_the_prompt_is_tokenized_in_two_texts_about_the_image(tmp_path: Path) -> None:
    write_original(tmp_path)
    loaded = load_original(tmp_path, device="cpu", dtype=torch.float32, beside=lambda images: ["A tag. "] * len(images))
    answerer = Answerer(loaded, Question(text="Is it real?", words={"real": "real", "fake": "fake"}), max_tokens=1)
    (row,) = answerer.inputs([picture(30, 30)])["input_ids"].tolist()
    tokenizer = words()
    before, after = row[: row.index(0)], row[row.index(0) + 4 :]
    assert row.count(0) == 4  # 28 / 14 = 2 patches a side
    assert before[0] == tokenizer.bos_token_id
    assert tokenizer.decode(before[1:]).startswith("A chat between a curious human")
    assert tokenizer.decode(before[1:]).endswith("human's questions. USER: ")
    # The text behind the image begins as a text of its own: with a space mark, then the newline.
    assert tokenizer.convert_ids_to_tokens(after[:2]) == ["▁", "<0x0A>"]
    assert tokenizer.decode(after) == "\nA tag. Is it real? ASSISTANT:"


def test_images_are_padded_to_a_square_with_the_mean_colour(tmp_path: Path) -> None:
    write_original(tmp_path)
    loaded = load_original(tmp_path, device="cpu", dtype=torch.float32)
    wide = Image.new("RGB", (56, 28), (255, 255, 255))
    pixels = loaded.processor(text=["<image>\n"], images=[[wide]])["pixel_values"][0]
    white = (1 - 0.48145466) / 0.26862954
    assert float(pixels[0, 14, 14]) == pytest.approx(white, abs=1e-4)
    assert abs(float(pixels[0, 0, 14])) < 0.02  # int(255 · mean) is the mean but for its rounding


def test_a_batch_says_what_each_image_alone_gives(folder: Path) -> None:
    images = [picture(30 + seed, 30, seed) for seed in range(4)]
    answerer = load(folder, device="cpu")
    answerer.max_tokens, answerer.rows = 8, 4
    together = answerer.answer(images)
    alone = [answerer.answer([image])[0] for image in images]
    assert [each.text for each in together] == [each.text for each in alone]
    assert [each.score for each in together] == pytest.approx([each.score for each in alone], abs=1e-5)
    assert len({round(each.score or 0, 6) for each in together}) == 4
    assert {each.score_source for each in together} == {"cpm-forced"}
    assert answerer.question.start == START


def test_every_image_has_the_sentence_of_its_likeliest_tag(folder: Path) -> None:
    images = [picture(300, 260, seed) for seed in range(3)]
    network = ResNet(outputs=3)
    network.load_state_dict(torch.load(folder / "DTG.pth", weights_only=True))
    with torch.no_grad():
        logits = network.eval()(torch.from_numpy(np.stack([apply_view(DTG_VIEW, image) for image in images])))
    assert tagger(folder / "DTG.pth", ("a", "b", "c"), "cpu")(images) == ["abc"[n] for n in logits.argmax(1).tolist()]


def test_the_wording_is_read_out_of_the_authors_program_without_running_it(folder: Path, tmp_path: Path) -> None:
    assert read_wording(folder / "cli.py") == ("Was it tampered with?", ("Tag zero. ", "Tag one. ", "Tag two. "))
    (tmp_path / "cli.py").write_text("inp = 'one'\ninp = 'two'\n")
    with pytest.raises(WeightsError, match="has 2 questions and 0 tags; expected one and three"):
        read_wording(tmp_path / "cli.py")
    (tmp_path / "cli.py").write_text("if label == 0")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_wording(tmp_path / "cli.py")


HEADING = "1. Whether the picture has been tampered with / Description of the tampered area: "


@pytest.mark.parametrize(
    ("text", "verdict", "reasoning", "problem"),
    [
        (
            f"{HEADING}The picture has been tampered with, at the left.\n\n2. Judgment basis: Edges.",
            "fake",
            "Edges.",
            None,
        ),
        (
            f"{HEADING}The picture has not been tampered with.\n\n2. Judgment basis: Even light.",
            "real",
            "Even light.",
            None,
        ),
        (f"{HEADING}The picture does not appear to have been tampered with.\n2. Judgment basis: -", "real", "-", None),
        (f"{HEADING}The image appears to be a genuine photograph.\n2. Judgment basis: x", "real", "x", None),
        (f"{HEADING}No signs of manipulation.\n2. Judgment basis: x", "real", "x", None),
        (
            f"{HEADING}It has been tampered with, in light not as elsewhere.\n2. Judgment basis: x",
            "fake",
            "x",
            None,
        ),
        (f"{HEADING}At first it looks like no forgery but it is edited.\n2. Judgment basis: x", "fake", "x", None),
        ("The picture has been tampered with.", "fake", None, "off-format"),
        (HEADING, None, None, "no verdict"),
        ("", None, None, "no verdict"),
    ],
)
def test_an_answer_is_read_by_its_first_point(
    text: str, verdict: str | None, reasoning: str | None, problem: str | None
) -> None:
    assert read_answer(text, truncated=False) == (verdict, reasoning, problem)


def test_an_answer_that_is_cut_off_says_so() -> None:
    assert read_answer(HEADING + "The pict", truncated=True).problem == "truncated"


def test_its_views_are_ways_of_asking(folder: Path) -> None:
    images = [picture(40, 30, seed) for seed in range(2)]
    said = {}
    for view in WAYS:
        made = FakeShield(weights={"weights": folder}, view=view)
        made.answerer.max_tokens = 8
        said[view] = [each.raw for each in made.predict(images)]
        assert [each.raw for each in made.predict(images)] == said[view]
    assert said["greedy"] != said["no-tag"]
    with pytest.raises(UsageError, match="Did you mean 'greedy'"):
        FakeShield(weights={"weights": folder}, view="greed")


def test_what_is_missing_is_told_with_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FDR_BENCH_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"hf download zhipeixu/fakeshield-v1-22b .*cli\.py of the repository"):
        resolve_preset(FakeShield.card, "official")
    with pytest.raises(WeightsError, match=r"lacks DTE-FDM, DTG\.pth, cli\.py"):
        load(tmp_path, device="cpu")

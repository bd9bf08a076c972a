"""CLIP's encoding of texts, with the part of its vocabulary that a few captions need."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from baselines._clip_words import ClipWords
from fdr_bench.errors import WeightsError

# Out of OpenAI's vocabulary (MIT): the merges of the captions below in their order, with the numbers of what they give.
MERGES = """
i n 512 | a n 514 | a r 516 | e r 517 | in g</w> 519 | o u 520 | s t 522 | o r 523 | o n</w> 525 | i t 529 |
i n</w> 530 | r o 532 | a t</w> 536 | o f</w> 539 | i l 543 | a c 546 | o m 547 | l o 549 | a n</w> 550 | d e 561 |
' s</w> 568 | u n 569 | l a 572 | o o 574 | l e</w> 579 | t o 580 | ou r</w> 581 | w it 584 | i t</w> 585 | s p 588 |
wit h</w> 593 | a b 596 | s u 605 | s e</w> 611 | er s</w> 612 | c o 622 | f e 623 | c h</w> 634 | ou n 636 |
b y</w> 638 | k e 643 | an d 672 | a d</w> 680 | u p</w> 705 | g e</w> 710 | ac e</w> 804 | oun d</w> 853 |
ab le</w> 863 | s m 978 | w om 1087 | f fe 1138 | de n</w> 1181 | c lo 1194 | ke t</w> 1236 | un ch</w> 1527 |
ar ound</w> 1630 | f ace</w> 1710 | st and 1819 | w oo 1867 | c up</w> 1937 | sp ace</w> 2138 | t able</w> 2175 |
co ffe 2255 | wom an</w> 2308 | c at</w> 2368 | coffe e</w> 2453 | t ab 2648 | clo se</w> 2660 | f our</w> 2721 |
stand ing</w> 2862 | la unch</w> 2904 | an ge</w> 3039 | ro c 3268 | il ing</w> 3299 | su it</w> 3940 |
or ange</w> 4287 | w ers</w> 7110 | p ad</w> 7601 | roc ket</w> 8383 | woo den</w> 9057 | sm iling</w> 9200 |
to wers</w> 12701 | tab by</w> 36145
"""
GOLDEN = Path(__file__).resolve().parents[1] / "goldens" / "defake.json"


def write(folder: Path) -> tuple[Path, Path]:
    """Write vocab.json and merges.txt as the hub has them, but for what the captions do not need."""
    rows = [row.split() for row in MERGES.replace("\n", " ").split("|")]
    # The first 94 bytes are the printable characters of ASCII from "!", then come other bytes, then all as word ends.
    numbers = {chr(33 + index): index for index in range(94)}
    numbers |= {f"{character}</w>": number + 256 for character, number in numbers.items()}
    numbers |= {left + right: int(number) for left, right, number in rows}
    numbers |= {"<|startoftext|>": 49406, "<|endoftext|>": 49407}
    merges = "\n".join(["#version: 0.2", *(f"{left} {right}" for left, right, _ in rows), ""])
    (folder / "vocab.json").write_text(json.dumps(numbers), encoding="utf-8")
    (folder / "merges.txt").write_text(merges, encoding="utf-8")
    return folder / "vocab.json", folder / "merges.txt"


def test_captions_become_the_numbers_that_openais_code_gives(tmp_path: Path) -> None:
    captions = json.loads(GOLDEN.read_text())["captions"].values()
    rows = ClipWords(*write(tmp_path)).encode([caption["text"] for caption in captions])
    expected = [caption["token_ids"] + [0] * (77 - len(caption["token_ids"])) for caption in captions]
    assert rows.tolist() == expected


def test_case_and_spaces_make_no_difference_and_an_empty_text_is_a_start_and_an_end(tmp_path: Path) -> None:
    words = ClipWords(*write(tmp_path))
    assert words.encode(["  A Tabby\ncat "], 6).tolist() == words.encode(["a tabby cat"], 6).tolist()
    assert words.encode([""], 4).tolist() == [[49406, 49407, 0, 0]]
    assert words.encode([], 4).shape == (0, 4)


def test_a_text_that_is_too_long_is_cut_before_its_end(tmp_path: Path) -> None:
    words = ClipWords(*write(tmp_path))
    # A start, as many words as fit, an end: "a" is 320, "cat" 2368.
    assert words.encode(["a cat a cat"], 5).tolist() == [[49406, 320, 2368, 320, 49407]]
    assert words.encode(["a cat a"], 5).tolist() == [[49406, 320, 2368, 320, 49407]]


def test_files_that_are_damaged_or_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    vocabulary, merges = write(tmp_path)
    merges.write_text(merges.read_text() + "tab le</w>\nun known\n")
    with pytest.raises(WeightsError, match=r"lacks 1 tokens of .*merges.txt, such as 'unknown'"):
        ClipWords(vocabulary, merges)
    merges.write_text("#version: 0.2\nthree of them\n")
    with pytest.raises(WeightsError, match="damaged"):
        ClipWords(vocabulary, merges)
    vocabulary.write_text("{")
    with pytest.raises(WeightsError, match="damaged"):
        ClipWords(vocabulary, merges)
    with pytest.raises(WeightsError, match="damaged"):
        ClipWords(tmp_path / "nowhere.json", merges)

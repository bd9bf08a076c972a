"""FakeShield's first stage: a domain tag by a ResNet-50, a fine-tuned LLaVA-1.5, and how its answer is read.

The question and the tags' sentences are read out of the authors' own program, as the weights know no other wording.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL.Image import Image

from baselines._checkpoints import build_from, find_state, read_checkpoint
from baselines._llava_original import load_original
from baselines._resnet import ResNet
from baselines._torch import IMAGENET
from baselines._vlm_answering import Answerer, Question
from fdr_bench.errors import WeightsError
from fdr_bench.images import apply_view
from fdr_bench.types import CenterCrop, Label, Resize, View

MAX_TOKENS = 1024
DTG_VIEW = View(steps=(Resize(256), CenterCrop(224)), **IMAGENET)
LEAD = "tampered area: the picture has"
START = "1. Whether the picture has been tampered with / Description of the tampered area: The picture has"
_BASIS = re.compile(r"\n\s*2\.|judge?ment basis:", re.IGNORECASE)
_HEADING = re.compile(r"^.*?tampered area:", re.IGNORECASE | re.DOTALL)
_CHANGED = re.compile(
    r"\b(?:tamper(?:ed|ing)|manipulat(?:ed|ion)|altered|edited|modified|forged|forgery|fake)\b", re.IGNORECASE
)
_DENIED = re.compile(r"\b(?:not|no|never|without|free)\b(?!.*\bbut\b)|n't\b", re.IGNORECASE | re.DOTALL)
_AUTHENTIC = re.compile(
    r"\b(?:is|appears? to be) (?:an? )?(?:authentic|genuine|real|original|unaltered)\b", re.IGNORECASE
)


class Wording(NamedTuple):
    """The authors' question, and the sentence before it for each class of the tag."""

    question: str
    tags: tuple[str, str, str]


class Reading(NamedTuple):
    """What an answer says. `problem` as in `fdr_bench.prompts.reading`."""

    verdict: Label | None
    reasoning: str | None
    problem: str | None


def read_wording(program: Path) -> Wording:
    """Return the wording out of the authors' DTE-FDM/llava/serve/cli.py, which is parsed, never run.

    There `inp` is given the question, and for each `label == 0, 1, 2` a sentence before it. Raises `WeightsError` where
    that is not what the file does.
    """
    try:
        tree = ast.parse(program.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise WeightsError(f"{program} cannot be read ({error}); expected the authors' llava/serve/cli.py") from error
    questions: list[str] = []
    tags: dict[int, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.If):
            match node.test, node.body:
                case (
                    ast.Compare(
                        left=ast.Name(id="label"), ops=[ast.Eq()], comparators=[ast.Constant(value=int(number))]
                    ),
                    [ast.Assign(value=ast.BinOp(left=ast.Constant(value=str(tag)), op=ast.Add()))],
                ):
                    tags[number] = tag
        match node:
            case ast.Assign(targets=[ast.Name(id="inp")], value=ast.Constant(value=str(text))) if text:
                questions.append(text)
    if len(questions) != 1 or sorted(tags) != [0, 1, 2]:
        raise WeightsError(
            f"{program} has {len(questions)} questions and {len(tags)} tags; expected one and three, as in the "
            "authors' DTE-FDM/llava/serve/cli.py at de40a5f"
        )
    return Wording(questions[0], (tags[0], tags[1], tags[2]))


def tagger(path: Path, sentences: Sequence[str], device: str) -> Callable[[Sequence[Image]], list[str]]:
    """Return the domain tag generator: images to the sentence of the likeliest of its three classes.

    It has no class for authentic images: every image is said to be suspected of something.
    """
    state = find_state(read_checkpoint(path), path)
    network = build_from(lambda: ResNet(outputs=3), state, str(path)).to(device)

    def tag(images: Sequence[Image]) -> list[str]:
        pixels = torch.from_numpy(np.stack([apply_view(DTG_VIEW, image) for image in images])).to(device)
        with torch.inference_mode():
            return [sentences[number] for number in network(pixels).argmax(dim=1).tolist()]

    return tag


def load(folder: Path, *, device: str, temperature: float = 0.0, tagged: bool = True) -> Answerer:
    """Return the answerer of a folder with DTE-FDM/, DTG.pth and the authors' cli.py.

    Raises `WeightsError` saying which is missing.
    """
    lacking = [name for name in ("DTE-FDM", "DTG.pth", "cli.py") if not (folder / name).exists()]
    if lacking:
        raise WeightsError(
            f"{folder} lacks {', '.join(lacking)}; expected DTE-FDM/ and DTG.pth of zhipeixu/fakeshield-v1-22b, and "
            "cli.py out of the authors' repository"
        )
    wording = read_wording(folder / "cli.py")
    gpu = device.startswith("cuda")
    loaded = load_original(
        folder / "DTE-FDM",
        device=device,
        dtype=torch.float16 if gpu else torch.float32,
        beside=tagger(folder / "DTG.pth", wording.tags, device) if tagged else None,
    )
    question = Question(text=wording.question, words={"real": "not", "fake": "been"}, lead=LEAD, appended=START)
    return Answerer(loaded, question, max_tokens=MAX_TOKENS, temperature=temperature, rows=8 if gpu else 1)


def read_answer(text: str, *, truncated: bool) -> Reading:
    """Read an answer: what its first point says of tampering, and the second as the reasoning.

    The authors' next stage calls an image authentic where the text says that it "has not been tampered with"; here
    other ways of denying it count too, and a text that says neither has no verdict.
    """
    basis = _BASIS.search(text)
    first = _HEADING.sub("", text[: basis.start()] if basis else text)
    reasoning = text[basis.end() :].strip() or None if basis else None
    if reasoning and reasoning.lower().startswith("judgment basis:"):
        reasoning = reasoning.partition(":")[2].strip() or None
    verdict: Label | None = "real" if _AUTHENTIC.search(first) else None
    if sentence := next(filter(_CHANGED.search, re.split(r"[.;]\s", first)), None):
        # "not tampered with" denies it; "no forgery at first, but edited" does not.
        said = [_DENIED.search(sentence[: each.start()]) is not None for each in _CHANGED.finditer(sentence)]
        verdict = "real" if all(said) else "fake"
    if verdict is None:
        return Reading(None, reasoning, "truncated" if truncated else "no verdict")
    return Reading(verdict, reasoning, None if basis else "truncated" if truncated else "off-format")

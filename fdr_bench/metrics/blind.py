"""Texts that no image went into, and the layout's ceiling: what n-gram scores have to be read against.

On human references of forgeries another image's reference, or one constant text, scores about as much as published
models do. Every baseline gives each image of a set a text without looking at it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fdr_bench.metrics.reasoning import bleu1_scores, rouge_l_scores

Indices = NDArray[np.int64]
CANDIDATES = 48  # references tried as the constant text
JUDGED = 256  # references that they are tried on
HIGH_LEVEL = "Semantic"  # what the names of attributes of the high level begin with

BLIND: dict[str, str] = {
    "blind:constant": "one reference for every image: of a sample of them the one nearest to all, by BLEU-1 + ROUGE-L",
    "blind:shuffled": "another image's reference, drawn at random",
    "blind:length-matched": "another image's reference of about the same number of words",
}
LABELLED = {"blind:same-label": "another image's reference, drawn at random among those of the same class"}
CEILING = {"ceiling:layout": "the reference itself in the layout of the chain of thought, with its two headings"}
TEXT_BASELINES = BLIND | LABELLED | CEILING


def blind_sources(references: Sequence[str], fake: NDArray[np.bool_], *, seed: int) -> dict[str, Indices]:
    """Return for each baseline whose reference each of N images gets, (N,); -1 where there is no other to take.

    The draws depend on `seed` and N alone. "blind:same-label" knows the truth (N,), the others nothing.
    """
    count = len(references)
    everyone = np.arange(count)
    same_label = np.full(count, -1)
    for number, members in enumerate((np.flatnonzero(~fake), np.flatnonzero(fake))):
        same_label[members] = _another(members, np.random.default_rng([seed, 1 + number]))
    return {
        "blind:constant": np.full(count, _best_constant(references, seed) if count else -1),
        "blind:shuffled": _another(everyone, np.random.default_rng([seed, 0])),
        "blind:length-matched": _neighbour([len(text.split()) for text in references], seed),
        "blind:same-label": same_label,
    }


def in_layout(attributes: Mapping[str, str | None]) -> str:
    """Return annotated sentences in the chain of thought's layout: under the headings of the low and the high level.

    Sorted by attribute within each; a level without sentences is left out.
    """
    levels: dict[str, list[str]] = {"low": [], "high": []}
    for name, sentence in sorted(attributes.items()):
        if sentence:
            levels["high" if name.startswith(HIGH_LEVEL) else "low"].append(sentence)
    return " ".join(f"From {level}-level perspective: {' '.join(said)}" for level, said in levels.items() if said)


def _another(members: Indices, random: np.random.Generator) -> Indices:
    """Give each member another one: a random order, everyone getting the next (one alone: -1)."""
    if len(members) < 2:
        return np.full(len(members), -1)
    order = random.permutation(len(members))
    place = np.empty_like(order)
    place[order] = np.roll(order, -1)
    return members[place]


def _neighbour(lengths: Sequence[int], seed: int) -> Indices:
    """Give each text the next longer one (the longest of all: the next shorter), equals in random order."""
    count = len(lengths)
    if count < 2:
        return np.full(count, -1)
    ties = np.random.default_rng([seed, 3]).random(count)
    order = np.lexsort((ties, np.array(lengths)))
    found = np.empty(count, dtype=np.int64)
    found[order[:-1]] = order[1:]
    found[order[-1]] = order[-2]
    return found


def _best_constant(references: Sequence[str], seed: int) -> int:
    """Return which text is nearest to a sample of the others; it is never judged on itself."""
    random = np.random.default_rng([seed, 4])
    order = random.permutation(len(references))
    judged = order[:JUDGED].tolist()
    best, winner = -1.0, int(order[0])
    for candidate in order[:CANDIDATES].tolist():
        others = [references[number] for number in judged if number != candidate]
        if not others:
            continue
        same = [references[candidate]] * len(others)
        value = float((bleu1_scores(others, same) + rouge_l_scores(others, same)).mean())
        if value > best:
            best, winner = value, candidate
    return winner

"""What a dataset's bias alone gives: a classifier that sees file metadata and no pixel.

Many sets tell their labels by format, size or compression (Grommelt et al., "Fake or JPEG? Revealing Common Biases in
Generated Image Detection Datasets", ECCV Workshops 2024). The baseline is fitted by cross-validation on the evaluated
set itself, so its score says what the *set* gives away, and any detector's score stands beside it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fdr_bench.types import DetectorCard, FileMetadata, Prediction

FOLDS = 5
TREES = 60
SEED = 0
LEARNT_FROM = 8000
"""Files that one forest learns from at most, so that 100,000 take seconds."""
EVIDENCE = 2.0
"""Standard deviations that a forest's out-of-bag AUROC must lie above chance for it to be believed."""


class FileMetadataBaseline:
    """A random forest on format, mode, bytes, dimensions and JPEG tables, cross-validated on the evaluated set.

    Small sets without a bias are why a forest must first show, on files that its trees did not see, that it does better
    than chance; else its fold gets 0.5. Cross-validation alone puts such sets well below a balanced accuracy of 0.5:
    what stands out by accident in the held-out fold is what the others lack.
    """

    card: ClassVar[DetectorCard] = DetectorCard(
        name="file-metadata",
        title="File metadata (no pixels)",
        paper="after Grommelt et al., Fake or JPEG? Common Biases in Generated Image Detection Datasets, 2024",
        licence="Apache-2.0",
    )

    def __init__(
        self,
        *,
        preset: str | None = None,
        device: str = "cpu",
        weights: Mapping[str, Path] | None = None,
        view: str | None = None,
    ) -> None:
        pass

    def predict_set(
        self, files: Sequence[FileMetadata], fake: Sequence[bool], groups: Sequence[str]
    ) -> list[Prediction]:
        """Return every file's P(fake) by a forest that learnt from the other folds only.

        Scores are P(fake) as if both classes were equally frequent. Files of one group share a fold. Where a class has
        fewer than two groups nothing can be learnt and tested: each file gets the share of fakes, and `score_source`
        says so. The order of the files does not matter.
        """
        if not files:
            return []
        labels = np.asarray(fake, dtype=bool)
        strata = _strata(labels, groups)
        folds = min(FOLDS, *(sum(each == label for each in strata.values()) for label in (0.0, 1.0)))
        if folds < 2:
            share = float(labels.mean())
            source = "share of fakes in the set: a class has fewer than two different files, so no cross-validation"
            return [Prediction(score=share, score_source=source)] * len(files)
        fold_of = _folds(strata, folds)
        fold = np.array([fold_of[group] for group in groups])
        first = {group: position for position, group in reversed(list(enumerate(groups)))}
        taught = np.array([position for group, position in sorted(first.items()) if strata[group] in (0.0, 1.0)])
        scores = _cross_validate(features(files), labels, fold, taught)
        source = f"forest on file metadata, {folds}-fold cross-validation on this set"
        return [Prediction(score=score, score_source=source) for score in scores.tolist()]


def _strata(fake: NDArray[np.bool_], groups: Sequence[str]) -> dict[str, float]:
    """Return each group's share of fakes: 0 or 1, or between where equal bytes stand under both labels."""
    members: dict[str, list[bool]] = {}
    for group, label in zip(groups, fake.tolist(), strict=True):
        members.setdefault(group, []).append(label)
    return {group: sum(labels) / len(labels) for group, labels in members.items()}


def _folds(strata: Mapping[str, float], folds: int) -> dict[str, int]:
    """Deal the groups of each stratum out over the folds, in an order drawn from the sorted names."""
    random = np.random.default_rng(SEED)
    fold_of: dict[str, int] = {}
    for stratum in sorted(set(strata.values())):
        names = sorted(group for group, share in strata.items() if share == stratum)
        for position, index in enumerate(random.permutation(len(names))):
            fold_of[names[index]] = position % folds
    return fold_of


def _cross_validate(
    inputs: NDArray[np.float32], fake: NDArray[np.bool_], fold: NDArray[np.intp], taught: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the scores (N,); `taught` are the positions to learn from, one of each group, in an order of their own."""
    scores = np.full(len(fake), 0.5)
    for held in range(int(fold.max()) + 1):
        train = taught[fold[taught] != held]
        if len(train) > LEARNT_FROM:
            train = np.random.default_rng(SEED).choice(train, LEARNT_FROM, replace=False)
        predicted = _fit_and_predict(inputs[train], fake[train], inputs[fold == held])
        if predicted is not None:
            scores[fold == held] = predicted
    return scores


def _fit_and_predict(
    inputs: NDArray[np.float32], fake: NDArray[np.bool_], held: NDArray[np.float32]
) -> NDArray[np.float64] | None:
    """Return P(fake) of the held-out files, or None where the forest is no better than chance out of bag.

    A forest by hand, as scikit-learn's draws its bags without regard to class: in a small set the rarer class may then
    never be out of bag.
    """
    from sklearn.metrics import roc_auc_score
    from sklearn.tree import DecisionTreeClassifier

    random = np.random.default_rng(SEED)
    leaf = max(2, len(fake) // 100)  # finer leaves learn large sets by heart
    classes = [np.flatnonzero(fake == label) for label in (False, True)]
    out_of_bag, times = np.zeros(len(fake)), np.zeros(len(fake))
    predicted = np.zeros(len(held))
    for number in range(TREES):
        bag = np.concatenate([random.choice(members, len(members)) for members in classes])
        # Balanced weights: the class that is rarer in training by accident must not be predicted less.
        tree = DecisionTreeClassifier(
            min_samples_leaf=leaf, max_features="sqrt", class_weight="balanced", random_state=number
        )
        tree.fit(inputs[bag], fake[bag], check_input=False)
        outside = np.ones(len(fake), dtype=bool)
        outside[bag] = False
        out_of_bag[outside] += tree.predict_proba(inputs[outside], check_input=False)[:, 1]
        times += outside
        predicted += tree.predict_proba(held, check_input=False)[:, 1]
    seen = times > 0
    fakes, reals = int(fake[seen].sum()), int((~fake[seen]).sum())
    if not fakes or not reals:
        return None
    deviation = math.sqrt((fakes + reals + 1) / (12 * fakes * reals))  # of AUROC where labels are random
    if roc_auc_score(fake[seen], out_of_bag[seen] / times[seen]) <= 0.5 + EVIDENCE * deviation:
        return None
    return predicted / TREES


def features(files: Sequence[FileMetadata]) -> NDArray[np.float32]:
    """Return the numbers that the forest sees, (N, features).

    Logarithms of bytes, width, height, pixels, ratio and bytes per pixel; the number of quantisation tables, the mean
    step of the first (luminance) and of the second (chrominance); and one column for each format, mode and set of
    tables among the 16 most frequent of the set.
    """
    names = {kind: _frequent(_kinds(files, kind)) for kind in ("format", "mode", "tables")}
    return np.array([[*_numbers(file), *_flags(file, names)] for file in files], dtype=np.float32)


def _numbers(file: FileMetadata) -> list[float]:
    width, height, size = max(file.width, 1), max(file.height, 1), max(file.bytes, 1)
    steps = [sum(table) / len(table) for table in file.quantisation if table]
    first, second = (*steps, 0.0, 0.0)[:2]
    ratio, rate = width / height, size / (width * height)
    return [*map(math.log2, (size, width, height, width * height, ratio, rate)), float(len(steps)), first, second]


def _kinds(files: Sequence[FileMetadata], kind: str) -> Iterator[object]:
    for file in files:
        yield _kind(file, kind)


def _kind(file: FileMetadata, kind: str) -> object:
    return file.quantisation if kind == "tables" else getattr(file, kind)


def _frequent(kinds: Iterator[object], limit: int = 16) -> list[object]:
    counted = Counter(kinds)
    return sorted(counted, key=lambda kind: (-counted[kind], repr(kind)))[:limit]


def _flags(file: FileMetadata, names: Mapping[str, list[object]]) -> Iterator[float]:
    for kind, known in names.items():
        own = _kind(file, kind)
        for name in known:
            yield float(own == name)

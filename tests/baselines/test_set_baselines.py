"""The baselines that see no pixel: what they find in sets whose bias is known, and nothing where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from baselines.constant import Constant
from baselines.file_metadata import FileMetadataBaseline, features
from fdr_bench.data import open_dataset
from fdr_bench.images import decode
from fdr_bench.types import FileMetadata

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def files(count: int, seed: int = 0, *, shift: float = 0.0, fake: Sequence[bool] = ()) -> list[FileMetadata]:
    """Return PNG files of 64 x 64 px and about 8,000 bytes, those of fakes larger by `shift` standard deviations."""
    sizes = np.random.default_rng(seed).normal(8000, 500, count)
    return [
        FileMetadata("PNG", "RGB", 64, 64, int(size + 500 * shift * (bool(fake) and fake[position])))
        for position, size in enumerate(sizes)
    ]


def names(count: int) -> list[str]:
    return [f"{number:064x}" for number in range(count)]


def balanced_accuracy(scores: Sequence[float | None], fake: Sequence[bool]) -> float:
    said, truth = np.array(scores) > 0.5, np.array(fake)
    return float((said[truth].mean() + (~said[~truth]).mean()) / 2)


def judge(known: list[FileMetadata], fake: list[bool], groups: list[str]) -> float:
    predictions = FileMetadataBaseline().predict_set(known, fake, groups)
    return balanced_accuracy([prediction.score for prediction in predictions], fake)


def test_constant_gives_the_share_of_fakes() -> None:
    predictions = Constant().predict_set(files(4), [True, False, False, False], names(4))
    assert [prediction.score for prediction in predictions] == [0.25] * 4
    assert Constant().predict_set([], [], []) == []


def test_labels_that_the_size_tells_are_found_from_24_files_on() -> None:
    fake = [position % 2 == 0 for position in range(24)]
    assert judge(files(24, shift=20.0, fake=fake), fake, names(24)) == 1.0


@pytest.mark.parametrize("count", [24, 61, pytest.param(200, marks=pytest.mark.slow)])
def test_labels_that_nothing_tells_stay_at_one_half(count: int) -> None:
    """Cross-validation alone would lie below; a mean over draws keeps one draw's luck small."""
    found = []
    for seed in range(4):
        fake = (np.random.default_rng(100 + seed).permutation(count) < count // 2).tolist()
        found.append(judge(files(count, seed), fake, names(count)))
    assert np.mean(found) == pytest.approx(0.5, abs=0.06)
    assert min(found) > 0.35


def test_more_fakes_than_reals_do_not_matter() -> None:
    fake = [position % 8 != 0 for position in range(160)]
    assert judge(files(160, 3), fake, names(160)) == pytest.approx(0.5, abs=0.1)
    assert judge(files(160, shift=20.0, fake=fake), fake, names(160)) == 1.0


def test_equal_bytes_are_never_learnt_from_their_twin() -> None:
    """Each of 100 files stands in the set twice under a random label: with split twins a forest would know them all."""
    fake = (np.random.default_rng(5).permutation(100) < 50).tolist()
    assert judge(files(100, 5) * 2, fake * 2, names(100) * 2) < 0.65


def test_equal_bytes_under_both_labels_are_scored_and_not_learnt() -> None:
    fake = [position % 2 == 0 for position in range(40)]
    known = files(40, shift=20.0, fake=fake)
    predictions = FileMetadataBaseline().predict_set([*known, known[0]], [*fake, False], [*names(40), names(40)[0]])
    assert len(predictions) == 41 and predictions[0].score == predictions[40].score


def test_the_same_set_gives_the_same_scores_in_any_order() -> None:
    fake = [position % 2 == 0 for position in range(60)]
    known, groups = files(60, shift=1.5, fake=fake), names(60)
    once = [prediction.score for prediction in FileMetadataBaseline().predict_set(known, fake, groups)]
    order = np.random.default_rng(1).permutation(60).tolist()
    again = FileMetadataBaseline().predict_set(
        [known[i] for i in order], [fake[i] for i in order], [groups[i] for i in order]
    )
    assert [prediction.score for prediction in again] == [once[i] for i in order]


@pytest.mark.parametrize("fake", [[True] * 5, [False] * 5, [True, False, False, False, False], [True], [False, True]])
def test_what_cannot_be_cross_validated_gets_the_prior_and_says_so(fake: list[bool]) -> None:
    predictions = FileMetadataBaseline().predict_set(files(len(fake)), fake, names(len(fake)))
    assert {prediction.score for prediction in predictions} == {sum(fake) / len(fake)}
    assert all("share of fakes" in str(prediction.score_source) for prediction in predictions)
    assert FileMetadataBaseline().predict_set([], [], []) == []


def test_quantisation_and_format_are_seen() -> None:
    jpeg = FileMetadata("JPEG", "RGB", 100, 50, 2500, ((2,) * 64, (4,) * 64))
    png = FileMetadata("PNG", "L", 100, 50, 2500)
    # log2 of 2500 bytes, 100, 50, 5000 px, ratio 2, half a byte a px; tables, mean steps; then flags, equal counts
    # in alphabetical order: JPEG, PNG; L, RGB; no table, tables.
    expected = [11.28771, 6.643856, 5.643856, 12.287712, 1.0, -1.0, 2.0, 2.0, 4.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0]
    first = features([jpeg, png])[0].tolist()
    assert first[:13] == pytest.approx(expected[:13], abs=1e-4)
    assert sorted(first[13:]) == [0.0, 1.0]


@pytest.mark.slow
def test_one_hundred_thousand_files_take_seconds_and_a_faint_bias_is_found() -> None:
    fake = (np.random.default_rng(2).random(100_000) < 0.5).tolist()
    # Two normal distributions one standard deviation apart: the best balanced accuracy is Phi(0.5) = 0.691.
    assert judge(files(100_000, shift=1.0, fake=fake), fake, names(100_000)) == pytest.approx(0.69, abs=0.02)


def shared(name: str) -> tuple[list[FileMetadata], list[bool], list[str]]:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}")
    known, fake, groups = [], [], []
    for sample in open_dataset(f"folders:{folder}").samples:
        decoded = decode(sample.image.read(), sample.image.location)
        known.append(decoded.metadata)
        fake.append(sample.label == "fake")
        groups.append(decoded.sha256)
    return known, fake, groups


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("playground_mixed", 0.99, 1.0),
        ("dragon_openfake_proxy", 0.95, 1.0),
        ("mmfr_mini/evaluation_sets", 0.4, 0.6),
        ("cifake/test", 0.4, 0.6),
    ],
)
def test_what_is_known_of_real_sets_is_found(name: str, low: float, high: float) -> None:
    known, fake, groups = shared(name)
    found = judge(known, fake, groups)
    print(f"{name}: balanced accuracy {found:.4f} of {len(fake)} files")
    assert low <= found <= high

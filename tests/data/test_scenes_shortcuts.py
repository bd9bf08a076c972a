"""FDR-Scenes has no shortcuts: file metadata, length, mean colour and histogram moments stay at chance."""

import io
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import pytest
from PIL import Image

from fdr_bench.data.scenes.generators import GENERATORS
from fdr_bench.data.scenes.sample import CAMERA, Recipe, make_sample


def seen(size, job):
    """What each blind classifier may see of one sample."""
    jpeg = make_sample(Recipe(split="shortcuts", size=size), *job).jpeg
    image = Image.open(io.BytesIO(jpeg))
    tables = [sum(table) for _, table in sorted(image.quantization.items())]
    pixels = np.asarray(image.convert("RGB"), dtype=float).reshape(-1, 3)
    mean, deviation = pixels.mean(axis=0), pixels.std(axis=0)
    shape = [((pixels - mean) ** power).mean(axis=0) / deviation**power for power in (3, 4)]
    return {
        "metadata": [image.width, image.height, *tables[:2], image.layer[0][1]],
        "length": [len(jpeg)],
        "mean colour": list(mean),
        "moments": [*mean, *deviation, *shape[0], *shape[1]],
    }


def average_precisions(rows, fake):
    """Cross-validated AP of boosted trees on each group of features and on all of them."""
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.metrics import average_precision_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    groups = {name: np.array([row[name] for row in rows], dtype=float) for name in rows[0]}
    groups["metadata and length"] = np.hstack([groups["metadata"], groups["length"]])
    groups["all"] = np.hstack(list(groups.values()))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    found = {}
    for name, features in groups.items():
        trees = GradientBoostingClassifier(n_estimators=40, max_depth=3, subsample=0.7, random_state=0)
        score = cross_val_predict(trees, features, fake, cv=folds, method="predict_proba")[:, 1]
        found[name] = average_precision_score(fake, score)
    return found


def areas(rows, fake):
    """The area under the ROC curve of every single feature that varies, from ranks."""
    features = np.array([np.concatenate(list(row.values())) for row in rows]).T
    found = []
    for values in features[features.std(axis=1) > 0]:
        above = (values[fake][:, None] > values[~fake]).mean() + 0.5 * (values[fake][:, None] == values[~fake]).mean()
        found.append(float(above))
    return np.array(found)


def test_no_single_blind_feature_tells_the_classes_apart_in_a_few_images():
    names = list(GENERATORS)
    wanted = [(CAMERA, index) for index in range(60)] + [(names[index % 10], index) for index in range(60)]
    rows = [seen(32, job) for job in wanted]
    found = areas(rows, np.array([source != CAMERA for source, _ in wanted]))
    # With 60 a class the area of a useless feature has a standard deviation of 0.053; twenty of them are looked at.
    assert len(found) > 14 and np.abs(found - 0.5).max() < 0.2


@pytest.mark.slow
def test_blind_features_stay_at_chance_on_two_thousand_images():
    names = list(GENERATORS)
    wanted = [(CAMERA, index) for index in range(1000)] + [(name, index) for name in names for index in range(100)]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(partial(seen, 128), wanted, chunksize=20))
    source = np.array([name for name, _ in wanted])
    found = average_precisions(rows, source != CAMERA)
    assert max(found.values()) <= 0.55, found
    for name in names:
        chosen = np.flatnonzero((source == CAMERA) | (source == name))
        alone = areas([rows[number] for number in chosen], source[chosen] == name)
        # 100 against 1,000: a standard deviation of 0.030.
        assert np.abs(alone - 0.5).max() < 0.12, (name, alone)

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


def jobs(count, sources):
    half = count // 2
    return [(CAMERA, index) for index in range(half)] + [
        (sources[index % len(sources)], index // len(sources)) for index in range(half)
    ]


def test_blind_features_stay_near_chance_on_a_few_images():
    wanted = jobs(160, list(GENERATORS))
    rows = [seen(32, job) for job in wanted]
    fake = np.array([source != CAMERA for source, _ in wanted])
    # 80 a class: the AP of noise has a standard deviation of about 0.05.
    assert max(average_precisions(rows, fake).values()) < 0.66


@pytest.mark.slow
@pytest.mark.parametrize("sources", [tuple(GENERATORS), *((name,) for name in GENERATORS)], ids="+".join)
def test_blind_features_stay_at_chance_on_two_thousand_images(sources):
    wanted = jobs(2000, sources)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(partial(seen, 128), wanted, chunksize=20))
    fake = np.array([source != CAMERA for source, _ in wanted])
    found = average_precisions(rows, fake)
    assert max(found.values()) <= 0.55, found

"""Detectors of one run that stand on the same backbone compute its features once an image, to the same bits."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from baselines import _torch
from baselines._clip import load_small_clip, small_tower
from baselines._defake import DeFakeNet
from baselines.clip_zeroshot import ClipZeroShot
from baselines.cnndetection import CNNDetection
from baselines.npr import NPR
from baselines.univfd import UnivFD
from fdr_bench.data.files import FileImage
from fdr_bench.engines import Model, Task, local
from fdr_bench.engines.local import InProcess, execute
from fdr_bench.engines.shared import SharedWork
from fdr_bench.types import Prediction, Resize, View
from fdr_bench.weights import packaged_path, resolve_preset
from tests.baselines.made import picture
from tests.passes import counted_passes

Detectors = dict[str, _torch.TorchDetector]
Rows = dict[str, list[Prediction | str]]

COUNT = 7


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[FileImage]:
    """Images of three sizes."""
    folder = tmp_path_factory.mktemp("images")
    paths = [folder / f"{number}.png" for number in range(COUNT)]
    for number, path in enumerate(paths):
        picture(140 + number % 3, 130, number).save(path)
    return [FileImage(str(path), path.stat().st_size) for path in paths]


@pytest.fixture
def pair() -> Detectors:
    """Two detectors on the small CLIP that is shipped."""
    return {"univfd": shipped(UnivFD), "clip-zeroshot": shipped(ClipZeroShot)}


def shipped(factory: type[_torch.TorchDetector]) -> _torch.TorchDetector:
    """Load a detector with the weights that are shipped."""
    return factory(preset="scenes", device="cpu", weights=resolve_preset(factory.card, "scenes"))


def with_own_head(folder: Path) -> Path:
    """Write a univfd whose linear layer is another than the shipped one: a user's own training on the same CLIP."""
    shutil.copytree(packaged_path("baselines/weights/univfd-scenes"), folder)
    path = folder / "model.safetensors"
    save_file({name: 3 * tensor for name, tensor in load_file(path).items()}, path)
    return folder


def apart(detectors: Detectors, images: Sequence[FileImage]) -> Rows:
    """What each gives by itself; they must not share yet."""
    return {name: execute(Task(images, [name]), {name: each}).predictions[name] for name, each in detectors.items()}


def together(detectors: Detectors, images: Sequence[FileImage]) -> Rows:
    return execute(Task(images, list(detectors)), detectors, shared=SharedWork(detectors.values())).predictions


def scores(row: Sequence[Prediction | str]) -> list[float | None]:
    return [each.score for each in row if isinstance(each, Prediction)]


def test_a_run_computes_a_backbones_features_once_an_image_and_scores_keep_their_bits(
    files: list[FileImage], tmp_path: Path
) -> None:
    own = {"weights": str(with_own_head(tmp_path / "own"))}
    models = [
        Model(label=label, target=target, preset=preset, view=None, device="cpu", weights=weights)
        for label, target, preset, weights in (
            ("univfd@scenes", "univfd", "scenes", paths(UnivFD)),
            ("univfd", "univfd", None, own),
            ("clip-zeroshot@scenes", "clip-zeroshot", "scenes", paths(ClipZeroShot)),
        )
    ]
    labels = [model.label for model in models]
    tasks = [Task(files[:4], labels), Task(files[4:], labels)]
    rows: dict[bool, Rows] = {}
    for alone in (True, False):
        rows[alone] = {label: [] for label in labels}
        with counted_passes() as passes:
            for group in [[model] for model in models] if alone else [models]:
                engine = InProcess(group, threads=1)
                assert engine.problems() == {}
                told = [model.label for model in group]
                for outcome in engine.run(task._replace(models=told) for task in tasks):
                    for label in told:
                        rows[alone][label] += outcome.predictions[label]
                engine.close()
        assert passes == ([4, 3] * 3 if alone else [4, 3])
    assert rows[False] == rows[True]
    assert all(len(set(scores(row))) == COUNT for row in rows[True].values())
    assert scores(rows[True]["univfd@scenes"]) != scores(rows[True]["univfd"])


def paths(factory: type[_torch.TorchDetector]) -> Mapping[str, str]:
    return {role: str(path) for role, path in resolve_preset(factory.card, "scenes").items()}


def test_a_model_that_lacks_a_batch_alone_computes_it_itself(pair: Detectors, files: list[FileImage]) -> None:
    expected, work = apart(pair, files), SharedWork(pair.values())
    with counted_passes() as passes:
        resumed = execute(Task(files, ["clip-zeroshot"]), pair, shared=work).predictions
    assert resumed == {"clip-zeroshot": expected["clip-zeroshot"]}
    assert passes == [COUNT]


def test_in_parts_of_bounded_size_each_image_still_passes_once(
    pair: Detectors, files: list[FileImage], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    images = [*files[:2], FileImage(str(broken), 8), *files[2:]]
    monkeypatch.setattr(local, "PIXELS_AT_ONCE", 3 * 142 * 130)  # three images at a time
    monkeypatch.setattr(_torch.TorchDetector, "at_once", 2 * 128 * 128)  # and of these two in one pass
    expected = apart(pair, images)
    with counted_passes() as passes:
        assert together(pair, images) == expected
    assert passes == [2, 1, 2, 1, 1]
    assert [isinstance(each, str) for each in expected["univfd"]] == [False, False, True, *[False] * (COUNT - 2)]


@pytest.mark.parametrize(
    ("first", "part"), [("univfd", "visual"), ("univfd", "fc"), ("clip-zeroshot", "fc"), ("clip-zeroshot", "visual")]
)
def test_a_batch_that_memory_does_not_hold_is_taken_image_by_image(
    pair: Detectors, files: list[FileImage], first: str, part: str
) -> None:
    def refuse(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if len(args[0]) > 3:
            raise torch.OutOfMemoryError("out of memory")

    pair["univfd"].network.get_submodule(part).register_forward_pre_hook(refuse)
    pair = {name: pair[name] for name in sorted(pair, key=lambda name: name != first)}
    expected = apart(pair, files)
    given = together(pair, files)
    assert given["clip-zeroshot"] == expected["clip-zeroshot"]
    if (first, part) == ("clip-zeroshot", "visual"):  # its batch has what univfd alone would have had no memory for
        assert scores(given["univfd"]) == pytest.approx(scores(expected["univfd"]), abs=1e-5)
    else:
        assert given["univfd"] == expected["univfd"]
    assert all(len(set(scores(row))) == COUNT for row in given.values())


def test_another_view_is_another_computation(pair: Detectors, files: list[FileImage]) -> None:
    usual = pair["univfd"].view
    pair["univfd"].view = View(steps=(Resize((128, 128)),), mean=usual.mean, std=usual.std)
    expected = apart(pair, files)
    with counted_passes() as passes:
        assert together(pair, files) == expected
    assert passes == [COUNT, COUNT]
    usual_scores = scores(apart({"univfd": shipped(UnivFD)}, files)["univfd"])
    assert scores(expected["univfd"]) != usual_scores


def test_one_other_weight_makes_another_backbone(pair: Detectors, files: list[FileImage]) -> None:
    pair["clip-zeroshot"].network.get_parameter("projection.weight")[0, 0] += 1e-3
    with counted_passes() as passes:
        together(pair, files)
    assert passes == [COUNT, COUNT]


def test_backbones_are_equal_by_architecture_values_precision_and_layout() -> None:
    towers = [small_tower(packaged_path("baselines/weights/clip-scenes")) for _ in range(2)]
    assert towers[0].backbone() == towers[1].backbone()
    assert hash(towers[0].backbone()) == hash(towers[1].backbone())
    towers[1].to(memory_format=torch.channels_last)
    assert towers[0].backbone() != towers[1].backbone()
    assert towers[0].backbone() != towers[0].double().backbone()
    towers[0].float()
    other = small_tower(packaged_path("baselines/weights/clip-scenes"))
    other.clip.vision_model.config.hidden_act = "gelu"
    assert towers[0].backbone() != other.backbone()


def test_a_backbone_is_known_in_whichever_network_it_stands() -> None:
    clip = load_small_clip(packaged_path("baselines/weights/clip-scenes"))
    vision, text = clip.config.vision_config.to_dict(), clip.config.text_config.to_dict()
    network = DeFakeNet(vision=vision, text=text, hidden=(8, 4)).eval()
    network.clip.load_state_dict(clip.state_dict())
    tower = small_tower(packaged_path("baselines/weights/clip-scenes"))
    assert network.backbone() == tower.backbone()
    x = torch.randn(3, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(network.features(x), tower(x))


def test_equal_views_are_applied_once_an_image(files: list[FileImage], monkeypatch: pytest.MonkeyPatch) -> None:
    detectors = {"cnndetection": shipped(CNNDetection), "npr": shipped(NPR)}
    applied = []
    real = _torch.apply_view
    monkeypatch.setattr(_torch, "apply_view", lambda view, image: applied.append(view) or real(view, image))
    expected = apart(detectors, files)
    assert len(applied) == 2 * COUNT
    applied.clear()
    assert together(detectors, files) == expected
    assert len(applied) == COUNT

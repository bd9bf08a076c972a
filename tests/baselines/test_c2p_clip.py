"""C2P-CLIP's file in every form it comes in, on a tiny CLIP; the figures of the real size are in test_goldens."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPModel
from transformers.models.clip.configuration_clip import CLIPConfig

from baselines import _c2p_training
from baselines._c2p_clip import C2PCLIPNet, build, from_file
from baselines.c2p_clip import C2PCLIP
from fdr_bench.errors import WeightsError
from fdr_bench.types import CenterCrop, Resize, View
from tests.baselines.made import picture

TINY = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
    "projection_dim": 6,
}
tiny = partial(build, **TINY)


def network() -> C2PCLIPNet:
    torch.manual_seed(0)
    made = tiny().eval().requires_grad_(False)
    for parameter in made.parameters():
        nn.init.normal_(parameter, 0.0, 0.3)
    return made


def saved(content: object, *, legacy: bool = True) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def same(one: nn.Module, state: dict[str, Tensor]) -> bool:
    loaded = one.state_dict()
    return loaded.keys() == state.keys() and all(torch.equal(loaded[name], state[name]) for name in state)


# ---------------------------------------------------------------- the network


def test_the_logit_is_linear_in_the_embedding_of_length_one() -> None:
    own, x = network(), torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        pooled = own.model.vision_model(pixel_values=x).pooler_output
        embedding = pooled @ own.model.visual_projection.weight.T
        lengths = (embedding**2).sum(dim=1, keepdim=True).sqrt()
        expected = (embedding / lengths) @ own.model.fc.weight[0] + own.model.fc.bias
        torch.testing.assert_close(own(x), expected, rtol=0, atol=1e-6)


def test_a_batch_gives_what_its_images_give_alone() -> None:
    made = C2PCLIP.__new__(C2PCLIP)
    made.device, made.network = torch.device("cpu"), network()
    official = C2PCLIP.card.presets["official"].views["resize224"]
    made.view = View(steps=(Resize(8), CenterCrop(8)), mean=official.mean, std=official.std)
    images = [picture(width, height, seed) for seed, (width, height) in enumerate([(8, 8), (30, 9), (1, 1), (7, 40)])]
    alone = [made.predict([image])[0].score for image in images]
    assert len(set(alone)) == 4
    assert [each.score for each in made.predict(images)] == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (300, 224), (225, 501), (100, 3)])
def test_every_image_becomes_224_pixels_a_side(size: tuple[int, int]) -> None:
    made = C2PCLIP.__new__(C2PCLIP)
    made.view = C2PCLIP.card.presets["official"].views["resize224"]
    assert made.preprocess(Image.new("RGB", size)).shape == (3, 224, 224)


def test_the_network_stands_on_a_clip_inside_a_package_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    clip = CLIPModel(CLIPConfig(vision_config=TINY, text_config=text | {"vocab_size": 9}, projection_dim=6)).eval()
    save_file(dict(clip.state_dict()), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(clip.config.to_json_string(use_diff=False))
    monkeypatch.setattr(_c2p_training, "packaged_path", lambda place: tmp_path)
    state = C2PCLIP.network(clip="anywhere").state_dict()
    # Beside the authors' tensors there are adapters, and the layers that they adapt are inside them.
    plain = {name.replace("_proj.layer.", "_proj.") for name in state if not name.endswith((".up", ".down"))}
    assert plain == set(network().state_dict())
    for name in ("vision_model.post_layernorm.weight", "visual_projection.weight"):
        assert torch.equal(state[f"model.{name}"], clip.state_dict()[name])


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_zip_loads_and_its_member_alone(tmp_path: Path, legacy: bool, method: int, prefix: str) -> None:
    state = network().state_dict()
    content = saved({prefix + name: tensor for name, tensor in state.items()}, legacy=legacy)
    member = tmp_path / "C2P_CLIP_release_20240901.pth"
    member.write_bytes(content)
    archive = zipped(tmp_path / "C2P_CLIP_release_20240901.zip", {member.name: content}, method)
    assert same(from_file(archive, tiny), state)
    assert same(from_file(member, tiny), state)
    assert {path.name for path in tmp_path.iterdir()} == {member.name, archive.name}


def test_safetensors_half_precision_and_saved_position_counters_load(tmp_path: Path) -> None:
    state = network().state_dict()
    half = {name: tensor.half() for name, tensor in state.items()}
    half["model.vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    save_file(half, tmp_path / "a.safetensors")
    loaded = from_file(tmp_path / "a.safetensors", tiny)
    assert same(loaded, {name: tensor.half().float() for name, tensor in state.items()})
    assert loaded.get_submodule("model.vision_model.embeddings").position_ids.tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: s.pop("model.fc.bias"), r"1 missing \(model\.fc\.bias\)"),
        (lambda s: s.update({"model.logit_scale": torch.ones(())}), r"1 unknown \(model\.logit_scale\)"),
        (
            lambda s: s.update({"model.fc.weight": torch.ones(1, 7)}),
            r"model\.fc\.weight is \[1, 7\], expected \[1, 6\]",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], object], named: str
) -> None:
    state = dict(network().state_dict())
    change(state)
    with pytest.raises(WeightsError, match=named):
        from_file(zipped(tmp_path / "a.zip", {"a.pth": saved(state)}), tiny)


class Hostile:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return open, (str(self.target), "w")


@pytest.mark.parametrize("form", ["pickle", "legacy", "archive"])
def test_nothing_in_a_zip_is_run(tmp_path: Path, form: str) -> None:
    content = {"model": Hostile(tmp_path / "run")}
    member = pickle.dumps(content) if form == "pickle" else saved(content, legacy=form == "legacy")
    with pytest.raises(WeightsError, match="run code"):
        from_file(zipped(tmp_path / "a.zip", {"a.pth": member}), tiny)
    assert not (tmp_path / "run").exists()


def test_a_member_is_not_written_where_its_name_says(tmp_path: Path) -> None:
    state = network().state_dict()
    folder = tmp_path / "inner"
    folder.mkdir()
    assert same(from_file(zipped(folder / "a.zip", {"../outside.pth": saved(state)}), tiny), state)
    assert [path.name for path in tmp_path.rglob("*.pth")] == []


def test_zips_without_one_checkpoint_are_refused(tmp_path: Path) -> None:
    content = saved(dict(network().state_dict()))
    two = zipped(tmp_path / "two.zip", {"a.pth": content, "b.pth": content})
    folder = zipped(tmp_path / "folder.zip", {"a/": b""})
    empty = zipped(tmp_path / "empty.zip", {})
    bomb = zipped(tmp_path / "bomb.zip", {"a.pth": bytes(1 << 20)})
    damaged = tmp_path / "damaged.zip"
    whole = zipped(tmp_path / "whole.zip", {"a.pth": content}, zipfile.ZIP_STORED).read_bytes()
    damaged.write_bytes(whole[:1000] + bytes(100) + whole[1100:])
    reasons = {two: "", folder: "holds no file", empty: "holds no file", bomb: "far more than weights do", damaged: ""}
    for path, reason in reasons.items():
        with pytest.raises(WeightsError, match=rf"{path.name}.* cannot be read as a checkpoint.*{reason}"):
            from_file(path, tiny)


def test_the_card_counts_the_parameters_of_the_network() -> None:
    with torch.device("meta"):
        made = C2PCLIP.network(**C2PCLIP.sizes()["official"])
    assert sum(parameter.numel() for parameter in made.parameters()) == C2PCLIP.card.presets["official"].parameters


def test_the_file_says_how_to_get_it() -> None:
    (weights,) = C2PCLIP.card.presets["official"].weights
    assert weights.filename and weights.licence and weights.manual

"""De-Fake's two files in their layouts, its captions and its perceptron, on a tiny CLIP."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL.Image import Image
from torch import Tensor, nn

from baselines import defake
from baselines._defake import CaptionTokens, DeFakeNet, from_files
from baselines._torch import CLIP
from baselines.defake import COMMAND, CONVERSION, DeFake
from fdr_bench.errors import WeightsError
from fdr_bench.images import apply_view
from fdr_bench.types import Resize, View
from tests.baselines.made import picture

END = 9
TINY = {
    "vision": {
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 8,
        "patch_size": 4,
        "projection_dim": 6,
    },
    "text": {
        "hidden_size": 4,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 7,
        "vocab_size": 10,
        "bos_token_id": 8,
        "eos_token_id": END,
        "projection_dim": 6,
    },
    "hidden": (5, 4),
}
TOKENS = torch.tensor(
    [[8, 1, 2, END, 0, 0, 0], [8, END, 0, 0, 0, 0, 0], [8, 1, 2, 3, 4, 5, END], [8, 7, 6, END, 0, 0, 0]]
)


@pytest.fixture
def network() -> DeFakeNet:
    torch.manual_seed(0)
    made = DeFakeNet(**TINY).eval().requires_grad_(False)
    for parameter in made.parameters():
        nn.init.normal_(parameter, 0.0, 0.4)
    return made


def openai_layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Write a CLIP in OpenAI's names, spelt out after the mapping in the fixture defake.json."""
    out = {"logit_scale": state["logit_scale"]}
    for ours, theirs, before, after, projection in (
        ("vision_model.", "visual.", "pre_layrnorm", "ln_pre", "visual_projection.weight"),
        ("text_model.", "", "final_layer_norm", "ln_final", "text_projection.weight"),
    ):
        out[f"{theirs}positional_embedding"] = state[f"{ours}embeddings.position_embedding.weight"]
        out["visual.proj" if theirs else "text_projection"] = state[projection].T.contiguous()
        layers = {name.split(".")[3] for name in state if name.startswith(f"{ours}encoder.layers.")}
        for kind in ("weight", "bias"):
            out[f"{theirs}{after}.{kind}"] = state[f"{ours}{before}.{kind}"]
            for layer in layers:
                a, b = f"{ours}encoder.layers.{layer}.", f"{theirs}transformer.resblocks.{layer}."
                thirds = [state[f"{a}self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
                out[f"{b}attn.in_proj_{kind}"] = torch.cat(thirds)
                out[f"{b}attn.out_proj.{kind}"] = state[f"{a}self_attn.out_proj.{kind}"]
                out[f"{b}ln_1.{kind}"] = state[f"{a}layer_norm1.{kind}"]
                out[f"{b}ln_2.{kind}"] = state[f"{a}layer_norm2.{kind}"]
                out[f"{b}mlp.c_fc.{kind}"] = state[f"{a}mlp.fc1.{kind}"]
                out[f"{b}mlp.c_proj.{kind}"] = state[f"{a}mlp.fc2.{kind}"]
    for kind in ("weight", "bias"):
        out[f"visual.ln_post.{kind}"] = state[f"vision_model.post_layernorm.{kind}"]
    out["visual.class_embedding"] = state["vision_model.embeddings.class_embedding"]
    out["visual.conv1.weight"] = state["vision_model.embeddings.patch_embedding.weight"]
    out["token_embedding.weight"] = state["text_model.embeddings.token_embedding.weight"]
    return out


def split(network: DeFakeNet) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors of the authors' two files: CLIP's in Hugging Face's names, and the head's."""
    head = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("fc")}
    return dict(network.clip.state_dict()), head


def load(folder: Path, clip: object, head: object) -> nn.Module:
    torch.save(clip, folder / "finetune_clip.pt")
    torch.save(head, folder / "clip_linear.pt")
    weights = {"head": folder / "clip_linear.pt", "backbone": folder / "finetune_clip.pt"}
    return from_files(weights, TINY, conversion="Run this.")


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("layout", ["openai", "hugging face", "DataParallel", "half", "OpenAI's archive"])
def test_the_files_load_in_every_layout(network: DeFakeNet, tmp_path: Path, layout: str) -> None:
    clip, head = split(network)
    if layout != "hugging face":
        clip = openai_layout(clip)
    if layout == "DataParallel":
        clip, head = ({f"module.{name}": tensor for name, tensor in state.items()} for state in (clip, head))
    if layout == "half":
        clip = {name: tensor.half() for name, tensor in clip.items()}
    if layout == "OpenAI's archive":
        clip |= {"input_resolution": torch.tensor(8), "context_length": torch.tensor(7), "vocab_size": torch.tensor(9)}
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    loaded = load(tmp_path, clip, head)
    atol = 2e-2 if layout == "half" else 1e-6
    torch.testing.assert_close(loaded(x, TOKENS), network(x, TOKENS), rtol=0, atol=atol)


def test_a_tensor_too_few_too_many_or_of_another_shape_is_named(network: DeFakeNet, tmp_path: Path) -> None:
    clip, head = split(network)
    clip = openai_layout(clip)
    clip["surplus"] = clip.pop("text_projection")
    clip["visual.transformer.resblocks.0.attn.in_proj_bias"] = torch.zeros(7)
    head["fc2.bias"] = torch.zeros(3)
    with pytest.raises(WeightsError) as refused:
        load(tmp_path, clip, head)
    message = str(refused.value)
    assert "clip.text_projection.weight" in message and "clip.surplus" in message
    assert "fc2.bias is [3], expected [4]" in message and "resblocks.0.attn.in_proj_bias" in message


def test_the_authors_pickled_modules_are_refused_and_the_conversion_that_is_shown_makes_them_readable(
    network: DeFakeNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stand-ins for the classes of the authors' pickles: OpenAI's clip.model.CLIP, and NeuralNet of a script.
    source = "import torch\nclass CLIP(torch.nn.Module): pass\n"
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "__init__.py").touch()
    (tmp_path / "clip" / "model.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "clip"]:
        monkeypatch.delitem(sys.modules, name)
    import clip.model as stand_in

    assert isinstance(stand_in, ModuleType)
    linear = type("NeuralNet", (nn.Module,), {"__module__": "__main__"})
    monkeypatch.setattr(sys.modules["__main__"], "NeuralNet", linear, raising=False)
    tensors, head = split(network)
    modules = {"finetune_clip.pt": stand_in.CLIP(), "clip_linear.pt": linear()}
    for module, state in zip(modules.values(), (openai_layout(tensors), head), strict=True):
        for name, tensor in state.items():
            place = module
            *path, last = name.split(".")
            for part in path:
                if not hasattr(place, part):
                    place.add_module(part, nn.Module())
                place = getattr(place, part)
            place.register_parameter(last, nn.Parameter(tensor))
    with pytest.raises(WeightsError, match=r"pickled module.*so it was not read\. Run this\."):
        load(tmp_path, modules["finetune_clip.pt"], modules["clip_linear.pt"])

    program, option, code = shlex.split(COMMAND)
    assert (program, option) == ("python", "-c")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    converted = tmp_path / "converted"
    weights = {"head": converted / "clip_linear.pt", "backbone": converted / "finetune_clip.pt"}
    loaded = from_files(weights, TINY, conversion="")
    x = torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(loaded(x, TOKENS), network(x, TOKENS), rtol=0, atol=1e-6)


def test_what_is_missing_and_what_is_refused_say_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = DeFake.card.presets["official"].weights
    assert [each.role for each in wanted[:2]] == ["head", "backbone"]  # before anything is fetched
    assert all(COMMAND in str(each.manual) for each in wanted[:2])
    assert all(each.hub and each.revision and each.sha256 and each.bytes for each in wanted[2:])
    assert len({each.filename for each in wanted}) == len(wanted)
    linear = type("Linear", (nn.Linear,), {"__module__": "__main__"})
    monkeypatch.setattr(sys.modules["__main__"], "Linear", linear, raising=False)
    torch.save(linear(1, 1), tmp_path / "clip_linear.pt")
    monkeypatch.setattr(defake, "locate", lambda weights, detector: tmp_path / "nothing")
    with pytest.raises(WeightsError) as refused:
        DeFake(weights={"weights": tmp_path / "clip_linear.pt"})
    assert CONVERSION in str(refused.value)


# ---------------------------------------------------------------- network


def test_logits_are_a_perceptron_on_both_embeddings_unnormalised(network: DeFakeNet) -> None:
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    clip = network.clip
    image = clip.vision_model(pixel_values=x).pooler_output @ clip.visual_projection.weight.T
    every = clip.text_model(input_ids=TOKENS).last_hidden_state  # all seven positions
    ends = [row.tolist().index(END) for row in TOKENS]
    text = torch.stack([states[end] for states, end in zip(every, ends, strict=True)]) @ clip.text_projection.weight.T
    h = torch.cat((image, text), dim=1)
    for layer in (network.fc1, network.fc2):
        h = (h @ layer.weight.T + layer.bias).clamp(min=0)
    expected = h @ network.fc3.weight.T + network.fc3.bias
    torch.testing.assert_close(network(x, TOKENS), expected, rtol=0, atol=1e-5)


def test_four_at_once_are_as_one_by_one_and_what_follows_the_end_does_not_count(network: DeFakeNet) -> None:
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    together = network(x, TOKENS)
    alone = torch.cat([network(x[i : i + 1], TOKENS[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    padded = TOKENS.clone()
    padded[1, 2:] = 5
    torch.testing.assert_close(network(x, padded), together, rtol=0, atol=1e-5)


def test_the_card_counts_the_parameters_of_the_network() -> None:
    with torch.device("meta"):
        network = DeFake.network()
    assert sum(parameter.numel() for parameter in network.parameters()) == DeFake.card.presets["official"].parameters


# ---------------------------------------------------------------- detector


class Brightness(CaptionTokens):
    """Says of an image how bright it is."""

    def __init__(self) -> None:
        pass

    def __call__(self, images: Sequence[Image]) -> Tensor:
        return torch.stack([TOKENS[image.getpixel((0, 0))[0] % 4] for image in images])  # type: ignore[index]


def test_an_image_is_scored_with_its_own_caption(network: DeFakeNet) -> None:
    detector = DeFake.__new__(DeFake)  # without its 1.6 GB of weights
    detector.device, detector.network = torch.device("cpu"), network
    detector.view = View(steps=(Resize((8, 8), "bicubic"),), **CLIP)
    with pytest.raises(WeightsError, match="without its captioner"):
        detector.predict([picture(20, 20)])
    detector.tokens = Brightness()
    images = [picture(width, 20, seed) for seed, width in enumerate([20, 1, 33, 20, 20])]
    scores = [prediction.score for prediction in detector.predict(images)]
    for image, score in zip(images, scores, strict=True):
        logits = network(torch.from_numpy(apply_view(detector.view, image))[None], Brightness()([image])).double()
        assert score == pytest.approx(logits.softmax(dim=1)[0, 1].item(), abs=1e-6)
    assert len({round(score, 6) for score in scores if score is not None}) == 5
    assert detector.predict(images)[0].score_source == "softmax"

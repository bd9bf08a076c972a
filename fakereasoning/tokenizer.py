"""Tokenizers: a byte-level BPE trained here for the small model, the user's Llama-2 tokenizer for the large ones.

`Codec` is all that the rest of the package knows of either. Text never makes special tokens: "</s>" in a text is
five characters, so that no file or answer can end a sequence or pad it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from fakereasoning.checkpoints import read_json
from fakereasoning.cpm import OFFICIAL_CPM, CPMTokens
from fakereasoning.prompts import IMAGE_TOKEN, NANO, OFFICIAL_EVAL_IDS, TAGS, Template, bare_question
from fdr_bench.errors import MissingExtra, UsageError, WeightsError

FILE, SENTENCEPIECE, PROMPT = "tokenizer.json", "tokenizer.model", "prompt.json"
PAD, BOS, EOS, UNK = "<pad>", "<s>", "</s>", "<unk>"
LEAST_VOCABULARY = 4 + len(TAGS) + 256
"""Special tokens, tags and one token for each byte."""


class Codec(Protocol):
    """Between text and ids. `pad`, `bos` and `eos` are ids, `vocabulary` is the number of rows of the embedding."""

    @property
    def pad(self) -> int: ...
    @property
    def bos(self) -> int: ...
    @property
    def eos(self) -> int: ...
    @property
    def vocabulary(self) -> int: ...
    @property
    def cpm(self) -> CPMTokens:
        """The pattern of the conclusion and the words that may follow it."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text alone: no bos, no eos, no image."""

    def prompt(self, question: str | None = None) -> list[int]:
        """Return bos, and a question with one `IMAGE_TOKEN`, up to where the answer begins; None: the model's own."""

    def answer(self, text: str) -> list[int]:
        """Return the ids of an answer with eos behind."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; special tokens and `IMAGE_TOKEN` give nothing."""

    def save(self, folder: Path) -> None:
        """Write what `load_codec` reads into a folder that exists."""


class ByteLevelCodec:
    """The small model's codec. `decode(encode(text)) == text` for any text that UTF-8 can write."""

    def __init__(self, tokenizer: Tokenizer, template: Template = NANO) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self.pad, self.bos, self.eos = (_id_of(tokenizer, token) for token in (PAD, BOS, EOS))
        missing = [tag for tag in TAGS if tokenizer.token_to_id(tag) is None]
        if missing:
            raise WeightsError(f"the tokenizer has no token for {', '.join(missing)}: expected one for each tag")
        tokenizer.encode_special_tokens = True

    @property
    def vocabulary(self) -> int:
        """The number of tokens."""
        return int(self.tokenizer.get_vocab_size())

    @cached_property
    def cpm(self) -> CPMTokens:
        """The pattern of the conclusion: its tag and three words, one token each in a tokenizer trained on answers."""
        return CPMTokens.of(self)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text alone."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def prompt(self, question: str | None = None) -> list[int]:
        """Return bos, the image and a question, each chunk of text tokenized by itself."""
        before = self.encode(self.template.before())
        return [self.bos, *before, IMAGE_TOKEN, *self.encode(self.template.after(question))]

    def answer(self, text: str) -> list[int]:
        """Return the ids of an answer with eos behind."""
        return [*self.encode(text), self.eos]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens left out; bytes that are no UTF-8 become U+FFFD."""
        return str(self.tokenizer.decode([i for i in ids if i >= 0], skip_special_tokens=True))

    def save(self, folder: Path) -> None:
        """Write tokenizer.json into a folder that exists."""
        self.tokenizer.save(str(folder / FILE))


class LlamaCodec:
    """The Llama-2 tokenizer with the released model's prompts, `ids` being the complete one to use.

    A question of its own takes the place of the prompt's behind the image. pad is unk, as in the official training.
    """

    pad, bos, eos = 0, 1, 2

    def __init__(self, tokenizer: Tokenizer, ids: Sequence[int] = OFFICIAL_EVAL_IDS) -> None:
        if list(ids).count(IMAGE_TOKEN) != 1:
            raise UsageError(f"the prompt has {list(ids).count(IMAGE_TOKEN)} images, expected one ({IMAGE_TOKEN})")
        self.tokenizer = tokenizer
        self.ids = tuple(ids)
        tokenizer.encode_special_tokens = True

    @property
    def vocabulary(self) -> int:
        """The number of tokens, added ones too."""
        return int(self.tokenizer.get_vocab_size())

    @property
    def cpm(self) -> CPMTokens:
        """The released code's fixed ids."""
        return OFFICIAL_CPM

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text as it stands behind a space or at the start: the first word has its space mark."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def prompt(self, question: str | None = None) -> list[int]:
        """Return the complete prompt, or its part up to the image with another question behind."""
        if question is None:
            return list(self.ids)
        image = self.ids.index(IMAGE_TOKEN)
        return [*self.ids[: image + 1], *self.encode(f"\n{bare_question(question)} ASSISTANT:")]

    def answer(self, text: str) -> list[int]:
        """Return the ids of an answer with eos behind."""
        return [*self.encode(text), self.eos]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, stripped; special tokens are left out."""
        # By number: a file may lack the note that these are special.
        return str(self.tokenizer.decode([i for i in ids if i > self.eos], skip_special_tokens=True)).strip()

    def save(self, folder: Path) -> None:
        """Write tokenizer.json, and the prompt as prompt.json, into a folder that exists."""
        self.tokenizer.save(str(folder / FILE))
        (folder / PROMPT).write_text(json.dumps({"ids": self.ids}) + "\n", encoding="utf-8")


def train_tokenizer(texts: Iterable[str], *, vocabulary: int = 1024) -> ByteLevelCodec:
    """Train a byte-level BPE (Sennrich et al., ACL 2016; Radford et al., 2019) with the tags as single tokens.

    Equal texts give equal tokenizers, whatever their order. Few or short texts may give fewer tokens than asked for.
    Raises `UsageError` for a vocabulary below the bytes, tags and special tokens.
    """
    if vocabulary < LEAST_VOCABULARY:
        raise UsageError(f"a vocabulary of {vocabulary} is too small: expected at least {LEAST_VOCABULARY}")
    tokenizer = Tokenizer(models.BPE(unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        # The tags take their places in the vocabulary later, so the trainer must leave room for them.
        vocab_size=vocabulary - len(TAGS),
        special_tokens=[PAD, BOS, EOS, UNK],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_without_tags(texts), trainer)
    tokenizer.add_tokens([AddedToken(tag, normalized=False, special=False) for tag in TAGS])
    return ByteLevelCodec(tokenizer)


def load_codec(folder: Path, *, ids: Sequence[int] | None = None) -> ByteLevelCodec | LlamaCodec:
    """Load the tokenizer of a folder that was written here: the small model's own, or Llama-2's.

    `ids` is Llama's prompt; None: the one that the folder records, or the released inference's where it records none.
    Raises `WeightsError` where a file is missing or damaged.
    """
    prompt = _recorded_prompt(folder) if ids is None else ids
    try:
        return load_tokenizer(folder)
    except WeightsError as small:
        try:
            return load_llama_tokenizer(folder, ids=prompt)
        except WeightsError:
            raise small from None


def _recorded_prompt(folder: Path) -> Sequence[int]:
    """Return the prompt that a folder records, or the released inference's where it records none.

    Raises `WeightsError` for a prompt.json that is damaged or is not one prompt about one image.
    """
    if not (folder / PROMPT).is_file():
        return OFFICIAL_EVAL_IDS
    ids = read_json(folder / PROMPT).get("ids")
    if not isinstance(ids, list) or not all(isinstance(i, int) for i in ids) or ids.count(IMAGE_TOKEN) != 1:
        raise WeightsError(f"{folder / PROMPT} has no 'ids' of a prompt with one image ({IMAGE_TOKEN}); write it anew")
    return ids


def load_tokenizer(folder: Path, *, template: Template = NANO) -> ByteLevelCodec:
    """Load the tokenizer.json of a small model's folder. Raises `WeightsError` where it is missing or not one."""
    return ByteLevelCodec(_read(folder / FILE), template)


def load_llama_tokenizer(folder: Path, *, ids: Sequence[int] = OFFICIAL_EVAL_IDS) -> LlamaCodec:
    """Load a Llama-2 tokenizer: tokenizer.json, or tokenizer.model (which needs sentencepiece and protobuf).

    Raises `WeightsError` where neither is there or the ids are not Llama-2's, `MissingExtra` without sentencepiece.
    """
    if (folder / FILE).is_file():
        tokenizer = _read(folder / FILE)
    elif (folder / SENTENCEPIECE).is_file():
        tokenizer = _from_sentencepiece(folder)
    else:
        raise WeightsError(f"{folder}: no tokenizer. Expected {FILE} or {SENTENCEPIECE}, the Llama-2 tokenizer")
    codec = LlamaCodec(tokenizer, ids)
    found = CPMTokens.of(codec)
    if found != OFFICIAL_CPM:
        raise WeightsError(
            f"{folder}: this is not the Llama-2 tokenizer: the conclusion has the tokens {found.pattern}, expected "
            f"{OFFICIAL_CPM.pattern}. Take {SENTENCEPIECE} from the folder of the released weights"
        )
    return codec


def _without_tags(texts: Iterable[str]) -> Iterable[str]:
    """Yield the texts with their tags cut out, so that no merge is spent on them."""
    for text in texts:
        for tag in TAGS:
            text = text.replace(tag, "\x00")
        yield from filter(None, text.split("\x00"))


def _id_of(tokenizer: Tokenizer, token: str) -> int:
    number = tokenizer.token_to_id(token)
    if number is None:
        raise WeightsError(f"the tokenizer has no {token} token: expected {PAD}, {BOS}, {EOS} and {UNK}")
    return int(number)


def _read(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}. Expected the model's tokenizer") from error
    # The library raises nothing narrower for text that is no tokenizer.
    except Exception as error:
        raise WeightsError(f"{path}: not a tokenizer of the tokenizers library: {error}") from error


def _from_sentencepiece(folder: Path) -> Tokenizer:
    from transformers import LlamaTokenizer

    try:
        loaded = LlamaTokenizer.from_pretrained(str(folder))
    except ImportError as error:
        raise MissingExtra(
            f"{folder}: reading {SENTENCEPIECE} needs sentencepiece and protobuf ({error}). Install both, or put a "
            f"{FILE} beside it"
        ) from error
    tokenizer: Tokenizer = loaded.backend_tokenizer
    return tokenizer

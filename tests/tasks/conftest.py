"""Small models that read text: a word-level tokenizer and a byte-level one, both made in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerFast

from interp.tasks.indirect_objects import OBJECTS, PLACES, TEMPLATES
from interp.tasks.names import IOI_NAMES, MORE_NAMES

SPECIAL = {"unk_token": "<unk>", "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
# Otherwise TransformerLens loads the tokenizer a second time, from where it never was.
OPTIONS = {"add_bos_token": True, "name_or_path": "in-memory"}


def word_tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    """One token a word; spaces are not part of a token, unknown words become <unk>."""
    vocabulary = {token: index for index, token in enumerate([*SPECIAL.values(), *dict.fromkeys(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL, **OPTIONS)


def byte_tokenizer(corpus: list[str], n_vocab: int) -> PreTrainedTokenizerFast:
    """Byte-level pair merges as in GPT-2: a word with the space before it is another token than the bare word."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=n_vocab,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL, **OPTIONS)


def tiny_model(tokenizer: PreTrainedTokenizerFast | None, d_vocab: int | None = None, n_ctx: int = 64) -> Any:
    """A random two-layer model around a tokenizer."""
    torch.manual_seed(0)
    config = TransformerBridgeConfig(
        n_layers=2,
        n_heads=2,
        d_model=16,
        d_head=8,
        d_mlp=32,
        n_ctx=n_ctx,
        d_vocab=d_vocab or len(tokenizer),  # type: ignore[arg-type]
        act_fn="gelu",
        normalization_type="LN",
        device="cpu",
    )
    return TransformerBridge.boot_native(config, tokenizer=tokenizer).eval()


def template_words() -> list[str]:
    text = " ".join(TEMPLATES).replace("[A]", "").replace("[B]", "").replace("[PLACE]", "").replace("[OBJECT]", "")
    return [word for word, _ in pre_tokenizers.Whitespace().pre_tokenize_str(text)]


@pytest.fixture(scope="session")
def make_word_model() -> Callable[..., Any]:
    """Word-level models; names= chooses which first names are known words."""

    def make(names: tuple[str, ...] = IOI_NAMES + MORE_NAMES, **options: Any) -> Any:
        return tiny_model(word_tokenizer([*template_words(), *PLACES, *OBJECTS, *names]), **options)

    return make


@pytest.fixture(scope="session")
def word_model(make_word_model: Callable[..., Any]) -> Any:
    """Knows every word and name of the IOI prompts."""
    return make_word_model()


@pytest.fixture(scope="session")
def byte_model() -> Any:
    """GPT-2-like text handling: " Mary" is one token, "Mary" is not; most other names are split."""
    corpus = [" When Mary and John went to the store" for _ in range(50)]
    corpus += [f" {name} and {name}" for name in ("Alice", "Tom", "Sara", "Kate") for _ in range(20)]
    corpus += [word for word in template_words() for _ in range(3)]
    return tiny_model(byte_tokenizer(corpus, n_vocab=420))

"""Text to tokens and back, with BOS always said aloud.

The bridge's own `to_tokens` prepends BOS unless told otherwise and pads and truncates silently; these do none of it.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from interp.errors import InputError


def tokenizer_of(model: TransformerBridge) -> Any:
    """The model's Hugging Face tokenizer. Raises InputError for a model without one, such as the toys."""
    if model.tokenizer is None:
        raise InputError(f"{model.cfg.model_name} has no tokenizer; give token tensors instead of text")
    return model.tokenizer


def to_tokens(model: TransformerBridge, text: str, prepend_bos: bool) -> Int[Tensor, "pos"]:
    """The tokens of one text, int64 on the CPU, after the tokenizer's BOS when `prepend_bos`, with nothing else added.

    Raises InputError when the model has no tokenizer or no BOS, or when nothing is left to run on.
    """
    tokenizer = tokenizer_of(model)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if prepend_bos:
        ids = [bos_token(model), *ids]
    if not ids:
        raise InputError("the text has no tokens; give some text, or prepend BOS")
    return torch.tensor(ids, dtype=torch.int64)


def bos_token(model: TransformerBridge) -> int:
    """The token that marks the beginning of a text. Raises InputError when the tokenizer has none."""
    if model.tokenizer is None:
        raise InputError(f"{model.cfg.model_name} has no tokenizer and so no BOS token; leave BOS out")
    bos = model.tokenizer.bos_token_id
    if bos is None:
        raise InputError(f"the tokenizer of {model.cfg.model_name} has no BOS token; use prepend_bos=False")
    return int(bos)


def to_strings(model: TransformerBridge, tokens: Int[Tensor, "pos"]) -> list[str]:
    """The text of each token by itself, spaces included ("\u0120the" reads " the"); a model without a tokenizer counts.

    Bytes that are no whole character alone are shown as the replacement character.
    """
    if model.tokenizer is None:
        return [str(token) for token in tokens.tolist()]
    decode = model.tokenizer.decode
    return [decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False) for token in tokens.tolist()]


def running_strings(model: TransformerBridge, tokens: Int[Tensor, "pos"]) -> list[str]:
    """The same to be joined to a text: where tokens are numbers, for want of a tokenizer, each begins with a space."""
    strings = to_strings(model, tokens)
    return [f" {number}" for number in strings] if model.tokenizer is None else strings


def single_token(model: TransformerBridge, word: str) -> int | None:
    """The token that is exactly `word` (leading space included), None where it takes several."""
    ids = tokenizer_of(model)(word, add_special_tokens=False)["input_ids"]
    return int(ids[0]) if len(ids) == 1 else None

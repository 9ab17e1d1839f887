"""Tokens with BOS said aloud."""

from __future__ import annotations

import pytest
import torch

from interp.errors import InputError
from interp.models import load_model, single_token, to_strings, to_tokens
from interp.models.tokens import running_strings


@pytest.fixture(scope="module")
def model(saved_llama):
    return load_model(saved_llama, device="cpu")


def test_bos_only_when_asked_for(model):
    plain = to_tokens(model, "the cat", prepend_bos=False)
    assert plain.dtype == torch.int64
    assert plain.device.type == "cpu"
    assert to_strings(model, plain) == running_strings(model, plain) == ["the", " cat"]
    assert to_tokens(model, "the cat", prepend_bos=True).tolist() == [model.tokenizer.bos_token_id, *plain.tolist()]


def test_long_text_is_not_cut(model):
    assert len(to_tokens(model, " the" * 500, prepend_bos=False)) == 500


def test_bos_in_the_text_is_the_token(model):
    assert to_tokens(model, "<|bos|>the", prepend_bos=False).tolist() == to_tokens(model, "the", True).tolist()


def test_strings_show_special_tokens(model):
    assert to_strings(model, to_tokens(model, "the", prepend_bos=True)) == ["<|bos|>", "the"]


def test_single_tokens(model):
    assert single_token(model, " cat") == to_tokens(model, " cat", prepend_bos=False).item()
    assert single_token(model, " dog") is None
    assert single_token(model, "") is None


def test_no_text(model):
    with pytest.raises(InputError, match="no tokens"):
        to_tokens(model, "", prepend_bos=False)
    assert len(to_tokens(model, "", prepend_bos=True)) == 1


def test_no_tokenizer():
    toy = load_model("toy/linear")
    for ask in (lambda: to_tokens(toy, "text", prepend_bos=False), lambda: single_token(toy, "text")):
        with pytest.raises(InputError, match="toy/linear has no tokenizer; give token tensors"):
            ask()
    assert to_strings(toy, torch.tensor([3, 1])) == ["3", "1"]
    assert running_strings(toy, torch.tensor([3, 1])) == [" 3", " 1"]

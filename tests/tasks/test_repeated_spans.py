"""Repeated spans are found, cut and overwritten where the docstring says."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from interp.errors import InputError
from interp.tasks import repeated_text
from interp.tasks.names import IOI_NAMES
from interp.tasks.repeated_spans import FRAMES, PHRASES, longest_repeat
from tests.tasks.conftest import byte_tokenizer, tiny_model


@pytest.fixture(scope="module")
def text_model() -> Any:
    """Byte-level, trained on the built-in texts, so that their words are single tokens."""
    texts = [text.replace("{}", phrase) for text in FRAMES for phrase in PHRASES]
    return tiny_model(byte_tokenizer(texts, n_vocab=900), n_ctx=256)


def slow_longest_repeat(tokens: list[int]) -> int:
    n = len(tokens)
    return max(
        (
            size
            for size in range(n // 2 + 1)
            for i in range(n)
            for j in range(i + size, n - size + 1)
            if tokens[i : i + size] == tokens[j : j + size]
        ),
        default=0,
    )


def test_longest_repeat_against_trying_everything() -> None:
    generator = torch.Generator().manual_seed(0)
    for n in (1, 2, 3, 9, 12, 14):
        for n_letters in (1, 2, 3, 6):
            for _ in range(8):
                tokens = torch.randint(n_letters, (n,), generator=generator).tolist()
                first, second, size = longest_repeat(tokens)
                assert size == slow_longest_repeat(tokens)
                assert first + size <= second or size == 0
                assert tokens[first : first + size] == tokens[second : second + size]


@pytest.mark.parametrize("prepend_bos", [False, True])
def test_built_in_texts(text_model: Any, prepend_bos: bool) -> None:
    task = repeated_text(text_model, n=20, prepend_bos=prepend_bos)
    assert len(task) == 20
    assert len(set(task.texts()["clean"])) == 20
    assert task.aligned
    for i in range(20):
        clean = task.clean[i, : int(task.lengths[i])].tolist()
        corrupt = task.corrupt[i, : int(task.lengths[i])].tolist()
        span, a1, b1, end = (int(task.positions[role][i]) for role in ("span", "A1", "B1", "end"))
        assert a1 == b1 - 1
        assert end == len(clean) - 1
        assert clean[a1] == clean[end]
        assert clean[b1] == int(task.answers[i, 0])
        # The prompt ends with the span but for its last word, and the span holds the phrase.
        assert clean[end - (a1 - span) :] == clean[span:b1]
        differ = [p for p in range(len(clean)) if clean[p] != corrupt[p]]
        assert differ == list(range(span, differ[-1] + 1))
        assert any(phrase in task.tokenizer.decode(clean[span : differ[-1] + 1]) for phrase in PHRASES)
        # Corrupt differs at every token of the earlier span and nowhere else; after the answer its word ends.
        pieces = [task.tokenizer.decode([token]) for token in clean[span : differ[-1] + 1]]
        assert pieces[b1 - span].startswith(" ")
        assert not any(piece.startswith(" ") for piece in pieces[b1 - span + 1 :])
        assert not set(corrupt[span : differ[-1] + 1]) & set(clean)
        assert corrupt[b1] == int(task.distractors[i, 0])
        assert (clean[0] == task.tokenizer.bos_token_id) == prepend_bos


def test_own_texts(text_model: Any) -> None:
    text = "The letter mentioned a cracked marble chessboard. Most visitors took a cracked marble chessboard away"
    task = repeated_text(text_model, [text])
    assert task.texts()["clean"] == [
        "The letter mentioned a cracked marble chessboard. Most visitors took a cracked marble"
    ]
    assert task.tokenizer.decode(task.answers[0]) == " chessboard"
    assert task.texts()["corrupt"][0].startswith("The letter mentioned ")
    assert task.texts()["corrupt"][0].endswith(". Most visitors took a cracked marble")


def test_seeds(text_model: Any) -> None:
    a, b, c = (repeated_text(text_model, n=5, seed=seed).describe()["sha256"] for seed in (0, 0, 1))
    assert a == b
    assert a["corrupt"] != c["corrupt"]


def test_refusals(text_model: Any, word_model: Any) -> None:
    with pytest.raises(InputError, match="text 1 has no span of 2 tokens"):
        repeated_text(text_model, [" a walnut a walnut", "The captain remembers"])
    with pytest.raises(InputError, match="1 to 100 built-in texts, not 101"):
        repeated_text(text_model, n=101)
    with pytest.raises(InputError, match="n=3 is for the built-in texts"):
        repeated_text(text_model, [" a walnut a walnut"], n=3)
    with pytest.raises(InputError, match="replacements are known"):
        repeated_text(word_model, [" ".join(IOI_NAMES[:30] * 2)])

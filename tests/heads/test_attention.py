"""Patterns of chosen heads against TransformerLens's cache."""

from __future__ import annotations

import pytest
import torch

from interp.errors import InputError
from interp.heads import attention, patterns
from tests.tiny_models import random_tokens, tiny


def test_patterns_of_heads_in_the_order_asked() -> None:
    model, tokens = tiny("llama"), random_tokens(3, 6)
    result = patterns(model, tokens, heads=["2.1", (0, 3), "a2.0"], batch_size=2)
    _, cache = model.run_with_cache(tokens)
    expected = torch.stack([cache["pattern", layer][:, head] for layer, head in ((2, 1), (0, 3), (2, 0))], dim=1)
    torch.testing.assert_close(result.values["pattern"].data, expected, atol=1e-6, rtol=0)
    assert result.values["pattern"].axis("head").labels == ("2.1", "0.3", "2.0")
    assert result.texts["tokens"][0] == [f"w{token}" for token in tokens[0].tolist()]


def test_all_heads_of_a_layer() -> None:
    result = patterns(tiny("gpt2"), "w5 w6 w7", layers=1)
    assert result.values["pattern"].axis("head").labels == ("1.0", "1.1", "1.2", "1.3")


def test_pads_have_no_attention() -> None:
    result = patterns(tiny("gpt2"), ["w5 w6 w7 w8", "w5 w6"], heads="0.0")
    short = result.values["pattern"].sel(example=1, head="0.0").data
    assert short[2:].abs().sum() == short[:, 2:].abs().sum() == 0
    torch.testing.assert_close(short[:2].sum(-1), torch.ones(2))


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"heads": "9.0"}, "layer 9 does not exist: the layers are 0 to"),
        ({"heads": "0.9"}, "head 9 does not exist"),
        ({"heads": "nine"}, "names no head"),
        ({"heads": []}, "no heads were given"),
        ({"layers": 7}, "there is no layer 7"),
        ({"layers": [0], "heads": "0.0"}, "not both"),
    ],
)
def test_heads_that_do_not_exist_are_refused(chosen: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        patterns(tiny("gpt2"), "w5 w6", **chosen)  # type: ignore[arg-type]


def test_more_than_a_result_should_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "MAX_BYTES", 100)
    with pytest.raises(InputError, match="choose fewer"):
        patterns(tiny("gpt2"), "w5 w6 w7 w8 w9")

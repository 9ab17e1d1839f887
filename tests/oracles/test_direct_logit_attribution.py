"""Direct attribution and logit lens against TransformerLens's own, which need weights that are folded and centred."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformer_lens.tools.analysis import direct_logit_attribution
from transformer_lens.tools.analysis import logit_lens as their_lens

from interp.lens import direct_attribution, logit_lens
from tests.tiny_models import random_tokens, tiny_gpt2, tiny_llama


@pytest.fixture(scope="module", params=[tiny_gpt2, tiny_llama], ids=["gpt2", "llama"])
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """One model as loaded, and a copy in compatibility mode."""
    make: Callable[[], Any] = request.param
    folded = make()
    # Value biases stay with their heads: ours count them there.
    folded.enable_compatibility_mode(disable_warnings=True, fold_value_biases=False)
    return make(), folded


def test_heads_and_components_agree(pair: tuple[Any, Any]) -> None:
    model, folded = pair
    tokens = random_tokens(3, 7)
    question = {"answer_tokens": torch.tensor([5, 6, 7]), "incorrect_tokens": torch.tensor([8, 9, 10])}
    asked = {"target": torch.tensor([5, 6, 7]), "distractor": torch.tensor([8, 9, 10])}
    theirs = direct_logit_attribution(folded, tokens, unit="head", **question)
    ours = direct_attribution(model, tokens, by="head", **asked).values["per_prompt"].data
    n_heads = ours.shape[1] * ours.shape[2]
    torch.testing.assert_close(ours.flatten(1).T, theirs.attribution[:n_heads], atol=1e-3, rtol=1e-3)
    again = direct_attribution(folded, tokens, by="head", **asked).values["per_prompt"].data
    torch.testing.assert_close(again.flatten(1).T, theirs.attribution[:n_heads], atol=1e-3, rtol=1e-3)

    parts = direct_logit_attribution(folded, tokens, unit="component", **question)
    by_name = dict(zip(parts.labels, parts.attribution))
    components = direct_attribution(model, tokens, by="component", **asked).values["per_prompt"]
    for layer in range(model.cfg.n_layers):
        for ours_name, their_name in ((f"a{layer}", f"{layer}_attn_out"), (f"m{layer}", f"{layer}_mlp_out")):
            expected = by_name[their_name]
            torch.testing.assert_close(components.sel(component=ours_name).data, expected, atol=1e-3, rtol=1e-3)


def test_lenses_agree(pair: tuple[Any, Any]) -> None:
    for model in pair:
        tokens = random_tokens(2, 6)
        theirs = their_lens(model, tokens, targets=[5, 7], positions=None, return_type="log_probs")
        ours = logit_lens(model, tokens, targets=[5, 7]).values
        torch.testing.assert_close(
            ours["log_prob_per_prompt"].data.transpose(0, 1), theirs.values, atol=1e-4, rtol=1e-4
        )
        ranks = theirs.readout.target_ranks
        assert ranks is not None
        assert torch.equal(ours["rank_per_prompt"].data.transpose(0, 1).long(), ranks)
        torch.testing.assert_close(
            ours["entropy_per_prompt"].data.transpose(0, 1), theirs.readout.entropy, atol=1e-4, rtol=1e-4
        )

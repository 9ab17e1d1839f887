"""The loss on repeated random tokens against the model's own logits."""

from __future__ import annotations

import pytest
import torch

import interp
from interp.heads import repeated_loss, token_losses
from interp.tasks.repetition import repeated_random_tokens
from tests.tiny_models import TINY, tiny


@pytest.mark.parametrize("name", TINY)
def test_losses_are_those_of_the_models_logits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(name)
    # A few positions at a time, so that the seams are tested too.
    monkeypatch.setattr(token_losses, "LOGIT_BYTES", 4 * 2 * 100 * 3)
    result = repeated_loss(model, n=3, length=5, seed=2, batch_size=2)
    tokens = torch.Tensor(repeated_random_tokens(model, 3, 5, 2)).long()
    log_probs = model(tokens).log_softmax(-1)
    expected = torch.stack([-log_probs[:, i, :].gather(-1, tokens[:, i + 1 : i + 2])[:, 0] for i in range(9)], dim=1)
    torch.testing.assert_close(result.values["per_prompt"].data, expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(result.values["loss"].data, expected.mean(0), atol=1e-4, rtol=1e-5)
    assert result.values["loss"].axes[0].labels == tuple(range(1, 10))


def test_copies_leave_out_the_token_that_nothing_announces() -> None:
    result = repeated_loss(tiny("llama"), n=2, length=5, n_repeats=3, prepend_bos=True)
    each = result.values["per_prompt"]
    for copy in range(3):
        inside = list(range(2 + 5 * copy, 6 + 5 * copy))
        expected = each.sel(position=inside).data.mean(1)
        torch.testing.assert_close(result.values["copies_per_prompt"].sel(copy=copy + 1).data, expected)


def test_an_intervention_on_the_final_norm_is_seen() -> None:
    model = tiny("gpt2")
    plain = repeated_loss(model, n=1, length=5).values["loss"].data
    with interp.intervene(model, interp.scale(interp.sites.final_scale(), 3.0)):
        scaled = repeated_loss(model, n=1, length=5).values["loss"].data
    assert (plain - scaled).abs().max() > 0.1

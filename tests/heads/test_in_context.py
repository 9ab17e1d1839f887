"""The in-context learning score against the losses of the model's own logits."""

from __future__ import annotations

import pytest
import torch

import interp
from interp.errors import InputError
from interp.heads import in_context_score, repeated_loss, token_losses
from interp.tasks.repetition import repeated_random_tokens
from tests.tiny_models import TINY, random_tokens, tiny


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("window", [1, 3])
def test_the_score_is_the_difference_of_two_losses(name: str, window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_losses, "LOGIT_BYTES", 4 * 2 * 100 * 2)  # two positions at a time
    model, tokens = tiny(name), random_tokens(5, 20)
    found = in_context_score(model, tokens, early=4, late=12, window=window, batch_size=2)
    losses = -model(tokens).log_softmax(-1)[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0]  # of tokens 1, 2, ...
    early, late = losses[:, 3 : 3 + window].mean(1), losses[:, 11 : 11 + window].mean(1)
    expected = torch.stack([early, late, late - early], dim=1)
    torch.testing.assert_close(found.per_example.data, expected, atol=1e-4, rtol=1e-4)
    assert found.sel(measure="score").values["mean"].data.item() == pytest.approx(
        (late - early).mean().item(), abs=1e-4
    )


def test_positions_count_as_in_the_loss_by_position() -> None:
    model = interp.load_model("toy/induction")
    tokens = repeated_random_tokens(model, 8, 12, seed=0)
    found = in_context_score(model, tokens, early=5, late=20)
    by_position = repeated_loss(model, n=8, length=12, seed=0).values["loss"]
    for measure, position in (("early", 5), ("late", 20)):
        expected = by_position.sel(position=position).data
        torch.testing.assert_close(found.sel(measure=measure).values["mean"].data, expected, atol=1e-5, rtol=1e-5)
    assert found.sel(measure="score").values["high"].data < -1


def test_short_texts_and_impossible_positions_are_refused() -> None:
    model = tiny("gpt2")
    with pytest.raises(InputError, match="fewer than 31 tokens"):
        in_context_score(model, random_tokens(2, 20), early=5, late=30)
    with pytest.raises(InputError, match="the model takes 64"):
        in_context_score(model, random_tokens(2, 20))
    for wrong in ({"early": 0, "late": 4}, {"early": 5, "late": 5}, {"early": 2, "late": 4, "window": 3}):
        with pytest.raises(InputError, match="make no score"):
            in_context_score(model, random_tokens(2, 20), **wrong)

"""Knock-outs against hooks put on by hand, one draw at a time."""

from __future__ import annotations

import pytest
import torch

import interp
from interp import sites
from interp.errors import InputError
from interp.heads import knock_out
from interp.heads.knocking_out import draw_heads
from interp.hooks.sites import hook_points
from interp.tasks.repetition import repeated_random_tokens
from tests.tiny_models import random_tokens, tiny


def losses(model, tokens: torch.Tensor) -> torch.Tensor:
    return -model(tokens).log_softmax(-1)[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0]


def by_hand(model, tokens: torch.Tensor, heads: list[tuple[int, int]], value: str) -> torch.Tensor:
    """The losses with the heads silenced, hook by hook over the whole model."""
    layers = range(model.cfg.n_layers)
    clean = interp.capture(model, tokens, [site(layer) for layer in layers for site in (sites.z, sites.pattern)])
    kept = []
    for layer, head in heads:
        mean = clean[sites.z(layer)][:, 1:, head].mean((0, 1)) if value == "mean" else torch.tensor(0.0)

        def silence(z: torch.Tensor, hook: object, head: int = head, mean: torch.Tensor = mean) -> torch.Tensor:
            z = z.clone()
            z[:, :, head] = mean
            return z

        kept.append((sites.z(layer), silence))
    if value == "pattern-preserving":
        for layer in layers:
            kept.append((sites.pattern(layer), lambda pattern, hook, layer=layer: clean[sites.pattern(layer)]))
    with model.hooks(fwd_hooks=[(hook_points(model)[site.hook].name, function) for site, function in kept]):
        return losses(model, tokens)


@pytest.mark.parametrize("name", ["gpt2", "llama", "native-attention-only"])
@pytest.mark.parametrize("value", ["zero", "mean", "pattern-preserving"])
def test_effects_are_those_of_hooks_put_on_by_hand(name: str, value: str) -> None:
    model, heads = tiny(name), [(1, 0), (2, 3), (1, 2)]
    found = knock_out(model, ["1.0", "2.3", "1.2"], value=value, n=5, length=6, n_random=3, seed=2, batch_size=2)
    tokens = torch.Tensor(repeated_random_tokens(model, 5, 6, 2)).long()

    def measures(each: torch.Tensor) -> torch.Tensor:
        first, second = each[:, 0:5].mean(1), each[:, 6:11].mean(1)
        return torch.stack([first, second, second - first], dim=1)

    intact = measures(losses(model, tokens))
    expected = measures(by_hand(model, tokens, heads, value)) - intact
    torch.testing.assert_close(found.values["intact"].data, intact.mean(0), atol=1e-4, rtol=1e-4)
    ours = found.values["per_prompt"].sel(condition="chosen").data
    torch.testing.assert_close(ours, expected, atol=2e-4, rtol=1e-3)
    for draw, names in enumerate(found.settings["draws"]):
        drawn = [tuple(int(part) for part in head.split(".")) for head in names]
        expected_draw = (measures(by_hand(model, tokens, drawn, value)) - intact).mean(0)
        torch.testing.assert_close(found.values["draws"].data[draw], expected_draw, atol=2e-4, rtol=1e-3)


def test_texts_are_measured_at_two_positions() -> None:
    model, tokens = tiny("llama"), random_tokens(4, 24)
    found = knock_out(model, ["2.1"], tokens, early=5, late=18, n_random=2)
    intact = losses(model, tokens)
    expected = torch.stack([intact[:, 4].mean(), intact[:, 17].mean(), (intact[:, 17] - intact[:, 4]).mean()])
    torch.testing.assert_close(found.values["intact"].data, expected, atol=1e-4, rtol=1e-4)
    assert found.values["effect"].axis("measure").labels[-1] == "in-context score"


def test_the_toys_induction_head_carries_all_that_repetition_saves() -> None:
    model = interp.load_model("toy/induction")
    found = knock_out(model, ["1.0"], n=8, length=12, n_random=3)
    change = found.values["effect"].sel(measure="saved by repetition")
    assert change.sel(condition="chosen").data > 1.5
    assert change.sel(condition="random").data == 0.0  # the decoy beside it
    assert found.values["exceeded"].sel(measure="saved by repetition").data == 0.0
    kept = knock_out(model, ["0.0"], value="pattern-preserving", n=8, length=12, n_random=3)
    # What the previous-token head writes is read as a place to look only, and places are kept.
    assert kept.values["effect"].data.abs().max() == 0.0
    anew = knock_out(model, ["0.0"], n=8, length=12, n_random=3)
    assert anew.values["effect"].sel(measure="second copy", condition="chosen").data > 1.0


def test_draws_come_from_the_same_layers_and_avoid_what_is_excluded() -> None:
    model = tiny("llama")  # 4 layers of 4 heads
    draws, matched = draw_heads(model, [(1, 0), (1, 1), (3, 2)], [(1, 2), (3, 0)], 50, seed=0)
    assert not matched  # layer 1 has one head left for two
    assert len({tuple(draw) for draw in draws}) > 10
    assert all(len(set(draw)) == 3 for draw in draws)
    assert not {head for draw in draws for head in draw} & {(1, 0), (1, 1), (3, 2), (1, 2), (3, 0)}
    draws, matched = draw_heads(model, [(1, 0), (3, 2)], [], 50, seed=0)
    assert matched
    assert {tuple(layer for layer, _ in draw) for draw in draws} == {(1, 3)}
    assert draw_heads(model, [(1, 0), (3, 2)], [], 50, seed=0)[0] == draws


def test_what_cannot_be_done_is_refused() -> None:
    model = tiny("gpt2")
    with pytest.raises(InputError, match="way to knock out"):
        knock_out(model, ["0.0"], value="noise")
    with pytest.raises(InputError, match="only 0 are neither"):
        knock_out(model, ["0.0"], exclude=[(layer, head) for layer in range(3) for head in range(4)])
    with pytest.raises(InputError, match="at least 31"):
        knock_out(model, ["0.0"], random_tokens(2, 20), early=5, late=30)

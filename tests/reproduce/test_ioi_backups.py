"""Backups against a slow computation by hand, and against a model in which it is known who backs up whom."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import interp
from interp import lens, sites
from interp.reproduce import ioi_roles as rules
from interp.reproduce.ioi_backups import backup_heads, scale_factor
from interp.results import bootstrap_interval
from interp.tasks import PromptPairs, from_tokens
from tests.tiny_models import random_tokens, tiny

ABLATED = ((1, 2), (2, 0))


def pairs(n: int = 6) -> PromptPairs:
    clean, corrupt = random_tokens(n, 7, seed=1), random_tokens(n, 7, seed=2)
    return from_tokens(clean, corrupt, torch.arange(10, 10 + n), torch.arange(40, 40 + n), prepend_bos=False)


def by_hand(model: Any, task: PromptPairs) -> tuple[Tensor, Tensor]:
    """Contributions [example, layer, head] and final scales [example], one prompt and one hook at a time.

    What head h of layer l adds: its z times its part of W_O, times gain, over the scale, times the unembedding's
    difference of answer and distractor (LayerNorm centres first).
    """
    n_layers = int(model.cfg.n_layers)
    means = {
        layer: interp.capture(model, task.corrupt, sites.z(layer))[sites.z(layer)][:, -1].mean(0)
        for layer, _ in ABLATED
    }
    rows, scales = [], []
    for i in range(len(task)):
        prompt = task.clean.as_subclass(Tensor)[i : i + 1]
        put = []
        for layer, head in ABLATED:
            value = interp.capture(model, prompt, sites.z(layer))[sites.z(layer)].clone()
            value[0, -1, head] = means[layer][head]
            put.append(interp.patch(sites.z(layer), value, heads=[head], positions=-1))
        with interp.intervene(model, *put):
            wanted = [*(sites.z(layer) for layer in range(n_layers)), sites.resid_post(n_layers - 1)]
            acts = interp.capture(model, prompt, wanted)
        final = acts[sites.resid_post(n_layers - 1)][0, -1]
        centred = final - final.mean() if hasattr(model.original_model, "transformer") else final
        scale = (centred.square().mean() + 1e-5).sqrt()
        column = model.W_U[:, task.answers[i, 0]] - model.W_U[:, task.distractors[i, 0]]
        direction = column * model.ln_final.weight
        if centred is not final:
            direction = direction - direction.mean()
        writes = [
            [
                acts[sites.z(layer)][0, -1, head] @ model.blocks[layer].attn.W_O[head] @ direction / scale
                for head in range(4)
            ]
            for layer in range(n_layers)
        ]
        rows.append(torch.tensor(writes))
        scales.append(scale)
    return torch.stack(rows), torch.stack(scales)


def intact_scales(model: Any, task: PromptPairs) -> Tensor:
    last = sites.resid_post(int(model.cfg.n_layers) - 1)
    final = interp.capture(model, task.clean, last)[last][:, -1]
    if hasattr(model.original_model, "transformer"):
        final = final - final.mean(-1, keepdim=True)
    return (final.square().mean(-1) + 1e-5).sqrt()


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_what_is_found_is_what_is_found_by_hand(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, task = tiny(name), pairs()
    monkeypatch.setattr("interp.reproduce.ioi_backups.PASS_TOKENS", 20)  # several passes
    before = lens.direct_attribution(model, task, by="head").values["per_prompt"].data
    after, scales = by_hand(model, task)
    found = backup_heads(model, task, ABLATED)
    torch.testing.assert_close(found.values["per_prompt"].sel(when="after").data, after, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found.values["per_prompt"].sel(when="before").data, before)
    # The factor that is read off the heads of layer 0 is the ratio of the norm's scales.
    factor = intact_scales(model, task) / scales
    torch.testing.assert_close(found.values["factor_per_prompt"].data, factor, atol=1e-4, rtol=1e-3)
    paired = after - factor[:, None, None] * before
    torch.testing.assert_close(found.values["rise"].data, paired.mean(0), atol=1e-4, rtol=1e-3)
    low, high = bootstrap_interval(paired, 0)
    torch.testing.assert_close(found.values["low"].data, low, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found.values["high"].data, high, atol=1e-4, rtol=1e-3)
    assert found.values["rise"].data[0].abs().max() < 1e-4  # before the ablated heads nothing changes


def test_the_ablated_heads_are_no_backups() -> None:
    found = backup_heads(tiny("llama"), pairs(), ["1.2", (2, 0)])
    assert found.ablated == ABLATED
    seen = found.evidence(whole=1.0)
    assert set(seen) == {rules.RISE, rules.AFTER}
    for head in ABLATED:
        assert seen[rules.RISE].mean[head].isnan()
        assert seen[rules.AFTER].low[head].isnan()
    assert seen[rules.RISE].mean.isnan().sum() == len(ABLATED)


def test_the_intact_attribution_can_be_given() -> None:
    model, task = tiny("gpt2"), pairs()
    given = lens.direct_attribution(model, task, by="head")
    torch.testing.assert_close(
        backup_heads(model, task, ABLATED, given).values["rise"].data,
        backup_heads(model, task, ABLATED).values["rise"].data,
    )


def test_without_earlier_heads_there_is_no_factor_to_read() -> None:
    each = torch.ones(3, 2, 2)
    torch.testing.assert_close(scale_factor(each, 2 * each, first_changed=0), torch.ones(3))
    torch.testing.assert_close(scale_factor(0 * each, each, first_changed=1), torch.ones(3))
    torch.testing.assert_close(scale_factor(each, 2 * each, first_changed=1), torch.full((3,), 2.0))

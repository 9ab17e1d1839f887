"""The logit lens against the model's own final norm and unembedding, applied one vector at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import interp
from interp.errors import InputError
from interp.hooks.prompts import prompt_tokens
from interp.lens import logit_lens, reading
from interp.models.toy import induction
from interp.tasks import for_toy, from_tokens
from tests.tiny_models import TINY, random_tokens, tiny


def streams(model: Any, tokens: torch.Tensor) -> list[torch.Tensor]:
    """The residual stream entering every block, and the last one's output: each [batch, pos, d_model]."""
    n_layers = model.cfg.n_layers
    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(n_layers)] + [f"blocks.{n_layers - 1}.hook_resid_post"]
    _, cache = model.run_with_cache(tokens)
    return [cache[name] for name in names]


def read(model: Any, residual: torch.Tensor) -> torch.Tensor:
    logits = model.ln_final(residual) @ model.W_U + model.b_U
    return model.adapter.apply_output_logits_transform(logits).log_softmax(-1)


@pytest.mark.parametrize("name", TINY)
def test_log_probs_ranks_and_entropy_by_hand(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = tiny(name), random_tokens(1, 6)
    monkeypatch.setattr(reading, "CHUNK_BYTES", 4 * 100 * 4)  # four vectors at a time
    result = logit_lens(model, tokens, targets=[5, 7], top_k=3)
    for layer, stream in enumerate(streams(model, tokens)):
        expected = read(model, stream)[0]
        here = {name: value.sel(layer=layer).data for name, value in result.values.items()}
        torch.testing.assert_close(here["log_prob"], expected[:, [5, 7]], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(here["entropy"], -(expected.exp() * expected).sum(-1), atol=1e-4, rtol=1e-4)
        order = expected.argsort(descending=True)
        assert here["top_ids"].tolist() == order[:, :3].tolist()
        for position in range(6):
            assert here["rank"][position].tolist() == [order[position].tolist().index(target) for target in (5, 7)]


@pytest.mark.parametrize("name", TINY)
def test_the_last_entry_is_the_models_own_prediction(name: str) -> None:
    model, tokens = tiny(name), random_tokens(3, 6)
    result = logit_lens(model, tokens, targets=[5, 7, 11], positions=-1, batch_size=2)
    own = model(tokens)[:, -1].log_softmax(-1)
    last = result.values["log_prob_per_prompt"].sel(layer=model.cfg.n_layers).data
    torch.testing.assert_close(last, own[:, [5, 7, 11]], atol=1e-4, rtol=1e-4)


def test_the_rank_over_prompts_is_numpys_median() -> None:
    result = logit_lens(tiny("llama"), random_tokens(4, 6), targets=[5, 7])
    expected = np.median(result.values["rank_per_prompt"].data.numpy(), axis=0)
    assert result.values["rank"].data.tolist() == expected.tolist()


def test_without_targets_the_models_prediction_is_followed() -> None:
    model, tokens = tiny("llama"), random_tokens(2, 6)
    result = logit_lens(model, tokens[:1])
    ranks = result.values["rank"].sel(layer=model.cfg.n_layers, target="prediction").data
    assert ranks.tolist() == [0] * 6
    predicted = model(tokens[:1])[0].argmax(-1)
    assert result.texts["top_tokens"][-1] == [f"w{token}" for token in predicted.tolist()]
    assert result.values["log_prob"].axis("position").labels[0] == f"0: w{tokens[0, 0]}"


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_the_difference_on_a_task_ends_at_the_metric(name: str) -> None:
    model = tiny(name)
    clean, corrupt = [[5, 6, 7, 8], [9, 10, 11]], [[5, 6, 7, 9], [9, 10, 12]]
    task = from_tokens(clean, corrupt, answers=[[20, 21], [22]], distractors=[[30], [31, 32]])
    result = logit_lens(model, task)
    with torch.no_grad():
        metric = task.metric(model(torch.Tensor(task.clean).long()))
    if name != "gemma2":  # a soft cap bends the probabilities, not what the metric reads
        torch.testing.assert_close(result.values["per_prompt"].sel(layer=model.cfg.n_layers).data, metric)
    answers = result.values["log_prob_per_prompt"].sel(layer=model.cfg.n_layers, target="answer").data
    rows = [model(torch.tensor([row]))[0, -1].softmax(-1) for row in clean]
    expected = torch.stack([(rows[0][20] + rows[0][21]).log(), rows[1][22].log()])
    torch.testing.assert_close(answers, expected, atol=1e-4, rtol=1e-4)
    assert result.per_example.dims == ("example", "layer")


def test_on_the_toy_the_answer_appears_where_the_induction_head_writes_it() -> None:
    model = induction.build()
    difference = logit_lens(model, for_toy(model, n=4)).values["logit_difference"].data
    torch.testing.assert_close(difference, torch.tensor([0.0, 0.0, induction.GAIN]), atol=1e-4, rtol=0)


def test_pads_are_not_read() -> None:
    model = tiny("gpt2")
    tokens = prompt_tokens(torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]]), lengths=torch.tensor([4, 2]))
    result = logit_lens(model, tokens, targets=5)
    per_prompt = result.values["log_prob_per_prompt"].data[..., 0]
    assert bool(per_prompt[1, :, 2:].isnan().all())
    alone = logit_lens(model, torch.tensor([[9, 10]]), targets=5).values["log_prob"].data[..., 0]
    torch.testing.assert_close(per_prompt[1, :, :2], alone, atol=1e-4, rtol=1e-4)
    last = logit_lens(model, tokens, targets=5, positions=-1).values["log_prob_per_prompt"].data[..., 0]
    torch.testing.assert_close(last[1], alone[:, 1], atol=1e-4, rtol=1e-4)


def test_layers_between_attention_and_mlp() -> None:
    model, tokens = tiny("llama"), random_tokens(1, 5)
    result = logit_lens(model, tokens, targets=5, positions=-1, mid=True, layers=[0, 2, 4])
    assert result.values["log_prob"].axis("layer").labels == ("0", "0 mid", "2", "2 mid", "4")
    _, cache = model.run_with_cache(tokens)
    expected = read(model, cache["blocks.2.hook_resid_mid"])[0, -1, 5]
    torch.testing.assert_close(result.values["log_prob"].sel(layer="2 mid").data[0], expected, atol=1e-4, rtol=1e-4)


def test_an_intervention_is_seen() -> None:
    model, tokens = tiny("llama"), random_tokens(1, 5)
    with interp.intervene(model, interp.ablate(interp.sites.mlp_out(1))):
        changed = logit_lens(model, tokens, targets=5).values["log_prob"].data
    plain = logit_lens(model, tokens, targets=5).values["log_prob"].data
    torch.testing.assert_close(changed[:2], plain[:2])
    assert (changed[2:] - plain[2:]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": "w5 w6"}, r"'w5 w6' is 2 tokens"),
        ({"targets": 400}, "token id 400 is outside"),
        ({"targets": []}, "the list of targets is empty"),
        ({"targets": torch.tensor([5, 6, 7])}, "for 1 prompts"),
        ({"layers": [5]}, "the lens has no layer 5; its layers are 0 to 4"),
        ({"layers": -1}, "the lens has no layer -1"),
        ({"positions": 9}, "position 9 is outside"),
        ({"positions": "S2"}, "'S2'"),
        ({"top_k": 0}, "top_k=0"),
    ],
)
def test_what_cannot_be_read_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        logit_lens(tiny("llama"), "w5 w6 w7", **arguments)


def test_a_model_with_another_readout_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("gpt2")
    hook = model.unembed.hook_out.add_hook(lambda value, hook: value * 3)
    try:
        with pytest.raises(InputError, match="not this model's prediction"):
            logit_lens(model, "w5 w6 w7", targets=5)
    finally:
        hook.hook.remove()
        model.unembed.hook_out.fwd_hooks.remove(hook)


@pytest.mark.parametrize("prompts", ["one", "several", "task"])
def test_results_survive_the_disk_and_show_themselves(prompts: str, tmp_path: Any) -> None:
    from interp.results import load

    model = tiny("llama")
    task = from_tokens([[5, 6, 7], [8, 9, 10]], [[5, 6, 8], [8, 9, 11]], answers=[20, 21], distractors=[30, 31])
    given: Any = {"one": "w5 w6 w7", "several": random_tokens(2, 4), "task": task}[prompts]
    result = logit_lens(model, given)
    back = load(result.save(tmp_path / "lens"))
    assert back.equal(result)
    for number in range(len(back.plots)):
        back.figure(number)

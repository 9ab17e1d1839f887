"""Direct logit attribution against products written out by hand, and against what must add up."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import interp
from interp.errors import InputError
from interp.hooks.prompts import prompt_tokens
from interp.lens import decomposing, direct_attribution
from interp.models.toy import induction, linear
from interp.tasks import for_toy, from_tokens
from tests.tiny_models import TINY, random_tokens, tiny


def written(model: Any, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """What embedding, attention layers and MLPs write at the last position, from TransformerLens's cache."""
    _, cache = model.run_with_cache(tokens)
    parts = {"embed": cache["blocks.0.hook_resid_pre"][:, -1]}
    for layer in range(model.cfg.n_layers):
        parts[f"a{layer}"] = cache[f"blocks.{layer}.hook_attn_out"][:, -1]
        if f"blocks.{layer}.hook_mlp_out" in cache:
            parts[f"m{layer}"] = cache[f"blocks.{layer}.hook_mlp_out"][:, -1]
    return parts


def _eps(norm: Any) -> float:
    """LayerNorm and Gemma's norm call it eps, Llama's variance_epsilon."""
    return float(getattr(norm, "eps", getattr(norm, "variance_epsilon", 0.0)))


def by_hand(model: Any, tokens: torch.Tensor, answer: int, distractor: int) -> dict[str, torch.Tensor]:
    """Contributions to a logit difference with the algebra of each norm written out."""
    parts = written(model, tokens)
    stream = torch.stack(list(parts.values())).sum(0)
    unembedding = model.W_U[:, answer] - model.W_U[:, distractor]
    norm = getattr(model.ln_final, "original_component", None)
    kind = type(norm).__name__
    constant = model.b_U[answer] - model.b_U[distractor]
    if kind == "Identity":
        return {name: part @ unembedding for name, part in parts.items()} | {"bias": constant.expand(len(tokens))}
    gain = 1 + norm.weight if kind.startswith("Gemma") else norm.weight
    if kind == "LayerNorm":
        parts = {name: part - part.mean(-1, keepdim=True) for name, part in parts.items()}
        stream = stream - stream.mean(-1, keepdim=True)
        constant = constant + norm.bias @ unembedding
    scale = (stream.pow(2).mean(-1, keepdim=True) + _eps(norm)).sqrt()
    return {name: (part / scale * gain) @ unembedding for name, part in parts.items()} | {
        "bias": constant.expand(len(tokens))
    }


@pytest.mark.parametrize("name", TINY)
def test_components_are_products_with_the_readout(name: str) -> None:
    model, tokens = tiny(name), random_tokens(3, 7)
    result = direct_attribution(model, tokens, by="component", target=5, distractor=7, batch_size=2)
    expected = by_hand(model, tokens, 5, 7)
    assert result.values["contribution"].axes[0].labels == tuple(expected)
    torch.testing.assert_close(
        result.values["per_prompt"].data, torch.stack(list(expected.values()), dim=1), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("by", ["layer", "component", "head"])
def test_contributions_add_up_to_the_models_own_logit_difference(name: str, by: Any) -> None:
    model, tokens = tiny(name), random_tokens(4, 7)
    result = direct_attribution(model, tokens, by=by, target=5, distractor=7)
    logits = model(tokens)[:, -1]
    if name == "gemma2":
        assert result.settings["logits"] == "before the output transform"
        assert "soft cap" in result.plots[0].caveat
        logits = 5.0 * (logits / 5.0).atanh()  # what was there before the soft cap
    total = logits[:, 5] - logits[:, 7]
    torch.testing.assert_close(result.values["total_per_prompt"].data, total, atol=1e-3, rtol=1e-3)
    parts = result.values["per_prompt"].data.flatten(1).sum(1)
    if by == "head":
        parts = parts + _rest(model, tokens, result)
    torch.testing.assert_close(parts.mean(), result.values["total"].data, atol=1e-4, rtol=1e-4)
    assert result.values["error"].data < 1e-4


def _rest(model: Any, tokens: torch.Tensor, result: Any) -> torch.Tensor:
    return result.values["rest"].data.sum().expand(len(tokens))


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt-neox", "native-rotary"])
def test_heads_are_their_slice_of_the_output_projection(name: str) -> None:
    model, tokens = tiny(name), random_tokens(2, 7)
    result = direct_attribution(model, tokens, by="head", target=5, distractor=7)
    _, cache = model.run_with_cache(tokens)
    components = by_hand(model, tokens, 5, 7)
    for layer in range(model.cfg.n_layers):
        z = (
            cache[f"blocks.{layer}.attn.hook_z"].unflatten(-1, (4, 12))
            if cache[f"blocks.{layer}.attn.hook_z"].ndim == 3
            else cache[f"blocks.{layer}.attn.hook_z"]
        )
        output = model.blocks[layer].attn.o.original_component
        weight = output.weight if type(output).__name__ == "Conv1D" else output.weight.T  # [head * d_head, d_model]
        for head in range(4):
            alone = z[:, -1, head] @ weight[12 * head : 12 * head + 12]
            # The head's share of the layer, by the same linear readout that gives the layer's contribution.
            attention = z[:, -1].flatten(1) @ weight + (output.bias if output.bias is not None else 0)
            direction = _readout(model, tokens)
            torch.testing.assert_close((attention * direction).sum(-1), components[f"a{layer}"], atol=1e-4, rtol=1e-4)
            expected = (alone * direction).sum(-1)
            found = result.values["per_prompt"].sel(layer=layer, head=head).data
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def _readout(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """The direction [batch, d_model] of a logit difference, by finite differences in the products of `by_hand`."""
    parts = written(model, tokens)
    stream = torch.stack(list(parts.values())).sum(0)
    norm = model.ln_final.original_component
    unembedding = (model.W_U[:, 5] - model.W_U[:, 7]) * norm.weight
    centred = type(norm).__name__ == "LayerNorm"
    if centred:
        unembedding = unembedding - unembedding.mean()
        stream = stream - stream.mean(-1, keepdim=True)
    return unembedding / (stream.pow(2).mean(-1, keepdim=True) + _eps(norm)).sqrt()


@pytest.mark.parametrize("name", TINY)
def test_source_tokens_add_up_to_their_head(name: str) -> None:
    model, tokens = tiny(name), random_tokens(3, 7)
    heads = direct_attribution(model, tokens, by="head", target=5, distractor=7)
    result = direct_attribution(model, tokens, by="source", target=5, distractor=7, heads=["1.2", (0, 3)], batch_size=2)
    found = result.values["per_prompt"].data
    assert result.values["contribution"].axis("head").labels == ("1.2", "0.3")
    for index, (layer, head) in enumerate([(1, 2), (0, 3)]):
        whole = heads.values["per_prompt"].sel(layer=layer, head=head).data
        torch.testing.assert_close(found[:, index].sum(-1), whole, atol=1e-5, rtol=1e-4)
    # Attention that is knocked out contributes nothing.
    with interp.intervene(model, interp.knock_out_attention(1, queries=[6], keys=[2], heads=[2])):
        cut = direct_attribution(model, tokens, by="source", target=5, distractor=7, heads="1.2")
    assert cut.values["per_prompt"].data[:, 0, 2].abs().max() < 1e-6
    assert found[:, 0, 2].abs().max() > 1e-4


def test_sources_by_role() -> None:
    model = tiny("llama")
    clean = [[5, 6, 7, 8, 9], [5, 6, 7]]
    task = from_tokens(
        clean,
        [[5, 6, 7, 8, 4], [5, 6, 4]],
        answers=[20, 21],
        distractors=[30, 31],
        positions={"first": [0, 0], "name": [2, 1]},
    )
    by_role = direct_attribution(model, task, by="source", heads="2.1")
    by_position = direct_attribution(model, task, by="source", heads="2.1", sources="position")
    roles, places = by_role.values["per_prompt"], by_position.values["per_prompt"].data[:, 0]
    assert roles.axis("source").labels == ("first", "name", "end", "other")
    expected = [[0, 2, 4], [0, 1, 2]]
    for row, index in enumerate(expected):
        torch.testing.assert_close(roles.data[row, 0, :3], places[row, index])
        torch.testing.assert_close(roles.data[row, 0].sum(), places[row].sum())


def test_a_task_brings_its_answers_and_position() -> None:
    model = tiny("gpt2")
    task = from_tokens([[5, 6, 7, 8], [9, 10, 11]], [[5, 6, 7, 9], [9, 10, 12]], [[20, 21], [22]], [[30], [31, 32]])
    result = direct_attribution(model, task)
    metric = task.metric(model(torch.Tensor(task.clean).long()))
    torch.testing.assert_close(result.values["total_per_prompt"].data, metric, atol=1e-4, rtol=1e-4)
    assert result.provenance.task["name"] == "custom"


def test_a_logit_alone_is_relative_to_the_vocabulary() -> None:
    model, tokens = tiny("llama"), random_tokens(1, 6)
    logits = model(tokens)[0, -1]
    chosen = direct_attribution(model, tokens, target=5).values["total"].data
    torch.testing.assert_close(chosen, logits[5] - logits.mean(), atol=1e-4, rtol=1e-4)
    predicted = direct_attribution(model, tokens)
    torch.testing.assert_close(predicted.values["total"].data, logits.max() - logits.mean(), atol=1e-4, rtol=1e-4)
    assert predicted.texts["target"] == [f"w{int(logits.argmax())}"]


def test_the_toy_induction_head_writes_everything() -> None:
    model = induction.build()
    result = direct_attribution(model, for_toy(model, n=4), by="head")
    expected = torch.tensor([[0.0, 0.0], [induction.GAIN, 0.0]])
    torch.testing.assert_close(result.values["contribution"].data, expected, atol=1e-5, rtol=0)
    sources = direct_attribution(model, for_toy(model, n=4), by="source", heads="1.0")
    data = sources.values["per_prompt"].data[:, 0]
    # At the last token it copies what followed the same token before: the first of the second copy.
    assert data.argmax(-1).tolist() == [13] * 4
    torch.testing.assert_close(data.max(-1).values, torch.full((4,), induction.GAIN), atol=1e-4, rtol=0)


def test_on_the_linear_toy_contributions_are_its_edges_into_the_logits() -> None:
    model = linear.build()
    clean, corrupt, answers, distractors = linear.pairs(5, seed=3)
    edges = linear.edge_effects(clean, corrupt, answers, distractors)
    question = {"target": answers, "distractor": distractors, "by": "head"}
    found = [direct_attribution(model, side, **question) for side in (clean, corrupt)]
    change = found[0].values["per_prompt"].data - found[1].values["per_prompt"].data
    for layer in range(2):
        for head in range(2):
            expected = edges[f"a{layer}.{head}", "logits"].float()
            torch.testing.assert_close(change[:, layer, head], expected, atol=1e-4, rtol=1e-4)


def test_pads_change_nothing() -> None:
    model = tiny("llama")
    padded = prompt_tokens(torch.tensor([[5, 6, 7, 8, 9], [10, 11, 0, 0, 0]]), lengths=torch.tensor([5, 2]))
    result = direct_attribution(model, padded, by="head", target=5, distractor=7)
    alone = direct_attribution(model, torch.tensor([[10, 11]]), by="head", target=5, distractor=7)
    torch.testing.assert_close(
        result.values["per_prompt"].data[1:], alone.values["per_prompt"].data, atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "neuron"}, "there is no way to split an attribution 'neuron'"),
        ({"target": "w5 w6"}, "is 2 tokens"),
        ({"target": -3}, "token id -3"),
        ({"position": [0, 1]}, "of one position of each prompt, not of 2"),
        ({"position": 12}, "position 12 is outside"),
        ({"by": "source", "heads": ["9.0"]}, "layer 9"),
        ({"by": "source", "heads": 0}, "heads=0"),
        ({"by": "source", "sources": "role"}, "no named positions"),
        ({"by": "source", "sources": "word"}, "there is no kind of source 'word'"),
    ],
)
def test_what_cannot_be_attributed_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        direct_attribution(tiny("llama"), "w5 w6 w7", **arguments)


def test_parts_that_do_not_add_up_are_refused() -> None:
    model = tiny("llama")
    # Something that writes into the stream without being one of the parts.
    steered = interp.steer(interp.sites.resid_post(1), 5 * torch.ones(48))
    with interp.intervene(model, steered), pytest.raises(InputError, match="do not add up to its logits"):
        direct_attribution(model, "w5 w6 w7", target=5, distractor=7)


@pytest.mark.filterwarnings("ignore:A forward hook edited hook_scale")
def test_hooks_on_the_readout_are_refused() -> None:
    model = tiny("llama")
    scaled = interp.scale(interp.sites.final_scale(), 2.0)
    with interp.intervene(model, scaled), pytest.raises(InputError, match="hooks"):
        direct_attribution(model, "w5 w6 w7", target=5, distractor=7)


def test_lower_precision_has_a_wider_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.tiny_models import tiny_llama

    model = tiny_llama().to(torch.bfloat16)
    result = direct_attribution(model, "w5 w6 w7", by="head", target=5, distractor=7)
    exact = direct_attribution(tiny("llama"), "w5 w6 w7", by="head", target=5, distractor=7)
    size = exact.values["contribution"].data.abs().max()
    assert (result.values["contribution"].data - exact.values["contribution"].data).abs().max() < 0.05 * size
    monkeypatch.setitem(decomposing.TOLERANCE, torch.bfloat16, 1e-6)
    with pytest.raises(InputError, match="do not add up"):
        direct_attribution(model, "w5 w6 w7", by="head", target=5, distractor=7)


@pytest.mark.parametrize("by", ["layer", "component", "head", "source"])
@pytest.mark.parametrize("n", [1, 3])
def test_results_survive_the_disk_and_show_themselves(by: Any, n: int, tmp_path: Any) -> None:
    from interp.results import load

    result = direct_attribution(tiny("gpt2"), random_tokens(n, 5), by=by)
    back = load(result.save(tmp_path / "attribution"))
    assert back.equal(result)
    assert ("low" in back.values) == (n > 1)
    for number in range(len(back.plots)):
        back.figure(number)

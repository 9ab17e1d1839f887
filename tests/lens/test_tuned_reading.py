"""Reading prompts through a tuned lens: equal to the logit lens for zeros, and to TransformerLens's for others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformer_lens.tools.analysis import logit_lens as reference

from interp.errors import InputError
from interp.lens import TunedLens, causal_basis, evaluate_tuned_lens, logit_lens, trajectory, tuned_lens
from interp.lens.tuned_causes import put_to_mean, search
from interp.lens.tuned_divergence import Target, Unembedding, divergence
from interp.results import load
from tests.lens.test_translators import random_lens
from tests.tiny_models import TINY, random_tokens, tiny, tiny_llama


@pytest.mark.parametrize("name", TINY)
def test_zero_translators_are_the_logit_lens(name: str) -> None:
    model, tokens = tiny(name), random_tokens(1, 6)
    empty = TunedLens.identity(model)
    ours, theirs = tuned_lens(model, tokens, empty), logit_lens(model, tokens)
    for key, values in theirs.values.items():
        assert values.equal(ours.values[key]), key
    one, other = trajectory(model, tokens, empty), trajectory(model, tokens)
    assert all(values.equal(one.values[key]) for key, values in other.values.items())


def test_it_is_what_the_library_reads_through_the_same_translators() -> None:
    model, tokens, lens = tiny("llama"), random_tokens(1, 6), random_lens()
    ours = tuned_lens(model, tokens, lens, targets=[5, 7]).values["log_prob"].data
    theirs = reference(model, tokens, lens=lens, positions=None, targets=[5, 7], return_type="log_probs")
    torch.testing.assert_close(ours, theirs.values[:, 0], atol=1e-4, rtol=1e-4)


def test_a_trajectory_by_hand() -> None:
    model, tokens, lens = tiny("llama"), random_tokens(1, 6), random_lens()
    found = trajectory(model, tokens, lens, top_k=3)
    _, cache = model.run_with_cache(tokens)
    own = model(tokens)[0].log_softmax(-1)
    for layer in range(4):
        moved = lens(cache[f"blocks.{layer}.hook_resid_pre"], layer)
        read = (model.ln_final(moved) @ model.W_U)[0].log_softmax(-1)
        here = {name: value.sel(layer=layer).data for name, value in found.values.items()}
        torch.testing.assert_close(here["kl"], (own.exp() * (own - read)).sum(-1), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(here["entropy"], -(read.exp() * read).sum(-1), atol=1e-4, rtol=1e-4)
        surprisal = -read[torch.arange(5), tokens[0, 1:]]
        torch.testing.assert_close(here["surprisal"][:5], surprisal, atol=1e-4, rtol=1e-4)
        assert here["surprisal"][5].isnan()
        assert here["top_ids"].tolist() == read.topk(3).indices.tolist()
    torch.testing.assert_close(found.values["kl"].sel(layer=4).data, torch.zeros(6), atol=1e-5, rtol=0)
    path = found.path(2)
    assert path["KL"].tolist() == found.values["kl"].data[:, 2].tolist()
    assert path["token"].iloc[-1] == repr(f"w{int(own[2].argmax())}")
    with pytest.raises(InputError, match="no position 6"):
        found.path(6)


def test_an_evaluation_by_hand() -> None:
    model, tokens, lens = tiny("llama"), random_tokens(4, 7), random_lens()
    found = evaluate_tuned_lens(model, lens, tokens, context=7, n=4, positions=6)
    _, cache = model.run_with_cache(tokens)
    own = model(tokens)[:, 1:].log_softmax(-1)
    for layer in range(4):
        moved = lens(cache[f"blocks.{layer}.hook_resid_pre"], layer)
        read = (model.ln_final(moved) @ model.W_U)[:, 1:].log_softmax(-1)
        here = {
            name: found.values[name].sel(lens="tuned lens", layer=layer).data
            for name in ("kl", "bias", "agreement", "log_prob_difference")
        }
        torch.testing.assert_close(here["kl"], (own.exp() * (own - read)).sum(-1).mean(), atol=1e-4, rtol=1e-4)
        p, q = own.exp().mean((0, 1)), read.exp().mean((0, 1))
        torch.testing.assert_close(here["bias"], (p * (p / q).log()).sum(), atol=1e-4, rtol=1e-3)
        agreement = (own.argmax(-1) == read.argmax(-1)).float().mean()
        torch.testing.assert_close(here["agreement"], agreement)
        index = tokens[:, 2:, None]
        gained = (read[:, :-1].gather(-1, index) - own[:, :-1].gather(-1, index)).mean((1, 2)).mean()
        torch.testing.assert_close(here["log_prob_difference"], gained, atol=1e-4, rtol=1e-4)


def test_the_search_finds_the_direction_that_matters() -> None:
    """Streams that differ along three directions, of which the lens reads one strongly, one weakly and one not."""
    model = tiny("native-attention-only")
    head = Unembedding.of(model)
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(48, 3, generator=generator))[0].T
    kept = torch.zeros(3, 48, 48)
    kept[0] = 3 * torch.outer(basis[0], basis[0]) + 0.3 * torch.outer(basis[1], basis[1]) - torch.eye(48)
    lens = TunedLens(kept, torch.zeros(3, 48))
    streams = torch.randn(40, 3, generator=generator) @ basis
    found = search(head, lens, 0, streams, streams.mean(0), 2, 20, generator)
    assert abs(float(found[0] @ basis[0])) > 0.95
    assert abs(float(found[1] @ basis[1])) > 0.9
    torch.testing.assert_close(found @ found.T, torch.eye(2), atol=1e-5, rtol=0)
    target = Target.of(head, lens(streams, 0))
    influence = [
        float(divergence(head, lens(put_to_mean(streams, way, streams.mean(0)), 0), target).mean())
        for way in (*basis, found[0])
    ]
    assert influence[3] >= influence[0]
    assert influence[0] > 5 * influence[1]
    assert abs(influence[2]) < 1e-4


def test_a_causal_basis_has_more_influence_than_chance() -> None:
    model = tiny("llama")
    found = causal_basis(
        model, random_lens(), random_tokens(8, 9), layers=[0, 3], k=2, n_random=4, context=9, n=8, positions=8
    )
    lens = found.values["influence"].sel(measured="lens").data
    assert bool((lens[:, 0] > lens[:, 2:].max(-1).values).all())
    ways = found.values["directions"].data
    torch.testing.assert_close(ways.norm(dim=-1), torch.ones(2, 6))
    assert bool((found.values["alignment"].data.abs() <= 1 + 1e-5).all())
    assert bool((found.values["agreement"].data.abs() <= 1 + 1e-9).all())
    # At the last layer, an empty lens's stream and the model's differ by one block; the influence is never negative.
    assert bool((found.values["influence"].data > -1e-5).all())


def test_results_survive_the_disk_and_show_themselves(tmp_path: Any) -> None:
    model, lens, tokens = tiny("llama"), random_lens(), random_tokens(6, 9)
    results = [
        tuned_lens(model, tokens[:1], lens),
        trajectory(model, tokens[:1], lens),
        evaluate_tuned_lens(model, lens, tokens, context=9, n=6, positions=4),
        causal_basis(model, lens, tokens, layers=1, k=1, n_random=1, context=9, n=6, positions=4, n_iterations=2),
    ]
    for i, result in enumerate(results):
        back = load(result.save(tmp_path / str(i)))
        assert back.equal(result)
        for number in range(len(back.plots)):
            back.figure(number)


def test_bad_questions_are_refused() -> None:
    model, lens, tokens = tiny("llama"), random_lens(), random_tokens(6, 9)
    asked: dict[str, Any] = {"context": 9, "n": 6, "positions": 4}
    for question, message in (
        (lambda: tuned_lens(tiny_llama(1), tokens, lens), "weights of"),
        (lambda: tuned_lens(tiny("gpt2"), tokens, lens), "4 layers of width 48"),
        (lambda: tuned_lens(model, tokens, lens, layers=[5]), "no layer 5"),
        (lambda: tuned_lens(model, tokens, lens, positions=9), "position 9 is outside"),
        (lambda: trajectory(model, tokens, lens), "of one prompt, not of 6"),
        (lambda: evaluate_tuned_lens(model, lens, tokens, **asked | {"n": 7}), "make 6 contexts and 7 are wanted"),
        (lambda: evaluate_tuned_lens(model, lens, tokens, **asked | {"positions": 9}), "1 to 8 positions"),
        (lambda: causal_basis(model, lens, tokens, layers=4, **asked), "no layer 4; blocks are 0 to 3"),
        (lambda: causal_basis(model, lens, tokens, k=48, **asked), "do not fit"),
    ):
        with pytest.raises(InputError, match=message):
            question()  # type: ignore[no-untyped-call]

"""Interventions while a model runs: whose positions, generation, folded batches, suffixes, nothing left behind."""

from __future__ import annotations

import warnings

import pytest
import torch

import interp
from interp.errors import InputError
from interp.hooks import partial, sites
from interp.hooks.prompts import prompt_tokens
from interp.hooks.readout import Readout
from tests.hooks.watching import traces
from tests.tiny_models import random_tokens, tiny, tiny_llama

TOKENS = random_tokens(n_rows=3, n_pos=6)
CLEAN = prompt_tokens(
    TOKENS,
    lengths=torch.tensor([6, 4, 5]),
    positions={"S": torch.tensor([1, 0, 2]), "end": torch.tensor([5, 3, 4])},
)
CORRUPT = prompt_tokens(
    random_tokens(3, 6, seed=5),
    lengths=torch.tensor([6, 5, 5]),
    positions={"S": torch.tensor([3, 1, 1]), "end": torch.tensor([5, 4, 4])},
)
ONES = torch.ones(48)
SITE = sites.resid_post(1)


class Task:
    clean, corrupt = CLEAN, CORRUPT


def where(model, *interventions, tokens, task=None):
    """Which (row, position) the interventions change at the site."""
    plain = interp.capture(model, tokens, SITE)[SITE]
    with interp.intervene(model, *interventions, task=task):
        changed = interp.capture(model, tokens, SITE)[SITE] != plain
    return [tuple(place) for place in changed.any(-1).nonzero().tolist()]


# Whose positions a name means


def test_names_are_those_of_the_tokens_that_run():
    model, steer = tiny("llama"), interp.steer(SITE, ONES, positions="S")
    assert where(model, steer, tokens=CLEAN) == [(0, 1), (1, 0), (2, 2)]
    assert where(model, steer, tokens=CORRUPT) == [(0, 3), (1, 1), (2, 1)]
    assert where(model, steer, tokens=CORRUPT, task=Task) == [(0, 3), (1, 1), (2, 1)]
    with interp.intervene(model, steer):  # also in the model's own forward
        read = partial.run(model, CORRUPT, stop=2)
        logits = model(CORRUPT)
    assert torch.equal(partial.run(model, read, 2), logits)


def test_names_are_those_of_the_task_when_the_tokens_do_not_say():
    model, steer = tiny("llama"), interp.steer(SITE, ONES, positions=["S", "end"])
    expected = [(0, 1), (0, 5), (1, 0), (1, 3), (2, 2), (2, 4)]
    assert where(model, steer, tokens=TOKENS, task=Task) == expected
    assert where(model, steer, tokens=TOKENS, task=CLEAN) == expected
    assert where(model, steer, tokens=prompt_tokens(TOKENS), task=CLEAN) == expected


def test_names_are_those_of_the_reference_when_nothing_else_says():
    model, acts = tiny("llama"), interp.capture(tiny("llama"), CLEAN, SITE)
    ablation = interp.ablate(SITE, value="mean", reference=acts, positions="S")
    assert where(model, ablation, tokens=CORRUPT.as_subclass(torch.Tensor)) == [(0, 1), (1, 0), (2, 2)]
    assert where(model, ablation, tokens=CORRUPT) == [(0, 3), (1, 1), (2, 1)]


def test_negative_positions_count_from_the_end_of_each_prompt():
    model, steer = tiny("llama"), interp.steer(SITE, ONES, positions=-1)
    assert where(model, steer, tokens=CLEAN) == [(0, 5), (1, 3), (2, 4)]
    assert where(model, steer, tokens=TOKENS) == [(0, 5), (1, 5), (2, 5)]
    assert where(model, steer, tokens=TOKENS, task=CLEAN) == [(0, 5), (1, 3), (2, 4)]


def test_names_of_a_batch_that_does_not_fit_are_refused():
    model, steer = tiny("llama"), interp.steer(SITE, ONES, positions="S")
    with pytest.raises(InputError, match="refers to 3 prompts, the batch has 4"):
        where(model, steer, tokens=random_tokens(4, 6), task=CLEAN)
    with pytest.raises(InputError, match=r"there is no position called 'IO'; .*valid: S, end"):
        where(model, interp.steer(SITE, ONES, positions="IO"), tokens=CLEAN)


def test_a_reference_on_other_prompts_does_not_set_the_rows():
    """Twelve reference prompts, three that run; and a reference of one prompt that divides every batch."""
    model = tiny("llama")
    many = interp.capture(model, prompt_tokens(random_tokens(12, 6, seed=3)), SITE)
    ablation = interp.ablate(SITE, value="mean", reference=many, rows=[2], positions=torch.tensor([1, 2, 3]))
    assert where(model, ablation, tokens=TOKENS) == [(2, 3)]
    one = interp.capture(model, prompt_tokens(random_tokens(1, 6, seed=3)), SITE)
    ablation = interp.ablate(SITE, value="mean", reference=one, positions=torch.tensor([1, 2, 3]))
    assert where(model, ablation, tokens=TOKENS) == [(0, 1), (1, 2), (2, 3)]


# Folded batches: several runs of the same prompts, run-major


@pytest.mark.parametrize(
    "make",
    [
        lambda acts: interp.steer(SITE, ONES, positions="S"),
        lambda acts: interp.ablate(SITE, rows=[1], positions=-1),
        lambda acts: interp.ablate(sites.z(1), heads=[1], value="counterfactual", reference=acts, positions=[0, 1]),
        lambda acts: interp.patch(SITE, acts, positions="S", source_positions="S"),
        lambda acts: interp.patch(sites.z(1), acts, heads=[0], positions=torch.tensor([1, 2, 0]), source_positions=2),
        lambda acts: interp.ablate(SITE, value="resample", reference=acts, positions=0),
        lambda acts: interp.add_noise(sites.embed(), 1.0),
        lambda acts: interp.knock_out_attention(1, "end", "S"),
        lambda acts: interp.project_out(SITE, ONES, positions=torch.tensor([[1, 2], [0, 1], [3, 4]])),
    ],
)
def test_every_copy_of_a_folded_batch_gets_the_same(make):
    model = tiny("llama")
    intervention = make(interp.capture(model, CORRUPT, [SITE, sites.z(1)]))
    with interp.intervene(model, intervention, task=CLEAN):
        one, folded = partial.run(model, TOKENS), partial.run(model, TOKENS.repeat(3, 1))
    assert (one - partial.run(model, TOKENS)).abs().max() > 1e-2
    torch.testing.assert_close(folded, one.repeat(3, 1, 1), atol=1e-4, rtol=1e-3)


# A run over a suffix, with cached keys and values, is the same run


@pytest.mark.parametrize(
    "make",
    [
        lambda acts: interp.steer(SITE, ONES, positions=[3, 5]),
        lambda acts: interp.steer(SITE, ONES, positions="end"),
        lambda acts: interp.ablate(sites.z(2), heads=[1], positions=torch.tensor([3, 5, 4])),
        lambda acts: interp.patch(SITE, acts, positions=[4]),
        lambda acts: interp.patch(SITE, acts, positions=[4, 5], source_positions=[1, 2]),
        lambda acts: interp.patch(sites.pattern(2), acts, positions=[4]),
        lambda acts: interp.ablate(SITE, value="mean", mean_over="position", reference=acts, positions=[3, 4]),
        lambda acts: interp.add_noise(SITE, 1.0, positions=[3, 4, 5]),
        lambda acts: interp.knock_out_attention(2, [4, 5], [1, 3]),
        lambda acts: interp.steer(SITE, ONES, positions=(torch.arange(6) > 3).expand(3, 6)),
    ],
)
def test_a_suffix_run_equals_the_whole(make):
    model = tiny("llama")
    _, past = partial.run_recording(model, TOKENS, None)
    acts = interp.capture(model, CORRUPT.as_subclass(torch.Tensor), [SITE, sites.pattern(2)])
    with interp.intervene(model, make(acts), task=prompt_tokens(TOKENS, positions={"end": torch.tensor([5, 3, 4])})):
        whole, suffix = partial.run(model, TOKENS), partial.run(model, TOKENS[:, 3:], past=past.prefix(3))
    assert (whole - partial.run(model, TOKENS)).abs().max() > 1e-2
    torch.testing.assert_close(suffix, whole[:, 3:], atol=1e-4, rtol=1e-3)


# Generation


def generated(model, tokens, cache, **keywords):
    settings = {
        "max_new_tokens": 6,
        "do_sample": False,
        "stop_at_eos": False,
        "verbose": False,
        "return_type": "tokens",
    }
    return model.generate(tokens, use_past_kv_cache=cache, **settings | keywords)


def greedy_by_hand(model, tokens, n_new=6):
    """One token at a time from full forward passes, without any cache."""
    for _ in range(n_new):
        tokens = torch.cat([tokens, model(tokens)[:, -1].argmax(-1, keepdim=True)], 1)
    return tokens


BIG = 40 * torch.randn(48, generator=torch.Generator().manual_seed(2))
GENERATION = {
    "everywhere": lambda acts: interp.steer(SITE, BIG),
    "in the prompt": lambda acts: interp.steer(SITE, BIG, positions=[2, 5]),
    "in what is generated": lambda acts: interp.steer(SITE, BIG, positions=[7, 9]),
    "by name": lambda acts: interp.steer(SITE, BIG, positions="S"),
    "a row": lambda acts: interp.steer(SITE, BIG, rows=[1], positions=[4, 8]),
    "a head": lambda acts: interp.ablate(sites.z(1), heads=[1, 2], value=5.0, positions=[3, 6, 7]),
    "a patch": lambda acts: interp.patch(SITE, acts, positions=[1, 4]),
    "a moved patch": lambda acts: interp.patch(SITE, acts, positions=[4, 8], source_positions=[1, 2]),
    "attention": lambda acts: [interp.knock_out_attention(layer, [6, 7, 8], [0, 1, 2, 3, 4, 5]) for layer in range(3)],
    "noise": lambda acts: interp.add_noise(SITE, 20.0),
}


@pytest.mark.parametrize("case", GENERATION)
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_generation_with_and_without_a_cache_gives_the_same_tokens(name, case):
    """Positions are absolute: the prompt has 6, so 7 and 9 are the second and the fourth new token."""
    model = tiny(name)
    prompts = prompt_tokens(TOKENS, positions={"S": torch.tensor([1, 0, 2])})
    intervention = GENERATION[case](interp.capture(model, CORRUPT.as_subclass(torch.Tensor), SITE))
    with interp.intervene(model, intervention, task=prompts):
        slow = greedy_by_hand(model, TOKENS)
        with_cache, without = (generated(model, TOKENS, cache) for cache in (True, False))
    assert with_cache.tolist() == slow.tolist()
    assert without.tolist() == slow.tolist()
    if case != "a patch":
        assert slow.tolist() != greedy_by_hand(model, TOKENS).tolist()


def test_a_generation_needs_the_task_for_names():
    """TransformerLens hands the model plain tokens while it generates."""
    model, steer = tiny("llama"), interp.steer(SITE, BIG, positions="S")
    with pytest.raises(InputError, match="pass task=task to intervene"), interp.intervene(model, steer):
        generated(model, CLEAN, True)


def test_the_position_starts_anew_with_every_run():
    """A second prompt after a generation is at position 0 again."""
    model, steer = tiny("llama"), interp.steer(SITE, ONES, positions=0)
    expected = where(model, steer, tokens=TOKENS)
    assert expected == [(0, 0), (1, 0), (2, 0)]
    plain = interp.capture(model, TOKENS, SITE)[SITE]
    with interp.intervene(model, steer):
        generated(model, TOKENS, True)
        changed = interp.capture(model, TOKENS, SITE)[SITE] != plain
    assert [tuple(place) for place in changed.any(-1).nonzero().tolist()] == expected


# Positions never reached


def test_a_position_that_no_run_reached_is_warned_of_where_the_with_stands():
    model = tiny("llama")
    with (
        pytest.warns(UserWarning, match="position 9 was never reached, the longest run had 6") as caught,
        interp.intervene(model, interp.steer(SITE, ONES, positions=[1, 9])),
    ):
        model(TOKENS)
    assert caught[0].filename == __file__
    with (
        pytest.warns(UserWarning, match="knock out attention in layer 1: position 8 was never reached"),
        interp.intervene(model, interp.knock_out_attention(1, [3, 4], [2, 8])),
    ):
        model(TOKENS)
    mask = torch.zeros((3, 8), dtype=torch.bool)
    mask[1, 7] = True
    with (
        pytest.warns(UserWarning, match="position 7 was never reached"),
        interp.intervene(model, interp.steer(SITE, ONES, positions=mask)),
    ):
        model(TOKENS)


def test_no_warning_without_cause():
    model = tiny("llama")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with interp.intervene(model, interp.steer(SITE, ONES, positions=[1, 9])):
            generated(model, TOKENS, True)
        with interp.intervene(model, interp.steer(SITE, ONES, positions=[1, 9])):
            pass  # nothing ran
        with interp.intervene(model, interp.steer(SITE, ONES, positions=-1), interp.steer(SITE, ONES)):
            model(TOKENS)
        with pytest.raises(ZeroDivisionError), interp.intervene(model, interp.steer(SITE, ONES, positions=9)):
            _run_and_fail(model)


def _run_and_fail(model):
    model(TOKENS)
    raise ZeroDivisionError


# Batches inside interventions


def test_cutting_the_batch_is_refused_where_rows_are_told_apart():
    model, acts = tiny("llama"), interp.capture(tiny("llama"), CORRUPT, SITE)
    telling = [
        interp.steer(SITE, ONES, rows=[1]),
        interp.steer(SITE, ONES, positions=torch.tensor([1, 2, 3])),
        interp.patch(SITE, acts, positions=0),
        interp.ablate(SITE, value="counterfactual", reference=acts, positions=0),
        interp.ablate(SITE, value="resample", reference=acts, positions=0),
        interp.add_noise(SITE, 1.0),
        interp.knock_out_attention(1, -1, torch.tensor([1, 2, 3])),
    ]
    for item in telling:
        with (
            pytest.raises(InputError, match="tells the rows apart; leave batch_size out"),
            interp.intervene(model, interp.scale(SITE, 2.0), item),
        ):
            interp.capture(model, CLEAN, SITE, batch_size=2)
    interp.capture(model, CLEAN, SITE, batch_size=2)


@pytest.mark.parametrize(
    "make",
    [
        lambda acts: interp.steer(SITE, ONES, positions="S"),
        lambda acts: interp.scale(SITE, 2.0),
        lambda acts: interp.ablate(SITE, value="mean", mean_over="group", reference=acts, positions=-1),
        lambda acts: interp.knock_out_attention(1, "end", "S"),
    ],
)
def test_batches_equal_one_pass_otherwise(make):
    model = tiny("llama")
    grouped = prompt_tokens(TOKENS, lengths=CLEAN.lengths, positions=CLEAN.positions, groups=("a", "b", "a"))
    with interp.intervene(model, make(interp.capture(model, grouped, SITE))):
        one, several = (interp.capture(model, grouped, sites.resid_post(2), batch_size=n) for n in (None, 1))
    torch.testing.assert_close(several[sites.resid_post(2)], one[sites.resid_post(2)], atol=1e-4, rtol=1e-3)


# Nothing is left behind


@pytest.mark.parametrize("name", ["llama", "gpt2", "native", "gpt-neox", "gemma2"])
def test_nothing_is_left_behind(name):
    model = tiny(name)
    before, logits = traces(model), model(TOKENS)
    several = [interp.ablate(sites.z(1)), interp.steer(SITE, ONES, positions=2), interp.knock_out_attention(1, [3], 1)]
    with interp.intervene(model, several, interp.add_noise(sites.embed(), 1.0)):
        model(TOKENS)
    assert traces(model) == before
    assert torch.equal(model(TOKENS), logits)


def failing(x, here):
    raise ZeroDivisionError


@pytest.mark.parametrize("name", ["llama", "native"])
def test_nothing_is_left_behind_after_an_exception(name):
    model = tiny(name)
    before, logits = traces(model), model(TOKENS)
    with pytest.raises(ZeroDivisionError), interp.intervene(model, interp.ablate(sites.z(1), rows=[1])):
        _run_and_fail(model)
    assert traces(model) == before
    broken = interp.hooks.interventions.Intervention(SITE, failing, "broken")
    inner = interp.ablate(sites.z(0))
    for attempt in (
        lambda: model(TOKENS),
        lambda: partial.run(model, TOKENS, readout=Readout(torch.tensor([[5]] * 3), None)),
        lambda: interp.capture(model, TOKENS, sites.z(2)),
        lambda: partial.run(model, torch.zeros(3, 6, 48), 1),
    ):
        with pytest.raises(ZeroDivisionError), interp.intervene(model, broken), interp.intervene(model, inner):
            attempt()
        assert traces(model) == before
    for refused in (interp.ablate(sites.z(99)), interp.ablate(sites.z(0), heads=[99])):
        with pytest.raises(InputError), interp.intervene(model, interp.ablate(sites.z(0)), refused):
            raise AssertionError("must be refused before the body")
        assert traces(model) == before
    assert torch.equal(model(TOKENS), logits)


def test_everybodys_other_hooks_stay():
    model, calls = tiny_llama(), []
    handle = model.hook_dict["blocks.1.hook_out"].add_hook(lambda value, hook: calls.append(hook.name))
    with interp.intervene(model, interp.ablate(SITE)):
        model(TOKENS)
    model(TOKENS)
    assert calls == ["blocks.1.hook_out"] * 2
    handle.hook.remove()


def test_removing_all_hooks_inside_does_not_break_the_end():
    model = tiny_llama()
    before, logits = traces(model), model(TOKENS)
    with interp.intervene(model, interp.ablate(SITE)):
        model.reset_hooks()
        assert torch.equal(model(TOKENS), logits)
    assert traces(model) == before


def test_transformer_lens_own_calls_see_the_interventions_and_leave_them():
    model, ablation = tiny("llama"), interp.ablate(sites.z(1), heads=[2])
    with interp.intervene(model, ablation):
        expected = model(TOKENS)
        logits, cache = model.run_with_cache(TOKENS)
        assert torch.equal(model(TOKENS), expected)
    assert torch.equal(logits, expected)
    assert (cache["blocks.1.attn.hook_z"][:, :, 2] == 0).all()


def test_the_hooks_own_name_is_not_needed():
    """Inside a hook the bridge reports its native name; sites accept either."""
    assert sites.as_site("blocks.1.hook_out") == SITE
    model = tiny("llama")
    by_native = interp.steer("blocks.1.hook_out", ONES)
    assert where(model, by_native, tokens=TOKENS) == where(model, interp.steer(SITE, ONES), tokens=TOKENS)

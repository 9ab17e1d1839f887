"""Running part of a model: the same numbers as the whole, only what is needed computed, nothing left behind."""

from __future__ import annotations

import itertools

import pytest
import torch

from interp.errors import InputError
from interp.hooks import partial, sites
from interp.hooks.partial import run, run_recording
from interp.hooks.readout import Readout
from tests.hooks.watching import counting, traces
from tests.tiny_models import HUGGING_FACE, TINY, random_tokens, tiny, tiny_llama

TOKENS = random_tokens(n_rows=3, n_pos=9)
READOUT = Readout(torch.tensor([[8, 2], [7, 7], [1, 0]]), torch.tensor([[5, 90, -1], [6, -1, -1], [7, 8, 99]]))
# GPT-2's Conv1D and torch's attention kernels choose their blocking by the layout of what they are given.
ROUNDING = 2e-5


@pytest.fixture(params=TINY)
def model(request):
    return tiny(request.param)


@pytest.fixture(params=["gpt2", "llama", "gpt-neox"])
def caching(request):
    """Models that keep plain keys and values."""
    return tiny(request.param)


def whole(model, tokens=TOKENS):
    """The model's own forward pass, without a key/value cache."""
    return model(tokens, use_cache=False) if hasattr(model.original_model, "config") else model(tokens)


def streams(model, tokens=TOKENS):
    """The residual stream before each block and after the last, by TransformerLens's own cache hooks."""
    names = [f"blocks.{layer}.hook_in" for layer in range(model.cfg.n_layers)]
    last = f"blocks.{model.cfg.n_layers - 1}.hook_out"
    found = {}

    def keep(value, hook):
        found[hook.name] = value.clone()

    model.run_with_hooks(tokens, fwd_hooks=[(name, keep) for name in [*names, last]], **_no_cache(model))
    return [found[name] for name in [*names, last]]


def _no_cache(model):
    return {"use_cache": False} if hasattr(model.original_model, "config") else {}


def test_tokens_to_logits_is_the_models_own_forward(model):
    assert torch.equal(run(model, TOKENS), whole(model))


def test_every_start_and_stop_gives_the_stream_of_the_full_run(model):
    found = streams(model)
    for start, stop in itertools.combinations_with_replacement(range(model.cfg.n_layers + 1), 2):
        if start == model.cfg.n_layers:
            continue
        assert torch.equal(run(model, found[start], start, stop), found[stop]), (start, stop)


def test_every_start_gives_the_logits_of_the_full_run(model):
    logits = whole(model)
    for start, stream in enumerate(streams(model)[:-1]):
        assert torch.equal(run(model, stream, start), logits), start


def test_a_start_from_tokens_stops_at_any_block(model):
    for stop, stream in enumerate(streams(model)):
        assert torch.equal(run(model, TOKENS, stop=stop), stream), stop


def test_a_changed_stream_changes_the_result(model):
    stream = streams(model)[1]
    assert not torch.allclose(run(model, stream * 2 + 1, 1), whole(model), atol=1e-2)


@pytest.mark.parametrize("columns", ["some", "all"])
def test_readout_equals_the_gathered_logits(model, columns):
    readout = READOUT if columns == "some" else Readout(READOUT.positions, None)
    expected = readout.gather(whole(model))
    for start, stream in enumerate(streams(model)[:-1]):
        read = run(model, stream, start, readout=readout)
        torch.testing.assert_close(read, expected, atol=ROUNDING, rtol=1e-5)
    if columns == "some":
        assert (expected[0, [2, 5]] == 0).all()
        assert expected.shape == (3, 6)


def test_only_the_blocks_between_start_and_stop_run(model):
    n_layers = model.cfg.n_layers
    found = streams(model)
    run(model, found[1], 1, readout=READOUT)  # what is tried once a model
    for start, stop in itertools.combinations(range(n_layers + 1), 2):
        with counting(model) as ran:
            run(model, found[start], start, stop)
        assert ran == dict.fromkeys(range(start, stop), 1), (start, stop)
    for start in range(n_layers):
        with counting(model) as ran:
            run(model, found[start], start)
        assert ran == dict.fromkeys(range(start, n_layers), 1) | {"unembed": 1}


def test_a_readout_does_not_unembed_the_rest(model):
    run(model, TOKENS, readout=READOUT)
    with counting(model) as ran:
        run(model, TOKENS, readout=READOUT)
    assert ran["unembed"] == 0
    assert sum(ran.values()) == model.cfg.n_layers


def test_the_narrow_readout_is_found_out_to_be_exact_on_every_tiny_model(model):
    assert partial.can_read_narrowly(model)


def test_hooks_on_the_unembedding_see_the_whole_vocabulary(model):
    shapes = []
    point = sites.hook_points(model)["unembed.hook_out"]
    with partial.hooked(point, lambda value: shapes.append(value.shape)):
        read = run(model, TOKENS, readout=READOUT)
    assert shapes == [(3, 9, 100)]
    torch.testing.assert_close(read, READOUT.gather(whole(model)), atol=ROUNDING, rtol=1e-5)


def test_hooks_on_the_final_norm_count_in_a_readout(model):
    with partial.hooked(sites.hook_points(model)["ln_final.hook_in"], lambda value: value * 0 + 1):
        logits = whole(model)
        torch.testing.assert_close(
            run(model, TOKENS, readout=READOUT), READOUT.gather(logits), atol=ROUNDING, rtol=1e-5
        )


def test_hooks_on_the_blocks_fire_with_their_activations(model):
    seen = []
    with partial.hooked(sites.hook_point(model, sites.z(1)), lambda value: seen.append(value.clone())):
        run(model, streams(model)[1], 1)
    expected = model.run_with_cache(TOKENS, **_no_cache(model))[1]["blocks.1.attn.hook_z"]
    torch.testing.assert_close(seen[-1], expected, atol=ROUNDING, rtol=1e-5)


def test_the_callers_stream_is_not_written_to(model):
    stream = streams(model)[1]
    before = stream.clone()
    with partial.hooked(sites.hook_point(model, sites.resid_post(1)), lambda value: value.mul_(2)):
        run(model, stream, 1)
    assert torch.equal(stream, before)


# Suffixes over cached keys and values


def test_run_recording_gives_the_logits_and_what_a_suffix_needs(caching):
    logits, past = run_recording(caching, TOKENS, None)
    torch.testing.assert_close(logits, whole(caching), atol=ROUNDING, rtol=1e-5)
    read, again = run_recording(caching, TOKENS, READOUT)
    torch.testing.assert_close(read, READOUT.gather(logits), atol=ROUNDING, rtol=1e-5)
    assert past.length == again.length == 9
    n_kv = caching.cfg.n_key_value_heads or caching.cfg.n_heads
    assert {keys.shape for keys in past.keys} == {(3, n_kv, 9, 12)}
    assert past.prefix(4).length == 4


def test_every_suffix_from_every_block_equals_the_whole(caching):
    logits, past = run_recording(caching, TOKENS, None)
    found = streams(caching)
    for start, first in itertools.product(range(caching.cfg.n_layers), range(1, 9)):
        ours = run(caching, found[start][:, first:], start, past=past.prefix(first))
        torch.testing.assert_close(ours, logits[:, first:], atol=ROUNDING, rtol=1e-4)


def test_a_suffix_of_tokens_continues_the_prefix(caching):
    logits, past = run_recording(caching, TOKENS, None)
    torch.testing.assert_close(
        run(caching, TOKENS[:, 5:], past=past.prefix(5)), logits[:, 5:], atol=ROUNDING, rtol=1e-4
    )


def test_a_suffix_stops_at_a_block(caching):
    found, (_, past) = streams(caching), run_recording(caching, TOKENS, None)
    for stop in range(2, caching.cfg.n_layers + 1):
        ours = run(caching, found[1][:, 3:], 1, stop, past=past.prefix(3))
        torch.testing.assert_close(ours, found[stop][:, 3:], atol=ROUNDING, rtol=1e-4)


def test_a_folded_suffix_repeats_prefix_and_readout_run_major(caching):
    """Four runs of three prompts in one batch, each with its own change, against one run at a time."""
    found, (_, past) = streams(caching), run_recording(caching, TOKENS, None)
    readout = Readout(torch.tensor([[8, 4], [7, 6], [5, 8]]), READOUT.columns)
    generator = torch.Generator().manual_seed(1)
    changes = torch.randn((4, 3, 5, 48), generator=generator)
    changed = [found[2][:, 4:] + change for change in changes]
    folded = run(caching, torch.cat(changed), 2, past=past.prefix(4), readout=readout).view(4, 3, -1)
    for ours, stream in zip(folded, changed):
        full = torch.cat([found[2][:, :4], stream], dim=1)
        expected = readout.gather(run(caching, full, 2))
        torch.testing.assert_close(ours, expected, atol=5e-5, rtol=1e-4)


def test_a_folded_full_run_repeats_the_readout(model):
    read = run(model, TOKENS.repeat(2, 1), readout=READOUT)
    torch.testing.assert_close(read, READOUT.gather(whole(model)).repeat(2, 1), atol=5e-5, rtol=1e-4)


def test_a_suffix_does_not_extend_the_cache_it_was_given(caching):
    _, past = run_recording(caching, TOKENS, None)
    prefix = past.prefix(5)
    before = [keys.clone() for keys in prefix.keys]
    run(caching, TOKENS[:, 5:], past=prefix)
    run(caching, TOKENS[:, 5:], past=prefix)
    assert prefix.length == 5
    assert all(torch.equal(a, b) for a, b in zip(before, prefix.keys))


def test_rows_of_the_cache(caching):
    logits, past = run_recording(caching, TOKENS, None)
    rows = torch.tensor([2, 0])
    ours = run(caching, TOKENS[rows, 5:], past=past.prefix(5).rows(rows))
    torch.testing.assert_close(ours, logits[rows, 5:], atol=ROUNDING, rtol=1e-4)


def test_a_suffix_skips_the_blocks_before_its_start(caching):
    found, (_, past) = streams(caching), run_recording(caching, TOKENS, None)
    with counting(caching) as ran:
        run(caching, found[2][:, 4:], 2, past=past.prefix(4))
    assert ran[0] == ran[1] == 0
    assert ran[2] == 1


# Gradients


def test_gradients_reach_the_stream_that_was_given(model):
    """d(logit)/d(stream entering block 1): along a random direction equal to a central difference in float64."""
    stream = streams(model)[1]
    readout = Readout(torch.tensor([[8]] * 3), torch.tensor([[5], [6], [7]]))
    leaf = stream.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(run(model, leaf, 1, readout=readout).sum(), leaf)
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(stream.shape, generator=generator)
    step = 1e-2
    with torch.no_grad():
        up = run(model, stream + step * direction, 1, readout=readout)
        down = run(model, stream - step * direction, 1, readout=readout)
    measured = ((up - down).double().sum() / (2 * step)).item()
    assert (gradient * direction).sum().item() == pytest.approx(measured, rel=2e-2, abs=2e-2)
    assert gradient.abs().sum() > 0


def test_gradients_of_a_suffix_are_those_of_the_whole_run(caching):
    found, (_, past) = streams(caching), run_recording(caching, TOKENS, None)
    readout = Readout(torch.tensor([[8]] * 3), torch.tensor([[5], [6], [7]]))
    full, part = (found[1].clone().requires_grad_(True), found[1][:, 6:].clone().requires_grad_(True))
    (expected,) = torch.autograd.grad(run(caching, full, 1, readout=readout).sum(), full)
    (ours,) = torch.autograd.grad(run(caching, part, 1, past=past.prefix(6), readout=readout).sum(), part)
    torch.testing.assert_close(ours, expected[:, 6:], atol=1e-4, rtol=1e-3)


# What is refused, and what is left behind


REFUSED = {
    "tokens past block 0": (lambda m: run(m, TOKENS, 1), "tokens only enter at block 0"),
    "stop before start": (lambda m: run(m, streams(m)[2], 2, 1), "start must come before stop"),
    "past the last block": (lambda m: run(m, streams(m)[0], m.cfg.n_layers), "start must come before stop"),
    "negative start": (lambda m: run(m, streams(m)[0], -1), "start must come before stop"),
    "readout with a stop": (lambda m: run(m, TOKENS, stop=1, readout=READOUT), "leave stop out"),
    "readout of another batch": (lambda m: run(m, TOKENS[:2], readout=READOUT), "no multiple of the readout's batch"),
    "readout past the end": (
        lambda m: run(m, TOKENS[:, :5], readout=READOUT),
        "position 8 is not among those that run",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case):
    attempt, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        attempt(tiny("llama"))


def test_refuses_a_readout_before_the_suffix():
    _, past = run_recording(tiny("llama"), TOKENS, None)
    with pytest.raises(InputError, match="position 2 is not among those that run, 5 to 8"):
        run(tiny("llama"), TOKENS[:, 5:], past=past.prefix(5), readout=READOUT)


def test_refuses_a_past_of_another_batch():
    _, past = run_recording(tiny("llama"), TOKENS, None)
    with pytest.raises(InputError, match="no multiple of the past's batch of 3"):
        run(tiny("llama"), TOKENS[:2, 5:], past=past.prefix(5))


@pytest.mark.parametrize("name", ["native", "gemma2"])
def test_refuses_suffixes_of_models_whose_cache_cannot_be_cut(name):
    assert not partial.has_suffix_runs(tiny(name))
    with pytest.raises(InputError, match="no plain key/value cache"):
        run_recording(tiny(name), TOKENS, None)
    _, past = run_recording(tiny("llama"), TOKENS, None)
    with pytest.raises(InputError, match="no plain key/value cache"):
        run(tiny(name), TOKENS[:, 5:], past=past.prefix(5))


def test_nothing_is_left_behind(model):
    before, stream = traces(model), streams(model)[1]
    run(model, stream, 1, readout=READOUT)
    run(model, stream, 1, 2)
    assert traces(model) == before


@pytest.mark.parametrize("name", ["llama", "native"])
@pytest.mark.parametrize("where", ["blocks.2.hook_resid_pre", "blocks.1.attn.hook_z", "ln_final.hook_in"])
def test_nothing_is_left_behind_when_a_hook_raises(name, where):
    model = tiny(name)
    before, logits, stream = traces(model), whole(model), streams(model)[1]

    def fail(value):
        raise ZeroDivisionError

    for keywords in ({}, {"readout": READOUT}, {"stop": model.cfg.n_layers}):
        if where.startswith("ln_final") and "stop" in keywords:
            continue
        with pytest.raises(ZeroDivisionError), partial.hooked(sites.hook_points(model)[where], fail):
            run(model, stream, 1, **keywords)
        assert traces(model) == before
    assert torch.equal(whole(model), logits)


def test_hooked_takes_off_only_its_own_hook():
    model = tiny("llama")
    point = sites.hook_points(model)["blocks.0.hook_resid_post"]
    calls = []
    with partial.hooked(point, lambda value: calls.append("outer")):
        with partial.hooked(point, lambda value: calls.append("inner")):
            model(TOKENS)
        model(TOKENS)
    model(TOKENS)
    assert calls == ["outer", "inner", "outer"]


def test_the_first_run_of_a_model_may_be_inside_somebodys_hooks():
    """What is tried once a model must not go through hooks that expect the caller's batch."""
    model, shapes = tiny_llama(), set()
    with partial.hooked(model.hook_dict["blocks.2.hook_resid_pre"], lambda value: shapes.add(value.shape)):
        ours = run(model, TOKENS, readout=READOUT)
        run(model, run(model, TOKENS, stop=2), 2)
        sites.reached_hooks(model)
    assert shapes == {(3, 9, 48)}
    torch.testing.assert_close(ours, READOUT.gather(model(TOKENS)), atol=ROUNDING, rtol=1e-5)


def test_a_run_after_folding_the_weights_is_that_of_the_folded_model():
    model = tiny_llama(seed=1)
    run(model, TOKENS, readout=READOUT)  # whatever is remembered of a model is remembered now
    model.enable_compatibility_mode()
    logits = whole(model)
    torch.testing.assert_close(run(model, TOKENS, readout=READOUT), READOUT.gather(logits), atol=ROUNDING, rtol=1e-4)
    assert torch.equal(run(model, streams(model)[2], 2), logits)


@pytest.mark.parametrize("name", HUGGING_FACE)
def test_no_cache_is_filled_that_nobody_reads(name):
    """A Hugging Face model asked for a cache would build one in every run."""
    model, seen = tiny(name), []

    def look(module, args, keywords):
        seen.append(keywords.get("use_cache"))

    handle = model.original_model.register_forward_pre_hook(look, with_kwargs=True)
    try:
        run(model, TOKENS)
    finally:
        handle.remove()
    assert seen == [False]

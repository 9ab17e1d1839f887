"""Reading activations: the right numbers at every site, no further than needed, and never the model's own memory."""

from __future__ import annotations

import pytest
import torch

import interp
from interp.errors import InputError
from interp.hooks import partial, sites
from interp.hooks.prompts import prompt_tokens
from interp.hooks.readout import Readout
from tests.hooks.watching import all_sites, counting, traces
from tests.tiny_models import TINY, random_tokens, tiny

TOKENS = random_tokens(n_rows=4, n_pos=9)
PROMPTS = prompt_tokens(
    TOKENS,
    lengths=torch.tensor([9, 5, 7, 9]),
    positions={"end": torch.tensor([8, 4, 6, 8]), "S": torch.tensor([1, 2, 3, 0])},
)
READOUT = Readout(torch.tensor([[8], [4], [6], [8]]), torch.tensor([[5, 6]] * 4))


@pytest.fixture(params=TINY)
def model(request):
    return tiny(request.param)


def test_every_site_equals_transformer_lens_cache(model):
    no_cache = {"use_cache": False} if hasattr(model.original_model, "config") else {}
    _, cache = model.run_with_cache(TOKENS, **no_cache)
    every = all_sites(model)
    found = interp.capture(model, TOKENS, every)
    assert list(found) == every
    for site in every:
        assert torch.equal(found[site], cache[site.hook]), site
        assert torch.equal(interp.capture(model, TOKENS, site)[site], cache[site.hook]), site


def test_stops_after_the_last_site(model):
    every = all_sites(model)
    interp.capture(model, TOKENS, every[0])
    for site in every:
        last = (
            -1 if site.kind in ("embed", "pos_embed") else model.cfg.n_layers - 1 if site.layer is None else site.layer
        )
        with counting(model) as ran:
            interp.capture(model, TOKENS, site)
        # The stream into a block is read without running it; the hook itself is inside the bridge's block.
        expected = range(last if site.kind == "resid_pre" else last + 1)
        assert ran == dict.fromkeys(expected, 1), site


def test_stops_after_the_last_of_several_in_whatever_order():
    model = tiny("llama")
    with counting(model) as ran:
        interp.capture(model, TOKENS, [sites.z(2), sites.resid_pre(0), sites.pattern(1)])
    assert ran == {0: 1, 1: 1, 2: 1}


def test_a_readout_runs_to_the_end_and_unembeds_only_what_it_names(model):
    interp.capture(model, TOKENS, sites.resid_pre(0), readout=READOUT)
    with counting(model) as ran:
        found = interp.capture(model, TOKENS, sites.resid_post(0), readout=READOUT)
    assert ran == dict.fromkeys(range(model.cfg.n_layers), 1)
    torch.testing.assert_close(found.logits, READOUT.gather(model(TOKENS)), atol=2e-5, rtol=1e-4)
    assert interp.capture(model, TOKENS, sites.resid_post(0)).logits is None


def test_shares_no_memory_with_the_model(model):
    """Overwriting what was captured, at once or between two sites of one pass, must not change anything."""
    every = all_sites(model)
    first = interp.capture(model, TOKENS, every)
    assert len({value.untyped_storage().data_ptr() for value in first.values()}) == len(every)
    before = {site: value.clone() for site, value in first.items()}
    logits = model(TOKENS)
    for value in first.values():
        value.fill_(float("nan"))
    assert torch.equal(model(TOKENS), logits)
    again = interp.capture(model, TOKENS, every)
    for site in every:
        assert torch.equal(again[site], before[site]), site


def test_later_writes_in_place_do_not_reach_back():
    """The stream after block 1 is the very tensor that enters block 2, where somebody wipes it."""
    model, site = tiny("llama"), sites.resid_post(1)
    plain = interp.capture(model, TOKENS, site)[site]
    with partial.hooked(sites.hook_point(model, sites.resid_pre(2)), lambda value: value.zero_()):
        found = interp.capture(model, TOKENS, [site, sites.z(3)])
    assert torch.equal(found[site], plain)


def test_nothing_is_left_behind(model):
    before = traces(model)
    interp.capture(model, TOKENS, all_sites(model))
    interp.capture(model, TOKENS, sites.z(0), gradients=True, readout=READOUT)
    with pytest.raises(InputError):
        interp.capture(model, TOKENS, [sites.z(0), sites.z(99)])
    with pytest.raises(IndexError):
        interp.capture(model, TOKENS + 1000, sites.z(0))
    assert traces(model) == before


# Positions


def loops(value: torch.Tensor, site: sites.Site, index: list[list[int]]) -> torch.Tensor:
    """The chosen positions, one at a time."""
    rows = [[row.select(site.pos_dim - 1, p) for p in chosen] for row, chosen in zip(value, index)]
    return torch.stack([torch.stack(row, dim=site.pos_dim - 1) for row in rows])


@pytest.mark.parametrize(
    ("positions", "index", "single"),
    [
        (3, [[3]] * 4, True),
        (-1, [[8], [4], [6], [8]], True),  # from the end of each prompt's real tokens
        (-2, [[7], [3], [5], [7]], True),
        ("end", [[8], [4], [6], [8]], True),
        ("S", [[1], [2], [3], [0]], True),
        ([3], [[3]] * 4, False),
        ([0, -1], [[0, 8], [0, 4], [0, 6], [0, 8]], False),
        (["S", "end"], [[1, 8], [2, 4], [3, 6], [0, 8]], False),
        (["S", 2], [[1, 2], [2, 2], [3, 2], [0, 2]], False),
        (range(1, 4), [[1, 2, 3]] * 4, False),
        (torch.tensor([5, 0, 1, 2]), [[5], [0], [1], [2]], True),
        (torch.tensor([-1, -1, 0, 1]), [[8], [4], [0], [1]], True),
        (torch.tensor([[5, 6], [0, 1], [1, 1], [2, 0]]), [[5, 6], [0, 1], [1, 1], [2, 0]], False),
        (TOKENS < 0, None, None),
        (torch.eye(4, 9, dtype=torch.bool), [[0], [1], [2], [3]], False),
        (None, None, None),
    ],
)
def test_positions(positions, index, single):
    model = tiny("llama")
    chosen = [sites.resid_post(1), sites.z(2), sites.pattern(2), sites.k(0), sites.mlp_post(1), sites.final_scale()]
    whole = interp.capture(model, TOKENS, chosen)
    if isinstance(positions, torch.Tensor) and positions.dtype == torch.bool and not positions.any():
        with pytest.raises(InputError, match="choose as many in each"):
            interp.capture(model, PROMPTS, chosen, positions)
        return
    found = interp.capture(model, PROMPTS, chosen, positions)
    for site in chosen:
        expected = whole[site] if index is None else loops(whole[site], site, index)
        assert torch.equal(found[site], expected.squeeze(site.pos_dim) if single else expected), site
    assert (found.positions is None) == (index is None)
    if index is not None:
        assert found.positions.tolist() == index


def test_negative_positions_of_plain_tokens_count_from_the_end_of_the_tensor():
    site = sites.resid_post(0)
    whole = interp.capture(tiny("llama"), TOKENS, site)[site]
    assert torch.equal(interp.capture(tiny("llama"), TOKENS, site, -1)[site], whole[:, -1])


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ("IO", "there is no position called 'IO'; .*valid: end, S"),
        (9, "position 9 is outside the 9 positions"),
        (-8, "position -8 is outside"),  # the second prompt has 5 tokens
        ([], "the list of positions is empty"),
        (torch.tensor([1, 2]), r"integers \[batch\] or \[batch, k\] with batch 4"),
        (torch.tensor([1.0, 2.0, 3.0, 4.0]), r"must be integers"),
        (torch.ones((4, 8), dtype=torch.bool), r"must be \[batch, pos\] = \(4, 9\)"),
        (torch.ones((4, 9), dtype=torch.bool).triu(), r"chooses \[9, 8, 7, 6\] positions"),
    ],
)
def test_positions_that_cannot_be(positions, message):
    with pytest.raises(InputError, match=message):
        interp.capture(tiny("llama"), PROMPTS, sites.z(0), positions)


def test_names_need_prompts_that_have_them():
    with pytest.raises(InputError, match=r"'end' is a name, and these tokens have none; .*capture task.clean"):
        interp.capture(tiny("llama"), TOKENS, sites.z(0), "end")


# Batches, inputs, the mapping


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 7])
def test_batches_equal_one_pass(batch_size):
    model = tiny("llama")
    chosen = [sites.resid_post(1), sites.pattern(2), sites.k(0)]
    for positions in (None, "S", ["S", -1]):
        one = interp.capture(model, PROMPTS, chosen, positions, readout=READOUT)
        several = interp.capture(model, PROMPTS, chosen, positions, readout=READOUT, batch_size=batch_size)
        for site in chosen:
            torch.testing.assert_close(several[site], one[site], atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(several.logits, one.logits, atol=2e-5, rtol=1e-4)


def test_batches_really_are_batches():
    shapes = []
    with interp.intervene(tiny("llama"), []):
        point = sites.hook_points(tiny("llama"))["hook_embed"]
        handle = point.add_hook(lambda value, hook: shapes.append(len(value)))
        try:
            interp.capture(tiny("llama"), TOKENS, sites.z(0), batch_size=3)
        finally:
            handle.hook.remove()
            point.fwd_hooks.remove(handle)
    assert shapes == [3, 1]


@pytest.mark.parametrize(
    ("tokens", "keywords", "message"),
    [
        (TOKENS[:, :0], {}, r"integers \[batch, pos\]"),
        (TOKENS, {"batch_size": -1}, "at least 1, not -1"),
        (TOKENS, {"batch_size": 2, "gradients": True}, "leave positions and batch_size out"),
        (TOKENS, {"positions": 2, "gradients": True}, "leave positions and batch_size out"),
    ],
)
def test_inputs_that_cannot_be(tokens, keywords, message):
    with pytest.raises(InputError, match=message):
        interp.capture(tiny("llama"), tokens, sites.z(0), **keywords)


@pytest.mark.parametrize("tokens", [TOKENS[0], TOKENS.float()])
def test_tokens_of_another_kind_are_refused(tokens):
    # By the type checker first, where one runs.
    with pytest.raises((InputError, TypeError)):
        interp.capture(tiny("llama"), tokens, sites.z(0))


def test_no_sites_are_refused():
    with pytest.raises(InputError, match="no sites were given; name at least one"):
        interp.capture(tiny("llama"), TOKENS, [])


def test_the_mapping():
    found = interp.capture(tiny("llama"), PROMPTS, ["blocks.1.hook_resid_post", sites.z(0), sites.resid_post(1)])
    assert len(found) == 2
    assert list(found) == [sites.resid_post(1), sites.z(0)]
    assert found["blocks.1.hook_out"] is found[sites.resid_post(1)] is found["blocks.1.hook_resid_post"]
    assert "blocks.0.attn.o.hook_in" in found
    assert sites.z(1) not in found
    assert "nonsense" not in found
    assert found.get(sites.z(1)) is None
    assert found.get("nonsense", 7) == 7
    assert found.get(sites.z(0)) is found[sites.z(0)]
    assert found.tokens is PROMPTS
    assert "blocks.0.attn.hook_z: (4, 9, 4, 12)" in repr(found)
    with pytest.raises(
        InputError, match=r"blocks.1.attn.hook_z was not captured; captured are: blocks.1.hook_resid_post"
    ):
        found[sites.z(1)]
    with pytest.raises(TypeError):
        found[sites.z(1)] = TOKENS


def test_runs_without_gradients_unless_asked():
    found = interp.capture(tiny("llama"), TOKENS, sites.z(0))
    assert not found[sites.z(0)].requires_grad


def test_inside_interventions_the_changed_activations_are_read(model):
    with interp.intervene(model, interp.ablate(sites.z(0), heads=[1], value=2.0)):
        found = interp.capture(model, TOKENS, [sites.z(0), sites.resid_post(0)])
    plain = interp.capture(model, TOKENS, [sites.z(0), sites.resid_post(0)])
    assert (found[sites.z(0)][:, :, 1] == 2.0).all()
    assert torch.equal(found[sites.z(0)][:, :, 0], plain[sites.z(0)][:, :, 0])
    assert not torch.allclose(found[sites.resid_post(0)], plain[sites.resid_post(0)], atol=1e-3)

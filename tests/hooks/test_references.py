"""Means, other prompts' values and paired runs, against loops over the real tokens; pads never stand in for tokens."""

from __future__ import annotations

import pytest
import torch

import interp
from interp.errors import InputError
from interp.hooks import sites
from interp.hooks.prompts import prompt_tokens
from tests.tiny_models import random_tokens, tiny

N_POS = 6
LENGTHS = [6, 4, 5, 6, 3, 6]
GROUPS = ("a", "b", "a", "b", "a", "c")
REFERENCE = prompt_tokens(
    random_tokens(6, N_POS, seed=11),
    lengths=torch.tensor(LENGTHS),
    positions={"end": torch.tensor(LENGTHS) - 1, "S": torch.tensor([1, 2, 0, 1, 2, 3])},
    groups=GROUPS,
)
FULL = prompt_tokens(random_tokens(6, N_POS, seed=12), groups=GROUPS)
RUN = prompt_tokens(
    random_tokens(3, N_POS, seed=13),
    lengths=torch.tensor([6, 4, 5]),
    positions={"end": torch.tensor([5, 3, 4]), "S": torch.tensor([1, 0, 2])},
    groups=("b", "a", "b"),
)
# Four positions and four heads: attention, whose heads come first, must not be read as positions.
SQUARE = random_tokens(5, 4, seed=14)
SITES = [sites.resid_post(1), sites.z(2)]


def captured(tokens, site, positions=None):
    return interp.capture(tiny("llama"), tokens, site, positions)


def inside(ablation, site, tokens=RUN, task=None):
    """The activation as the ablation leaves it."""
    with interp.intervene(tiny("llama"), ablation, task=task):
        return captured(tokens, site)[site]


def test_zero_and_numbers_need_no_reference():
    assert (inside(interp.ablate(sites.z(1)), sites.z(1)) == 0).all()
    assert (inside(interp.ablate(sites.z(1), value=2), sites.z(1)) == 2).all()


@pytest.mark.parametrize("site", SITES)
def test_mean_over_all_tokens(site):
    acts = captured(REFERENCE, site)
    samples = [acts[site][row, position] for row in range(6) for position in range(1, LENGTHS[row])]
    found = inside(interp.ablate(site, value="mean", reference=acts), site)
    torch.testing.assert_close(found, torch.stack(samples).mean(0).expand_as(found))


def test_mean_over_all_tokens_leaves_attention_sinks_out():
    site = sites.resid_post(1)
    values = captured(FULL, site)[site].clone()
    values[2, 3] *= 1000
    kept = [values[row, p] for row in range(6) for p in range(1, N_POS) if (row, p) != (2, 3)]
    found = inside(interp.ablate(site, value="mean", reference=values), site)
    torch.testing.assert_close(found, torch.stack(kept).mean(0).expand_as(found))


def test_mean_over_all_of_some_positions_leaves_pads_out():
    """Position 4 is padding in the second and the fifth prompt; the first position is not dropped when asked for."""
    site = sites.z(2)
    acts = captured(REFERENCE, site, [0, 4])
    whole = captured(REFERENCE, site)[site]
    samples = [whole[row, p] for row in range(6) for p in (0, 4) if p < LENGTHS[row]]
    found = inside(interp.ablate(site, value="mean", reference=acts), site)
    torch.testing.assert_close(found, torch.stack(samples).mean(0).expand_as(found))


@pytest.mark.parametrize("positions", [4, "end", "S", -1, torch.tensor([0, 1, 2, 3, 4, 5])])
@pytest.mark.parametrize("over", ["all", "position"])
def test_mean_of_a_single_position(positions, over):
    site = sites.resid_post(1)
    acts = captured(REFERENCE, site, positions)
    rows = [row for row in range(6) if acts.positions[row, 0] < LENGTHS[row]]
    assert (len(rows) == 6) == isinstance(positions, str) or positions is not None
    found = inside(interp.ablate(site, value="mean", mean_over=over, reference=acts, positions="S"), site)
    plain = captured(RUN, site)[site]
    for row, at in enumerate((1, 0, 2)):
        torch.testing.assert_close(found[row, at], acts[site][rows].mean(0))
        others = [p for p in range(N_POS) if p != at]
        assert torch.equal(found[row, others], plain[row, others])


@pytest.mark.parametrize("site", [*SITES, sites.pattern(1)])
def test_mean_per_position(site):
    acts = captured(REFERENCE, site)
    found = inside(interp.ablate(site, value="mean", mean_over="position", reference=acts), site)
    for position in range(N_POS):
        rows = [row for row in range(6) if position < LENGTHS[row]]
        expected = acts[site].select(site.pos_dim, position)[rows].mean(0)
        for row in range(3):
            torch.testing.assert_close(found.select(site.pos_dim, position)[row], expected)


def test_mean_per_position_of_attention_with_as_many_heads_as_positions():
    site = sites.pattern(1)
    lengths = torch.tensor([4, 2, 4, 3, 4])
    prompts = prompt_tokens(SQUARE, lengths=lengths)
    acts = captured(prompts, site)
    found = inside(interp.ablate(site, value="mean", mean_over="position", reference=acts), site, SQUARE[:2])
    for query in range(4):
        rows = [row for row in range(5) if query < lengths[row]]
        expected = torch.stack([acts[site][row, :, query] for row in rows]).mean(0)
        torch.testing.assert_close(found[0, :, query], expected)


@pytest.mark.parametrize("site", [*SITES, sites.pattern(1)])
@pytest.mark.parametrize("folds", [1, 3])
def test_mean_per_group_and_position(site, folds):
    acts = captured(REFERENCE, site)
    tokens = RUN if folds == 1 else RUN.repeat(folds, 1)
    ablation = interp.ablate(site, value="mean", mean_over="group", reference=acts)
    found = inside(ablation, site, tokens, task=RUN)
    for row, group in enumerate(("b", "a", "b") * folds):
        for position in range(int(RUN.lengths[row % 3])):
            rows = [i for i in range(6) if GROUPS[i] == group and position < LENGTHS[i]]
            expected = acts[site].select(site.pos_dim, position)[rows].mean(0)
            torch.testing.assert_close(found.select(site.pos_dim, position)[row], expected)


def test_means_of_positions_that_no_reference_reaches_are_refused():
    """Group "a" has no sixth token once its longest prompt is cut: its mean there would be zero, unnoticed."""
    short = REFERENCE.rows(slice(1, 5))  # lengths 4, 5, 6, 3: group a has 5 and 3
    site = sites.resid_post(1)
    ablation = interp.ablate(site, value="mean", mean_over="group", reference=captured(short, site))
    assert inside(ablation, site).shape  # the run's prompt of group a has 4 tokens
    longer = prompt_tokens(RUN.as_subclass(torch.Tensor), groups=("b", "a", "b"))
    with pytest.raises(InputError, match="at position 5 of prompt 1 the reference has only padding; name positions"):
        inside(ablation, site, longer)
    named = interp.ablate(site, value="mean", mean_over="group", reference=captured(short, site), positions=[0, 4])
    assert inside(named, site, longer).shape


@pytest.mark.parametrize(
    ("keywords", "tokens", "task", "message"),
    [
        ({"mean_over": "group"}, random_tokens(4, N_POS), None, "groups of the prompts that run: pass task=task"),
        ({"mean_over": "group"}, prompt_tokens(random_tokens(4, N_POS)), None, "no prompts of group 'all'"),
        ({"mean_over": "position"}, random_tokens(3, 9), None, "has 6 positions and the run reaches 9"),
        ({"mean_over": "group"}, random_tokens(4, N_POS), RUN, "groups of the prompts that run"),
    ],
)
def test_means_that_cannot_be_are_refused(keywords, tokens, task, message):
    acts = captured(REFERENCE, sites.z(1))
    with pytest.raises(InputError, match=message):
        inside(interp.ablate(sites.z(1), value="mean", reference=acts, **keywords), sites.z(1), tokens, task)


def test_references_that_cannot_give_a_mean_are_refused():
    pattern = captured(REFERENCE, sites.pattern(1))
    with pytest.raises(InputError, match="attention has no mean over all tokens"):
        interp.ablate(sites.pattern(1), value="mean", reference=pattern)
    plain = captured(REFERENCE.as_subclass(torch.Tensor), sites.z(1))
    with pytest.raises(InputError, match="a reference that knows its groups"):
        interp.ablate(sites.z(1), value="mean", mean_over="group", reference=plain)
    some = captured(REFERENCE, sites.z(1), [1, 2])
    with pytest.raises(InputError, match="holds only some positions"):
        interp.ablate(sites.z(1), value="mean", mean_over="position", reference=some)
    with pytest.raises(InputError, match=r"is \[batch, pos, ...\] with 4 dimensions"):
        interp.ablate(sites.z(1), value="mean", reference=torch.ones(12))
    with pytest.raises((InputError, TypeError)):  # by the type checker first, where one runs
        interp.ablate(sites.z(1), value="mean", mean_over="row", reference=plain)


# Resampling


def donors(found, values):
    """Which row of the reference each row of the run was given; -1 where it is none."""
    return [next((i for i in range(len(values)) if torch.equal(row, values[i])), -1) for row in found]


@pytest.mark.parametrize("seed", range(6))
def test_resampling_stays_in_the_group_and_never_picks_the_prompt_itself(seed):
    site = sites.resid_post(1)
    acts = captured(FULL, site)
    found = inside(interp.ablate(site, value="resample", reference=acts, seed=seed), site, FULL)
    given = donors(found, acts[site])
    for row, donor in enumerate(given):
        assert donor not in (-1, row)
        if GROUPS[row] != "c":  # the only one of its group takes any other
            assert GROUPS[donor] == GROUPS[row]


def test_resampling_depends_on_the_seed_alone_and_uses_all_donors():
    site = sites.resid_post(1)
    acts = captured(FULL, site)
    given = [
        tuple(donors(inside(interp.ablate(site, value="resample", reference=acts, seed=s), site, FULL), acts[site]))
        for s in [*range(12), *range(12)]
    ]
    assert given[:12] == given[12:]
    assert {row[0] for row in given} == {2, 4}
    assert {row[5] for row in given} == {0, 1, 2, 3, 4}


def test_resampling_of_plain_tokens_never_picks_the_prompt_itself():
    site, tokens = sites.resid_post(1), FULL.as_subclass(torch.Tensor)
    acts = captured(tokens, site)
    for seed in range(8):
        found = inside(interp.ablate(site, value="resample", reference=acts, seed=seed), site, tokens)
        assert all(donor not in (-1, row) for row, donor in enumerate(donors(found, acts[site])))


def test_resampling_from_other_prompts_of_the_runs_groups():
    """The groups are those of the tokens that run, not those of the reference's rows."""
    site = sites.z(1)
    acts = captured(FULL, site)
    for seed in range(5):
        found = inside(interp.ablate(site, value="resample", reference=acts, seed=seed), site, RUN)
        given = donors(found, acts[site])
        assert [GROUPS[donor] for donor in given] == ["b", "a", "b"]
        folded = inside(
            interp.ablate(site, value="resample", reference=acts, seed=seed), site, RUN.repeat(2, 1), task=RUN
        )
        assert donors(folded, acts[site]) == given * 2


def test_resampling_never_gives_a_pad_to_a_real_token():
    site = sites.resid_post(1)
    acts = captured(REFERENCE, site)
    for seed in range(6):
        ablation = interp.ablate(site, value="resample", reference=acts, seed=seed)
        given = donors(inside(ablation, site, RUN), acts[site])
        assert all(LENGTHS[donor] >= int(RUN.lengths[row]) for row, donor in enumerate(given))
        early = interp.ablate(site, value="resample", reference=acts, seed=seed, positions=[0, 1])
        assert inside(early, site, RUN).shape
    short = captured(REFERENCE.rows(slice(1, 3)), site)
    with pytest.raises(InputError, match="no other prompt, as long as prompt 0, to resample from"):
        inside(interp.ablate(site, value="resample", reference=short), site, RUN)


def test_resampling_needs_another_prompt():
    site, one = sites.resid_post(1), FULL.rows(slice(0, 1))
    with pytest.raises(InputError, match="no other prompt"):
        inside(interp.ablate(site, value="resample", reference=captured(one, site)), site, one)


# Paired runs and patches of unequal lengths


def test_pads_of_the_paired_run_are_never_written_over_tokens():
    site, model = sites.resid_post(1), tiny("llama")
    paired = prompt_tokens(random_tokens(3, N_POS, seed=15), lengths=torch.tensor([6, 4, 3]))
    acts = captured(paired, site)
    for write in (
        interp.ablate(site, value="counterfactual", reference=acts),
        interp.patch(site, acts),
        interp.freeze(site, acts)[0],
    ):
        with (
            pytest.raises(InputError, match="at position 3 of prompt 2 the reference has only padding"),
            interp.intervene(model, write),
        ):
            model(RUN)  # its third prompt has 5 tokens
        with interp.intervene(model, write):
            model(RUN.as_subclass(torch.Tensor)[:, :3])  # three tokens each: the reference has them all
    with interp.intervene(model, interp.patch(site, acts, positions=[0, 2])):
        found = captured(RUN, site)[site]
    assert torch.equal(found[:, [0, 2]], acts[site][:, [0, 2]])


def test_values_are_cut_to_a_shorter_run_and_may_end_before_a_longer_one():
    model = tiny("llama")
    for site in (sites.resid_post(1), sites.z(1), sites.pattern(1), sites.scores(1)):
        acts = captured(FULL, site)
        shorter, longer = random_tokens(6, 4, seed=20), random_tokens(6, 8, seed=21)
        with interp.intervene(model, interp.patch(site, acts)):
            found = captured(shorter, site)[site]
        expected = acts[site].narrow(site.pos_dim, 0, 4)
        assert torch.equal(found, expected[..., :4] if site.pos_dim == 2 else expected)
        with pytest.raises(InputError, match="has 6 positions and the run reaches 8"):
            inside(interp.patch(site, acts), site, longer)
        plain = captured(longer, site)[site]
        found = inside(interp.patch(site, acts, positions=[2, 5]), site, longer)
        for position in range(8):
            ours = found.select(site.pos_dim, position)
            theirs = (acts[site] if position in (2, 5) else plain).select(site.pos_dim, position)
            if site.pos_dim == 2 and position in (2, 5):
                ours, later = ours[..., :N_POS], ours[..., N_POS:]
                assert (later == (0 if site.kind == "pattern" else torch.finfo(later.dtype).min)).all()
            assert torch.equal(ours, theirs)

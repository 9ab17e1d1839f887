"""Each intervention against the same change by hand: in models written out in plain torch, in hooks with loops."""

from __future__ import annotations

import pytest
import torch

import interp
from interp.errors import InputError
from interp.hooks import sites
from tests.oracles.plain_forward import causal, gpt2_logits, llama_logits, recording
from tests.tiny_models import TINY, plain_gpt2, plain_llama, random_tokens, tiny

TOKENS = random_tokens(n_rows=3, n_pos=7)
OTHER = random_tokens(n_rows=3, n_pos=7, seed=8)
PLAIN = {"llama": (plain_llama, llama_logits), "gpt2": (plain_gpt2, gpt2_logits)}


@pytest.fixture(params=PLAIN)
def name(request):
    return request.param


@torch.no_grad()
def by_hand(name, edits, tokens=TOKENS):
    """Logits of the written-out model; `edits` maps (kind, layer) to a function that changes a copy in place."""
    make, logits_of = PLAIN[name]

    def edit(kind, layer, x):
        if (kind, layer) not in edits:
            return x
        changed = x.clone()
        made = edits[kind, layer](changed)
        return changed if made is None else made

    return logits_of(make(), tokens, edit)


def activations(name, tokens):
    """Every activation of the written-out model by (kind, layer)."""
    found = {}
    make, logits_of = PLAIN[name]
    with torch.no_grad():
        logits_of(make(), tokens, recording(found))
    return found


def run(name, *interventions, tokens=TOKENS, task=None):
    with interp.intervene(tiny(name), *interventions, task=task):
        return tiny(name)(tokens)


def same(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=5e-4, rtol=1e-3)


def changes(name, ours):
    assert (ours - tiny(name)(TOKENS)).abs().max() > 1e-2


# What is written, one kind after the other


def test_zero_at_every_kind_of_site(name):
    for kind in ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_post", "mlp_pre", "q", "v", "z"):
        ours = run(name, interp.ablate(sites.Site(kind, 1)))
        same(ours, by_hand(name, {(kind, 1): lambda x: x.zero_()}))
        changes(name, ours)
    same(run(name, interp.ablate(sites.embed())), by_hand(name, {("embed", None): lambda x: x.zero_()}))


def test_a_number(name):
    ours = run(name, interp.ablate("blocks.1.hook_mlp_out", value=-1.5))
    same(ours, by_hand(name, {("mlp_out", 1): lambda x: x.fill_(-1.5)}))


def test_heads_positions_rows_and_units_together(name):
    """Only entries where all four agree change."""

    def loops(x):
        for row in (0, 2):
            for position in (1, 4, 6):
                for head in (1, 3):
                    for unit in (0, 5):
                        x[row, position, head, unit] = 0

    chosen = {"heads": [1, 3], "positions": [1, 4, -1], "rows": [0, 2], "units": [0, 5]}
    ours = run(name, interp.ablate(sites.z(1), **chosen))
    same(ours, by_hand(name, {("z", 1): loops}))
    changes(name, ours)


@pytest.mark.parametrize(
    "rows", [[1], [-1, 0], torch.tensor([1, 2]), [True, False, True], torch.tensor([False, True, False])]
)
def test_rows(rows):
    index = torch.as_tensor(rows)
    ours = run("llama", interp.scale(sites.attn_out(2), 3.0, rows=rows))

    def loops(x):
        x[index] *= 3

    same(ours, by_hand("llama", {("attn_out", 2): loops}))


@pytest.mark.parametrize(
    "positions",
    [
        2,
        -1,
        [0, 3],
        "S",
        ["S", "end"],
        torch.tensor([1, 2, 3]),
        torch.tensor([[1, 2], [3, 3], [0, 6]]),
        TOKENS % 2 == 0,
    ],
)
def test_positions(positions):
    prompts = interp.hooks.prompt_tokens(
        TOKENS,
        lengths=torch.tensor([7, 5, 6]),
        positions={"S": torch.tensor([2, 0, 1]), "end": torch.tensor([6, 4, 5])},
    )
    index = {
        2: [[2]] * 3,
        -1: [[6], [4], [5]],
        "S": [[2], [0], [1]],
    }.get(positions if isinstance(positions, int | str) else None)
    if index is None and isinstance(positions, list):
        index = [[2, 6], [0, 4], [1, 5]] if "S" in positions else [positions] * 3
    elif isinstance(positions, torch.Tensor):
        index = [
            row.nonzero()[:, 0].tolist() if row.dtype == torch.bool else row.reshape(-1).tolist() for row in positions
        ]

    def loops(x):
        for row, chosen in enumerate(index):
            for position in set(chosen):
                x[row, position] += 2.0

    ours = run("llama", interp.steer(sites.resid_post(1), torch.ones(48), 2.0, positions=positions), tokens=prompts)
    same(ours, by_hand("llama", {("resid_post", 1): loops}))
    changes("llama", ours)


def test_attention_rows_of_chosen_queries(name):
    def loops(x):
        x[:, 2, 4] = 0  # head 2, query 4

    same(run(name, interp.ablate(sites.pattern(1), heads=[2], positions=4)), by_hand(name, {("pattern", 1): loops}))


def test_key_value_heads_under_grouped_query_attention():
    def loops(x):
        x[:, :, 1] = 0

    same(run("llama", interp.ablate(sites.v(1), heads=[1])), by_hand("llama", {("v", 1): loops}))
    # one key/value head serves two query heads
    both = run("llama", interp.ablate(sites.z(1), heads=[2, 3]))
    same(run("llama", interp.ablate(sites.v(1), heads=[1])), both)


def test_patch(name):
    donor = interp.capture(tiny(name), OTHER, [sites.z(1), sites.resid_mid(1), sites.pattern(2)])
    theirs = activations(name, OTHER)

    def heads(x):
        x[:, 3:5, 2] = theirs["z", 1][:, 3:5, 2]

    same(run(name, interp.patch(sites.z(1), donor, heads=[2], positions=[3, 4])), by_hand(name, {("z", 1): heads}))
    everything = {("resid_mid", 1): lambda x: x.copy_(theirs["resid_mid", 1])}
    same(run(name, interp.patch(sites.resid_mid(1), donor)), by_hand(name, everything))
    attention = {("pattern", 2): lambda x: x.copy_(theirs["pattern", 2])}
    same(run(name, interp.patch(sites.pattern(2), donor)), by_hand(name, attention))


def test_patch_from_a_tensor_and_from_a_single_position():
    theirs = activations("llama", OTHER)["resid_post", 1]

    def last(x):
        x[:, 5] = theirs[:, -1]

    single = interp.capture(tiny("llama"), OTHER, sites.resid_post(1), -1)
    expected = by_hand("llama", {("resid_post", 1): last})
    same(run("llama", interp.patch(sites.resid_post(1), single, positions=5)), expected)
    same(run("llama", interp.patch(sites.resid_post(1), theirs[:, -1], positions=5)), expected)


def test_patch_from_other_positions():
    """The k-th source position goes to the k-th position, row by row."""
    theirs = activations("llama", OTHER)
    goes_to, comes_from = torch.tensor([[1, 2], [0, 6], [5, 4]]), torch.tensor([[6, 0], [1, 1], [2, 3]])

    def loops(x, kind):
        for row in range(3):
            for to, source in zip(goes_to[row], comes_from[row]):
                x[row, to] = theirs[kind, 2][row, source]

    donor = interp.capture(tiny("llama"), OTHER, [sites.resid_post(2), sites.z(2)])
    for site in donor:
        ours = run("llama", interp.patch(site, donor, positions=goes_to, source_positions=comes_from))
        same(ours, by_hand("llama", {(site.kind, 2): lambda x, site=site: loops(x, site.kind)}))

    def one_head(x):
        x[:, 3, 1] = theirs["z", 2][:, 5, 1]

    ours = run("llama", interp.patch(sites.z(2), donor, heads=[1], positions=3, source_positions=5))
    same(ours, by_hand("llama", {("z", 2): one_head}))


def test_patch_attention_rows_from_other_queries():
    theirs = activations("llama", OTHER)["pattern", 2]
    donor = interp.capture(tiny("llama"), OTHER, sites.pattern(2))

    def loops(x):
        x[:, :, 6] = theirs[:, :, 4]

    ours = run("llama", interp.patch(sites.pattern(2), donor, positions=6, source_positions=4))
    same(ours, by_hand("llama", {("pattern", 2): loops}))


def test_steer(name):
    generator = torch.Generator().manual_seed(0)
    one, per_head = torch.randn(48, generator=generator), torch.randn((4, 12), generator=generator)

    def add(x):
        x[:, 2] += 1.5 * one

    same(run(name, interp.steer(sites.resid_mid(1), one, 1.5, positions=2)), by_hand(name, {("resid_mid", 1): add}))
    added = {("z", 1): lambda x: x.add_(per_head)}
    same(run(name, interp.steer(sites.z(1), per_head)), by_hand(name, added))


def test_project_out(name):
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn((2, 48), generator=generator) * 5
    slanted = torch.stack([first, first + 0.1 * second, 2 * first])  # spans a plane, neither orthogonal nor of norm 1

    def plane(x):
        a = first / first.norm()
        b = second - (second @ a) * a
        b = b / b.norm()
        return x - (x @ a)[..., None] * a - (x @ b)[..., None] * b

    same(run(name, interp.project_out(sites.resid_post(1), slanted)), by_hand(name, {("resid_post", 1): plane}))
    with interp.intervene(tiny(name), interp.project_out(sites.resid_post(1), slanted)):
        left = interp.capture(tiny(name), TOKENS, sites.resid_post(1))[sites.resid_post(1)]
    assert (left @ torch.stack([first, second]).T).abs().max() < 1e-3


def test_scale(name):
    same(
        run(name, interp.scale(sites.mlp_post(1), -0.5)),
        by_hand(name, {("mlp_post", 1): lambda x: x.mul_(-0.5)}),
    )


def test_freezing_attention_patterns_and_norm_scales(name):
    """Hold all of them at what they were on other prompts: the rest of the model runs on."""
    model, every = tiny(name), []
    for layer in range(model.cfg.n_layers):
        every += [sites.pattern(layer), sites.scale(layer), sites.scale(layer, "ln2")]
    every.append(sites.final_scale())
    frozen = interp.freeze(every, interp.capture(model, OTHER, every))
    assert all(item.label.startswith("freeze") for item in frozen)
    theirs = activations(name, OTHER)
    edits = {
        (kind, layer): lambda x, kind=kind, layer=layer: theirs[kind, layer].clone()
        for kind, layer in theirs
        if kind in ("pattern", "scale1", "scale2", "final_scale")
    }
    ours = run(name, frozen)
    same(ours, by_hand(name, edits))
    changes(name, ours)
    unchanged = interp.freeze(every, interp.capture(model, TOKENS, every))
    same(run(name, unchanged), model(TOKENS))


def test_counterfactual_is_the_same_row_of_the_paired_run(name):
    paired = interp.capture(tiny(name), OTHER, sites.z(1))
    theirs = activations(name, OTHER)["z", 1]

    def loops(x):
        x[1, :, 0] = theirs[1, :, 0]

    ablation = interp.ablate(sites.z(1), heads=[0], rows=[1], value="counterfactual", reference=paired)
    same(run(name, ablation), by_hand(name, {("z", 1): loops}))


# Attention knock-out


@pytest.mark.parametrize("queries", [None, [4, 5], -1, "S"])
@pytest.mark.parametrize("heads", [None, [1, 2]])
def test_knock_out_equals_scores_of_minus_infinity(name, queries, heads):
    prompts = interp.hooks.prompt_tokens(TOKENS, positions={"S": torch.tensor([6, 3, 5])})
    keys = [2] if queries is None else [1, 2]
    rows = {None: [range(3, 7)] * 3, -1: [[6]] * 3, "S": [[6], [3], [5]]}
    of_row = rows[queries] if queries is None or not isinstance(queries, list) else [queries] * 3

    def loops(x):
        for row in range(3):
            for query in of_row[row]:
                for head in heads or range(4):
                    for key in keys:
                        x[row, head, query, key] = -torch.inf

    chosen = list(range(3, 7)) if queries is None else queries  # query 2 sees itself, so all is too much to ask
    ours = run(name, interp.knock_out_attention(1, chosen, keys, heads), tokens=prompts)
    same(ours, by_hand(name, {("scores", 1): loops}))
    changes(name, ours)


@pytest.mark.parametrize("model_name", ["native", "native-rotary", "native-attention-only", "gemma2", "gpt-neox"])
def test_knock_out_by_hand_on_other_models(model_name):
    """Zero the pattern and renormalise by loops, in a hook of TransformerLens's own."""
    model = tiny(model_name)

    def loops(pattern, hook):
        pattern = pattern.clone()
        for row in range(3):
            for query in (4, 6):
                pattern[row, 1, query, 3] = 0
                pattern[row, 1, query] /= pattern[row, 1, query].sum()
        return pattern

    expected = model.run_with_hooks(TOKENS, fwd_hooks=[("blocks.1.attn.hook_pattern", loops)])
    with interp.intervene(model, interp.knock_out_attention(1, [4, 6], 3, heads=[1])):
        ours = model(TOKENS)
        pattern = interp.capture(model, TOKENS, sites.pattern(1))[sites.pattern(1)]
    same(ours, expected)
    assert (ours - model(TOKENS)).abs().max() > 1e-4
    torch.testing.assert_close(pattern.sum(-1), torch.ones(3, 4, 7))
    assert (pattern[:, 1, [4, 6], 3] == 0).all()


def test_knock_out_of_keys_by_role_and_by_mask():
    prompts = interp.hooks.prompt_tokens(TOKENS, positions={"S": torch.tensor([2, 0, 1])})
    mask = torch.zeros((3, 7), dtype=torch.bool)
    mask[0, 2] = mask[1, 0] = mask[2, 1] = True

    def loops(x):
        for row, key in enumerate((2, 0, 1)):
            x[row, :, 6, key] = -torch.inf

    expected = by_hand("llama", {("scores", 2): loops})
    same(run("llama", interp.knock_out_attention(2, -1, "S"), tokens=prompts), expected)
    same(run("llama", interp.knock_out_attention(2, -1, mask)), expected)


@pytest.mark.parametrize("model_name", ["llama", "native"])
def test_knock_out_refuses_a_query_without_keys(model_name):
    with (
        pytest.raises(InputError, match="a query would have no key left"),
        interp.intervene(tiny(model_name), interp.knock_out_attention(1, 0, 0)),
    ):
        tiny(model_name)(TOKENS)
    with interp.intervene(tiny(model_name), interp.knock_out_attention(1, [1, 2], 0)):
        tiny(model_name)(TOKENS)  # later queries keep their own key
    with pytest.raises(InputError, match="without keys nothing would be left"):
        interp.knock_out_attention(1)


def test_the_oracles_mask_is_causal():
    assert (causal(torch.zeros(1, 1, 3, 3))[0, 0] < -1e30).tolist() == [
        [False, True, True],
        [False, False, True],
        [False, False, False],
    ]


# Noise


def test_noise_has_the_stated_size_where_it_is_asked_for():
    model, site = tiny("llama"), sites.embed()
    tokens = random_tokens(n_rows=40, n_pos=7)
    plain = interp.capture(model, tokens, site)[site]
    with interp.intervene(model, interp.add_noise(site, 0.7, positions=[2, 3])):
        noise = interp.capture(model, tokens, site)[site] - plain
    assert (noise[:, [0, 1, 4, 5, 6]] == 0).all()
    assert noise[:, 2:4].std().item() == pytest.approx(0.7, rel=0.03)
    assert noise[:, 2:4].mean().item() == pytest.approx(0, abs=0.05)
    flat = noise[:, 2:4].reshape(80, 48)
    apart = torch.cdist(flat, flat) + 99 * torch.eye(80)
    assert apart.min() > 1  # every token its own


def test_noise_is_the_same_for_the_same_seed():
    first, again, other = (run("llama", interp.add_noise(sites.embed(), 1.0, seed=seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-2)


# Order, nesting, lists


def test_at_one_site_in_the_order_given(name):
    doubled, added = interp.scale(sites.resid_post(1), 2.0), interp.steer(sites.resid_post(1), torch.ones(48))
    same(run(name, doubled, added), by_hand(name, {("resid_post", 1): lambda x: x * 2 + 1}))
    same(run(name, added, doubled), by_hand(name, {("resid_post", 1): lambda x: (x + 1) * 2}))
    same(run(name, [added, doubled]), run(name, added, doubled))
    same(run(name, [added], doubled), run(name, added, doubled))


def test_across_sites_as_the_model_computes(name):
    late, early = interp.scale(sites.resid_post(1), 2.0), interp.ablate(sites.resid_pre(1), value=1.0)
    edits = {("resid_pre", 1): lambda x: x.fill_(1.0), ("resid_post", 1): lambda x: x * 2}
    same(run(name, late, early), by_hand(name, edits))


def test_the_middle_of_the_stream_comes_after_what_attention_adds(name):
    """They are written at different places, so the order given does not matter."""
    mid, attention = interp.scale(sites.resid_mid(1), 2.0), interp.ablate(sites.attn_out(1), value=1.0)
    edits = {("attn_out", 1): lambda x: x.fill_(1.0), ("resid_mid", 1): lambda x: x * 2}
    same(run(name, mid, attention), by_hand(name, edits))
    same(run(name, attention, mid), by_hand(name, edits))


def test_nested_blocks_act_as_if_the_outer_ones_were_given_first():
    model = tiny("llama")
    doubled, added = interp.scale(sites.resid_post(1), 2.0), interp.steer(sites.resid_post(1), torch.ones(48))
    plain, both, outer_only = model(TOKENS), run("llama", doubled, added), run("llama", doubled)
    with interp.intervene(model, doubled):
        with interp.intervene(model, added):
            assert torch.equal(model(TOKENS), both)
        assert torch.equal(model(TOKENS), outer_only)
    assert torch.equal(model(TOKENS), plain)


def test_one_description_serves_many_models_and_runs():
    knocked = interp.knock_out_attention(1, [5, 6], 2)
    for model_name in ("llama", "native", "llama"):
        with interp.intervene(tiny(model_name), knocked):
            pattern = interp.capture(tiny(model_name), TOKENS, sites.pattern(1))[sites.pattern(1)]
            assert (pattern[:, :, 5:, 2] == 0).all()


# On every kind of model, against hooks with loops


@pytest.mark.parametrize("model_name", TINY)
def test_heads_and_positions_on_every_model(model_name):
    model = tiny(model_name)

    def loops(z, hook):
        z = z.clone()
        for row in range(3):
            for position in (1, 3):
                z[row, position, 2] = 0.5
        return z

    expected = model.run_with_hooks(TOKENS, fwd_hooks=[("blocks.1.attn.hook_z", loops)])
    with interp.intervene(model, interp.ablate(sites.z(1), heads=[2], positions=[1, 3], value=0.5)):
        same(model(TOKENS), expected)
    assert not torch.allclose(expected, model(TOKENS), atol=1e-3)


# Refusals


ACTS = {"of": lambda: interp.capture(tiny("llama"), OTHER, sites.z(1))}
REFUSED = {
    "an unknown head": (lambda: interp.ablate(sites.z(1), heads=[4]), "the heads are 0 to 3"),
    "heads of the stream": (lambda: interp.ablate(sites.resid_post(1), heads=[0]), "has no heads"),
    "an unknown layer": (lambda: interp.scale(sites.z(9), 2.0), "the layers are 0 to 3"),
    "a vector of another size": (lambda: interp.steer(sites.z(1), torch.ones(13)), "13 dimensions, .* has 12"),
    "directions of another size": (lambda: interp.project_out(sites.z(1), torch.ones(13)), "13 dimensions, .* has 12"),
    "no direction": (lambda: interp.project_out(sites.z(1), torch.zeros(12)), "directions are all zero"),
    "a unit that is not there": (lambda: interp.ablate(sites.z(1), units=[12]), "unit 12 does not exist: there are 12"),
    "a row that is not there": (lambda: interp.ablate(sites.z(1), rows=[3]), "row 3 does not exist: the batch has 3"),
    "a mask of other rows": (lambda: interp.ablate(sites.z(1), rows=[True, False]), "the batch has 3"),
    "a name without prompts": (lambda: interp.ablate(sites.z(1), positions="end"), "'end' is a name"),
    "a mask of another batch": (
        lambda: interp.ablate(sites.z(1), positions=torch.ones((2, 7), dtype=torch.bool)),
        r"must be \[batch, pos\] with batch 3",
    ),
    "no reference": (lambda: interp.ablate(sites.z(1), value="mean"), "needs reference=.*interp.capture"),
    "no paired run": (lambda: interp.ablate(sites.z(1), value="counterfactual"), "task.corrupt"),
    "a reference of another site": (
        lambda: interp.ablate(sites.z(2), value="counterfactual", reference=ACTS["of"]()),
        "blocks.2.attn.hook_z was not captured; captured are: blocks.1.attn.hook_z",
    ),
    "a source of other rows": (
        lambda: interp.patch(sites.z(1), ACTS["of"]()[sites.z(1)][:2]),
        "the reference has 2 rows, the run 3",
    ),
    "a source of another shape": (lambda: interp.patch(sites.resid_post(1), torch.ones(3, 7, 40)), "do not fit"),
    "a source without batch": (lambda: interp.patch(sites.resid_post(1), torch.ones(48)), "with 3 dimensions"),
    "a source of fewer positions": (
        lambda: interp.patch(sites.resid_post(1), torch.ones(3, 5, 48)),
        "the reference has 5 positions and the run reaches 7",
    ),
    "source positions without positions": (
        lambda: interp.patch(sites.z(1), ACTS["of"](), source_positions=3),
        "say with positions where they go",
    ),
    "more source positions than positions": (
        lambda: interp.patch(sites.z(1), ACTS["of"](), positions=1, source_positions=[2, 3]),
        "2 source positions for 1 positions; give as many",
    ),
    "a source of some positions": (
        lambda: interp.patch(sites.z(1), interp.capture(tiny("llama"), OTHER, sites.z(1), [1, 2])),
        "the reference holds only some positions",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case):
    make, message = REFUSED[case]
    logits = tiny("llama")(TOKENS)
    with pytest.raises(InputError, match=message):
        run("llama", make())
    assert torch.equal(tiny("llama")(TOKENS), logits)


def test_a_task_must_be_one():
    with pytest.raises(InputError, match="task= takes a task or its token tensor"):
        run("llama", interp.ablate(sites.z(1)), task=TOKENS)
    for wrong in (lambda: interp.ablate(sites.z(1), value="median"), lambda: run("llama", "ablate")):
        with pytest.raises((InputError, TypeError)):  # by the type checker first, where one runs
            wrong()

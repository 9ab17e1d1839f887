"""`node_attribution` against gradients taken by hand, closed forms and exact patching; `compare_with_exact`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from transformer_lens.tools.analysis.attribution_patching import attribution_patch

import interp
from interp.errors import InputError
from interp.hooks.latents import LatentSite
from interp.hooks.sites import hook_points, mlp_post, resid_post
from interp.patching import EstimateCheck, NodeAttribution, PatchingResult, compare_with_exact, node_attribution, sweep
from interp.results import Values
from interp.tasks import for_toy
from tests.patching.gradients_by_hand import KINDS, ByHand
from tests.patching.test_sweeps import assert_same, effects, pairs, uneven_pairs
from tests.tiny_models import tiny, tiny_gpt2


def by_hand(model, task, kind: str, direction: str) -> Tensor:
    """(clean - corrupt) * gradient, summed over everything but batch, layer and unit: [layer, (unit,) batch]."""
    both = ByHand(model, task, direction)
    layers = []
    for layer in range(int(model.cfg.n_layers)):
        name = f"blocks.{layer}.{KINDS[kind]}"
        layers.append(reduced(both.difference(name) * both.gradient(name), kind))
    return torch.stack(layers)


def reduced(product: Tensor, kind: str) -> Tensor:
    if kind in "zqkv":
        return product.sum((1, 3)).T
    return product.sum(1).T if kind == "mlp_post" else product.sum((1, 2))


@pytest.mark.parametrize(
    ("name", "nodes", "kind", "direction"),
    [("llama", kind, kind, "denoise") for kind in ("z", "q", "k", "v", "attn_out", "mlp_out", "mlp_post", "resid_post")]
    + [("gpt2", "heads", "z", "noise"), ("gpt2", "mlps", "mlp_out", "noise"), ("gpt2", "neurons", "mlp_post", "noise")]
    + [(name, "heads", "z", "denoise") for name in ("gpt-neox", "gemma2", "native", "native-rotary")],
)
def test_attribution_equals_gradients_by_hand(name: str, nodes: str, kind: str, direction: str) -> None:
    model, task = tiny(name), pairs()
    result = node_attribution(model, task, nodes, direction=direction)
    assert isinstance(result, NodeAttribution)
    assert_same(effects(result), by_hand(model, task, kind, direction))


@pytest.mark.parametrize("kind", ["z", "v", "mlp_out"])
def test_integrated_gradients_equal_those_by_hand(kind: str) -> None:
    model, task, steps = tiny("llama"), pairs(), 3
    both = ByHand(model, task, "denoise")
    start = "blocks.0.hook_resid_pre"
    inputs, activations = [], []
    for layer in range(4):
        name = f"blocks.{layer}.{KINDS[kind]}"
        along = torch.zeros_like(both.own[name]), torch.zeros_like(both.own[name])
        for step in range(steps):
            share = (step + 0.5) / steps
            stream = both.own[start] + share * (both.other[start] - both.own[start])
            along[0].add_(both.gradient(name, hooks=[(start, lambda value, hook, stream=stream: stream)]) / steps)
            at = both.own[name] + share * (both.other[name] - both.own[name])
            along[1].add_(both.gradient(name, at) / steps)
        inputs.append(reduced(both.difference(name) * along[0], kind))
        activations.append(reduced(both.difference(name) * along[1], kind))
    for method, theirs in (("ig", inputs), ("ig-activations", activations)):
        assert_same(effects(node_attribution(model, task, kind, method=method, steps=steps)), torch.stack(theirs))


def test_integrated_gradients_are_complete() -> None:
    """Summed over a whole stream they give m(clean) - m(corrupt) (Sundararajan et al. 2017, proposition 1)."""
    model, task = tiny("gpt2"), pairs()
    total = node_attribution(model, task, "resid_pre", method="ig", steps=32, layers=[0])
    assert torch.allclose(
        effects(total)[0], total.values["clean"].data - total.values["corrupt"].data, rtol=2e-2, atol=5e-3
    )
    every = node_attribution(model, task, "resid_post", method="ig-activations", steps=24)
    whole = (every.values["clean"].data - every.values["corrupt"].data).expand(3, -1)
    assert torch.allclose(effects(every), whole, rtol=2e-2, atol=5e-3)


def patched_pattern(scores_q: Tensor, scores_k: Tensor) -> Tensor:
    """Softmax of causal attention, by hand, [batch, head, query, key]; q and k [batch, pos, head, d_head]."""
    size = scores_q.shape[2] // scores_k.shape[2]
    keys = scores_k.repeat_interleave(size, dim=2)
    scores = torch.einsum("bqhd,bkhd->bhqk", scores_q, keys) / scores_q.shape[-1] ** 0.5
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(future, float("-inf")).softmax(-1)


@pytest.mark.parametrize("by", [("layer", "head"), ("layer", "position", "head"), ("layer", "role", "head")])
@pytest.mark.parametrize("kind", ["q", "k"])
def test_qk_fix_equals_softmax_by_hand(kind: str, by: tuple[str, ...]) -> None:
    """Rotary keys shared by two query heads: each node's own pattern change, contracted with the gradient there."""
    model, task = tiny("llama"), pairs()
    result = node_attribution(model, task, kind, by, qk_fix=True)
    both = ByHand(model, task, "denoise")
    if by[1] == "role":
        cells = [task.positions[role] for role in task.roles]
    else:
        cells = [torch.full((4,), position) for position in range(9)] if by[1] == "position" else [None]
    expected = []
    for layer in range(4):
        q, k = (f"blocks.{layer}.attn.hook_rot_{letter}" for letter in "qk")
        gradient = both.gradient(f"blocks.{layer}.attn.hook_pattern")
        before = patched_pattern(both.own[q], both.own[k])
        assert torch.allclose(before, both.own[f"blocks.{layer}.attn.hook_pattern"], atol=1e-5)
        here = []
        for cell in cells:
            name = q if kind == "q" else k
            changed = both.own[name].clone()
            rows = slice(None) if cell is None else torch.arange(4)
            where = slice(None) if cell is None else cell
            changed[rows, where] = both.other[name][rows, where]
            after = patched_pattern(*((changed, both.own[k]) if kind == "q" else (both.own[q], changed)))
            by_head = ((after - before) * gradient).sum((-1, -2))
            here.append(by_head if kind == "q" else by_head.view(4, 2, 2).sum(-1))
        expected.append(torch.stack(here) if cells != [None] else here[0][None])
    theirs = torch.stack(expected).permute(0, 1, 3, 2)
    assert_same(effects(result), theirs if cells != [None] else theirs[:, 0])


@pytest.mark.parametrize(("name", "kind"), [("gpt2", "z"), ("llama", "mlp_post"), ("native-attention-only", "z")])
def test_grad_drop_equals_layers_detached_by_hand(name: str, kind: str) -> None:
    """For every layer, what it adds to the stream is detached; the mean of the sizes over the other layers."""
    model, task = tiny(name), pairs()
    both = ByHand(model, task, "denoise")
    layers = range(int(model.cfg.n_layers))
    sizes = []
    for dropped in layers:
        added = [f"blocks.{dropped}.hook_attn_out", f"blocks.{dropped}.hook_mlp_out"]
        hooks = [(hook, lambda value, hook: value.detach()) for hook in added if hook in both.own]
        names = [f"blocks.{layer}.{KINDS[kind]}" for layer in layers]
        found = [reduced(both.difference(n) * both.gradient(n, hooks=hooks), kind) for n in names]
        sizes.append(torch.stack(found).abs())
    result = node_attribution(model, task, "heads" if kind == "z" else "neurons", grad_drop=True)
    assert result.settings["signed"] is False
    assert_same(effects(result), torch.stack(sizes).sum(0) / (len(layers) - 1))


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("method", ["attribution", "ig", "ig-activations"])
def test_exact_on_the_linear_toy(method: str, direction: str) -> None:
    """Where everything is linear an estimate is the truth, for any path and in both directions."""
    model = interp.load_model("toy/linear")
    task = for_toy(model, n=5)
    for nodes, by in (
        ("z", ("layer", "head")),
        ("v", ("position", "head", "layer")),
        ("mlp_out", ("layer", "position")),
    ):
        estimate = node_attribution(model, task, nodes, by, direction, method=method, steps=2)
        assert_same(effects(estimate), effects(sweep(model, task, nodes, by, direction)))


def test_neurons_of_the_linear_toy_are_exact() -> None:
    model = interp.load_model("toy/linear")
    task = for_toy(model, n=5)
    estimate = node_attribution(model, task, "neurons")
    clean = interp.capture(model, task.clean, mlp_post(0))
    for neuron in (0, 7, 30):
        with interp.intervene(model, interp.patch(mlp_post(0), clean, units=[neuron])):
            patched = task.corrupt_metric(model(task.corrupt.as_subclass(Tensor)))
        exact = patched - task.corrupt_metric(model(task.corrupt.as_subclass(Tensor)))
        assert torch.allclose(effects(estimate)[0, neuron], exact, atol=1e-4)


def test_saturated_attention_needs_the_fix() -> None:
    """The induction toy: plain gradients give its queries and keys nothing, the QK-fix all that patching measures."""
    model = interp.load_model("toy/induction")
    task = for_toy(model, n=6)
    for kind in "qk":
        exact = sweep(model, task, kind, direction="noise")
        assert torch.allclose(exact.values["effect"].data, torch.tensor([[0.0, 0.0], [10.0, 0.0]]), atol=1e-3)
        options = {"plain": {}, "fixed": {"qk_fix": True}, "dropped": {"grad_drop": True}}
        options["fixed and dropped"] = {"qk_fix": True, "grad_drop": True}
        estimates = {name: node_attribution(model, task, kind, direction="noise", **o) for name, o in options.items()}
        assert estimates["plain"].values["effect"].data.abs().max() < 1e-3
        assert torch.allclose(effects(estimates["fixed"]), effects(exact), atol=1e-3)
        check = compare_with_exact(estimates, exact, top=[1])
        assert check.values["error"].data[:2].tolist() == pytest.approx([1.0, 0.0], abs=1e-3)
        assert check.values["missed"].sel(k=1, estimate="fixed").data == 0
        assert check.values["missed"].sel(k=1, estimate="fixed and dropped").data == 0
        assert check.values["chance"].data.tolist() == pytest.approx([0.75])


@dataclass
class Rotation:
    """A codec of orthogonal directions."""

    matrix: Tensor
    reads: str = "resid_post"
    writes: str = "resid_post"

    def encode(self, x: Tensor) -> Tensor:
        return x @ self.matrix

    def decode(self, latents: Tensor) -> Tensor:
        return latents @ self.matrix.T


@pytest.mark.parametrize("method", ["attribution", "ig-activations"])
def test_latents_are_nodes(method: str) -> None:
    """Rotated coordinates: each latent's attribution is its share of the stream's, and together they are all of it."""
    model, task = tiny("llama"), pairs()
    matrix = torch.linalg.qr(torch.randn(48, 48, generator=torch.Generator().manual_seed(0))).Q
    found = [LatentSite(resid_post(layer), Rotation(matrix)) for layer in (1, 2)]
    result = node_attribution(model, task, found, method=method)
    assert result.values["effect"].dims == ("layer", "latent")
    assert result.values["effect"].axis("layer").labels == (1, 2)
    streams = node_attribution(model, task, "resid_post", method=method, layers=[1, 2])
    assert_same(effects(result).sum(1), effects(streams))
    if method == "attribution":
        both = ByHand(model, task, "denoise")
        name = "blocks.2.hook_resid_post"
        by_latent = ((both.difference(name) @ matrix) * (both.gradient(name) @ matrix)).sum(1)
        assert_same(effects(result)[1], by_latent.T)


def test_axes_batches_and_budgets_agree() -> None:
    model, task = tiny("llama"), pairs()
    whole = node_attribution(model, task, "heads", ("head", "position", "layer"))
    assert whole.values["effect"].dims == ("head", "position", "layer")
    assert_same(effects(whole).sum((0, 1)), effects(node_attribution(model, task, "heads", "layer")))
    roles = effects(node_attribution(model, task, "heads", ("layer", "role", "head")))
    assert_same(roles[:, task.roles.index("second")], effects(whole)[:, 5].transpose(0, 1))
    plain = node_attribution(model, task)
    for options in ({"batch_size": 3}, {"memory_budget": 1}, {"layers": [0, 1, 2, 3]}):
        assert_same(effects(node_attribution(model, task, **options)), effects(plain))
    with torch.no_grad():
        assert_same(effects(node_attribution(model, task)), effects(plain))


def test_uneven_lengths_by_role() -> None:
    """Where prompts differ in length a role's value comes from the other prompt's own place of that role."""
    model, task = tiny("llama"), uneven_pairs()
    both = ByHand(model, task, "denoise")
    result = node_attribution(model, task, "resid_pre", ("layer", "role"))
    rows = torch.arange(3)
    for i, role in enumerate(task.roles):
        to, source = task.corrupt_positions[role], task.positions[role]
        for layer in range(4):
            name = f"blocks.{layer}.hook_resid_pre"
            change = both.other[name][rows, source] - both.own[name][rows, to]
            expected = (change * both.gradient(name)[rows, to]).sum(-1)
            assert torch.allclose(effects(result)[layer, i], expected, atol=1e-4)


def test_round_trip_and_hooks_are_gone(tmp_path) -> None:
    model, task = tiny("llama"), pairs()
    for options in ({"method": "ig", "steps": 2}, {"grad_drop": True}):
        result = node_attribution(model, task, "q", qk_fix=True, **options)
        assert interp.results.load(result.save(tmp_path / "nodes")).equal(result)
        assert "estimate" in result.plots[0].caveat.lower()
    check = compare_with_exact(result, sweep(model, task, "q"))
    assert isinstance(check, EstimateCheck)
    assert interp.results.load(check.save(tmp_path / "check")).equal(check)
    assert not any(point.fwd_hooks for point in hook_points(model).values())


def test_what_a_check_reports() -> None:
    """Against itself an estimate misses nothing; against a shuffled copy the numbers are those of the shuffle."""
    model, task = tiny("llama"), pairs()
    exact = sweep(model, task, "z")
    same = compare_with_exact({"same": exact}, exact)
    assert same.values["missed"].data.abs().max() == 0
    assert same.values["spearman"].data.tolist() == pytest.approx([1.0])
    assert same.values["error"].data.tolist() == pytest.approx([0.0])
    assert same.values["to_verify"].data[0].tolist() == list(same.values["missed"].axis("k").labels) == [1, 2, 5, 10]
    sizes = effects(exact).abs().mean(-1).flatten()
    best, worst = int(sizes.argmax()), int(sizes.argmin())
    swapped = effects(exact).flatten(0, 1).clone()
    swapped[[best, worst]] = swapped[[worst, best]]
    wrong = compare_with_exact(_with(exact, swapped), exact, top=[1, 2])
    assert wrong.values["missed"].data[0].tolist() == [1.0, 0.5]
    assert wrong.values["to_verify"].data[0].tolist() == [16, 16]
    nothing = compare_with_exact(_with(exact, torch.zeros_like(swapped)), exact, top=[1, 2])
    assert nothing.values["missed"].data[0].tolist() == [1.0, 1.0]
    assert nothing.values["spearman"].data.isnan().all()


def test_a_node_that_is_only_ranked_is_missed() -> None:
    """The right order says nothing where the sizes are those of rounding errors."""
    model, task = tiny("llama"), pairs()
    exact = sweep(model, task, "z")
    each = effects(exact).flatten(0, 1)
    order = each.abs().mean(-1).argsort(descending=True)
    faint = each.clone()
    faint[order[1]] *= 0.09
    faint[order[2:]] *= 1e-6  # still in the order of the measured effects
    check = compare_with_exact(_with(exact, faint), exact, top=[1, 2, 5])
    assert check.values["missed"].data[0].tolist() == pytest.approx([0, 1 / 2, 4 / 5])
    assert check.values["by_rank"].data.abs().max() == 0
    torch.testing.assert_close(check.values["by_size"].data, check.values["missed"].data)
    lenient = compare_with_exact(_with(exact, faint), exact, top=[1, 2, 5], fraction=0.05)
    assert lenient.values["missed"].data[0].tolist() == pytest.approx([0, 0, 3 / 5])
    assert compare_with_exact(_with(exact, faint), exact, fraction=0).values["missed"].data.abs().max() == 0
    with pytest.raises(InputError, match="0 to 1, not 2"):
        compare_with_exact(exact, exact, fraction=2)


def test_one_size_of_the_list_is_drawn_as_bars() -> None:
    exact = sweep(tiny("llama"), pairs(), "z")
    assert compare_with_exact(exact, exact, top=[3]).plots[0].kind == "bars"
    assert compare_with_exact(exact, exact, top=[1, 3]).plots[0].kind == "lines"


def _with(result: PatchingResult, per_example: Tensor) -> PatchingResult:
    """The same result with other effects."""
    old = result.values["effect_per_example"]
    values = {**result.values, "effect_per_example": Values(per_example.view_as(old.data), old.axes)}
    return replace(result, values=values)


@pytest.mark.parametrize(
    ("nodes", "by", "options", "message"),
    [
        ("head", None, {}, "did you mean 'heads'"),
        ("heads", ("layer", "neuron"), {}, "no axis of these nodes 'neuron'"),
        ("heads", ("head",), {}, "by names 'layer'"),
        ("heads", ("layer", "position", "role"), {}, "not both"),
        ("heads", None, {"direction": "up"}, "direction is 'denoise'"),
        ("heads", None, {"method": "eap"}, "method is 'attribution'"),
        ("heads", None, {"steps": 0}, "at least 1"),
        ("heads", None, {"qk_fix": True}, "corrects queries and keys"),
        ("heads", None, {"method": "ig", "grad_drop": True}, "method='attribution'"),
        ("heads", None, {"layers": [9]}, "no layer 9"),
        ([], None, {}, "a list of them"),
    ],
)
def test_refuses(nodes, by, options, message: str) -> None:
    with pytest.raises(InputError, match=message):
        node_attribution(tiny("llama"), pairs(), nodes, by, **options)


def test_refuses_steps_and_prompts_that_do_not_match() -> None:
    model = tiny("llama")
    with pytest.raises(InputError, match="has no gradient"):
        node_attribution(model, pairs().with_metric("accuracy"))
    with pytest.raises(InputError, match="use by 'role'"):
        node_attribution(model, uneven_pairs())
    with pytest.raises(InputError, match="no path between them"):
        node_attribution(model, uneven_pairs(), by=("layer", "role"), method="ig")
    with pytest.raises(InputError, match="no site 'mlp_out'"):
        node_attribution(tiny("native-attention-only"), pairs(), "mlps")


def test_refuses_to_compare_what_differs() -> None:
    model, task = tiny("llama"), pairs()
    exact, estimate = sweep(model, task, "z"), node_attribution(model, task)
    with pytest.raises(InputError, match="compute both for the same"):
        compare_with_exact(node_attribution(model, task, by="layer"), exact)
    with pytest.raises(InputError, match="the same direction"):
        compare_with_exact(node_attribution(model, task, direction="noise"), exact)
    with pytest.raises(InputError, match="different task"):
        compare_with_exact(node_attribution(model, pairs(seed=3)), exact)
    with pytest.raises(InputError, match="no estimates"):
        compare_with_exact({}, exact)
    with pytest.raises(InputError, match="top lists"):
        compare_with_exact(estimate, exact, top=[99])


def test_equals_transformer_lens() -> None:
    """Its node attribution, one prompt at a time, by position: the same numbers for heads and MLPs."""
    model, row = tiny_gpt2().requires_grad_(True), pairs()[1]  # theirs asks for gradients of the weights
    theirs = attribution_patch(
        model,
        row.clean.as_subclass(Tensor),
        row.corrupt.as_subclass(Tensor),
        lambda logits: row.corrupt_metric(logits)[0],
    ).node_scores
    heads = node_attribution(model, row, by=("layer", "head", "position")).values["effect"]
    mlps = node_attribution(model, row, "mlps", ("layer", "position")).values["effect"]
    for node, score in theirs.items():
        if node.kind == "attn_head_out":
            ours = heads.sel(layer=node.layer, head=node.head, position=node.position)
        elif node.kind == "mlp_out":
            ours = mlps.sel(layer=node.layer, position=node.position)
        else:
            continue
        assert float(ours.data) == pytest.approx(float(score), abs=1e-4)


@pytest.mark.slow
def test_a_language_model_needs_the_fix_less_than_a_saturated_toy_but_needs_it() -> None:
    """SmolLM2's queries in the layers of its induction heads: the QK-fix ranks them better than plain gradients."""
    model = interp.load_model("smollm2-135m")
    task = interp.tasks.ioi(model, n=4, seed=0)
    layers = [17, 18, 20, 23]
    exact = sweep(model, task, "q", direction="noise", layers=layers)
    plain, fixed = (
        node_attribution(model, task, "q", direction="noise", layers=layers, qk_fix=fix) for fix in (False, True)
    )
    check = compare_with_exact({"plain": plain, "fixed": fixed}, exact)
    error = check.values["error"].data
    assert error[1] < error[0]
    assert check.values["spearman"].data[1] > 0.8

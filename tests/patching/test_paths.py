"""`path_effects` against full passes, a NumPy decoder, closed forms and TransformerLens, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformer_lens import patching as transformer_lens_patching

import interp
from interp.errors import InputError
from interp.hooks.sites import hook_points
from interp.models.toy import linear
from interp.patching import PathResult, path_effects
from interp.tasks import for_toy, from_tokens
from tests.models.edge_patching import exact_effects
from tests.patching.path_by_path import path_effect
from tests.patching.test_sweeps import assert_same, effects, pairs, uneven_pairs
from tests.tiny_models import boot, plain_llama, tiny

RECEIVERS = [("q", 2, 1), ("k", 2, 0), ("v", 1, 3), ("k", 1, 3)]


def slow(model, task, receivers, direction="noise", mlps="recompute", last=None) -> Tensor:
    """Every head before the last receiver, one at a time: [layer, head, batch]."""
    layers = range(last if last is not None else int(model.cfg.n_layers))
    heads = range(int(model.cfg.n_heads))
    return torch.stack(
        [
            torch.stack([path_effect(model, task, (layer, head), receivers, direction, mlps) for head in heads])
            for layer in layers
        ]
    )


@pytest.mark.parametrize("mlps", ["recompute", "freeze"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt-neox", "gemma2", "native", "native-rotary"])
def test_into_the_logits(name: str, mlps: str) -> None:
    model, task = tiny(name), pairs()
    result = path_effects(model, task, "logits", mlps=mlps)
    assert isinstance(result, PathResult)
    assert_same(effects(result), slow(model, task, (), mlps=mlps))


@pytest.mark.parametrize(
    ("name", "receivers", "direction", "mlps"),
    [
        ("gpt2", RECEIVERS, "noise", "recompute"),
        ("gpt2", RECEIVERS, "denoise", "freeze"),
        ("gpt-neox", RECEIVERS, "noise", "recompute"),
        ("gpt-neox", [("q", 2, 1)], "noise", "freeze"),
        ("native", RECEIVERS, "denoise", "recompute"),
        ("llama", [("q", 2, 1), ("q", 2, 2)], "noise", "recompute"),
        ("gemma2", [("q", 2, 1), ("q", 1, 2)], "noise", "freeze"),
        ("native-rotary", [("q", 2, 1), ("q", 1, 2)], "noise", "recompute"),
    ],
)
def test_into_heads(name: str, receivers: list, direction: str, mlps: str) -> None:
    model, task = tiny(name), pairs()
    result = path_effects(model, task, receivers, direction=direction, mlps=mlps)
    assert_same(effects(result), slow(model, task, receivers, direction, mlps, last=2))


def ungrouped_llama():
    """The same function as `tiny_llama`, in which every query head has its own copy of keys and values."""
    plain = plain_llama()
    config = plain.config
    size = config.num_attention_heads // config.num_key_value_heads
    state = plain.state_dict()
    for name, weight in state.items():
        if name.endswith(("k_proj.weight", "v_proj.weight")):
            groups = weight.view(config.num_key_value_heads, -1, weight.shape[-1])
            state[name] = groups.repeat_interleave(size, dim=0).flatten(0, 1)
    config.num_key_value_heads = config.num_attention_heads
    same = type(plain)(config).eval().requires_grad_(False)
    same.load_state_dict(state)
    return boot(same)


@pytest.mark.parametrize(
    "receivers",
    [
        [("k", 2, 1)],
        [("v", 3, 2)],
        [("q", 2, 1), ("k", 2, 1), ("v", 2, 0), ("k", 3, 3), ("v", 3, 3), ("k", 3, 2)],
    ],
)
def test_shared_keys_and_values_change_for_one_query_head_alone(receivers: list) -> None:
    task = pairs()
    last = max(layer for _, layer, _ in receivers)
    result = path_effects(tiny("llama"), task, receivers)
    assert_same(effects(result), slow(ungrouped_llama(), task, receivers, last=last))


def test_a_group_is_all_heads_that_share_it() -> None:
    model, task = tiny("llama"), pairs()
    group = path_effects(model, task, "a2.kv1.v")
    assert group.settings["receivers"] == ["2.2.v", "2.3.v"]
    assert_same(effects(group), slow(model, task, [("v", 2, 1)], last=2))


@pytest.mark.parametrize("direction", ["noise", "denoise"])
def test_induction_toy_is_algebra(direction: str) -> None:
    """Without MLPs and norms a path is an edge, and a NumPy decoder knows its effect; a0.0 -> a1.0.k is worth 10."""
    model = interp.load_model("toy/induction")
    task = for_toy(model, n=6)
    prompts = (task.clean.as_subclass(Tensor), task.corrupt.as_subclass(Tensor), task.answers, task.distractors)
    for letter in "qkv":
        result = path_effects(model, task, f"1.0.{letter}", direction=direction)
        edges = [(f"a0.{head}", f"a1.0.{letter}") for head in range(2)]
        exact = exact_effects(model, prompts, edges, "resample", direction)
        theirs = torch.stack([torch.from_numpy(exact[edge]) for edge in edges]).float()
        assert torch.allclose(effects(result)[0], theirs, atol=1e-4)
    keys = path_effects(model, task, "1.0.k", direction=direction, senders="0.0")
    assert torch.allclose(keys.values["effect"].data, torch.tensor([10.0]), atol=1e-3)
    logits = path_effects(model, task, direction=direction)
    assert torch.allclose(logits.values["effect"].data, torch.tensor([[0.0, 0.0], [20.0, 0.0]]), atol=1e-3)


def test_direct_paths_of_the_linear_toy_are_its_edges() -> None:
    model = interp.load_model("toy/linear")
    task = for_toy(model, n=5)
    edges = linear.edge_effects(
        task.clean.as_subclass(Tensor), task.corrupt.as_subclass(Tensor), task.answers, task.distractors
    )
    direct = effects(path_effects(model, task, "logits", mlps="freeze"))
    theirs = torch.stack(
        [torch.stack([edges[f"a{layer}.{head}", "logits"] for head in range(2)]) for layer in range(2)]
    )
    assert_same(direct, theirs.float())
    values = effects(path_effects(model, task, "1.1.v", mlps="freeze"))
    assert_same(values[0], torch.stack([edges[f"a0.{head}", "a1.1.v"] for head in range(2)]).float())
    through = effects(path_effects(model, task, "1.1.v", mlps="recompute"))
    assert (through - values).abs().max() > 1e-2


@pytest.mark.parametrize("letter", ["q", "k", "v"])
def test_equals_transformer_lens(letter: str) -> None:
    """Its direct path patching is ours with frozen MLPs, denoising, one receiver at a time."""
    model, task = tiny("gpt2"), pairs()
    corrupt = task.corrupt.as_subclass(Tensor)
    _, clean_cache = model.run_with_cache(task.clean.as_subclass(Tensor))
    _, corrupt_cache = model.run_with_cache(corrupt)
    theirs = transformer_lens_patching.get_act_patch_direct_path(
        model,
        corrupt,
        clean_cache,
        corrupt_cache,
        lambda logits: task.corrupt_metric(logits).mean(),
        src_layer=0,
        src_head=2,
        component=letter,
        verbose=False,
    )
    ours = torch.stack(
        [
            path_effects(model, task, (letter, layer, head), senders="0.2", direction="denoise", mlps="freeze")
            .values["effect"]
            .data[0]
            for layer in (1, 2)
            for head in range(4)
        ]
    )
    assert_same(ours, theirs[1:].flatten() - task.corrupt_metric(model(corrupt)).mean())


@pytest.mark.parametrize("receivers", ["logits", ["2.1.q", "2.0.k", "1.1.v"]])
def test_batches_budgets_and_named_senders_change_nothing(receivers) -> None:
    model, task = tiny("llama"), pairs()
    whole = effects(path_effects(model, task, receivers))
    for options in ({"batch_size": 3}, {"memory_budget": 1}):
        named = path_effects(model, task, receivers, senders=["1.3", "0.2", "1.0"], **options)
        assert named.values["effect"].axis("sender").labels == ("1.3", "0.2", "1.0")
        assert_same(effects(named), whole[[1, 0, 1], [3, 2, 0]])


def test_positions_narrow_what_is_received() -> None:
    """Values of a linear model add up: those of single positions to those of all."""
    model = interp.load_model("toy/linear")
    task = for_toy(model, n=2)
    last = task.clean.shape[1] - 1
    whole, early, late = (
        effects(path_effects(model, task, "1.0.v", positions=positions))
        for positions in (None, list(range(last)), last)
    )
    assert_same(early + late, whole)
    assert not torch.allclose(late, whole, atol=1e-3)


def test_positions_of_the_logits_and_roles() -> None:
    model, task = tiny("gpt2"), pairs()
    assert_same(effects(path_effects(model, task, positions="end")), effects(path_effects(model, task)))
    assert effects(path_effects(model, task, positions="first")).abs().max() < 1e-5
    twice = effects(path_effects(model, task, "2.1.k", positions=["second", "first"]))
    assert_same(effects(path_effects(model, task, "2.1.k", positions=[3, 5])), twice)


def test_uneven_prompts_whose_pairs_are_even() -> None:
    """Pads and other prompts' lengths make no difference."""
    model = tiny("llama")
    clean = [[5, 6, 7, 8, 9], [10, 11, 12, 13, 14, 15, 16], [20, 21, 22, 23]]
    corrupt = [[5, 30, 7, 8, 9], [10, 11, 32, 13, 14, 15, 16], [20, 33, 22, 23]]
    task = from_tokens(clean, corrupt, [40, 41, 42], [50, 51, 52], n_vocab=100)
    for receivers in ("logits", ["2.1.q", "2.0.k"]):
        together = effects(path_effects(model, task, receivers))
        for row in (0, 2):
            single = from_tokens(clean[row : row + 1], corrupt[row : row + 1], [40 + row], [50 + row], n_vocab=100)
            assert_same(together[..., row], effects(path_effects(model, single, receivers))[..., 0])


def test_round_trip_normalised_and_hooks_are_gone(tmp_path) -> None:
    model, task = tiny("llama"), pairs()
    result = path_effects(model, task, "2.1.v")
    assert interp.results.load(result.save(tmp_path / "paths")).equal(result)
    ratio = result.values["effect"].data / result.difference
    assert torch.allclose(result.values["normalised"].data, ratio)
    assert "2.1.v" in result.plots[0].title
    assert not any(point.fwd_hooks for point in hook_points(model).values())
    assert not any("forward" in vars(block) for block in model.blocks)


@pytest.mark.parametrize(
    ("receivers", "options", "message"),
    [
        ([], {}, "no receivers"),
        (["logits", "2.1.q"], {}, "not at both"),
        ("2.1", {}, "names no receiver"),
        ("2.x.q", {}, "names no receiver"),
        ("2.1.z", {}, "by q, k or v"),
        ("2.9.q", {}, "heads are 0 to 3"),
        ("9.1.q", {}, "layers are 0 to 3"),
        ("0.1.q", {}, "no head comes before"),
        ("2.1.q", {"senders": "2.0"}, "does not come before"),
        ("2.1.q", {"senders": []}, "no heads were given"),
        ("2.1.q", {"mlps": "ignore"}, "mlps is 'recompute'"),
        ("2.1.q", {"direction": "up"}, "direction is 'noise'"),
        ("2.1.q", {"positions": "S9"}, "no position called 'S9'"),
        ("2.1.q", {"batch_size": 0}, "batch_size is the number"),
    ],
)
def test_refuses(receivers, options, message: str) -> None:
    with pytest.raises(InputError, match=message):
        path_effects(tiny("llama"), pairs(), receivers, **options)


def test_refuses_pairs_of_different_length() -> None:
    with pytest.raises(InputError, match="differ in length"):
        path_effects(tiny("llama"), uneven_pairs())


@pytest.mark.slow
def test_a_language_model_tells_its_known_story() -> None:
    """SmolLM2 on indirect objects: name mover 23.3 writes the answer; 16.0 (previous token) serves induction keys."""
    model = interp.load_model("smollm2-135m")
    task = interp.tasks.ioi(model, n=4, seed=0)
    direct = path_effects(model, task)
    assert tuple(direct.top(1)[["layer", "head"]].iloc[0]) == (23, 3)
    assert float(direct.values["normalised"].sel(layer=23, head=3).data) > 0.3
    keys = path_effects(model, task, ["17.3.k", "18.6.k"], positions="S1+1", senders=["16.0", "16.3", "11.1", "5.2"])
    assert keys.top(1)["sender"].iloc[0] == "16.0"
    frozen = path_effects(model, task, ["17.3.k", "18.6.k"], positions="S1+1", senders="16.0", mlps="freeze")
    assert float(frozen.values["effect"].data[0]) > 0

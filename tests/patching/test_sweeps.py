"""`sweep` against one-cell-at-a-time patching and against TransformerLens, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformer_lens import patching as transformer_lens_patching

import interp
from interp.errors import InputError
from interp.hooks.sites import hook_points
from interp.patching import PatchingResult, sweep
from interp.tasks import PromptPairs, from_tokens
from tests.patching.one_at_a_time import patched_metrics
from tests.tiny_models import N_VOCAB, random_tokens, tiny

OVER = ("resid_pre", "resid_mid", "attn_out", "mlp_out", "q", "k", "v", "z", "pattern")
# Relative to the largest effect. Folding a batch and cutting positions changes the order of float32 sums only.
TOLERANCE = 1e-4


def pairs(n_pos: int = 9, seed: int = 0, n: int = 4) -> PromptPairs:
    """Pairs that differ at positions 3 and 5, read at the last token."""
    clean = random_tokens(n, n_pos, seed)
    corrupt = clean.clone()
    corrupt[:, 3] = (clean[:, 3] - 3 + 1) % (N_VOCAB - 3) + 3
    corrupt[:, 5] = (clean[:, 5] - 3 + 7) % (N_VOCAB - 3) + 3
    answers = random_tokens(n, 2, seed + 1)
    positions = {"first": [3] * n, "second": [5] * n}
    return from_tokens(clean, corrupt, answers[:, :1], answers[:, 1:], positions=positions, n_vocab=N_VOCAB)


def uneven_pairs() -> PromptPairs:
    """Pairs of different length, also between clean and corrupt."""
    clean = [[5, 6, 7, 8, 9], [10, 11, 12, 13, 14, 15, 16], [20, 21, 22, 23]]
    corrupt = [[5, 30, 7, 8, 9, 17], [10, 11, 32, 13, 14, 15, 16], [20, 33, 22, 23]]
    return from_tokens(
        clean,
        corrupt,
        [40, 41, 42],
        [50, 51, 52],
        positions={"changed": [1, 2, 1]},
        corrupt_positions={"changed": [1, 2, 1]},
        n_vocab=N_VOCAB,
    )


def effects(result: PatchingResult) -> Tensor:
    return result.values["effect_per_example"].data


def expected(model, task, over, by, direction) -> Tensor:
    patched = patched_metrics(model, task, over, by, direction)
    if direction == "denoise":
        return patched - task.corrupt_metric(model(task.corrupt.as_subclass(Tensor)))
    return task.metric(model(task.clean.as_subclass(Tensor))) - patched


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    largest = theirs.abs().max()
    assert largest > 1e-3, "the oracle itself sees no effect, so the comparison would prove nothing"
    assert (ours - theirs).abs().max() <= TOLERANCE * largest


@pytest.mark.parametrize(
    ("name", "over", "direction"),
    [("llama", over, "denoise") for over in OVER]
    + [("llama", over, "noise") for over in ("resid_pre", "z", "k")]
    + [("gpt2", over, "denoise") for over in ("resid_pre", "resid_mid", "z", "q")],
)
def test_equals_one_at_a_time(name: str, over: str, direction: str) -> None:
    model, task = tiny(name), pairs()
    by = ("layer", "head") if over in ("q", "k", "v", "z", "pattern") else ("layer", "position")
    result = sweep(model, task, over, by, direction)
    assert_same(effects(result), expected(model, task, over, by, direction))


@pytest.mark.parametrize("name", ["native", "native-rotary", "gpt-neox", "gemma2"])
@pytest.mark.parametrize(("over", "by"), [("resid_pre", ("layer", "position")), ("z", ("layer", "head"))])
def test_other_architectures(name: str, over: str, by: tuple[str, ...]) -> None:
    """No key/value cache (native), sliding windows and post-norms (Gemma 2), parallel blocks (NeoX)."""
    model, task = tiny(name), pairs()
    assert_same(effects(sweep(model, task, over, by)), expected(model, task, over, by, "denoise"))


@pytest.mark.parametrize(
    "by",
    [("layer",), ("position",), ("head", "layer"), ("layer", "head", "position"), ("layer", "role"), ("head", "role")],
)
def test_every_combination_of_axes(by: tuple[str, ...]) -> None:
    model, task = tiny("llama"), pairs()
    result = sweep(model, task, "z", by)
    assert result.values["effect"].dims == by
    assert_same(effects(result), expected(model, task, "z", by, "denoise"))


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_uneven_lengths_by_role(direction: str) -> None:
    model, task = tiny("llama"), uneven_pairs()
    result = sweep(model, task, "resid_mid", ("layer", "role"), direction)
    assert_same(effects(result), expected(model, task, "resid_mid", ("layer", "role"), direction))


@pytest.mark.parametrize(
    ("over", "by", "theirs"),
    [
        ("resid_pre", ("layer", "position"), "get_act_patch_resid_pre"),
        ("z", ("layer", "head"), "get_act_patch_attn_head_out_all_pos"),
        ("k", ("layer", "head"), "get_act_patch_attn_head_k_all_pos"),
        ("pattern", ("layer", "head"), "get_act_patch_attn_head_pattern_all_pos"),
    ],
)
def test_equals_transformer_lens(over: str, by: tuple[str, ...], theirs: str) -> None:
    model, task = tiny("gpt2"), pairs()
    corrupt = task.corrupt.as_subclass(Tensor)
    _, cache = model.run_with_cache(task.clean.as_subclass(Tensor))
    patch = getattr(transformer_lens_patching, theirs)
    patched = patch(model, corrupt, cache, lambda logits: task.corrupt_metric(logits).mean())
    result = sweep(model, task, over, by)
    assert_same(result.values["effect"].data, patched - task.corrupt_metric(model(corrupt)).mean())


def test_batches_budgets_and_subsets_change_nothing() -> None:
    model, task = tiny("llama"), pairs()
    whole = sweep(model, task, "z", ("layer", "head"))
    for options in ({"batch_size": 3}, {"memory_budget": 1}):
        assert_same(effects(sweep(model, task, "z", ("layer", "head"), **options)), effects(whole))
    part = sweep(model, task, "z", ("layer", "head"), layers=[3, 1], heads=[2])
    assert part.values["effect"].axis("layer").labels == (3, 1)
    assert torch.allclose(part.values["effect"].data[:, 0], whole.values["effect"].data[[3, 1], 2], atol=1e-5)


def test_only_positions_that_can_matter_are_run() -> None:
    """Before the first difference the effect is exactly zero, and so it is at unchanged tokens of the first layer."""
    model, task = tiny("llama"), pairs()
    found = effects(sweep(model, task, "resid_pre", ("layer", "position")))
    assert torch.equal(found[:, :3], torch.zeros_like(found[:, :3]))
    assert torch.equal(found[0, 4], torch.zeros_like(found[0, 4]))
    assert bool((found[0, [3, 5]] != 0).all())


def test_full_patch_restores_the_clean_run() -> None:
    """Patching the whole stream anywhere gives the clean metric: the normalised effect is one."""
    model, task = tiny("llama"), pairs()
    result = sweep(model, task, "resid_pre", ("layer",))
    assert torch.allclose(result.values["normalised"].data, torch.ones(4), atol=1e-4)


def test_exact_on_the_induction_toy() -> None:
    """Every value of the hand-built circuit is algebra: its two heads restore everything, the decoys nothing."""
    model = interp.load_model("toy/induction")
    task = interp.tasks.for_toy(model, n=8)
    result = sweep(model, task, "z", ("layer", "head"))
    share = result.values["normalised"].data
    assert torch.allclose(share[1], torch.tensor([1.0, 0.0]), atol=1e-4)
    assert abs(float(share[0, 1])) < 1e-4
    assert float(share[0, 0]) > 0.2


def test_signs_and_intervals() -> None:
    """Denoising and noising are both positive for what carries the clean answer; the interval holds the mean."""
    model, task = tiny("llama"), pairs(n=5)
    for direction in ("denoise", "noise"):
        result = sweep(model, task, "resid_pre", ("layer",), direction)
        mean, low, high = (result.values[name].data for name in ("effect", "low", "high"))
        assert torch.allclose(mean, torch.full_like(mean, result.difference), rtol=1e-3, atol=1e-5)
        assert bool(((low <= mean) & (mean <= high)).all())


def test_normalising_by_nothing_is_refused() -> None:
    model, task = tiny("llama"), pairs()
    same = from_tokens(task.clean, task.clean, task.answers, task.distractors, n_vocab=N_VOCAB)
    result = sweep(model, same, "resid_pre", ("layer", "position"))
    assert "normalised" not in result.values
    assert "near zero" in str(result.settings["normalised"])


def test_result_round_trip_and_hooks_are_gone(tmp_path) -> None:
    model, task = tiny("llama"), pairs()
    result = sweep(model, task, "z", ("layer", "head"))
    assert interp.results.load(result.save(tmp_path / "sweep")).equal(result)
    assert result.sel(layer=1, head=2).values["effect"].data.shape == ()
    assert not any(point.fwd_hooks for point in hook_points(model).values())
    assert not any("forward" in vars(block) for block in model.blocks)


@pytest.mark.parametrize(
    ("over", "by", "options", "message"),
    [
        ("zz", ("layer",), {}, "did you mean 'z'"),
        ("z", ("layers",), {}, "did you mean 'layer'"),
        ("z", (), {}, "by takes one or more"),
        ("resid_pre", ("layer", "head"), {}, "has no heads"),
        ("z", ("position", "role"), {}, "not both"),
        ("z", ("layer",), {"heads": [1]}, "add 'head' to by"),
        ("z", ("layer", "head"), {"layers": [9]}, "layers are 0 to 3"),
        ("z", ("layer", "head"), {"heads": [7]}, "heads are 0 to 3"),
        ("z", ("layer",), {"direction": "up"}, "direction is 'denoise'"),
    ],
)
def test_refusals(over: str, by: tuple[str, ...], options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sweep(tiny("llama"), pairs(), over, by, **options)


def test_uneven_lengths_are_refused_by_position_and_without_roles() -> None:
    with pytest.raises(InputError, match="sweep by 'role'"):
        sweep(tiny("llama"), uneven_pairs(), "z", ("layer", "position"))
    with pytest.raises(InputError, match="sweep by 'role'"):
        sweep(tiny("llama"), uneven_pairs(), "z", ("layer", "head"))
    with pytest.raises(InputError, match="attention patterns"):
        sweep(tiny("llama"), uneven_pairs(), "pattern", ("layer", "role"))


def test_parallel_blocks_have_no_middle() -> None:
    with pytest.raises(InputError, match="no site 'resid_mid'"):
        sweep(tiny("gpt-neox"), pairs(), "resid_mid", ("layer",))

"""Folded, shortened runs against one model at a time, and means against a mean taken by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import interp
from interp.circuits import HeadCircuit, group_means
from interp.circuits.head_level.ablated_runs import EVERYTHING, NOTHING, AblatedRuns, Kept
from interp.circuits.head_level.reference_means import layouts_of
from interp.errors import InputError
from interp.hooks import sites
from interp.hooks.sites import hook_points
from interp.tasks import from_tokens
from tests.circuits.one_model_at_a_time import circuit, grouped_pairs, scores
from tests.tiny_models import TINY, tiny

TOLERANCE = 1e-4  # of the largest difference between two of the models that are compared

SMALL = circuit(first="0.1", second="1.0 1.2", end="2.3")
LATE = circuit(end="2.1 2.3")
BOTH = HeadCircuit({"a": ((0, 2), (2, 2)), "b": ((0, 2),)}, {"a": ("second", "end"), "b": ("first",)})
KEPT = [
    EVERYTHING, NOTHING, *map(Kept.only, (SMALL, LATE, BOTH)), *map(Kept.all_but, (SMALL, LATE, BOTH)),
    Kept.only(SMALL.without("1.0")), Kept.all_but(SMALL.without("0.1")),
]  # fmt: skip


@pytest.mark.parametrize("name", list(TINY))
def test_equals_one_model_at_a_time(name: str) -> None:
    model, task, reference = tiny(name), grouped_pairs(), grouped_pairs(5, seed=1).corrupt
    runs = AblatedRuns(model, task, group_means(model, reference), [Kept.only(SMALL)])
    ours = runs.scores(KEPT)
    theirs = torch.stack([scores(model, task, reference, kept) for kept in KEPT])
    spread = (theirs - theirs[0]).abs().max()
    assert spread > 1e-2, "the oracle sees no effect, so the comparison would prove nothing"
    assert (ours - theirs).abs().max() <= TOLERANCE * spread
    apart = (theirs[:, None] - theirs[None]).abs().amax(-1) + spread * torch.eye(len(KEPT))
    assert apart.min() > 3 * TOLERANCE * spread, "models that score alike would hide a mix-up"


def test_bases_starts_and_batches_change_nothing() -> None:
    model, task, reference = tiny("llama"), grouped_pairs(), grouped_pairs(5, seed=1).corrupt
    means = group_means(model, reference)
    plain = AblatedRuns(model, task, means).scores(KEPT)
    with_bases = AblatedRuns(model, task, means, map(Kept.only, (SMALL, LATE, BOTH)), starts=[2], memory_budget=1)
    assert torch.allclose(with_bases.scores(KEPT), plain, atol=1e-4)
    searching = AblatedRuns(model, task, means)
    upcoming = [Kept.only(SMALL.with_heads("end", [(3, head)])) for head in range(4)] * 3
    searching.add_base(Kept.only(SMALL), upcoming)
    assert Kept.only(SMALL) in searching.bases
    searching.add_base(Kept.all_but(LATE), [])
    assert Kept.all_but(LATE) not in searching.bases
    assert torch.allclose(searching.scores(KEPT), plain, atol=1e-4)


def test_late_heads_at_the_end_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    model, task = tiny("llama"), grouped_pairs()
    runs = AblatedRuns(model, task, group_means(model, task.corrupt))
    runs.scores([EVERYTHING])
    seen: list[tuple[int, ...]] = []
    run = interp.hooks.partial.run

    def watched(model: object, x: Tensor, start: int = 0, **options: object) -> Tensor:
        seen.append((*x.shape[:2], start))
        return run(model, x, start, **options)

    monkeypatch.setattr("interp.circuits.head_level.ablated_runs.run", watched)
    runs.scores([Kept.all_but(circuit(end=f"{layer}.0")) for layer in (2, 3)])
    # Two models and one position each: three prompts of 7 tokens, six of 9.
    assert sorted(seen) == [(2 * 3, 1, 2), (2 * 6, 1, 2)]


def test_hooks_are_gone_afterwards() -> None:
    model, task = tiny("llama"), grouped_pairs()
    AblatedRuns(model, task, group_means(model, task.corrupt)).scores(KEPT[:4])
    assert not [name for name, point in hook_points(model).items() if point.fwd_hooks]


def test_means_are_those_of_each_layout() -> None:
    model, task = tiny("llama"), grouped_pairs(4)
    means = group_means(model, task.clean, source={"from": "here"})
    rows = [i for i, group in enumerate(task.groups) if group == "early"]
    layout = layouts_of(task.clean)[rows[0]]
    acts = interp.capture(model, task.clean.as_subclass(Tensor)[rows, :9], [sites.z(2)])
    assert torch.allclose(means.of(layout)[2], acts[sites.z(2)].mean(0), atol=1e-5)
    assert means.describe() | {"sha256": ""} == {
        "prompts": 12, "groups": 3, "smallest_group": 4, "from": "here", "sha256": "",
    }  # fmt: skip


def test_prompts_that_the_reference_does_not_cover_are_refused() -> None:
    model, task = tiny("llama"), grouped_pairs()
    only = task[[i for i, group in enumerate(task.groups) if group == "long"]]
    with pytest.raises(InputError, match="no prompt of group 'short' with 7 tokens"):
        AblatedRuns(model, task, group_means(model, only.corrupt))
    with pytest.raises(InputError, match="know their groups"):
        group_means(model, task.corrupt.as_subclass(Tensor))
    with pytest.raises(InputError, match="another model"):
        AblatedRuns(tiny("gpt2"), task, group_means(model, task.corrupt))


def test_a_metric_may_read_before_the_last_token() -> None:
    model, clean = tiny("llama"), grouped_pairs()
    task = clean.with_metric("logit_difference", position="second")
    means = group_means(model, task.corrupt)
    kept = [EVERYTHING, NOTHING, Kept.only(SMALL), Kept.all_but(LATE)]
    ours = AblatedRuns(model, task, means).scores(kept)
    theirs = torch.stack([scores(model, task, task.corrupt, one) for one in kept])
    assert torch.allclose(ours, theirs, atol=1e-4)
    # Heads at the end cannot reach what is read before.
    assert torch.equal(ours[3], ours[0])


def test_a_single_prompt_and_a_claim_on_its_first_token() -> None:
    model = tiny("llama")
    task = from_tokens([[5, 6, 7]], [[8, 9, 10]], [11], [12], positions={"first": [0]})
    kept = [Kept.only(circuit(first="0.0", end="1.1"))]
    ours = AblatedRuns(model, task, group_means(model, task.corrupt)).scores(kept)
    assert torch.allclose(ours[0], scores(model, task, task.corrupt, kept[0]), atol=1e-4)

"""Faithfulness: how much of what the model does is left when everything outside of a circuit is knocked out.

Wang et al. 2022, section 4: F is the mean of the metric over prompts, M the model, C the circuit; |F(M) - F(C)| is to
be small. Beside it stand what no head at all does, and random circuits of the same shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.head_circuits import HeadCircuit
from interp.circuits.head_level.ablated_runs import EVERYTHING, NOTHING, AblatedRuns, Kept
from interp.circuits.head_level.ablation import CAVEAT, ablation, in_words
from interp.circuits.head_level.random_circuits import p_value, random_circuits
from interp.circuits.head_level.reference_means import GroupMeans, as_means
from interp.circuits.head_level.resampling import shares_of, size_interval
from interp.errors import InputError
from interp.hooks.prompts import PromptTokens
from interp.models import identity
from interp.patching.packing import DEFAULT_BUDGET
from interp.results import Axis, Plot, Result, Values, mean_with_interval, range_of_draws
from interp.runs import progress, provenance
from interp.tasks import PromptPairs

TESTS = ("F at least as large", "F at least as close to F(M)")


class HeadFaithfulness(Result):
    """faithfulness, low, high [circuit]: F(C) / F(M) with its 95 % interval over prompts.

    distance, distance_low, distance_high [circuit]: |F(M) - F(C)|, the paper's number. F, F_low, F_high [run]: of the
    whole model, each circuit, its random circuits (mean over draws, and the range of 95 % of them) and nothing kept.
    size [circuit]: share of all (head, position) pairs. random [circuit, draw]: F of every random circuit. p_value
    [circuit, test]: (1 + random circuits that do as well) / (1 + n). per_prompt [run, example], random_per_prompt.
    settings["ablation"] is what all of them depend on.
    """

    kind: ClassVar[str] = "head_faithfulness"


def head_faithfulness(
    model: Any,
    task: PromptPairs,
    circuits: HeadCircuit | Mapping[str, HeadCircuit],
    reference: GroupMeans | PromptTokens,
    *,
    n_random: int = 20,
    n_random_prompts: int | None = None,
    seed: int = 0,
    memory_budget: int = DEFAULT_BUDGET,
) -> HeadFaithfulness:
    """Knock out every (head, position) outside of each circuit to its group mean, and measure the task's metric.

    circuits: one, or several by name; several share forward passes. reference: `group_means` of a reference set, or
    its prompts. n_random: random circuits for each, of the same layers, classes and positions, compared on the first
    n_random_prompts (default: on all); seed: of their draw.
    Raises InputError for heads or positions that do not exist, and for prompts that the reference set does not cover.
    """
    started = datetime.now(UTC)
    named = {"circuit": circuits} if isinstance(circuits, HeadCircuit) else dict(circuits)
    if not named:
        raise InputError("no circuit was given; give at least one")
    for circuit in named.values():
        circuit.check(model, task)
    drawn = {name: random_circuits(model, circuit, n_random, seed) for name, circuit in named.items()}
    kept = [EVERYTHING, NOTHING, *map(Kept.only, named.values())]
    random = [Kept.only(one) for circuits_of, _ in drawn.values() for one in circuits_of]
    means = as_means(model, reference)
    starts = {layer for one in [*kept, *random] for layer, *_ in one.places}
    options: dict[str, Any] = {"starts": starts, "memory_budget": memory_budget}
    # The second group derives its runs from what the first recorded, where both have the same prompts.
    runs = AblatedRuns(model, task, means, **options)
    n_compared = min(n_random_prompts or len(task), len(task))
    with progress(len(kept) * len(task) + len(random) * n_compared, "running circuits alone") as bar:
        scores = runs.scores(kept, bar.advance)
        if n_compared < len(task):
            runs = AblatedRuns(model, task[:n_compared], means, **options)
        of_random = runs.scores(random, bar.advance)
    sizes = [len(circuits_of) for circuits_of, _ in drawn.values()]
    size = torch.tensor([circuit.share(model, task) for circuit in named.values()])
    settings = {
        "circuits": {name: circuit.to_json() for name, circuit in named.items()},
        "ablation": ablation(task, means),
        "random_circuits": {name: about for name, (_, about) in drawn.items()},
        "n_random_prompts": n_compared,
    }
    return HeadFaithfulness(
        values=_values(list(named), scores, list(of_random.split(sizes)), size, task.metric.unit),
        settings=settings,
        provenance=provenance(model=identity(model), task=task.describe(), seed=seed, started=started),
        plots=(_plot(task, means, max(sizes), n_compared),),
    )


def _values(
    names: list[str],
    scores: Float[Tensor, "kept prompt"],
    random: list[Float[Tensor, "draw some"]],
    size: Float[Tensor, " circuit"],
    unit: str,
) -> dict[str, Values]:
    whole, nothing, *circuits = scores
    axis, examples = Axis("circuit", tuple(names)), Axis("example", tuple(range(len(whole))))
    alone = torch.stack(circuits, dim=1)
    gaps = whole[:, None] - alone
    of_model = shares_of(whole, alone)
    apart = (gaps.mean(0).abs(), *size_interval(gaps))
    names_of = (("faithfulness", "low", "high"), ("distance", "distance_low", "distance_high"))
    values = {name: Values(value, (axis,), "share of F(M)") for name, value in zip(names_of[0], of_model)}
    values |= {name: Values(value, (axis,), unit) for name, value in zip(names_of[1], apart)}
    values["size"] = Values(size, (axis,), "share of (head, position) pairs")
    runs = Axis("run", ("whole model", *names, "nothing kept"))
    per_prompt = Values(torch.stack([whole, *circuits, nothing]), (runs, examples), unit, "metric of every prompt")
    values |= _by_run(per_prompt, names, random)
    if len(set(map(len, random))) == 1 and len(random[0]):
        draws = Axis("draw", tuple(range(len(random[0]))))
        each = torch.stack(random)
        values["random"] = Values(each.mean(-1), (axis, draws), unit, "F of every random circuit")
        compared = Axis("compared_example", tuple(range(each.shape[-1])))
        values["random_per_prompt"] = Values(each, (axis, draws, compared), unit)
    n_compared = random[0].shape[1]
    some = scores[:, :n_compared].mean(1)
    values["p_value"] = _p_values(axis, some[0], some[2:], [draws.mean(1) for draws in random])
    values["per_prompt"] = per_prompt
    return values


def _by_run(per_prompt: Values, names: list[str], random: list[Float[Tensor, "draw some"]]) -> dict[str, Values]:
    """F with intervals of every run, and after each circuit its random ones with the range of the draws."""
    found = mean_with_interval(per_prompt)
    rows = {label: [found[end].data[i] for end in ("mean", "low", "high")]
            for i, label in enumerate(per_prompt.axis("run").labels)}  # fmt: skip
    shown = {"whole model": rows["whole model"]}
    for name, draws in zip(names, random):
        shown[name] = rows[name]
        if len(draws):
            of_draws = draws.mean(1)
            ends = range_of_draws(of_draws)
            shown["random circuits" if len(names) == 1 else f"random, like {name}"] = [of_draws.mean(), *ends]
    shown["nothing kept"] = rows["nothing kept"]
    stacked = torch.stack([torch.stack(list(row)) for row in shown.values()])
    axis = (Axis("run", tuple(shown)),)
    return {name: Values(stacked[:, i], axis, per_prompt.unit) for i, name in enumerate(("F", "F_low", "F_high"))}


def _p_values(axis: Axis, whole: Tensor, circuits: Tensor, random: list[Tensor]) -> Values:
    rows = []
    for score, draws in zip(circuits, random):
        as_large = int((draws >= score).sum())
        as_close = int(((whole - draws).abs() <= (whole - score).abs()).sum())
        rows.append([p_value(as_large, len(draws)), p_value(as_close, len(draws))])
    return Values(torch.tensor(rows), (axis, Axis("test", TESTS)), "", "(1 + draws that do as well) / (1 + draws)")


def _plot(task: PromptPairs, means: GroupMeans, n_random: int, n_compared: int) -> Plot:
    fewer = f" on the first {n_compared} prompts" if n_compared < len(task) else ""
    controls = (
        f" Random circuits: {n_random} draws of other heads of the same layers{fewer}, with the range of 95 % of them."
    )
    return Plot(
        "bars",
        "F",
        x="run",
        title="What is left when everything outside of the circuit is knocked out",
        caption=f"Mean {task.metric.name.replace('_', ' ')} of the whole model, of the circuit alone, and of nothing "
        f"kept.{controls if n_random else ''} {in_words(task, means)}",
        caveat=CAVEAT,
        low="F_low",
        high="F_high",
        options={"y_label": f"{task.metric.name.replace('_', ' ')} ({task.metric.unit})", "horizontal": False},
    )

"""Knocking the circuit's heads out of the whole model: what becomes of the behaviour without a class, or all of them.

The other side of faithfulness. A circuit may do the task alone while the model does without it, because other heads
take over: in Wang et al. 2022 all name movers together cost 5 % of the logit difference (section 3.4).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.head_circuits import HeadCircuit
from interp.circuits.head_level.ablated_runs import EVERYTHING, AblatedRuns, Kept
from interp.circuits.head_level.ablation import CAVEAT, ablation, in_words
from interp.circuits.head_level.random_circuits import p_value, random_circuits
from interp.circuits.head_level.reference_means import GroupMeans, as_means
from interp.hooks.prompts import PromptTokens
from interp.models import identity
from interp.patching.packing import DEFAULT_BUDGET
from interp.results import Axis, Plot, Result, Values, bootstrap_interval, range_of_draws
from interp.runs import progress, provenance
from interp.tasks import PromptPairs

NONE, WHOLE = "nothing", "whole circuit"


class HeadKnockOuts(Result):
    """F, low, high [knocked_out, heads]: F(M \\ K) for K nothing, a class or the whole circuit, and heads "found" (mean
    over prompts, 95 % interval) or "random" (mean over draws of other heads of the same layers at the same positions,
    and the range of 95 % of them; NaN where none were drawn).

    p_value [knocked_out]: (1 + draws that change F as much) / (1 + draws), NaN for nothing. draws [knocked_out, draw],
    per_prompt [knocked_out, example].
    """

    kind: ClassVar[str] = "head_knock_outs"


def head_knock_outs(
    model: Any,
    task: PromptPairs,
    circuit: HeadCircuit,
    reference: GroupMeans | PromptTokens,
    *,
    n_random: int = 10,
    seed: int = 0,
    memory_budget: int = DEFAULT_BUDGET,
) -> HeadKnockOuts:
    """Knock out each class of a circuit, then all of it, at its positions, and leave the rest of the model alone.

    See `head_faithfulness` for the arguments and errors.
    """
    started = datetime.now(UTC)
    circuit.check(model, task)
    drawn, about = random_circuits(model, circuit, n_random, seed)
    names = [*circuit.classes, WHOLE]
    sets = [[one.only(name) if name != WHOLE else one for name in names] for one in [circuit, *drawn]]
    kept = [EVERYTHING, *(Kept.all_but(one) for group in sets for one in group)]
    means = as_means(model, reference)
    starts = {layer for one in kept for layer, *_ in one.places}
    runs = AblatedRuns(model, task, means, starts=starts, memory_budget=memory_budget)
    with progress(len(kept) * len(task), "knocking heads out of the model") as bar:
        scores = runs.scores(kept, bar.advance)
    settings = {"circuit": circuit.to_json(), "ablation": ablation(task, means), "random_circuits": about}
    cut = torch.cat([scores[0].expand(len(sets), 1, -1), scores[1:].view(len(sets), len(names), -1)], dim=1)
    return HeadKnockOuts(
        values=_values([NONE, *names], cut, task.metric.unit),
        settings=settings,
        provenance=provenance(model=identity(model), task=task.describe(), seed=seed, started=started),
        plots=(_plot(task, means, len(drawn)),),
    )


def _values(names: list[str], cut: Float[Tensor, "set name prompt"], unit: str) -> dict[str, Values]:
    """cut: of the found heads, then of every draw; the first name is the intact model."""
    found, draws = cut[0], cut[1:].mean(-1)
    low, high = bootstrap_interval(found, 1)
    random = torch.full((3, len(names)), float("nan"))
    if len(draws):
        ends = range_of_draws(draws)
        random[:, 1:] = torch.stack([draws.mean(0), *ends])[:, 1:]
    which, heads = Axis("knocked_out", tuple(names)), Axis("heads", ("found", "random"))
    rows = zip(("F", "low", "high"), (found.mean(1), low, high), random)
    values = {name: Values(torch.stack([a, b], dim=1), (which, heads), unit) for name, a, b in rows}
    changes = (torch.cat([found.mean(1)[None], draws]) - found[0].mean()).abs()
    as_large = (changes[1:] >= changes[0]).sum(0).tolist()
    p_values = [float("nan"), *(p_value(count, len(draws)) for count in as_large[1:])]
    values["p_value"] = Values(torch.tensor(p_values), (which,))
    if len(draws):
        values["draws"] = Values(draws.T, (which, Axis("draw", tuple(range(len(draws))))), unit)
    values["per_prompt"] = Values(found, (which, Axis("example", tuple(range(cut.shape[2])))), unit)
    return values


def _plot(task: PromptPairs, means: GroupMeans, n_random: int) -> Plot:
    measure = task.metric.name.replace("_", " ")
    controls = f" Random: {n_random} draws of other heads of the same layers, with the range of 95 % of them."
    return Plot(
        "bars",
        "F",
        x="knocked_out",
        series="heads",
        title="Knocking the found heads out of the whole model",
        caption=f"Mean {measure} without one class of heads, and without all.{controls if n_random else ''} "
        f"{in_words(task, means)}",
        caveat="What is left may be the work of heads that take over when others fall silent. " + CAVEAT,
        low="low",
        high="high",
        options={"y_label": f"{measure} ({task.metric.unit})", "horizontal": True},
    )

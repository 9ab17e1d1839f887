"""Completeness: does the circuit lack what the model falls back on when parts of the circuit fail?

Wang et al. 2022, section 4: for every set K of the circuit's heads, F(C \\ K) and F(M \\ K) are to be near each other;
|F(C \\ K) - F(M \\ K)| is the incompleteness score of K. There are too many sets to try, so K is each class, random
subsets, and one that is searched for (greedily, to be as bad as possible).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.head_circuits import HeadCircuit
from interp.circuits.head_level.ablated_runs import AblatedRuns, Kept
from interp.circuits.head_level.ablation import CAVEAT, ablation, in_words
from interp.circuits.head_level.reference_means import GroupMeans, as_means
from interp.circuits.head_level.resampling import size_interval
from interp.hooks.head_names import Head, head_name
from interp.hooks.prompts import PromptTokens
from interp.models import identity
from interp.patching.packing import DEFAULT_BUDGET
from interp.results import Axis, Plot, Result, Values, mean_with_interval
from interp.runs import progress, provenance
from interp.tasks import PromptPairs

SIDES = ("F(M \\ K)", "F(C \\ K)")
Sets = dict[str, tuple[str, tuple[Head, ...]]]
"""Label of K -> its family ("nothing", "class", "random", "greedy") and its heads."""


class HeadCompleteness(Result):
    """incompleteness, low, high [knocked_out]: |F(C \\ K) - F(M \\ K)| with its 95 % interval over prompts.

    points, points_low, points_high [knocked_out, side]: F(M \\ K) and F(C \\ K). per_prompt [knocked_out, side,
    example]. settings["sets"]: family and heads of every K; settings["search"]: how the greedy one was found.
    """

    kind: ClassVar[str] = "head_completeness"


def head_completeness(
    model: Any,
    task: PromptPairs,
    circuit: HeadCircuit,
    reference: GroupMeans | PromptTokens,
    *,
    n_sets: int = 10,
    n_steps: int = 10,
    n_candidates: int = 10,
    search: PromptPairs | None = None,
    seed: int = 0,
    memory_budget: int = DEFAULT_BUDGET,
) -> HeadCompleteness:
    """Compare the circuit with the model while sets K of the circuit's heads are knocked out of both.

    K: nothing, each class, n_sets random subsets (every head with probability 1/2), and the worst set met by a greedy
    search that adds one head at a time, n_steps times, out of n_candidates random ones. search: the prompts that the
    greedy search looks at (default: `task` itself, whose score for that K is then too large by selection). See
    `head_faithfulness` for the other arguments and the errors.
    """
    started = datetime.now(UTC)
    circuit.check(model, task)
    means = as_means(model, reference)
    sets = _sets(circuit, n_sets, seed)
    options: dict[str, Any] = {"starts": [layer for layer, _ in circuit.all_heads], "memory_budget": memory_budget}
    found: dict[str, Any] = {"steps": [], "prompts": len(search or task), "separate": search is not None}
    if n_steps and len(circuit):
        runs = AblatedRuns(model, search or task, means, [Kept.only(circuit)], **options)
        found["steps"] = path = _greedy(runs, circuit, n_steps, n_candidates, seed)
        worst = max(range(len(path)), key=lambda step: path[step]["score"])
        sets["greedy"] = ("greedy", tuple(step["head"] for step in path[: worst + 1]))
    runs = AblatedRuns(model, task, means, [Kept.only(circuit)], **options)
    kept = [_without(circuit, heads, side) for _, heads in sets.values() for side in SIDES]
    with progress(len(kept) * len(task), "knocking sets of heads out of circuit and model") as bar:
        scores = runs.scores(kept, bar.advance).view(len(sets), 2, len(task))
    settings = {
        "circuit": circuit.to_json(),
        "ablation": ablation(task, means),
        "sets": {label: {"family": family, "heads": list(map(head_name, heads))}
                 for label, (family, heads) in sets.items()},
        "search": found | {"steps": [step | {"head": head_name(step["head"])} for step in found["steps"]]},
    }  # fmt: skip
    return HeadCompleteness(
        values=_values(sets, scores, task.metric.unit),
        settings=settings,
        provenance=provenance(model=identity(model), task=task.describe(), seed=seed, started=started),
        plots=(_plot(task, means, sets),),
    )


def _sets(circuit: HeadCircuit, n_sets: int, seed: int) -> Sets:
    """The sets that need no search."""
    sets: Sets = {"nothing": ("nothing", ())}
    for name in circuit.classes:
        sets[name] = ("class", circuit.only(name).all_heads)
    generator = torch.Generator().manual_seed(seed)
    heads = circuit.all_heads
    for i in range(n_sets):
        chosen = torch.rand(len(heads), generator=generator) < 0.5
        sets[f"random {i + 1}"] = ("random", tuple(head for head, one in zip(heads, chosen.tolist()) if one))
    return sets


def _without(circuit: HeadCircuit, heads: Sequence[Head], side: str) -> Kept:
    """The model or the circuit without some of the circuit's heads."""
    if side == SIDES[0]:
        return Kept.all_but(circuit.only(*heads))
    return Kept.only(circuit.without(*heads))


def _greedy(
    runs: AblatedRuns, circuit: HeadCircuit, n_steps: int, n_candidates: int, seed: int
) -> list[dict[str, Any]]:
    """Heads in the order in which they enter K, each with the incompleteness score that K then has."""
    generator = torch.Generator().manual_seed(seed)
    chosen: list[Head] = []
    path = []
    with progress(min(n_steps, len(circuit)), "searching for the least complete set") as bar:
        for _ in range(min(n_steps, len(circuit))):
            left = [head for head in circuit.all_heads if head not in chosen]
            order = torch.randperm(len(left), generator=generator)[:n_candidates].tolist()
            candidates = [left[i] for i in sorted(order)]
            kept = [_without(circuit, [*chosen, head], side) for head in candidates for side in SIDES]
            for base in (_without(circuit, chosen, side) for side in SIDES):
                runs.add_base(base, [one for one in kept if one.inside == base.inside])
            means = runs.scores(kept).mean(1).view(-1, 2)
            apart = (means[:, 1] - means[:, 0]).abs()
            best = int(apart.argmax())
            chosen.append(candidates[best])
            path.append({"head": candidates[best], "score": float(apart[best])})
            bar.advance()
    return path


def _values(sets: Mapping[str, Any], scores: Float[Tensor, "set side prompt"], unit: str) -> dict[str, Values]:
    which, sides = Axis("knocked_out", tuple(sets)), Axis("side", SIDES)
    per_prompt = Values(scores, (which, sides, Axis("example", tuple(range(scores.shape[2])))), unit)

    differences = (scores[:, 1] - scores[:, 0]).T
    low, high = size_interval(differences)
    points = mean_with_interval(per_prompt)
    return {
        "incompleteness": Values(differences.mean(0).abs(), (which,), unit, "|F(C \\ K) - F(M \\ K)|"),
        "low": Values(low, (which,), unit),
        "high": Values(high, (which,), unit),
        "points": points["mean"],
        "points_low": points["low"],
        "points_high": points["high"],
        "per_prompt": per_prompt,
    }


def _plot(task: PromptPairs, means: GroupMeans, sets: Sets) -> Plot:
    measure = task.metric.name.replace("_", " ")
    return Plot(
        "scatter",
        "points",
        x="side",
        series="knocked_out",
        title="The circuit and the model with the same heads knocked out",
        caption=f"Mean {measure} of the whole model and of the circuit alone, each without a set K of the circuit's "
        f"heads; for a complete circuit all points lie on the diagonal. {in_words(task, means)}",
        caveat=CAVEAT,
        low="points_low",
        high="points_high",
        options={
            "families": {label: family for label, (family, _) in sets.items()},
            "named": [label for label, (family, _) in sets.items() if family != "random"],
            "diagonal": "equal",
        },
    )

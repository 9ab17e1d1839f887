"""Minimality: does every head of the circuit matter, at least when the heads that could stand in for it are gone?

Wang et al. 2022, section 4 and appendix: for each head v there is to be a set K of other heads of the circuit with a
large |F(C \\ (K + v)) - F(C \\ K)|. Alone a head may seem idle because others do the same; so K is first nothing, then
the rest of v's classes, and where both leave v below the threshold, heads are added to the better of them greedily.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from interp.circuits.head_circuits import HeadCircuit
from interp.circuits.head_level.ablated_runs import EVERYTHING, AblatedRuns, Kept
from interp.circuits.head_level.ablation import CAVEAT, ablation, in_words
from interp.circuits.head_level.reference_means import GroupMeans, as_means
from interp.circuits.head_level.resampling import shares_of
from interp.errors import InputError
from interp.hooks.head_names import Head, head_name
from interp.hooks.prompts import PromptTokens
from interp.models import identity
from interp.patching.packing import DEFAULT_BUDGET
from interp.results import Axis, Plot, Result, Values
from interp.runs import progress, provenance
from interp.tasks import PromptPairs

RULES = ("nothing", "rest of its class", "greedy")


class HeadMinimality(Result):
    """minimality [head]: |F(C \\ (K + v)) - F(C \\ K)| / F(M), the score of head v.

    change, low, high [head]: [F(C \\ K) - F(C \\ (K + v))] / F(M) with its sign and its 95 % interval over prompts;
    positive where the head helps. alone, alone_low, alone_high [head]: the same for an empty K. per_prompt [head,
    example]: in the metric's unit. settings["sets"]: K of every head and the rule that chose it. `below()` names the
    heads without effect.
    """

    kind: ClassVar[str] = "head_minimality"

    def below(self, threshold: float | None = None) -> list[str]:
        """The heads whose score lies below a share of F(M) (default: the threshold that was asked for)."""
        least = float(self.settings["threshold"]) if threshold is None else threshold
        scores = self.values["minimality"]
        return [str(name) for name, score in zip(scores.axis("head").labels, scores.data) if not score >= least]


def head_minimality(
    model: Any,
    task: PromptPairs,
    circuit: HeadCircuit,
    reference: GroupMeans | PromptTokens,
    *,
    threshold: float = 0.01,
    n_steps: int = 3,
    search: PromptPairs | None = None,
    seed: int = 0,
    memory_budget: int = DEFAULT_BUDGET,
) -> HeadMinimality:
    """Score every head of a circuit by what knocking it out changes, given that a set K is knocked out already.

    threshold: share of F(M) from which a head counts as needed. n_steps: heads the greedy search may add to K.
    search: the prompts on which K is chosen (default: `task` itself, and the scores are then too large by selection).
    See `head_faithfulness` for the other arguments and the errors; an empty circuit is refused.
    """
    started = datetime.now(UTC)
    circuit.check(model, task)
    if not len(circuit):
        raise InputError("the circuit has no heads, so none of them can be needed; give one with heads")
    means = as_means(model, reference)
    options: dict[str, Any] = {"starts": [layer for layer, _ in circuit.all_heads], "memory_budget": memory_budget}
    bases = [Kept.only(circuit)]
    sets = _choose(AblatedRuns(model, search or task, means, bases, **options), circuit, threshold, n_steps)
    runs = AblatedRuns(model, task, means, bases, **options)
    each = [kept for head, (_, others) in sets.items() for kept in _pair(circuit, head, others)]
    alone = [kept for head in sets for kept in _pair(circuit, head, ())]
    with progress((1 + len(each) + len(alone)) * len(task), "measuring every head of the circuit") as bar:
        scores = runs.scores([EVERYTHING, *each, *alone], bar.advance)
    pairs = scores[1:].view(2, len(sets), 2, len(task))
    settings = {
        "circuit": circuit.to_json(),
        "ablation": ablation(task, means),
        "threshold": threshold,
        "sets": {head_name(head): {"rule": rule, "heads": list(map(head_name, others))}
                 for head, (rule, others) in sets.items()},
        "search": {"prompts": len(search or task), "separate": search is not None},
    }  # fmt: skip
    return HeadMinimality(
        values=_values(list(sets), scores[0], pairs[0], pairs[1], task.metric.unit),
        settings=settings,
        provenance=provenance(model=identity(model), task=task.describe(), seed=seed, started=started),
        plots=(_plot(task, means, circuit, threshold),),
    )


Chosen = dict[Head, tuple[str, tuple[Head, ...]]]
"""Head -> the rule that chose its K, and K."""


def _choose(runs: AblatedRuns, circuit: HeadCircuit, threshold: float, n_steps: int) -> Chosen:
    """K of every head, by the rule at the top of this file."""
    heads = _by_class(circuit)
    options = [(head, others) for head in heads for others in ((), _rest_of_class(circuit, head))]
    with progress(len(heads), "choosing what to knock out beside every head") as bar:
        least = threshold * float(runs.scores([EVERYTHING]).mean().abs())
        changes = _changes(runs, circuit, options).view(len(heads), 2)
        chosen: Chosen = {}
        for head, (alone, without_class) in zip(heads, changes.tolist()):
            rest = _rest_of_class(circuit, head)
            rule, others, best = (RULES[1], rest, without_class) if without_class > alone else (RULES[0], (), alone)
            if best < least:
                found, score = _greedy(runs, circuit, head, others, least, n_steps)
                rule, others = (RULES[2], found) if score > best else (rule, others)
            chosen[head] = (rule, others)
            bar.advance()
    return chosen


def _greedy(
    runs: AblatedRuns, circuit: HeadCircuit, head: Head, others: tuple[Head, ...], least: float, n_steps: int
) -> tuple[tuple[Head, ...], float]:
    """Add to K the head that makes the change largest, until it is large enough; the best K met, and its change."""
    best, found = float("-inf"), others
    for _ in range(n_steps):
        left = [other for other in circuit.all_heads if other not in (head, *others)]
        if not left or best >= least:
            break
        changes = _changes(runs, circuit, [(head, (*others, other)) for other in left])
        others = (*others, left[int(changes.argmax())])
        if float(changes.max()) > best:
            best, found = float(changes.max()), others
    return found, best


def _changes(
    runs: AblatedRuns, circuit: HeadCircuit, options: Sequence[tuple[Head, tuple[Head, ...]]]
) -> Float[Tensor, " option"]:
    """|F(C \\ (K + v)) - F(C \\ K)| of every (v, K)."""
    wanted = [kept for head, others in options for kept in _pair(circuit, head, others)]
    found = runs.scores(wanted).mean(1).view(-1, 2)
    return (found[:, 0] - found[:, 1]).abs()


def _pair(circuit: HeadCircuit, head: Head, others: Sequence[Head]) -> tuple[Kept, Kept]:
    """C \\ K and C \\ (K + v)."""
    return Kept.only(circuit.without(*others)), Kept.only(circuit.without(*others, head))


def _rest_of_class(circuit: HeadCircuit, head: Head) -> tuple[Head, ...]:
    groups = [group for group in circuit.heads.values() if head in group]
    return tuple(dict.fromkeys(other for group in groups for other in group if other != head))


def _by_class(circuit: HeadCircuit) -> list[Head]:
    """Every head once, class by class."""
    return list(dict.fromkeys(head for group in circuit.heads.values() for head in group))


def _values(
    heads: list[Head],
    whole: Float[Tensor, " prompt"],
    with_set: Float[Tensor, "head pair prompt"],
    alone: Float[Tensor, "head pair prompt"],
    unit: str,
) -> dict[str, Values]:
    axis = (Axis("head", tuple(map(head_name, heads))),)
    change, by_itself = with_set[:, 0] - with_set[:, 1], alone[:, 0] - alone[:, 1]
    size, low, high = shares_of(whole, change.T)
    of_model = "share of F(M)"
    alone_size, alone_low, alone_high = shares_of(whole, by_itself.T)
    return {
        "minimality": Values(size.abs(), axis, of_model, "|F(C \\ (K + v)) - F(C \\ K)| / F(M)"),
        "change": Values(size, axis, of_model, "what knocking v out as well takes away"),
        "low": Values(low, axis, of_model),
        "high": Values(high, axis, of_model),
        "alone": Values(alone_size, axis, of_model, "for an empty K"),
        "alone_low": Values(alone_low, axis, of_model),
        "alone_high": Values(alone_high, axis, of_model),
        "per_prompt": Values(change, (*axis, Axis("example", tuple(range(len(whole))))), unit),
    }


def _plot(task: PromptPairs, means: GroupMeans, circuit: HeadCircuit, threshold: float) -> Plot:
    measure = task.metric.name.replace("_", " ")
    groups = "; ".join(f"{name} {' '.join(map(head_name, circuit.heads[name]))}" for name in circuit.classes)
    return Plot(
        "bars",
        "change",
        x="head",
        title="What each head of the circuit is worth",
        caption=f"Change of the circuit's mean {measure} when a head is knocked out beside its set K, as a share of "
        f"F(M), positive where the head helps; below {100 * threshold:g} % either way a head is not needed. Classes "
        f"from the left: {groups}. {in_words(task, means)}",
        caveat="K is chosen to make the change large, so a bar says what a head can be worth, not what it is worth in "
        "the whole circuit. " + CAVEAT,
        low="low",
        high="high",
        options={"y_label": "share of F(M)", "zero_centred": True, "horizontal": False},
    )

"""`ground_truth_table`: how well methods that score edges find circuits that are known by construction.

Every method is run on every hand-built model (`interp.models.toy`), whose truth is algebra and not a measurement: which
edges change the metric when patched alone, by how much, and which sets of edges suffice. Methods come from the table
in `interp.circuits.edge_scores`, so a new one appears here by itself.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import ModuleType
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.circuits import edge_scores
from interp.circuits.edge_scores import score_edges
from interp.circuits.graph import Graph
from interp.errors import InputError, unknown
from interp.models import identity, load_model
from interp.models.toy import COMPILED, TOYS, toy_module
from interp.models.toy.truth import DENOISE, NOISE, Case, Edge, Truth
from interp.patching.estimate_checks import REAL_SHARE
from interp.results import Axis, Plot, Result, Values
from interp.runs import provenance
from interp.tasks import PromptPairs, for_toy

DIRECTIONS = {"noise": ("clean", NOISE), "denoise": ("corrupt", DENOISE)}
"""Direction -> the run that edges are changed in (`at` of `score_edges`), and what is known about it."""
BLIND = 0.01
"""An edge is missed when its score is below this share of its effect, and spurious (when it has no effect) when its
score is above this share of the largest effect."""


class GroundTruthTable(Result):
    """Methods against circuits that are known exactly. A case is a toy and a direction, "toy/and noise".

    values [case, method], NaN where a method does not apply or refused:
    "auroc"          of |score|, edges that change the metric alone against all others; 0.5 is chance
    "circuit_auroc"  the same, edges of any irreducible sufficient set against all others
    "spearman"       rank correlation of |score| and |exact effect| over all edges
    "error"          sum |score - exact effect| / sum |exact effect|, for methods that estimate effects
    "missed"         active edges with less than 1 % of their effect, for methods that estimate effects
    "spurious"       other edges with more than 1 % of the largest effect, for methods that estimate effects
    "seconds"        of processor time
    and "active", "in_a_circuit", "edges" [case], how many there are.
    """

    kind: ClassVar[str] = "ground_truth_table"

    @property
    def notes(self) -> list[str]:
        """What methods miss and refuse, a sentence each."""
        return list(self.texts["notes"])

    def to_table(self) -> pd.DataFrame:
        """One row a case and method, one column a value."""
        columns = {name: self.to_frame(name) for name, value in self.values.items() if len(value.axes) == 2}
        first = next(iter(columns.values()))
        frame = first[["case", "method"]].assign(**{name: column["value"] for name, column in columns.items()})
        return frame.dropna(subset=["auroc"]).reset_index(drop=True)


@dataclass(frozen=True, eq=False)
class _Known:
    """What is known about the edges of a case, as vectors over the edges of the graph."""

    active: Bool[Tensor, " edge"]
    in_a_circuit: Bool[Tensor, " edge"]
    effects: Float[Tensor, " edge"]
    names: list[Edge]
    flat: frozenset[Edge]


@dataclass(frozen=True, eq=False)
class _Case:
    """A toy in one direction, ready to be scored."""

    toy: str
    direction: str
    model: Any
    graph: Graph
    task: PromptPairs
    known: _Known

    @property
    def name(self) -> str:
        return f"{self.toy} {self.direction}"


@dataclass(frozen=True)
class _Remark:
    """What is said of a method on a toy in one direction: begin, "toy direction", end."""

    begin: str
    toy: str
    direction: str
    end: str


def ground_truth_table(
    methods: Iterable[str] | None = None,
    toys: Iterable[str] | None = None,
    seed: int = 0,
    *,
    n: int = 8,
    directions: Iterable[str] = ("noise", "denoise"),
) -> GroundTruthTable:
    """Score the edges of hand-built models by every method and hold the scores against what is known.

    methods: of `score_edges`, with their default settings (default: all). toys: names of `interp.models.toy.TOYS`
    (default: all). seed, n: of the pairs of prompts. directions: "noise" changes edges in the clean run, "denoise" in
    the corrupt one; methods whose scores are no effects are run for "noise" alone. Scores are rounded to 1e-4 of their
    largest before they are ranked, so that rounding errors are no discoveries. What a method refuses is noted, with
    its reason. Raises InputError for unknown names.
    """
    started = datetime.now(UTC)
    chosen = _known_names("method", edge_scores.METHODS if methods is None else methods, edge_scores.METHODS)
    built = _known_names("toy model", TOYS if toys is None else toys, (*TOYS, *COMPILED))
    cases = _cases(built, _known_names("direction", directions, DIRECTIONS), n=n, seed=seed)
    for method in chosen:  # loading code is not scoring
        importlib.import_module(f"interp.circuits.scoring.{edge_scores.METHODS[method]}")
    rows, remarks = [], []
    for case in cases:
        for method in chosen:
            row, made = _row(case, method)
            rows.append(row)
            remarks += made
    axes = (Axis("case", tuple(case.name for case in cases)), Axis("method", tuple(chosen)))
    return GroundTruthTable(
        values=_values(rows, cases, axes),
        settings={
            "n": n,
            "rounding": REAL_SHARE,
            "missed_below": BLIND,
            "spurious_above": BLIND,
            "methods": list(chosen),
        },
        provenance=provenance(
            model={case.toy: identity(case.model)["weights_sha256"] for case in cases},
            task={"name": "the toys' own", "n": n, "seed": seed},
            seed=seed,
            started=started,
        ),
        plots=_plots(),
        texts={"notes": [*_unseen_alone(cases), *_sentences(remarks)]},
    )


def _known_names(what: str, names: Iterable[str], valid: Iterable[str]) -> list[str]:
    chosen = [names] if isinstance(names, str) else list(dict.fromkeys(names))
    for name in chosen:
        if name not in valid:
            raise unknown(what, name, valid)
    if not chosen:
        raise InputError(f"name at least one {what}, or leave them out for all of them")
    return chosen


def _cases(toys: list[str], directions: list[str], n: int, seed: int) -> list[_Case]:
    cases = []
    for toy in toys:
        model = load_model(toy, device="cpu")
        graph, task, module = Graph.of(model), for_toy(model, n=n, seed=seed), toy_module(toy)
        for direction in directions:
            known = _known(module, graph, DIRECTIONS[direction][1], module.pairs(n, seed))
            cases.append(_Case(toy, direction, model, graph, task, known))
    return cases


def _known(module: ModuleType, graph: Graph, case: Case, pairs: tuple[Tensor, ...]) -> _Known:
    truth: Truth = module.TRUTH
    if hasattr(module, "edge_effects"):  # they differ between pairs; the closed form holds in both directions
        effects = {edge: float(effect.mean()) for edge, effect in module.edge_effects(*pairs).items()}
    else:
        effects = dict(truth.effects[case])
    names = [edge for edge in truth.edges if graph.edge_index(edge)]
    return _Known(
        active=torch.tensor([edge in truth.active[case] for edge in names]),
        in_a_circuit=torch.tensor([edge in truth.in_a_circuit for edge in names]),
        effects=torch.tensor([effects.get(edge, 0.0) for edge in names], dtype=torch.float64),
        names=names,
        flat=truth.flat.get(case, frozenset()),
    )


def _row(case: _Case, method: str) -> tuple[dict[str, float], list[_Remark]]:
    """The numbers of one case and method, and what there is to say about them."""
    is_effect = method in edge_scores.EFFECTS
    if not is_effect and case.direction != "noise":
        return {}, []
    at = DIRECTIONS[case.direction][0]
    start = time.process_time()
    try:
        result = score_edges(case.model, case.task, method, at=at, graph=case.graph)
    except InputError as refusal:
        return {}, [_Remark(f"{method} refuses", case.toy, case.direction, f": {refusal}")]
    seconds = time.process_time() - start
    known = case.known
    index = torch.tensor([case.graph.edge_index(edge) for edge in known.names])
    scores = result.score[index[:, 0], index[:, 1]].double()
    row = {
        "auroc": auroc(scores, known.active),
        "circuit_auroc": auroc(scores, known.in_a_circuit),
        "spearman": rank_correlation(scores, known.effects),
        "seconds": seconds,
    }
    if not is_effect:
        return row, []
    missed = known.active & (scores.abs() < BLIND * known.effects.abs())
    row["error"] = float((scores - known.effects).abs().sum() / known.effects.abs().sum())
    row["missed"] = float(missed.sum())
    row["spurious"] = float((~known.active & (scores.abs() > BLIND * known.effects.abs().max())).sum())
    return row, _blindness(case, method, scores, missed)


def _blindness(
    case: _Case, method: str, scores: Float[Tensor, " edge"], missed: Bool[Tensor, " edge"]
) -> list[_Remark]:
    """Which edges are missed: blind is a method where the gradient is zero, elsewhere it underestimates."""
    known = case.known
    nothing = missed & (scores.abs() < REAL_SHARE * known.effects.abs())
    kinds = {f"{method} is blind to": (nothing, _ZERO), f"{method} underestimates": (missed & ~nothing, _SMALL)}
    remarks = []
    for begins, (chosen, reason) in kinds.items():
        those = [edge for edge, is_chosen in zip(known.names, chosen.tolist()) if is_chosen]
        flat = _FLAT if those and set(those) <= known.flat else ""
        listed = ", ".join(f"{writer} -> {reader}" for writer, reader in those)
        begin = f"{begins} {len(those)} of the {int(known.active.sum())} active edges of"
        remarks += [_Remark(begin, case.toy, case.direction, f": {listed}; {reason}{flat}")] if those else []
    return remarks


_ZERO = "the gradient that it uses is zero there"
_FLAT = ", since the metric is flat at that run (saturated attention, or a ReLU that is off)"
_SMALL = f"it scores them below {100 * BLIND:.0f} % of their effect"


def _unseen_alone(cases: list[_Case]) -> list[str]:
    """One sentence on edges that no score of single edges can see, since others stand in for them."""
    hidden = [(case, int((case.known.in_a_circuit & ~case.known.active).sum())) for case in cases]
    named = [f"{case.name} ({n} of {int(case.known.in_a_circuit.sum())})" for case, n in hidden if n]
    if not named:
        return []
    return [
        "Edges of a sufficient set that change nothing when patched alone, since others stand in for them, are unseen "
        f"by exact effects of single edges, whose circuit_auroc cannot be 1 there: {', '.join(named)}."
    ]


def _sentences(remarks: list[_Remark]) -> list[str]:
    """A sentence a remark; what holds in both directions is said once."""
    directions: dict[tuple[str, str, str], list[str]] = {}
    for one in remarks:
        directions.setdefault((one.begin, one.toy, one.end), []).append(one.direction)
    return [f"{begin} {toy} {' and '.join(there)}{end}" for (begin, toy, end), there in directions.items()]


def auroc(scores: Float[Tensor, " edge"], positive: Bool[Tensor, " edge"]) -> float:
    """Chance that a positive edge has a larger |score| than another, equals counting half; NaN with only one kind."""
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    ranks = torch.from_numpy(pd.Series(_rounded(scores).numpy()).rank().to_numpy().copy())
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def rank_correlation(scores: Float[Tensor, " edge"], effects: Float[Tensor, " edge"]) -> float:
    """Spearman's, of the sizes; NaN when one of them does not vary."""
    ranks = [pd.Series(_rounded(values).numpy()).rank() for values in (scores, effects)]
    if min(rank.std() for rank in ranks) == 0:
        return float("nan")
    return float(ranks[0].corr(ranks[1]))


def _rounded(scores: Float[Tensor, " edge"]) -> Float[Tensor, " edge"]:
    """Sizes in steps of a ten-thousandth of the largest."""
    sizes = scores.double().abs()
    largest = sizes.max()
    return (sizes / largest / REAL_SHARE).round() if largest > 0 else sizes


_MEANINGS = {
    "auroc": ("", "of |score|, edges that change the metric alone against all others"),
    "circuit_auroc": ("", "of |score|, edges of any irreducible sufficient set against all others"),
    "spearman": ("rank correlation", "of |score| and |exact effect|"),
    "error": ("share of the exact effects", "sum of absolute errors; effect estimators only"),
    "missed": ("edges", "active, with less than 1 % of their effect; effect estimators only"),
    "spurious": ("edges", "not active, with more than 1 % of the largest effect; effect estimators only"),
    "seconds": ("s", "processor time"),
}


def _values(rows: list[dict[str, float]], cases: list[_Case], axes: tuple[Axis, Axis]) -> dict[str, Values]:
    shape = (len(axes[0]), len(axes[1]))
    values = {}
    for name, (unit, meaning) in _MEANINGS.items():
        data = torch.tensor([row.get(name, float("nan")) for row in rows], dtype=torch.float64).view(shape)
        values[name] = Values(data, axes, unit, meaning)
    counts = {
        "active": ([int(case.known.active.sum()) for case in cases], "edges that change the metric alone"),
        "in_a_circuit": ([int(case.known.in_a_circuit.sum()) for case in cases], "edges of a sufficient set"),
        "edges": ([len(case.known.names) for case in cases], "edges of the graph"),
    }
    for name, (numbers, meaning) in counts.items():
        values[name] = Values(torch.tensor(numbers), axes[:1], "edges", meaning)
    return values


def _plots() -> tuple[Plot, ...]:
    tables = {
        "auroc": (
            "Finding the edges that matter alone",
            "Area under the ROC curve of |score| against the edges whose patching alone changes the metric.",
            "0.5 is chance; equal scores count half, and scores are rounded to 1e-4 of the largest.",
        ),
        "circuit_auroc": (
            "Finding the edges of circuits",
            "The same against the edges of every irreducible sufficient set (counterfactual ablation).",
            "Edges that stand in for each other change nothing alone, so exact patching cannot score 1 everywhere.",
        ),
        "spearman": ("Ranking the edges", "Rank correlation of |score| and |exact effect| over all edges.", ""),
        "error": (
            "Size of the effects",
            "Sum of |score - exact effect| over the sum of |exact effect|.",
            "Only for methods whose scores estimate effects; 1 is what scoring everything 0 would give.",
        ),
        "missed": (
            "Blind spots",
            "Number of active edges that get less than 1 % of their effect.",
            "A gradient sees nothing where the metric is flat: attention is saturated, or a ReLU off. "
            "The notes of the result name the edges.",
        ),
        "spurious": (
            "Effects that are not there",
            "Number of edges that change nothing alone and get more than 1 % of the largest effect.",
            "Some of them belong to the circuit all the same, as the inputs of an OR gate do.",
        ),
        "seconds": ("Cost", "Seconds of processor time.", "Tiny models: this says little about real ones."),
    }
    return tuple(
        Plot("table", name, x="method", y="case", title=title, caption=caption, caveat=caveat)
        for name, (title, caption, caveat) in tables.items()
    )

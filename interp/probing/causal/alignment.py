"""`align`: is there a subspace of the states whose exchange between two prompts exchanges their answers?

Distributed alignment search (Geiger et al. 2024, "Finding Alignments Between Interpretable Causal Variables and
Distributed Neural Representations"), as TransformerLens implements it: an orthonormal basis is trained so that a state
which takes its coordinates in the subspace from another prompt makes the model give that prompt's answer. Here it is
trained on pairs out of two thirds of the groups and judged on pairs of the others, beside the whole state, the
difference of class means, random subspaces, and a basis trained for answers that mean nothing (Arora et al. 2024,
"CausalGym", on what such searches find anywhere).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.tools.analysis import interchange

from interp.errors import InputError
from interp.hooks.sites import HEAD_KINDS
from interp.models import identity
from interp.probing.causal.alignment_plots import alignment_plots
from interp.probing.causal.answers import AnswerTokens
from interp.probing.causal.effects import (
    CONTROLS,
    RANDOM,
    TEXT_DRAWS,
    Trials,
    control_seed,
    share_as_high,
    stacked,
    with_intervals,
)
from interp.probing.causal.illusions import BEYOND, illusion_notes
from interp.probing.causal.preparing import Prepared, asked_question, check_fits, prepare
from interp.probing.causal.stages import Edit
from interp.probing.causal.subspace_search import Search, partners
from interp.probing.labelled import LabelledTokens
from interp.probing.parts import Advance, Keeper
from interp.results import Axis, Result, Values
from interp.runs import progress, provenance

LEARNT, MEANS, WHOLE = "learnt", "class means", "whole state"
MEASURED = ("accuracy", "effect", "kept", "text_kl", "text_loss")
"""Of every exchange; of random subspaces all but `kept`."""

Interchange = Callable[[Tensor, Tensor], Tensor]
"""New states from those of bases and of sources."""


class AlignmentResult(Result):
    """Exchanges between held-out prompts, by subspace ("learnt", "class means", "whole state") and layer.

    accuracy [subspace, layer] with `_low`, `_high`: share of pairs of different classes after whose exchange the model
    prefers the source's class; kept: the same for pairs of one class, whose answer is to stay; effect: fall of the
    margin of the base's own class (logits) in pairs of different classes; text_kl and text_loss: exchanges between
    unrelated texts (nats). Controls: random_accuracy, random_effect, random_text_kl, random_text_loss [control, layer,
    draw]; p [control, layer] of the learnt subspace's accuracy. unchanged_accuracy: the share before any exchange, and
    accuracy_gain [subspace, layer] what is added to it, pair by pair; accuracy_beyond_whole [layer]: accuracy of the
    learnt subspace less that of the whole state, pair by pair; each with `_low`, `_high`. fitted_accuracy [answers,
    layer]: on the training pairs, for the true answers and for arbitrary ones. basis [layer, direction, feature];
    training_loss [layer, epoch].
    """

    kind: ClassVar[str] = "alignment"


def align(
    model: Any,
    data: LabelledTokens | str,
    *,
    rank: int = 1,
    n_pairs: int = 192,
    epochs: int = 8,
    n_random: int = 20,
    arbitrary: bool = True,
    keep: str | Path | None = None,
    **question: Any,
) -> AlignmentResult:
    """Search, layer by layer, a subspace of `rank` dimensions that carries the class for the model's answers.

    n_pairs: of training prompts, half of one class and half of different ones. epochs: passes over them. n_random:
    draws of each random control. arbitrary: also train on answers drawn at random for every source, which shows what
    the search fits without any meaning. keep: a directory in which every finished layer is stored, and found again by
    the same question to the same model. question: what `Question` describes. Raises InputError for tasks without
    answers, a rank beyond the width, sites with heads, and what `prepare` refuses.
    """
    started = datetime.now()
    asked = asked_question(question, "rank", "n_pairs", "epochs", "n_random", "arbitrary", "keep")
    if asked.site in HEAD_KINDS:
        raise InputError(f"{asked.site!r} has heads, and alignment takes whole states; use resid_post or attn_out")
    if n_pairs < 2 or epochs < 1 or n_random < 0:
        raise InputError(f"n_pairs={n_pairs}, epochs={epochs}, n_random={n_random}: use at least 2, 1 and 0")

    def refuse(examples: LabelledTokens, answers: AnswerTokens | None, width: int) -> None:
        check_fits("rank", rank, width)
        if answers is None:
            raise InputError(
                f"alignment exchanges answers, and the task {examples.name!r} has none; give "
                "answers=Answers({class: words}), or --answers class=word,word"
            )

    prepared = prepare(model, data, asked, refuse)
    trials = Trials(prepared)
    search = Search(prepared, n_pairs)
    settings = {"rank": rank, "n_pairs": len(search.pairs.base), "epochs": epochs, "n_random": n_random}
    values = _aligned(trials, search, settings, arbitrary, keep)
    notes = [*trials.notes, *illusion_notes(values)]
    settings = prepared.describe() | settings | trials.describe() | {"notes": notes}
    made = provenance(model=identity(model), task=prepared.data.describe(), seed=asked.seed, started=started)
    values |= trials.baseline()
    plots = tuple(alignment_plots(trials, values, rank, n_random, min(n_random, TEXT_DRAWS)))
    return AlignmentResult(values=values, settings=settings, provenance=made, plots=plots)


def _aligned(
    trials: Trials, search: Search, options: dict[str, Any], arbitrary: bool, keep: str | Path | None
) -> dict[str, Values]:
    """Everything that is measured; each layer is a part."""
    prepared, seed = trials.prepared, trials.prepared.question.seed
    nothing = interchange.arbitrary_targets(search.pairs.source.tolist(), prepared.n_classes, seed)
    targets = {"true": search.pairs.target} | ({"arbitrary": torch.tensor(nothing.tolist())} if arbitrary else {})
    judge = _Judge(trials)
    layers = []
    steps = len(targets) + 1
    with progress(len(prepared.layers) * steps, "searching subspaces") as bar:
        keeper = Keeper(keep, trials.asked("alignment", **options, answers_fitted=list(targets)), bar)
        for layer, label in enumerate(prepared.layers):

            def compute(advance: Advance, layer: int = layer) -> dict[str, Tensor]:
                return _at_layer(search, judge, layer, targets, options, advance)

            layers.append(keeper.numbers(f"layer-{label}", {"layer": label}, steps, compute))
    layer_axis = Axis("layer", prepared.layers)
    values = _collected(trials, layers, layer_axis) | _differences(judge, layers, layer_axis)
    fitted = stacked(layers, "fitted").T
    values["fitted_accuracy"] = Values(fitted, (Axis("answers", tuple(targets)), layer_axis), "share")
    directions = Axis("direction", tuple(range(options["rank"])))
    features = Axis("feature", tuple(range(prepared.x.shape[2])))
    values["basis"] = Values(stacked(layers, "basis"), (layer_axis, directions, features))
    epoch = Axis("epoch", tuple(range(1, options["epochs"] + 1)))
    values["training_loss"] = Values(stacked(layers, "losses"), (layer_axis, epoch), "nats")
    return values


def _at_layer(
    search: Search, judge: _Judge, layer: int, targets: dict[str, Tensor], options: dict[str, Any], advance: Advance
) -> dict[str, Tensor]:
    """basis [direction, feature], losses [epoch], fitted [targets]; effects [subspace, place]; "random NAME"."""
    prepared = search.prepared
    found: dict[str, Tensor] = {}
    accuracies = []
    for name, answers in targets.items():
        result = search.fit(prepared.sites[layer], answers, options["rank"], options["epochs"])
        basis = result.basis.detach().cpu()
        if name == "true":
            found |= {"basis": basis.T, "losses": torch.tensor(result.losses)}
        accuracies.append(search.fitted_accuracy(layer, basis, answers))
        advance(1)
    basis = found["basis"].T
    judged = [judge.all_of(layer, step) for step in _subspaces(prepared, layer, basis).values()]
    drawn = _random(judge, layer, basis, options["n_random"])
    return (
        found
        | {"fitted": torch.tensor(accuracies)}
        | {name: stacked(judged, name) for name in MEASURED}
        | {RANDOM + name: draws for name, draws in drawn.items()}
    )


def _subspaces(prepared: Prepared, layer: int, basis: Float[Tensor, "feature direction"]) -> dict[str, Interchange]:
    """The learnt subspace and those it is set beside."""
    x, labels = prepared.x[layer][prepared.fitted], prepared.data.labels[prepared.fitted]
    means = interchange.mean_difference_basis(x, labels.tolist())
    return {
        LEARNT: interchange.SubspaceInterchange(basis),
        MEANS: interchange.SubspaceInterchange(means),
        WHOLE: lambda base, source: source,
    }


class _Judge:
    """Exchanges between held-out examples, and between unrelated texts."""

    def __init__(self, trials: Trials) -> None:
        self.trials = trials
        seed = trials.prepared.question.seed
        self.other = partners(trials.labels, False, seed)
        self.same = partners(trials.labels, True, seed)
        self.elsewhere = torch.arange(len(trials.text.places)).roll(1)

    def effect(self, layer: int, step: Interchange) -> dict[str, Float[Tensor, " place"]]:
        """effect, and accuracy (the source's class is preferred), of sources of another class."""
        edit = _exchange(step, self.trials.task.states[layer][self.other])
        by_class = self.trials.class_logits(layer, edit)
        margin = self.trials.margins_of(by_class)
        target = self.trials.labels[self.other]
        assert self.trials.margin is not None
        return {"accuracy": (by_class.argmax(1) == target).float(), "effect": self.trials.margin - margin}

    def text(self, layer: int, step: Interchange) -> dict[str, Float[Tensor, " place"]]:
        """Side effects of exchanges between texts."""
        return self.trials.on_text(layer, _exchange(step, self.trials.text.states[layer][self.elsewhere]))

    def all_of(self, layer: int, step: Interchange) -> dict[str, Float[Tensor, " place"]]:
        """Both, and kept: whether the answer stays after an exchange within the class."""
        edit = _exchange(step, self.trials.task.states[layer][self.same])
        kept = (self.trials.class_logits(layer, edit).argmax(1) == self.trials.labels).float()
        return self.effect(layer, step) | {"kept": kept} | self.text(layer, step)


def _exchange(step: Interchange, source: Float[Tensor, "place feature"]) -> Edit:
    return lambda states, rows: step(states, source[rows.to(source.device)])


def _random(judge: _Judge, layer: int, basis: Float[Tensor, "feature direction"], n_random: int) -> dict[str, Tensor]:
    """Mean effects [control, draw] of random subspaces of the rank, as they are and made to move states as far."""
    reference = interchange.SubspaceInterchange(basis)
    found: dict[str, list[list[float]]] = {}
    for draw in range(n_random):
        seed = control_seed(layer, draw, judge.trials.prepared.question.seed)
        drawn = interchange.random_basis(*basis.shape, seed=seed)
        steps: tuple[Interchange, ...] = (
            interchange.SubspaceInterchange(drawn),
            interchange.NormMatchedPlacebo(reference, drawn),
        )
        for control, step in enumerate(steps):
            measured = judge.effect(layer, step) | (judge.text(layer, step) if draw < TEXT_DRAWS else {})
            for name, each in measured.items():
                found.setdefault(name, [[] for _ in CONTROLS])[control].append(float(each.mean()))
    names = [name for name in MEASURED if name != "kept"]
    return {name: torch.tensor(found.get(name, [[] for _ in CONTROLS])) for name in names}


def _collected(trials: Trials, layers: Sequence[dict[str, Tensor]], layer: Axis) -> dict[str, Values]:
    axes = (Axis("subspace", (LEARNT, MEANS, WHOLE)), layer)
    values: dict[str, Values] = {}
    for name in MEASURED:
        values |= trials.means(name, stacked(layers, name).movedim(1, 0), axes)
    control = Axis("control", CONTROLS)
    for name in MEASURED:
        if RANDOM + name in layers[0]:
            values |= trials.drawn(name, stacked(layers, RANDOM + name).movedim(1, 0), (control, layer))
    learnt = values["accuracy"].data[0].expand(len(CONTROLS), -1)
    p = share_as_high(learnt, values["random_accuracy"].data)
    return values | {"p": Values(p, (control, layer), "share")}


def _differences(judge: _Judge, layers: Sequence[dict[str, Tensor]], layer: Axis) -> dict[str, Values]:
    """The share before any exchange, and differences of accuracies over the same pairs."""
    trials = judge.trials
    before = (trials.preferred == trials.labels[judge.other]).float()
    after = stacked(layers, "accuracy").movedim(1, 0)  # [subspace, layer, pair]
    subspaces = Axis("subspace", (LEARNT, MEANS, WHOLE))
    each = {
        "unchanged_accuracy": (before, ()),
        "accuracy_gain": (after - before, (subspaces, layer)),
        BEYOND: (after[0] - after[2], (layer,)),
    }
    found: dict[str, Values] = {}
    for name, (data, axes) in each.items():
        found |= with_intervals(name, data, trials.groups, axes, "share")
    return found

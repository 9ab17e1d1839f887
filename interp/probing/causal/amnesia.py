"""`amnesic`: does behaviour suffer when a property is taken out of the activations?

Amnesic probing (Elazar et al. 2021, "Amnesic Probing: Behavioral Explanation with Amnesic Counterfactuals"): erase the
property from a state inside the model, let the model go on, and compare its answers with those after erasing as many
random directions. The second control is stricter than the paper's: random directions along which each state is moved as
far as the erasure moved it, since directions that carry a property often carry much variance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from math import nan
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from interp.models import identity
from interp.probing.causal.affine import Eraser, as_long_as, random_basis
from interp.probing.causal.changed_tokens import place_words
from interp.probing.causal.curves import Curve, curve_plot, interval_note
from interp.probing.causal.effects import (
    CONTROLS,
    RANDOM,
    TEXT_DRAWS,
    Trials,
    effect_words,
    share_at_least,
    stacked,
)
from interp.probing.causal.erasing import (
    BEFORE,
    MAX_RANK,
    METHODS,
    ErasureResult,
    accuracy_plot,
    check_methods,
    collected,
    erased_at,
    eraser_of,
    nothing_erased,
    rank_fits,
)
from interp.probing.causal.preparing import asked_question, prepare
from interp.probing.causal.stages import Edit
from interp.probing.labelled import LabelledTokens
from interp.probing.parts import Advance, Keeper
from interp.results import Axis, Plot, Values, range_words
from interp.runs import progress, provenance


class AmnesicResult(ErasureResult):
    """What erasing does inside the model, beside what `ErasureResult` holds of the activations.

    effect [method, layer] with `_low`, `_high`: fall of the margin between the answers of the own class and those of
    the others (logits), or KL where the task has no answers (nats); effect_each [..., example]; right: share that still
    prefers the own class; kl; text_kl and text_loss on unrelated text (nats). Controls: random_effect, random_text_kl,
    random_text_loss [control, method, layer, draw]; p [control, method, layer]: share of draws, the real one included,
    with an effect as large in size. Where a method takes nothing out (rank 0) there is no effect: NaN, also in p and
    controls. unchanged_right, unchanged_margin: the model left alone.
    """

    kind: ClassVar[str] = "amnesic"


def amnesic(
    model: Any,
    data: LabelledTokens | str,
    *,
    methods: Sequence[str] = tuple(METHODS),
    max_rank: int = MAX_RANK,
    n_random: int = 20,
    keep: str | Path | None = None,
    **question: Any,
) -> AmnesicResult:
    """Erase a property at one token of held-out prompts, layer by layer, and measure what becomes of the answers.

    methods, max_rank: as in `erase`. n_random: draws of each random control. question: what `Question` describes: site,
    layers, position, answers, n, n_test, text, seed. Erasers learn from two thirds of the groups and are tried on the
    others. Only the state of the examples' token at one layer is changed: what other tokens know stays, and later
    layers may fetch it again. keep: a directory in which every finished layer of a method is stored, and found again
    by the same question to the same model. Raises InputError as `erase` does.
    """
    started = datetime.now()
    asked = asked_question(question, "methods", "max_rank", "n_random", "keep")
    check_methods(methods)
    if n_random < 0:
        raise InputError(f"n_random={n_random} is no number of draws; use 0 or more")
    prepared = prepare(model, data, asked, rank_fits(max_rank))
    trials = Trials(prepared)
    cells = _cells(trials, methods, max_rank, n_random, keep)
    values, settings = collected(prepared, methods, max_rank, cells)
    accuracy = accuracy_plot(values, settings, prepared)
    found = _effects(trials, methods, cells)
    settings |= trials.describe() | {"n_random": n_random, "notes": [*trials.notes, *settings["notes"]]}
    values = found | trials.baseline() | values
    made = provenance(model=identity(model), task=prepared.data.describe(), seed=asked.seed, started=started)
    plots = (*_plots(trials, values, methods, n_random), accuracy)
    return AmnesicResult(values=values, settings=settings, provenance=made, plots=plots)


def _cells(
    trials: Trials, methods: Sequence[str], max_rank: int, n_random: int, keep: str | Path | None
) -> dict[tuple[str, int], dict[str, Tensor]]:
    """Every method, and "before", at every layer: each a part, computed or found again."""
    prepared, cells = trials.prepared, {}
    steps = {BEFORE: 1} | dict.fromkeys(methods, 2 + n_random)
    with progress(sum(steps.values()) * len(prepared.layers), "amnesic probing") as bar:
        keeper = Keeper(keep, trials.asked("amnesic", max_rank=max_rank, n_random=n_random), bar)
        for name, n_steps in steps.items():
            for layer, label in enumerate(prepared.layers):

                def compute(advance: Advance, name: str = name, layer: int = layer) -> dict[str, Tensor]:
                    found = erased_at(prepared, name, layer, max_rank)
                    advance(1)
                    return (
                        found if name == BEFORE else found | _tried(trials, layer, eraser_of(found), n_random, advance)
                    )

                which = {"method": name, "layer": label}
                cells[name, layer] = keeper.numbers(f"{name}-{label}", which, n_steps, compute)
    return cells


def _tried(
    trials: Trials, layer: int, eraser: Eraser, n_random: int, advance: Callable[[int], None]
) -> dict[str, Tensor]:
    """Effects [place] of an eraser, and "random NAME" [control, draw], means of its random controls."""
    effects = trials.on_task(layer, eraser_edit(eraser)) | trials.on_text(layer, eraser_edit(eraser))
    if not eraser.rank:
        effects = {name: torch.full_like(each, nan) for name, each in effects.items()}
    advance(1)
    drawn = _controls(trials, layer, eraser, n_random, advance)
    return effects | {f"{RANDOM}{name}": draws for name, draws in drawn.items()}


def _effects(
    trials: Trials, methods: Sequence[str], cells: Mapping[tuple[str, int], dict[str, Tensor]]
) -> dict[str, Values]:
    """Effects of every eraser and of its random controls."""
    n_layers = len(trials.prepared.layers)
    rows = [cells[method, layer] for method in methods for layer in range(n_layers)]
    shape = (len(methods), n_layers)
    axes = (Axis("method", tuple(methods)), Axis("layer", trials.prepared.layers))
    values: dict[str, Values] = {}
    for name in [name for name in ("effect", "kl", "right", "text_kl", "text_loss") if name in rows[0]]:
        each = stacked(rows, name).unflatten(0, shape)
        values |= trials.means(name, each, axes)
        if name == "effect":
            values |= trials.each_effect(each, axes)
    control = Axis("control", CONTROLS)
    for name in ("effect", "text_kl", "text_loss"):
        draws = stacked(rows, RANDOM + name).unflatten(0, shape).movedim(2, 0)  # [control, method, layer, draw]
        values |= trials.drawn(name, draws, (control, *axes))
    p = share_at_least(values["effect"].data.expand(len(CONTROLS), -1, -1), values["random_effect"].data)
    return values | {"p": Values(p, (control, *axes), "share")}


def eraser_edit(eraser: Eraser) -> Edit:
    """An eraser as an edit of states."""
    return lambda states, rows: eraser(states)


def _controls(
    trials: Trials, layer: int, eraser: Eraser, n_random: int, advance: Callable[[int], None]
) -> dict[str, Float[Tensor, "control draw"]]:
    """Mean effects of random subspaces of the eraser's rank: taken out as they are, and made to move as far.

    NaN where the eraser takes nothing out, and random subspaces of its rank neither.
    """
    if not eraser.rank:
        advance(n_random)
        on_text = torch.full((len(CONTROLS), min(n_random, TEXT_DRAWS)), nan)
        return {"effect": torch.full((len(CONTROLS), n_random), nan), "text_kl": on_text, "text_loss": on_text}
    effects: list[list[Tensor]] = [[] for _ in CONTROLS]
    side: dict[str, list[list[Tensor]]] = {name: [[] for _ in CONTROLS] for name in ("text_kl", "text_loss")}
    for draw in range(n_random):
        seed = 1 + draw + n_random * (layer + 1000 * trials.prepared.question.seed)
        basis = random_basis(len(eraser.mean), eraser.rank, seed)
        for control in range(len(CONTROLS)):
            edit = _random_edit(eraser, basis, same_size=control == 1)
            effects[control].append(trials.effect(layer, edit).mean())
            if draw < TEXT_DRAWS:
                for name, each in trials.on_text(layer, edit).items():
                    side[name][control].append(each.mean())
        advance(1)
    return {"effect": _grid(effects)} | {name: _grid(lists) for name, lists in side.items()}


def _grid(lists: list[list[Tensor]]) -> Float[Tensor, "control draw"]:
    return torch.tensor([[float(item) for item in row] for row in lists]).reshape(len(lists), -1)


def _random_edit(eraser: Eraser, basis: Float[Tensor, "feature direction"], same_size: bool) -> Edit:
    random = Eraser.projection(basis.to(eraser.mean), eraser.mean)

    def edit(states: Tensor, rows: Tensor) -> Tensor:
        move = random.taken(states)
        return states - (as_long_as(move, eraser.taken(states)) if same_size else move)

    return edit


def _plots(trials: Trials, values: dict[str, Values], methods: Sequence[str], n_random: int) -> list[Plot]:
    """For every method behaviour and side effects by layer, each beside random directions."""
    layer = Axis("layer", trials.prepared.layers)
    task, group_is = trials.prepared.data.name.replace("_", " "), trials.prepared.data.group_is
    plots = []
    for method in methods:
        name = METHODS[method]
        empty = "".join(f" {note}." for note in nothing_erased(values, [method]))
        ranks = values["rank"].sel(method=method).data
        rank = f"{int(ranks.min())} to {int(ranks.max())}" if ranks.min() < ranks.max() else f"{int(ranks.max())}"
        what = f"{name} takes out {rank} direction{'s' * (rank != '1')} of {trials.prepared.question.site}"
        effect, over = effect_words(trials)
        n_groups = int(trials.groups.max()) + 1
        whole = {} if trials.margin is None else {"references": {"whole margin": float(trials.margin.mean())}}
        plots.append(
            curve_plot(
                values,
                f"curves: effect of {method}",
                _curves(values, method, "effect", name),
                layer,
                trials.unit("effect"),
                uneven="x",
                title=f"{task}: effect of {name} at {trials.prepared.position!r} on behaviour",
                caption=(
                    f"{effect} when {what} at one token: {place_words(trials.changed)}; {over}; "
                    f"{interval_note(len(layer), n_groups, group_is)}; random directions: "
                    f"{range_words(n_random)}.{empty}"
                ),
                caveat=(
                    "One token at one layer is changed; later layers may fetch the property again from other tokens, "
                    "so that no effect does not prove that it is not used."
                ),
                options=whole,
            )
        )
        plots.append(
            curve_plot(
                values,
                f"curves: side effects of {method}",
                [
                    *_curves(values, method, "text_kl", f"{name}, text"),
                    Curve.of(f"{name}, the task itself", values, "kl", method=method),
                ],
                layer,
                "nats",
                uneven="x",
                title=f"{task}: side effects of {name} on unrelated text",
                caption=(
                    f"KL divergence of the next-token prediction from the unchanged one, when the same change is made "
                    f"at {len(trials.text.places)} tokens of {trials.text_name}, and on as many prompts of the task; "
                    f"random directions on text: {range_words(min(n_random, TEXT_DRAWS))}."
                ),
            )
        )
    return plots


def _curves(values: dict[str, Values], method: str, what: str, name: str) -> list[Curve]:
    found = [Curve.of(name, values, what, method=method)]
    for control in CONTROLS:
        draws = values[f"random_{what}"].sel(control=control, method=method).data
        found.append(Curve.of_draws(f"random, {control}", draws))
    return found

"""What the models in training did: side by side, in a table, and in words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
import torch

from interp.reproduce.asking import joined, with_interval
from interp.reproduce.examining import TrainingCurves
from interp.reproduce.experiment import Experiment
from interp.results import Axis, Plot, Result, Values, interval_words
from interp.runs import provenance
from interp.viz.theme import number

if TYPE_CHECKING:
    from interp.reproduce.phase_change import PhaseChangeSettings

FORMED = 0.4
"""Prefix-matching score from which a head counts as an induction head."""
SUDDEN = 0.25
"""Share of the training within which half of the change has to lie to be called sudden."""
SYNTHETIC = "Synthetic: small attention-only models trained on the spot on random sequences, not a language model."


class PhaseChange(Result):
    """in_context, low, high [model, step]: loss of the second copy less that of the first, nats, of each model with its
    95 % interval over prompts. loss [model, step]: of the second copy. training_loss [model, step]: mean on the
    training sequences since the step before. induction, induction_low, induction_high [model, step]: the highest
    prefix-matching score of any head, with that head's interval; previous, previous_low, previous_high: the same of
    previous-token scores.
    """

    kind: ClassVar[str] = "phase_change"

    def fall(self, model: str) -> tuple[int, int, float]:
        """Between which two steps most of a model's in-context score came about, and its total change in nats.

        The shortest stretch of steps in which at least half of the way from the first to the lowest score was gone.
        """
        score = self.values["in_context"].sel(model=model).data
        steps = self.steps
        total = float(score[0] - score.min())
        stretches = [(i, j) for i in range(len(steps)) for j in range(i + 1, len(steps))]
        halves = [(i, j) for i, j in stretches if float(score[i] - score[j]) >= total / 2]
        begin, end = min(halves, key=lambda ends: ends[1] - ends[0]) if halves else (0, len(steps) - 1)
        return steps[begin], steps[end], total

    @property
    def steps(self) -> list[int]:
        """Steps of training at which the models were examined."""
        return [int(step) for step in self.values["in_context"].axis("step").labels]

    def at_end(self, model: str) -> Mapping[str, Values]:
        """The values of one model after the last step."""
        return self.sel(model=model, step=self.steps[-1]).values

    def formed(self, model: str) -> bool:
        """Whether the model has an induction head in the end."""
        return float(self.at_end(model)["induction"].data) >= FORMED

    def sudden(self, model: str) -> bool:
        """Whether the model has an induction head, and half of its change lies in a quarter of the training."""
        begin, until, _ = self.fall(model)
        return self.formed(model) and (until - begin) <= SUDDEN * (self.steps[-1] - self.steps[0])


def compare_training(curves: Mapping[str, TrainingCurves]) -> PhaseChange:
    """The models side by side, by name."""
    started = datetime.now()
    first = next(iter(curves.values()))
    axes = (Axis("model", tuple(curves)), first.values["in_context"].axis("step"))

    def beside(name: str, **chosen: Any) -> Values:
        rows = [of_model.values[name].sel(**chosen) for of_model in curves.values()]
        return Values(torch.stack([row.data for row in rows]), axes, rows[0].unit, rows[0].description)

    values = {name: beside(name) for name in ("in_context", "low", "high")}
    values["loss"] = beside("loss", copy=2)
    if "training_loss" in first.values:
        values["training_loss"] = beside("training_loss")
    for kind in ("induction", "previous"):
        values |= {kind: beside("best", kind=kind)}
        values |= {f"{kind}_{end}": beside(f"best_{end}", kind=kind) for end in ("low", "high")}
    return PhaseChange(
        values=values,
        settings={"models": list(curves), "n": len(first.values["per_prompt"].axis("example")), "data": "synthetic"},
        provenance=provenance(model=first.provenance.model, seed=first.provenance.seed, started=started),
        plots=_plots("training_loss" in values),
    )


def _plots(trained_here: bool) -> tuple[Plot, ...]:
    common: dict[str, Any] = {"x": "step", "series": "model", "caveat": SYNTHETIC}
    loss = [
        Plot("lines", "training_loss", title="Loss on the training sequences", **common,
             caption="Mean loss on the training sequences since the step before.",
             options={"y_label": "loss (nats)", "x_label": "training step"}),
    ] if trained_here else []  # fmt: skip
    return (
        Plot("lines", "in_context", low="low", high="high", title="What is gained from context", **common,
             caption="Loss of the second copy less that of the first, as training goes on.",
             options={"y_label": "in-context score (nats)", "x_label": "training step"}),
        Plot("lines", "induction", low="induction_low", high="induction_high", title="Best induction head", **common,
             caption="Highest prefix-matching score of any head of each model.",
             options={"y_label": "attention", "x_label": "training step"}),
        Plot("lines", "previous", low="previous_low", high="previous_high", title="Best previous-token head", **common,
             caption="Highest previous-token score of any head of each model.",
             options={"y_label": "attention", "x_label": "training step"}),
        Plot("lines", "loss", title="Loss of the second copy", **common,
             caption="Loss on the second copy of each model.",
             options={"y_label": "loss (nats)", "x_label": "training step"}),
        *loss,
    )  # fmt: skip


def tell_phase_change(experiment: Experiment, settings: PhaseChangeSettings, compared: PhaseChange) -> None:
    """The question, what happened, the curves, and a table of the models, into the report."""
    report, over = experiment.report, interval_words(settings.n, "prompts")
    captions, caveat = _captions(compared), f"{SYNTHETIC} {seeds_caveat(settings.n_seeds)}"
    report.section("Phase change: induction heads form", f"{_asked(settings)}\n\n{what_changed(compared)}")
    for place, plot in enumerate(compared.plots):
        bands = f" Bands: {over}." if plot.low else ""
        report.add(compared, f"{captions[plot.values]}{bands}", caveat, plot=place)
    report.add(
        change_table(compared),
        caption=f"Each model after {compared.steps[-1]} steps: in-context score, where half of its fall lies, and the "
        f"highest scores of any head, with {over}. The steps are as fine as the models were examined, every "
        f"{settings.examine_every}, and have no interval. Sudden: an induction head formed, and half of the fall lies "
        f"within {SUDDEN:.0%} of the training.",
    )


def seeds_caveat(n_seeds: int) -> str:
    """What a few trained models can show."""
    chosen = "The settings were chosen so that the change shows; others take longer or never change."
    if n_seeds == 1:
        return f"One training seed shows what can happen, not how often. {chosen}"
    return f"{n_seeds} training seeds are too few for an interval over seeds, so every model is shown. {chosen}"


def _asked(settings: PhaseChangeSettings) -> str:
    each = f", with {settings.n_seeds} seeds each," if settings.n_seeds > 1 else ""
    return (
        "In the paper's models induction heads form within a short stretch of training, and with them the loss late in "
        "a sequence falls; attention-only models of one layer, which cannot compose two heads, show neither. Here "
        f"models of {' and '.join(str(n) for n in settings.layers)} layers with {settings.n_heads} heads{each} are "
        f"trained from scratch for {settings.n_steps} steps of {settings.batch_size} random sequences, in which a "
        f"stretch of {settings.shortest} to {settings.longest} tokens returns after a random gap (at a fixed distance "
        f"one layer could solve it by position), and examined on {settings.n} prompts whose second half is the first "
        "again. The in-context score is the loss of the second half less that of the first: a model that only knows "
        "which tokens have occurred gains a little, one that looks up what followed gains nearly all."
    )


def what_changed(compared: PhaseChange) -> str:
    """In how many models of each kind an induction head formed, and how suddenly."""
    parts = []
    for kind, models in by_layers(compared).items():
        formed, sudden = (sum(map(of, models)) for of in (compared.formed, compared.sudden))
        criterion = f"(half of the fall within {SUDDEN:.0%} of the training)"
        if len(models) == 1:
            told = f"In the model of {kind} {'an' if formed else 'no'} induction head formed"
            told += f", {'' if sudden else 'not '}suddenly {criterion}" if formed else ""
        else:
            told = f"In {formed or 'none'} of {len(models)} models of {kind} an induction head formed"
            told += f", in {sudden or 'none'} suddenly {criterion}" if formed else ""
        ends, best = (_span(_ends(compared, name, models)) for name in ("in_context", "induction"))
        parts.append(f"{told}; best prefix-matching score {best}, in-context score {ends} nats.")
    if not any(map(compared.formed, compared.settings["models"])):
        parts.append("This training was too short, or the models too small, to show the change.")
    return " ".join(parts)


def _ends(compared: PhaseChange, name: str, models: list[str]) -> list[float]:
    return [float(compared.at_end(model)[name].data) for model in models]


def by_layers(compared: PhaseChange) -> dict[str, list[str]]:
    """The names of the models by their number of layers: "2 layers" and its seeds."""
    groups: dict[str, list[str]] = {}
    for model in compared.settings["models"]:
        groups.setdefault(str(model).partition(" (")[0].replace("-", " "), []).append(str(model))
    return groups


def _span(values: list[float]) -> str:
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} to {high}"


def _captions(compared: PhaseChange) -> dict[str, str]:
    """What each figure shows of these models, by what it draws."""
    sudden = [model for model in compared.settings["models"] if compared.sudden(model)]
    if sudden:
        widths = [end - begin for begin, end, _ in map(compared.fall, sudden)]
        score = (
            f"Loss of the second copy less that of the first, as training goes on: in {joined(sudden)} half of the "
            f"fall takes {_span([float(width) for width in widths])} of {compared.steps[-1]} steps."
        )
    else:
        score = "Loss of the second copy less that of the first, as training goes on: it falls suddenly in no model."
    formed = [model for model in compared.settings["models"] if compared.formed(model)]
    heads = f"{joined(formed)} reach{'es' * (len(formed) == 1)} {FORMED}" if formed else f"no model reaches {FORMED}"
    captions = {
        "in_context": score,
        "induction": f"Highest prefix-matching score of any head, as training goes on: {heads}.",
        "previous": "Highest previous-token score of any head",
        "loss": "Loss on the second copy of each model",
        "training_loss": "Mean loss on the training sequences since the step before",
    }
    for name, unit in (("previous", ""), ("loss", " nats"), ("training_loss", " nats")):
        if name in compared.values:
            captions[name] += f", as training goes on: {_in_the_end(compared, name, unit)} in the end."
    return captions


def _in_the_end(compared: PhaseChange, name: str, unit: str) -> str:
    """What a value comes to in the models of each kind."""
    return joined(
        [
            f"{_span(_ends(compared, name, models))}{unit} in models of {kind}"
            for kind, models in by_layers(compared).items()
        ]
    )


def change_table(compared: PhaseChange) -> pd.DataFrame:
    """One row for each model, after the last step."""
    rows = []
    for model in compared.settings["models"]:
        at = compared.at_end(model)
        begin, until, _ = compared.fall(model)
        rows.append(
            {
                "model": model,
                "in-context score (nats)": with_interval(at["in_context"], at["low"], at["high"]),
                "half of its fall": f"steps {begin} to {until}",
                "induction": with_interval(*(at[f"induction{end}"] for end in ("", "_low", "_high"))),
                "previous-token": with_interval(*(at[f"previous{end}"] for end in ("", "_low", "_high"))),
                "sudden": compared.sudden(model),
            }
        )
    return pd.DataFrame(rows)

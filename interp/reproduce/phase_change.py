"""The phase change: induction heads form, and the loss late in a sequence falls, within a few steps of training.

Olsson et al. 2022, "In-context Learning and Induction Heads", arguments 1 and 2. Here the models are trained on the
spot: attention-only ones of one and of two layers, on synthetic sequences (`repeating_sequences`). Two layers can
compose a previous-token head with an induction head, one layer cannot (Elhage et al. 2021), however long it trains.
With the hub, `phase_change_of_revisions` draws the same curves over the published training checkpoints of a language
model such as Pythia.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any, ClassVar

import torch

from interp.models import identity, load_model
from interp.models.untrained import untrained_attention_only
from interp.reproduce.asking import with_interval
from interp.reproduce.examining import TrainingCurves, curve_plots, curve_values, examine
from interp.reproduce.experiment import Experiment
from interp.reproduce.repeating_sequences import repeated_halves, repeating_sequences
from interp.reproduce.small_training import train
from interp.results import Axis, Plot, Result, Values
from interp.runs import Run, progress, provenance
from interp.tasks import repeated_random_tokens
from interp.viz import Report
from interp.viz.theme import number

TITLE = "The phase change"
HEADS = {"induction": "induction", "previous": "previous-token"}
FORMED = 0.4
"""Prefix-matching score from which a head counts as an induction head."""
SUDDEN = 0.25
"""Share of the training within which half of the change has to lie to be called sudden."""
SYNTHETIC = "Synthetic: small attention-only models trained on the spot on random sequences, not a language model."


@dataclass(frozen=True)
class PhaseChangeSettings:
    """What decides the numbers; the defaults show the change in about a minute on one core.

    n_steps: of training. layers: one model for each number of layers. d_model, n_heads, n_ctx, d_vocab: size of the
    models. batch_size: sequences a step. learning_rate: of AdamW, constant. shortest, longest: tokens of the stretch
    that returns. examine_every: steps between two measurements. n: prompts measured on. seed: of weights and data.
    """

    n_steps: int = 500
    layers: tuple[int, ...] = (1, 2)
    d_model: int = 64
    n_heads: int = 4
    n_ctx: int = 64
    d_vocab: int = 64
    batch_size: int = 64
    learning_rate: float = 3e-3
    shortest: int = 4
    longest: int = 24
    examine_every: int = 25
    n: int = 64
    seed: int = 0

    @classmethod
    def quick(cls) -> PhaseChangeSettings:
        """Smaller models on shorter sequences, which change in a quarter of the time."""
        return cls(n_steps=600, d_model=32, n_heads=2, n_ctx=32, d_vocab=24, shortest=3, longest=10, learning_rate=5e-3)


class PhaseChange(Result):
    """in_context, low, high [model, step]: loss of the second copy less that of the first, nats, of each model with its
    95 % interval over prompts. loss [model, step]: of the second copy. induction, previous [model, step]: the highest
    prefix-matching and previous-token score of any head. best [head, step]: the same two, model by model.
    """

    kind: ClassVar[str] = "phase_change"

    def fall(self, model: str) -> tuple[int, int, float]:
        """Between which two steps most of a model's in-context score came about, and its total change in nats.

        The shortest stretch of steps in which at least half of the way from the first to the lowest score was gone.
        """
        score = self.values["in_context"].sel(model=model).data
        steps = [int(step) for step in self.values["in_context"].axis("step").labels]
        total = float(score[0] - score.min())
        stretches = [(i, j) for i in range(len(steps)) for j in range(i + 1, len(steps))]
        halves = [(i, j) for i, j in stretches if float(score[i] - score[j]) >= total / 2]
        begin, end = min(halves, key=lambda ends: ends[1] - ends[0]) if halves else (0, len(steps) - 1)
        return steps[begin], steps[end], total


def run_phase_change(settings: PhaseChangeSettings, run: Run, report: Report) -> Experiment:
    """Train the models, examine them on the way, and tell it in the report.

    A run that was interrupted goes on from the last measurement. Returns the experiment with its headline numbers: what
    each model gains from context in the end, and its best heads.
    """
    experiment = Experiment(None, run, report, "phase-change")
    curves = {n: experiment.step(name_of(n), partial(training_curves, settings, n, run)) for n in settings.layers}
    compared = experiment.step("compared", lambda: compare(curves))
    report.section("Phase change: induction heads form", f"{_asked(settings)}\n\n{tell_change(compared)}").add(compared)
    for n, of_model in curves.items():
        _number(experiment, n, of_model, settings.n)
    return experiment


def _asked(settings: PhaseChangeSettings) -> str:
    return (
        "In the paper's models induction heads form within a short stretch of training, and with them the loss late in "
        "a sequence falls; attention-only models of one layer, which cannot compose two heads, show neither. Here "
        f"models of {' and '.join(str(n) for n in settings.layers)} layers with {settings.n_heads} heads are trained "
        f"from scratch for {settings.n_steps} steps of {settings.batch_size} random sequences, in which a stretch of "
        f"{settings.shortest} to {settings.longest} tokens returns after a random gap (at a fixed distance one layer "
        f"could solve it by position), and examined on {settings.n} prompts whose second half is the first again. "
        f"{SYNTHETIC} The in-context score is the loss of the second half less that of the first: a model that only "
        "knows which tokens have occurred gains a little, one that looks up what followed gains nearly all."
    )


def tell_change(compared: PhaseChange) -> str:
    """What happened to each model, in a sentence each, and whether it was sudden and had induction heads with it."""
    at = compared.values
    parts = []
    for model in at["in_context"].axis("model").labels:
        one = compared.sel(model=model).values
        last = compared.values["in_context"].axis("step").labels[-1]
        end = compared.sel(model=model, step=last).values
        begin, until, total = compared.fall(str(model))
        parts.append(
            f"{model}: the in-context score ends at {with_interval(end['in_context'], end['low'], end['high'])} nats; "
            f"half of its fall by {number(total)} lies between steps {begin} and {until}; the best prefix-matching "
            f"score goes from {number(float(one['induction'].data[0]))} to {number(float(one['induction'].data[-1]))}."
        )
        parts.append(_kind_of_change(compared, str(model)))
    if float(at["induction"].data[:, -1].max()) < FORMED:
        parts.append("This training was too short, or the models too small, to show the change.")
    return " ".join(parts)


def _kind_of_change(compared: PhaseChange, model: str) -> str:
    one = compared.sel(model=model).values
    steps = one["in_context"].axis("step").labels
    begin, until, _ = compared.fall(model)
    formed = float(one["induction"].data[-1]) >= FORMED
    sudden = (until - begin) <= SUDDEN * (int(steps[-1]) - int(steps[0]))
    if not formed:
        return "No induction head formed in it."
    during = one["induction"].sel(step=[begin, until]).data
    together = "while" if float(during[1] - during[0]) > 0.1 else "though not exactly when"
    if sudden:
        return f"That is within a quarter of the training, a sudden change, {together} its induction head formed."
    return "Its induction head formed, but the change is spread over the training and cannot be called sudden."


def name_of(n_layers: int) -> str:
    """2 -> "2-layers"."""
    return f"{n_layers}-layer{'s' * (n_layers > 1)}"


def training_curves(settings: PhaseChangeSettings, n_layers: int, run: Run) -> TrainingCurves:
    """Train one model; its checkpoint is `training/<n>-layers.safetensors` in the run."""
    started = datetime.now()
    sizes = {name: getattr(settings, name) for name in ("n_heads", "d_model", "n_ctx", "d_vocab")}
    model = untrained_attention_only(n_layers=n_layers, seed=settings.seed, **sizes)

    def batch(step: int) -> torch.Tensor:
        shape = (settings.batch_size, settings.n_ctx, settings.d_vocab, settings.shortest, settings.longest)
        return repeating_sequences(*shape, seed=settings.seed * 1_000_003 + step)

    used = asdict(settings) | {"layers": n_layers}
    trained = train(
        model,
        batch,
        repeated_halves(settings.n, settings.n_ctx, settings.d_vocab, seed=settings.seed + 500_000_003),
        n_steps=settings.n_steps,
        examine_every=settings.examine_every,
        learning_rate=settings.learning_rate,
        checkpoint=run.path(f"training/{name_of(n_layers)}.safetensors"),
        settings=used,
    )
    values = curve_values(trained.steps, trained.seen)
    values["training_loss"] = Values(torch.tensor(trained.losses), values["in_context"].axes, "nats")
    return TrainingCurves(
        values=values,
        settings=used | {"data": "synthetic"},
        provenance=provenance(model=identity(model), seed=settings.seed, started=started),
        plots=curve_plots(f"{name_of(n_layers)}, synthetic", SYNTHETIC),
    )


def compare(curves: dict[int, TrainingCurves]) -> PhaseChange:
    """The models side by side."""
    started = datetime.now()
    first = next(iter(curves.values()))
    axes = (Axis("model", tuple(name_of(n) for n in curves)), first.values["in_context"].axis("step"))

    def beside(name: str, **chosen: Any) -> Values:
        rows = [of_model.values[name].sel(**chosen) for of_model in curves.values()]
        return Values(torch.stack([row.data for row in rows]), axes, rows[0].unit, rows[0].description)

    values = {name: beside(name) for name in ("in_context", "low", "high")}
    values |= {"loss": beside("loss", copy=2), "induction": beside("best", kind="induction")}
    values["previous"] = beside("best", kind="previous")
    best = [(f"{n}: {words}", values[kind].sel(model=n)) for n in axes[0].labels for kind, words in HEADS.items()]
    lines = Axis("head", tuple(name for name, _ in best))
    values["best"] = Values(torch.stack([line.data for _, line in best]), (lines, axes[1]), "attention")
    common: dict[str, Any] = {"x": "step", "series": "model", "caveat": SYNTHETIC}
    return PhaseChange(
        values=values,
        settings={"models": list(axes[0].labels), "data": "synthetic"},
        provenance=provenance(model=first.provenance.model, seed=first.provenance.seed, started=started),
        plots=(
            Plot("lines", "loss", title="Loss of the second copy", **common,
                 caption="Mean loss of the tokens of the second copy, as training goes on.",
                 options={"y_label": "loss (nats)", "x_label": "training step"}),
            Plot("lines", "in_context", low="low", high="high", title="What is gained from context", **common,
                 caption="Loss of the second copy less that of the first, as training goes on, with 95 % intervals "
                 "over prompts.",
                 options={"y_label": "in-context score (nats)", "x_label": "training step"}),
            Plot("lines", "best", title="Best heads", x="step", series="head", caveat=SYNTHETIC,
                 caption="Highest previous-token and prefix-matching (induction) score of any head of each model.",
                 options={"y_label": "attention", "x_label": "training step"}),
        ),
    )  # fmt: skip


def _number(experiment: Experiment, n_layers: int, curves: TrainingCurves, n: int) -> None:
    end = curves.values["in_context"].axis("step").labels[-1]
    at = curves.sel(step=end).values
    experiment.number(f"{name_of(n_layers)}: in-context score", at["in_context"], at["low"], at["high"], n)


def phase_change_of_revisions(
    name: str,
    revisions: Sequence[str],
    *,
    n: int = 16,
    length: int = 50,
    seed: int = 0,
    prepend_bos: bool = False,
    device: str = "auto",
) -> TrainingCurves:
    """The same curves over published checkpoints of a model, for example "EleutherAI/pythia-70m", ["step1000", ...].

    Each revision is loaded, measured on the same `n` prompts of `length` random tokens repeated once, and let go; steps
    are the numbers in the revisions' names where all have one. Needs the hub, or the revisions in its cache.
    """
    started = datetime.now()
    seen, identities = [], []
    for revision in progress(list(revisions), f"revisions of {name}"):
        model = load_model(name, revision=revision, device=device)
        tokens = repeated_random_tokens(model, n, length, seed, prepend_bos).as_subclass(torch.Tensor)
        seen.append(examine(model, tokens, int(prepend_bos)))
        identities.append(identity(model))
    numbers = [re.search(r"\d+", revision) for revision in revisions]
    labels = [int(found.group()) if found else revision for found, revision in zip(numbers, revisions)]
    return TrainingCurves(
        values=curve_values(labels if all(numbers) else list(revisions), seen),
        settings={"model": name, "revisions": identities, "n": n, "length": length, "prepend_bos": prepend_bos},
        provenance=provenance(model=identities[-1], seed=seed, started=started),
        plots=curve_plots(name, "Checkpoints are far apart, so the change may be sharper than it looks."),
    )

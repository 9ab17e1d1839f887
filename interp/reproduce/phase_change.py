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
from itertools import product

import torch

from interp.models import identity, load_model
from interp.models.untrained import untrained_attention_only
from interp.reproduce.examining import TrainingCurves, curve_plots, curve_values, examine
from interp.reproduce.experiment import Experiment
from interp.reproduce.phase_change_told import SYNTHETIC, compare_training, tell_phase_change
from interp.reproduce.repeating_sequences import repeated_halves, repeating_sequences
from interp.reproduce.small_training import train
from interp.results import Values, bootstrap_interval
from interp.runs import Run, progress, provenance
from interp.tasks import repeated_random_tokens
from interp.viz import Report

TITLE = "The phase change"


@dataclass(frozen=True)
class PhaseChangeSettings:
    """What decides the numbers; the defaults show the change, three times over, in about a minute on one core.

    They are chosen so that it shows: of three seeds each, models of half the width changed in one within 600 steps, and
    models at a learning rate of 0.005 in none.

    n_steps: of training. layers: models for each number of layers. n_seeds: models of each, which differ in weights and
    data. d_model, n_heads, n_ctx, d_vocab: size of the models. batch_size: sequences a step. learning_rate: of AdamW,
    constant. shortest, longest: tokens of the stretch that returns. examine_every: steps between two measurements. n:
    prompts measured on. seed: of weights and data of the first model, the others' follow.
    """

    n_steps: int = 450
    layers: tuple[int, ...] = (1, 2)
    n_seeds: int = 3
    d_model: int = 64
    n_heads: int = 4
    n_ctx: int = 32
    d_vocab: int = 24
    batch_size: int = 64
    learning_rate: float = 3e-3
    shortest: int = 3
    longest: int = 10
    examine_every: int = 25
    n: int = 64
    seed: int = 0

    @classmethod
    def quick(cls) -> PhaseChangeSettings:
        """One model of each number of layers."""
        return cls(n_seeds=1)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The training seeds."""
        return tuple(range(self.seed, self.seed + self.n_seeds))

    def name_of(self, n_layers: int, seed: int) -> str:
        """ "2-layers", or "2-layers (seed 1)" where there are several seeds."""
        return layers_name(n_layers) + (f" (seed {seed})" if self.n_seeds > 1 else "")


def run_phase_change(settings: PhaseChangeSettings, run: Run, report: Report) -> Experiment:
    """Train the models, examine them on the way, and tell it in the report.

    A run that was interrupted goes on from the last measurement. Returns the experiment with its headline numbers: what
    the models gain from context in the end, and their best heads.
    """
    experiment = Experiment(None, run, report, "phase-change")
    curves = {}
    for n_layers, seed in product(settings.layers, settings.seeds):
        step = layers_name(n_layers) + (f"-seed-{seed}" if seed != settings.seed else "")
        curves[settings.name_of(n_layers, seed)] = experiment.step(
            step, partial(training_curves, settings, n_layers, seed, run)
        )
    compared = experiment.step("compared", lambda: compare_training(curves))
    tell_phase_change(experiment, settings, compared)
    for n_layers in settings.layers:
        _number(experiment, n_layers, [curves[settings.name_of(n_layers, seed)] for seed in settings.seeds])
    return experiment


def layers_name(n_layers: int) -> str:
    """2 -> "2-layers"."""
    return f"{n_layers}-layer{'s' * (n_layers > 1)}"


def training_curves(settings: PhaseChangeSettings, n_layers: int, seed: int, run: Run) -> TrainingCurves:
    """Train one model; its checkpoint is `training/<n>-layers-<seed>.safetensors` in the run."""
    started = datetime.now()
    sizes = {name: getattr(settings, name) for name in ("n_heads", "d_model", "n_ctx", "d_vocab")}
    model = untrained_attention_only(n_layers=n_layers, seed=seed, **sizes)

    def batch(step: int) -> torch.Tensor:
        shape = (settings.batch_size, settings.n_ctx, settings.d_vocab, settings.shortest, settings.longest)
        return repeating_sequences(*shape, seed=seed * 1_000_003 + step)

    used = asdict(settings) | {"layers": n_layers, "seed": seed}
    trained = train(
        model,
        batch,
        repeated_halves(settings.n, settings.n_ctx, settings.d_vocab, seed=settings.seed + 500_000_003),
        n_steps=settings.n_steps,
        examine_every=settings.examine_every,
        learning_rate=settings.learning_rate,
        checkpoint=run.path(f"training/{layers_name(n_layers)}-{seed}.safetensors"),
        settings=used,
    )
    values = curve_values(trained.steps, trained.seen)
    values["training_loss"] = Values(torch.tensor(trained.losses), values["in_context"].axes, "nats")
    return TrainingCurves(
        values=values,
        settings=used | {"data": "synthetic"},
        provenance=provenance(model=identity(model), seed=seed, started=started),
        plots=curve_plots(f"{settings.name_of(n_layers, seed)}, synthetic", SYNTHETIC),
    )


def _number(experiment: Experiment, n_layers: int, curves: Sequence[TrainingCurves]) -> None:
    """The in-context score at the end, prompt by prompt the mean over seeds."""
    each = torch.stack([of_seed.values["per_prompt"].data[:, -1] for of_seed in curves]).mean(0)
    value, low, high = (Values(data, (), "nats") for data in (each.mean(), *bootstrap_interval(each, 0)))
    of = "prompts" if len(curves) == 1 else f"prompts, {len(curves)} seeds"
    experiment.number(f"{layers_name(n_layers)}: in-context score", value, low, high, len(each), of=of)


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

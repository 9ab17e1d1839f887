"""`fit`: train dictionaries on activations that somebody already has.

>>> run = saes.fit(saes.TopK(d_in=576, d_sae=9216, k=32), activations, n_tokens=1_000_000, batch_size=4096, seed=0)
>>> run.dictionary, run.last()["explained_variance"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interp.errors import InputError, unknown
from interp.models import resolve_device
from interp.runs import Run, open_run
from saes.activations.streams import Stream, TensorStream
from saes.architectures import Dictionary, DictionaryConfig
from saes.architectures.normalisation import fit_normalisation
from saes.evals.fidelity import fidelity
from saes.kernels.calibration import Plan, calibrate
from saes.training.engine import Engine, EngineSettings
from saes.training.loop import Loop, run_loop
from saes.training.schedules import Schedule
from saes.training.trainee import Trainee
from saes.training.training_run import TrainingRun

SAMPLE = 32_768
"""Tokens from which means and norms are taken, and on which dictionaries are measured."""


@dataclass(frozen=True)
class FitSettings:
    """How to train, whatever the data."""

    n_tokens: int = 1_000_000
    """Tokens to train on; data that hold fewer are gone through again in another order."""
    batch_size: int = 2048
    """Tokens a step."""
    seed: int = 0
    """Decides directions, order and every other random draw."""
    normalise: str = "mean-norm"
    """What is done to activations and folded away afterwards: none, mean, norm, mean-norm or whiten."""
    precision: str = "auto"
    """float32 or bfloat16 for the encoder's product; auto measures."""
    plan: Plan | None = None
    """How a step is computed, to the last choice (None: measured at the start; the checkpoint keeps it)."""
    schedule: Schedule = field(default_factory=Schedule)
    """Learning rate and the like."""
    engine: EngineSettings = field(default_factory=EngineSettings)
    """Optimiser, and when a latent counts as dead."""
    log_every: int = 50
    """Steps between two lines of the log."""
    evaluate_every: int = 0
    """Steps between two measurements on held-out activations (0: at the end only)."""
    checkpoint_minutes: float = 5.0
    """Minutes between two checkpoints."""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.n_tokens < self.batch_size:
            raise InputError(f"n_tokens ({self.n_tokens}) must hold at least one batch of {self.batch_size} tokens")

    @property
    def n_steps(self) -> int:
        """Whole batches in n_tokens."""
        return self.n_tokens // self.batch_size


def fit(
    configs: DictionaryConfig | Sequence[DictionaryConfig],
    activations: Tensor | Mapping[str, Tensor] | Stream,
    *,
    settings: FitSettings | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    metadata: Mapping[str, Any] | None = None,
    **options: Any,
) -> TrainingRun:
    """Train one dictionary of every configuration at every site, all in one pass over the data.

    activations: a tensor or memory map [tokens, d_in], several by site, or a stream. options: fields of `FitSettings`
    (n_tokens, batch_size, seed, ...), in place of `settings`. out: the directory for run directories; with it the
    training survives interruption, and the same call goes on where it stopped. metadata: plain values to store with
    the dictionaries. Raises InputError where widths, batch sizes or options do not fit.
    """
    if settings is not None and options:
        raise InputError("give either settings or its fields, not both")
    settings = settings or _settings(options)
    where = resolve_device(device)
    stream = activations if not isinstance(activations, Tensor | Mapping) else _stream(activations, settings, where)
    wanted = [configs] if isinstance(configs, DictionaryConfig) else list(configs)
    named = name_all(wanted, stream.widths)
    if out is None:
        return train_named(named, stream, settings, where, None, metadata or {})
    config = {
        "dictionaries": {name: {"site": site, **kind.to_dict()} for name, (site, kind) in named.items()},
        "settings": asdict(settings),
        "data": stream.describe(),
    }
    with open_run("fit-dictionaries", config, root=out) as run:
        return train_named(named, stream, settings, where, run, metadata or {})


def _settings(options: Mapping[str, Any]) -> FitSettings:
    for name in options:
        if name not in FitSettings.__dataclass_fields__:
            raise unknown("option of fit", name, list(FitSettings.__dataclass_fields__))
    return FitSettings(**options)


def _stream(activations: Tensor | Mapping[str, Tensor], settings: FitSettings, device: Any) -> TensorStream:
    by_site = {"activations": activations} if isinstance(activations, Tensor) else dict(activations)
    return TensorStream(by_site, seed=settings.seed, device=device)


def name_all(configs: Sequence[DictionaryConfig], widths: Mapping[str, int]) -> dict[str, tuple[str, DictionaryConfig]]:
    """Every configuration at every site of its width, by a name that says what it is: (site, configuration).

    Raises InputError for a configuration that fits no site, or two that are the same.
    """
    named: dict[str, tuple[str, DictionaryConfig]] = {}
    for config in configs:
        fitting = [site for site, width in widths.items() if width == config.d_in]
        if not fitting:
            found = ", ".join(f"{site}: {width}" for site, width in widths.items())
            raise InputError(f"a dictionary of d_in = {config.d_in} fits no site ({found})")
        for site in fitting:
            parts = [site] if len(widths) > 1 else []
            name = "-".join([*parts, config.label()])
            if name in named:
                raise InputError(f"there are two dictionaries {name}; each has to differ from the others")
            named[name] = (site, config)
    return named


def train_named(
    named: Mapping[str, tuple[str, DictionaryConfig]],
    stream: Stream,
    settings: FitSettings,
    device: torch.device,
    run: Run | None,
    metadata: Mapping[str, Any],
    *,
    started: Dictionary | None = None,
) -> TrainingRun:
    """Train dictionaries by name, each at its site: (site, configuration). started: one to begin from where it fits."""
    trainees = make_trainees(named, stream, settings, device, started)
    held_out = stream.held_out(SAMPLE)
    result = TrainingRun({}, None if run is None else run.directory)

    def report(step: int, name: str, numbers: dict[str, float]) -> None:
        line = {"step": step, "tokens": step * settings.batch_size, "dictionary": name, **numbers}
        result.log.append(line)
        if run is not None:
            run.log("numbers", **line)

    def evaluate(trainee: Trainee) -> dict[str, float]:
        x = held_out[trainee.site]
        if not len(x):
            return {}
        found = fidelity(trainee.finished(), x)
        result.firing[trainee.name] = found.firing
        return {f"held_out_{name}": value for name, value in found.measures().items()}

    loop = Loop(
        settings.n_steps,
        settings.batch_size,
        settings.schedule,
        log_every=settings.log_every,
        evaluate_every=settings.evaluate_every,
        checkpoint_minutes=settings.checkpoint_minutes,
    )
    run_loop(trainees, stream, loop, result.directory, report=report, evaluate=evaluate)
    for trainee in trainees:
        dictionary = trainee.finished()
        dictionary.metadata = {"hook_name": trainee.site, **metadata}
        result.dictionaries[trainee.name] = dictionary
        if trainee.name not in result.firing:
            evaluate(trainee)
    return result


def make_trainees(
    named: Mapping[str, tuple[str, DictionaryConfig]],
    stream: Stream,
    settings: FitSettings,
    device: torch.device,
    started: Dictionary | None = None,
) -> list[Trainee]:
    """Fresh dictionaries, each with a plan measured for its size and a normalisation fitted to its site."""
    sample = stream.sample(SAMPLE)
    trainees = []
    for number, (name, (site, config)) in enumerate(named.items()):
        x = sample[site].double()
        if not torch.isfinite(x).all():
            raise InputError(f"the activations at {site} hold NaN or infinity; find out where they come from first")
        second = x.T @ x / len(x) if settings.normalise == "whiten" else x.square().mean(0)
        normalisation = fit_normalisation(settings.normalise, x.mean(0), second)
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + number)
        dictionary = config.build(generator).to(device)
        with torch.no_grad():
            dictionary.b_dec.copy_(normalisation.apply(sample[site]).mean(0))
        if started is not None and (started.d_in, started.d_sae) == (config.d_in, config.d_sae):
            normalisation.unfold_into(started, dictionary)
        plan = settings.plan or calibrate(config.d_in, config.d_sae, device, settings.precision)
        plan.apply()
        trainees.append(Trainee(name, site, Engine(dictionary, settings.engine, plan), normalisation))
    return trainees

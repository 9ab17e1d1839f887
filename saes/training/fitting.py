"""`fit`: train dictionaries on activations that somebody already has.

>>> run = saes.fit(saes.TopK(d_in=576, d_sae=9216, k=32), activations, n_tokens=1_000_000, batch_size=4096, seed=0)
>>> run.dictionary, run.last()["explained_variance"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.errors import InputError, unknown
from interp.models import resolve_device
from interp.runs import Run, open_run
from saes.activations.streams import Stream, TensorStream
from saes.architectures import Dictionary, DictionaryConfig
from saes.evals.fidelity import fidelity
from saes.training.config import structure
from saes.training.loggers import Logger
from saes.training.loop import Loop, run_loop
from saes.training.recording_numbers import Recorder
from saes.training.settings import NESTED, FitSettings
from saes.training.starting import make_trainees, name_all
from saes.training.trainee import Trainee
from saes.training.training_run import TrainingRun

Activations = Tensor | NDArray[Any]


def fit(
    configs: DictionaryConfig | Sequence[DictionaryConfig],
    activations: Activations | Mapping[str, Activations] | Stream,
    *,
    settings: FitSettings | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    metadata: Mapping[str, Any] | None = None,
    **options: Any,
) -> TrainingRun:
    """Train one dictionary of every configuration at every site, all in one pass over the data.

    activations: [tokens, d_in], a tensor or a NumPy array (float16, float32 or float64; of a memory map, such as
    np.load(..., mmap_mode="r"), only the rows of a batch are read), several of them by site, or a stream. Each
    configuration is trained at the sites of its width; one that fits no site is refused, and so is a site that none
    fits. options: fields of `FitSettings` (n_tokens, batch_size, seed, ...), in place of `settings`; those that have
    fields themselves may be given as plain values, such as schedule={"lr": 1e-3}. out: the directory for run
    directories; with it the training survives interruption, the same call goes on where it stopped, and the
    dictionaries are kept in the run directory, as dictionaries/<name> in SAELens's layout, for `saes.load`. metadata:
    plain values to store with the dictionaries. Raises InputError where widths, batch sizes or options do not fit.
    """
    if settings is not None and options:
        raise InputError("give either settings or its fields, not both")
    settings = settings or _settings(options)
    wanted = [configs] if isinstance(configs, DictionaryConfig) else list(configs)
    if not wanted:
        raise InputError("configs is empty; give at least one dictionary, such as saes.TopK(d_in, d_sae, k=32)")
    for config in wanted:
        if not isinstance(config, DictionaryConfig):
            raise InputError(f"configs holds {config!r}; give configurations such as saes.TopK(d_in, d_sae, k=32)")
        settings.check(config)
    where = resolve_device(device)
    stream = activations if isinstance(activations, Stream) else _stream(activations, settings, where)
    named = name_all(wanted, stream.widths, settings.n_seeds)
    if out is None:
        return train_named(named, stream, settings, where, None, metadata or {})
    question = {
        "dictionaries": {name: {"site": site, **kind.to_dict()} for name, (site, kind) in named.items()},
        "settings": asdict(settings),
        "data": stream.describe(),
    }
    with open_run("fit-dictionaries", question, root=out) as run:
        trained = train_named(named, stream, settings, where, run, metadata or {})
        trained.keep()
    return trained


def _settings(options: Mapping[str, Any]) -> FitSettings:
    for name in options:
        if name not in FitSettings.__dataclass_fields__:
            raise unknown("option of fit", name, list(FitSettings.__dataclass_fields__))
    nested = {name: structure(options[name], NESTED[name]) for name in NESTED if isinstance(options.get(name), Mapping)}
    return FitSettings(**{**options, **nested})


def _stream(activations: Any, settings: FitSettings, device: Any) -> TensorStream:
    by_site = dict(activations) if isinstance(activations, Mapping) else {"activations": activations}
    return TensorStream(by_site, seed=settings.seed, device=device)


def train_named(
    named: Mapping[str, tuple[str, DictionaryConfig]],
    stream: Stream,
    settings: FitSettings,
    device: torch.device,
    run: Run | None,
    metadata: Mapping[str, Any],
    *,
    started: Dictionary | None = None,
    logger: Logger | None = None,
) -> TrainingRun:
    """Train dictionaries by name, each at its site: (site, configuration).

    run: where checkpoints and numbers are kept (None: nowhere). started: a dictionary to begin from where it fits.
    logger: where else numbers go.
    """
    trainees = make_trainees(named, stream, settings, device, started)
    held_out = stream.held_out(settings.held_out_tokens)
    recorder = Recorder(settings.batch_size, run, logger)
    result = TrainingRun({}, None if run is None else run.directory)

    def evaluate(trainee: Trainee) -> dict[str, float]:
        x = held_out[trainee.site]
        if not len(x):
            return {}
        found = fidelity(trainee.finished(), x)
        result.firing[trainee.name] = found.firing
        return {f"held_out_{name}": value for name, value in found.measures().items()}

    run_loop(trainees, stream, Loop.of(settings), result.directory, report=recorder.report, evaluate=evaluate)
    result.log = recorder.whole()
    for trainee in trainees:
        dictionary = trainee.finished()
        trained_as = trainee.engine.dictionary.config
        dictionary.metadata = {
            "hook_name": trainee.site,
            "training_architecture": trained_as.architecture,
            "training_config": trained_as.to_dict(),
            **metadata,
        }
        result.dictionaries[trainee.name] = dictionary
        if trainee.name not in result.firing:
            evaluate(trainee)
    return result

"""`train`: read a model, train dictionaries, measure them, and keep it all in a run directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import saes.formats.native as native
from interp.errors import InputError
from interp.hooks.sites import as_site, check
from interp.models import identity, load_model, resolve_device
from interp.runs import Run, open_run
from saes.activations.harvesting import ModelStream
from saes.architectures import Dictionary, DictionaryConfig
from saes.evals.evaluating import DictionaryEvaluation, evaluate
from saes.training.config import TrainConfig
from saes.training.fitting import name_all, train_named
from saes.training.training_run import TrainingRun

DICTIONARIES = "dictionaries"
EXPERIMENT = "train-dictionaries"


def train(config: TrainConfig, *, model: Any = None, out: str | Path = "runs") -> TrainingRun:
    """Train every dictionary of a configuration in one pass over the model's activations.

    model: an object that is there already, in place of the configuration's name. out: where run directories are made.
    Interrupted in whatever way, the same call goes on and ends with the same bits. The run directory holds the
    dictionaries in SAELens's layout, the numbers on the way in log.jsonl, the evaluation among its results, and
    report.html. Raises InputError before the first step for anything that does not fit.
    """
    device = resolve_device(config.device)
    bridge = model if model is not None else load_model(config.model, device=device)
    for site in config.sites:
        check(bridge, as_site(site))
    who = identity(bridge)
    settings = asdict(config) | {"weights_sha256": who["weights_sha256"]}
    with open_run(EXPERIMENT, settings, root=out) as run:
        stream = ModelStream(bridge, config.texts, config.sites, config.harvest, seed=config.fit.seed)
        named = _named(config, stream.widths)
        metadata = _metadata(config, who, stream)
        started = _warm_start(config, named)
        trained = train_named(named, stream, config.fit, device, run, metadata, started=started)
        for name, dictionary in trained.dictionaries.items():
            target = run.path(f"{DICTIONARIES}/{name}")
            if not target.exists():
                native.write(dictionary, target, trained.firing.get(name))
        if config.evaluate_prompts:
            trained.evaluation = _evaluate(config, bridge, stream, trained, run)
        _report(run, trained)
    return trained


def _named(config: TrainConfig, widths: Mapping[str, int]) -> dict[str, tuple[str, DictionaryConfig]]:
    distinct: list[DictionaryConfig] = []
    for width in widths.values():
        distinct += [each for each in config.configs(width) if each not in distinct]
    return name_all(distinct, widths)


def _metadata(config: TrainConfig, who: dict[str, Any], stream: ModelStream) -> dict[str, Any]:
    return {
        "model_name": who["id"],
        "model_weights_sha256": who["weights_sha256"],
        "context_size": config.harvest.context_size,
        "prepend_bos": config.harvest.prepend_bos,
        "exclude_special_tokens": config.harvest.exclude_special,
        "dataset_path": config.texts.source,
        "n_tokens": config.fit.n_steps * config.fit.batch_size,
        "seed": config.fit.seed,
        "n_rows_an_epoch": stream.rows.n_rows,
    }


def _warm_start(config: TrainConfig, named: dict[str, tuple[str, DictionaryConfig]]) -> Dictionary | None:
    if config.warm_start is None:
        return None
    given = native.read(config.warm_start)
    if not any((each.d_in, each.d_sae) == (given.d_in, given.d_sae) for _, each in named.values()):
        raise InputError(
            f"{config.warm_start} is {given.d_in} × {given.d_sae}, no entry's size; a warm start needs the same"
        )
    return given


def _evaluate(
    config: TrainConfig, model: Any, stream: ModelStream, trained: TrainingRun, run: Run
) -> dict[str, DictionaryEvaluation]:
    tokens = stream.held_out_tokens(config.evaluate_prompts)
    if not len(tokens):
        return {}
    excluded = sorted(stream.excluded)
    found: dict[str, DictionaryEvaluation] = {}
    for site in config.sites:
        here = {n: d for n, d in trained.dictionaries.items() if as_site(d.metadata["hook_name"]) == as_site(site)}
        compute = partial(evaluate, here, model, tokens, site, excluded=excluded)
        step = "evaluation" if len(config.sites) == 1 else f"evaluation-{site}"
        found[site] = run.step(step, compute)  # type: ignore[assignment]
    return found


def _report(run: Run, trained: TrainingRun) -> None:
    from interp.viz import Report

    report = Report("Sparse dictionaries", ", ".join(trained.dictionaries))
    report.section("Training", "The last numbers read during training, on the tokens trained on.")
    report.add(trained.curves().groupby("dictionary", sort=False).tail(1), caption="Means over the last steps.")
    for site, found in trained.evaluation.items():
        report.section(f"Held-out documents: {site}", "Measured where no dictionary was trained.").add(found)
    report.write(run.path("report.html"))

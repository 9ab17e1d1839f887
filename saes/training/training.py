"""`train`: read a model, train dictionaries, measure them, and keep it all in a run directory."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import saes.formats.native as native
from interp.errors import InputError
from interp.hooks.sites import as_site, check
from interp.models import identity, load_model, resolve_device
from interp.runs import Run, open_run
from saes.activations.harvesting import ModelStream
from saes.activations.reading import Harvest, held_out_prompts
from saes.activations.shard_streams import ShardStream, open_shards
from saes.architectures import Dictionary, DictionaryConfig
from saes.evals.evaluating import DictionaryEvaluation, evaluate
from saes.training.config import TrainConfig
from saes.training.curves import training_curves
from saes.training.fitting import train_named
from saes.training.loggers import Logger
from saes.training.reporting import write_report
from saes.training.starting import name_all
from saes.training.training_run import TrainingRun

_LOG = logging.getLogger("saes")
EXPERIMENT = "train-dictionaries"
FAR = 0.2
"""A share of target_l0 by which a dictionary may miss it without a warning."""


def train(
    config: TrainConfig,
    *,
    model: Any = None,
    out: str | Path = "runs",
    experiment: str = EXPERIMENT,
    fresh: bool = False,
) -> TrainingRun:
    """Train every dictionary of a configuration in one pass over the model's activations.

    model: an object that is there already, in place of the configuration's name. out: where run directories are made,
    in a folder named `experiment`. Interrupted in whatever way, the same call goes on and ends with the same bits;
    fresh: begin anew instead. The run directory holds the dictionaries in SAELens's layout, the numbers on the way in
    log.jsonl, the evaluation among its results, and report.html. Where there are no held-out documents to measure on, a
    warning says so before the first step, and the report. Raises InputError before the first step for anything
    that does not fit.
    """
    began = datetime.now(UTC)
    device = resolve_device(config.device)
    started = None if config.warm_start is None else native.read(config.warm_start)
    bridge = model
    if bridge is None:
        bridge = load_model(config.model, device=device, dtype=getattr(torch, config.model_dtype))
    for site in config.sites:
        check(bridge, as_site(site))
    who = identity(bridge)
    # What decides the numbers: only the same question to the same model about the same texts is resumed.
    settings = {name: value for name, value in asdict(config).items() if name not in ("logger", "project")}
    settings |= {"weights_sha256": who["weights_sha256"], "documents": config.texts.describe()}
    shards = None if config.activations is None else stored(config, who)
    if shards is not None:
        config = replace(config, harvest=Harvest(**shards.shards.header.plan["harvest"]))
        settings |= {"activations_sha256": shards.shards.header.content_sha256}
    prompts = _prompts(config, bridge)
    with open_run(experiment, settings, root=out, resume=not fresh) as run, _logger(config, run) as logger:
        stream = shards or ModelStream(bridge, config.texts, config.sites, config.harvest, seed=config.fit.seed)
        named = _named(config, stream.widths)
        _check_warm_start(config, started, named)
        metadata = _metadata(config, who, stream)
        trained = train_named(named, stream, config.fit, device, run, metadata, started=started, logger=logger)
        _warn_of_sparsity(trained)
        trained.keep()
        if prompts is not None:
            trained.evaluation = _evaluate(config, bridge, trained, run, *prompts)
        curves = run.step("training", lambda: training_curves(trained.log, model=who, started=began, settings=metadata))
        write_report(run, config, trained, curves, metadata)  # type: ignore[arg-type]
    return trained


def stored(config: TrainConfig, who: Mapping[str, Any]) -> ShardStream:
    """The activations that a configuration names. Raises InputError when they are of another model or other texts."""
    assert config.activations is not None
    sites = [str(as_site(site)) for site in config.sites]
    stream = open_shards(config.activations, sites, seed=config.fit.seed)
    plan = stream.shards.header.plan
    for name, wanted in (("weights_sha256", who["weights_sha256"]), ("texts", config.texts.describe())):
        if plan[name] != wanted:
            raise InputError(
                f"{config.activations} was made with {name} = {plan[name]}, and this configuration has {wanted}; write "
                "shards of this model and these texts, or train on what those were made of"
            )
    return stream


@contextlib.contextmanager
def _logger(config: TrainConfig, run: Run) -> Iterator[Logger]:
    logger = Logger(config.logger, config.project, run.directory.name, asdict(config))
    try:
        yield logger
    finally:
        logger.close()


def _named(config: TrainConfig, widths: Mapping[str, int]) -> dict[str, tuple[str, DictionaryConfig]]:
    distinct: dict[DictionaryConfig, int] = {}
    for width in dict.fromkeys(widths.values()):
        distinct |= config.configs(width)
    return name_all(list(distinct), widths, distinct)


def _metadata(config: TrainConfig, who: dict[str, Any], stream: ModelStream | ShardStream) -> dict[str, Any]:
    n_tokens = config.fit.n_steps * config.fit.batch_size
    if isinstance(stream, ShardStream):
        n_stored: int | None = stream.n_tokens
    else:
        n_stored = stream.rows.n_rows and stream.rows.n_rows * config.harvest.context_size
    epochs = {} if n_stored is None else {"n_epochs": round(n_tokens / n_stored, 3)}
    stored_in = {"activations_sha256": stream.metadata["activations_sha256"]} if isinstance(stream, ShardStream) else {}
    return {
        "model_name": who["id"],
        "model_weights_sha256": who["weights_sha256"],
        "model_dtype": who["dtype"],
        "context_size": config.harvest.context_size,
        "prepend_bos": config.harvest.prepend_bos,
        "exclude_special_tokens": config.harvest.exclude_special,
        "dataset_path": config.texts.source,
        "n_tokens": n_tokens,
        "seed": config.fit.seed,
        **epochs,
        **stored_in,
    }


def _check_warm_start(
    config: TrainConfig, given: Dictionary | None, named: Mapping[str, tuple[str, DictionaryConfig]]
) -> None:
    if given is None:
        return
    if not any((each.d_in, each.d_sae) == (given.d_in, given.d_sae) for _, each in named.values()):
        raise InputError(
            f"{config.warm_start} is {given.d_in} × {given.d_sae}, no entry's size; a warm start needs the same"
        )


def _prompts(config: TrainConfig, model: Any) -> tuple[Tensor, list[int]] | None:
    """What the finished dictionaries are measured on, and the token ids that do not count there; None, with a warning,
    where there is nothing to measure on or nothing is to be measured."""
    if not config.evaluate_prompts and config.texts.held_out:
        return None  # the training measures on held-out activations by itself
    try:
        return held_out_prompts(model, config.texts, config.harvest, config.evaluate_prompts)
    except InputError as error:  # no training is to be lost for it
        _LOG.warning("all numbers will be of tokens that were trained on: %s", error)
        return None


def _warn_of_sparsity(trained: TrainingRun) -> None:
    """Say which JumpReLU dictionaries ended far from the number of active latents that was asked for."""
    for name, dictionary in trained.dictionaries.items():
        told = dictionary.metadata["training_config"]
        if told["architecture"] != "jumprelu" or told["sparsity_loss"] != "quadratic":
            continue
        last = trained.last(name)
        l0, wanted = last.get("held_out_l0", last["l0"]), told["target_l0"]
        if abs(l0 / wanted - 1) > FAR:
            _LOG.warning(
                "%s ended with %.3g active latents per token, and target_l0 is %g: train it longer, or with a larger "
                "coefficient",
                *(name, l0, wanted),
            )


def _evaluate(
    config: TrainConfig, model: Any, trained: TrainingRun, run: Run, tokens: Tensor, excluded: list[int]
) -> dict[str, DictionaryEvaluation]:
    found: dict[str, DictionaryEvaluation] = {}
    for site in config.sites:
        here = {n: d for n, d in trained.dictionaries.items() if as_site(d.metadata["hook_name"]) == as_site(site)}
        compute = partial(evaluate, here, model, tokens, site, excluded=excluded)
        step = "evaluation" if len(config.sites) == 1 else f"evaluation-{site}"
        found[site] = run.step(step, compute)  # type: ignore[assignment]
    return found

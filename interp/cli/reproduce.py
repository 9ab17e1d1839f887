"""Run a published experiment on a model and write its report, a single HTML page that works without a network.

    interp reproduce induction            Olsson et al. 2022: loss on repetition, heads that look back
    interp reproduce ioi                  Wang et al. 2022: who gets the drink, and which heads decide it
    interp reproduce all --quick          both, in a fraction of the time

Interrupted work is kept: the same command goes on where it stopped.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import tyro
from rich.console import Console

from interp.cli.answering import Options, as_table
from interp.models import identity, load_model
from interp.reproduce import indirect_object_identification as ioi
from interp.reproduce import induction_heads as induction
from interp.runs import open_run
from interp.viz import Report


@dataclass(frozen=True)
class Common(Options):
    """What every experiment takes."""

    quick: bool = False
    """Fewer prompts: the same figures, wider intervals."""
    bos: bool = False
    """Begin every prompt with the BOS token."""


@dataclass(frozen=True)
class Induction(Common):
    """Induction heads: the loss on repeated random tokens, and every head's scores with attention views."""

    n: int | None = None
    """Prompts (default 16, quick 4)."""
    length: int = 50
    """Random tokens before they repeat."""


@dataclass(frozen=True)
class Ioi(Common):
    """Indirect object identification: behaviour, logit lens, direct logit attribution, denoising maps."""

    n: int | None = None
    """Prompt pairs for behaviour, lens and attribution (default 120, quick 30)."""
    n_maps: int | None = None
    """Prompt pairs for the patching maps (default 16, quick 4)."""


@dataclass(frozen=True)
class All(Common):
    """Both experiments in one report."""


Config = (
    Annotated[Induction, tyro.conf.subcommand("induction")]
    | Annotated[Ioi, tyro.conf.subcommand("ioi")]
    | Annotated[All, tyro.conf.subcommand("all")]
)


def main(config: Induction | Ioi | All, console: Console | None = None) -> int:
    """Run the experiment, print its headline numbers and the path of its report."""
    console = console or Console()
    began = time.monotonic()
    model = load_model(config.model, device=config.device)
    who = identity(model)
    settings = {name: value for name, value in asdict(config).items() if name not in ("out", "device")}
    experiment = "reproduce-" + {Induction: "induction", Ioi: "ioi", All: "all"}[type(config)]
    with open_run(experiment, settings | {"weights_sha256": who["weights_sha256"]}, root=config.out) as run:
        report = Report(_title(config), f"{who['id']}, seed {config.seed}")
        done = []
        if isinstance(config, Induction | All):
            done.append((induction.TITLE, induction.run_induction(model, _induction(config), run, report)))
        if isinstance(config, Ioi | All):
            done.append((ioi.TITLE, ioi.run_ioi(model, _ioi(config), run, report)))
        for title, found in done:
            report.headline(found.headline, title)
            console.print(as_table(found.table(), f"{title} in {who['id']}"))
            console.print()
        path = report.write(run.path("report.html"))
    _say(console, f"finished in {time.monotonic() - began:.0f} s; results: {run.directory}")
    _say(console, f"report: {path}")
    return 0


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _title(config: Any) -> str:
    if isinstance(config, All):
        return f"{induction.TITLE} and {ioi.TITLE.lower()}"
    return induction.TITLE if isinstance(config, Induction) else ioi.TITLE


def _induction(config: Induction | All) -> induction.InductionSettings:
    n = (config.n if isinstance(config, Induction) else None) or (4 if config.quick else 16)
    length = config.length if isinstance(config, Induction) else 50
    return induction.InductionSettings(n=n, length=length, seed=config.seed, prepend_bos=config.bos)


def _ioi(config: Ioi | All) -> ioi.IoiSettings:
    own = config if isinstance(config, Ioi) else Ioi()
    n = own.n or (30 if config.quick else 120)
    n_maps = own.n_maps or (4 if config.quick else 16)
    return ioi.IoiSettings(n=n, n_maps=n_maps, seed=config.seed, prepend_bos=config.bos)

"""More features than dimensions: the toy models of Elhage et al. 2022, trained here.

Try:
    interp superposition                     all studies, a few minutes
    interp superposition --study phase       phase diagrams
    interp superposition --study sweep --n-features 5 --n-hidden 2
    interp superposition --study geometry --size paper    400 features
    interp superposition --study computation --sparsity 0 0.9 0.99

    sweep        more features as sparsity grows; linear and ReLU models
    importance   how fast features lose importance
    phase        importance x sparsity, beside closed forms
    geometry     plateaus of dimensions per feature, and polytopes
    correlated   features that come together, or exclude each other
    privileged   neurons for features, with a ReLU hidden layer
    computation  |x| of more features than neurons can serve one by one

Needs no model and no data. The figures can be set beside the paper's; interrupted, the same command goes on after the
last finished step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from rich.console import Console
from rich.text import Text

from interp import superposition
from interp.cli.answering import NOT_SETTINGS, Maybe, Several, as_table
from interp.errors import InputError
from interp.models import resolve_device
from interp.results import Result
from interp.runs import Run, open_run
from interp.viz import Report

Study = Literal["all", "sweep", "importance", "phase", "geometry", "correlated", "privileged", "computation"]
TITLE = "Toy models of superposition"
PLAIN = ("n_features", "n_hidden", "sparsity", "importance")
SIZED = (*PLAIN, "group_size")
TAKES = {
    "sweep": PLAIN,
    "importance": PLAIN,
    "phase": (),
    "geometry": ("n_features", "n_hidden", "sparsity"),
    "correlated": ("n_features", "n_hidden", "group_size", "sparsity"),
    "privileged": PLAIN,
    "computation": PLAIN,
}
"""Which options decide what a study trains."""


@dataclass(frozen=True)
class Config:
    """Options of `interp superposition`."""

    study: Study = "all"
    """What to ask."""
    size: Literal["quick", "paper"] = "quick"
    """paper: as many features as there, finer grids and more starts; hours on a processor."""
    n_features: Maybe[int] = None
    """Features of one study's models (default: each study's own)."""
    n_hidden: Maybe[int] = None
    """Hidden dimensions, or neurons."""
    sparsity: Several[float] = ()
    """Shares of inputs without a feature, from 0 to below 1."""
    group_size: Maybe[int] = None
    """Neighbouring features that come together, or exclude each other; --study correlated."""
    importance: Several[float] = ()
    """Each feature weighs so many times the one before it in the loss; several with --study importance."""
    n_seeds: Maybe[int] = None
    """Models of each setting, from different starts and, except in phase, on different inputs."""
    n_steps: Maybe[int] = None
    """Steps of training."""
    seed: int = 0
    """The first seed."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    out: str = "runs"
    """The directory under which run directories are made, OUT/superposition/<time>-<hash of the settings>/."""
    fresh: bool = False
    """Start a run of its own, even where an interrupted one of the same settings could go on."""


SINGLE = {"sweep": "importance", "importance": "sparsity", "privileged": "importance", "computation": "importance"}
"""What a study holds fixed, so that there is only one of it."""
SETS = {"n_features": 20, "n_hidden": 10, "group_size": 10, "sparsity": [0.9, 0.95, 0.99]}
"""The paper's two sets of ten features in ten dimensions; ten that exclude each other need S of 0.9 or more."""
BESIDE = ("first_figure", "shapes", "correlated_sets")
"""Steps that show a second size beside a study's own."""


@dataclass(frozen=True)
class Step:
    """One result: its heading, what it asks (a sentence), and how it is computed from the options it takes.

    about may name sizes in braces, since the user chooses them: any setting of the result, and what `asked` adds.
    """

    study: str
    title: str
    about: str
    compute: Callable[..., Result]
    quick: Mapping[str, Any]
    paper: Mapping[str, Any]


STEPS = {
    "first_figure": Step(
        "sweep",
        "Five features in two dimensions",
        "How many of the five are represented, and in which shape, as they become sparser.",
        superposition.train,
        {"n_features": 5, "n_hidden": 2, "sparsity": [0.0, 0.7, 0.8, 0.9, 0.97], "importance": 0.9, "n_steps": 2000},
        {"n_features": 5, "n_hidden": 2, "sparsity": [0.0, 0.7, 0.8, 0.9, 0.97], "importance": 0.9, "n_seeds": 16},
    ),
    "relu": Step(
        "sweep",
        "The ReLU output model by sparsity",
        "{features} in {dimensions}, {weighing}: how many are represented as they become sparser.",
        superposition.train,
        {},
        {"n_features": 80, "n_hidden": 20, "importance": 0.9, "n_steps": 10_000, "batch_size": 512},
    ),
    "linear": Step(
        "sweep",
        "The linear model",
        "The control, without the ReLU: {features} in {dimensions}, {weighing}. The least that it can lose is what "
        "principal components lose, whatever the sparsity.",
        superposition.train,
        {"model": "linear"},
        {"model": "linear", "n_features": 80, "n_hidden": 20, "importance": 0.9, "n_steps": 10_000},
    ),
    "importance": Step(
        "importance",
        "The ReLU output model by importance",
        "{features} in {dimensions} at S = {sparsity}: how many are represented, by how much importance falls from "
        "each to the next.",
        superposition.importance_sweep,
        {},
        {"n_features": 80, "n_hidden": 20, "n_steps": 10_000, "batch_size": 512},
    ),
    "phase_2_1": Step(
        "phase",
        "Phases of two features in one dimension",
        "What becomes of the second feature, by its importance and the density of both.",
        superposition.phase_diagram,
        {"n_features": 2},
        {"n_features": 2, "sparsity": 40, "importance": 40, "n_seeds": 10, "n_steps": 1500},
    ),
    "phase_3_2": Step(
        "phase",
        "Phases of three features in two dimensions",
        "What becomes of the third feature, by its importance and the density of all.",
        superposition.phase_diagram,
        {"n_features": 3, "sparsity": 13, "importance": 13},
        {"n_features": 3, "sparsity": 30, "importance": 30, "n_seeds": 10, "n_steps": 1500},
    ),
    "geometry": Step(
        "geometry",
        "Plateaus of dimensions per feature",
        "{features} of equal importance in {dimensions}.",
        superposition.feature_geometry,
        {},
        {"n_features": 400, "n_hidden": 30, "n_steps": 6000},
    ),
    "shapes": Step(
        "geometry",
        "Shapes of a few features",
        "Which polytopes form when only a few equal features share a few dimensions.",
        superposition.shape_counts,
        {"n_seeds": 8},
        {"n_seeds": 32, "n_steps": 4000},
    ),
    "correlated": Step(
        "correlated",
        "Correlated and anticorrelated features",
        "{features} in {dimensions}, in groups of {group_size}: who shares a dimension with whom.",
        superposition.correlated_features,
        {"n_seeds": 8, "sparsity": [0.6, 0.8, 0.9]},
        {"n_seeds": 32, "n_steps": 4000},
    ),
    "correlated_sets": Step(
        "correlated",
        "Two sets of ten features",
        "Whether features that come together keep a basis at right angles, and what two sets of them share.",
        superposition.correlated_features,
        SETS | {"n_seeds": 3, "n_steps": 1000, "batch_size": 512},
        SETS | {"n_seeds": 10, "n_steps": 10_000},
    ),
    "privileged": Step(
        "privileged",
        "A privileged basis",
        "{features} in {neurons}, {weighing}: whether a ReLU in the hidden layer makes neurons stand for features, "
        "which a linear hidden layer has no reason to do.",
        superposition.privileged_basis,
        {"n_steps": 2000},
        {"n_seeds": 10, "n_steps": 10_000},
    ),
    "computation": Step(
        "computation",
        "Computation in superposition",
        "A hidden layer of {neurons} that computes |x| of {features}, {weighing}; two neurons compute it "
        "of one feature.",
        superposition.absolute_values,
        {"n_steps": 3000},
        {"n_features": 100, "n_hidden": 40, "n_steps": 10_000, "batch_size": 512},
    ),
}


def main(config: Config, console: Console | None = None) -> int:
    """Train what is asked, print a table of each result, keep everything in a run with its report."""
    console = console or Console()
    resolve_device(config.device)
    steps = _chosen(config)
    options = {name: _options(step, config) for name, step in steps.items()}
    settings = {name: value for name, value in asdict(config).items() if name not in NOT_SETTINGS}
    shown: dict[str, pd.DataFrame] = {}
    with open_run("superposition", settings, root=config.out, resume=not config.fresh) as run:
        for name, step in steps.items():
            found: Any = run.step(name, partial(step.compute, **options[name]))
            shown[name] = found.table()
            console.print(Text(step.title, style="bold"), soft_wrap=True)
            console.print(as_table(shown[name]))
            for note in found.notes:
                _say(console, note)
            console.print()
        path = report(run, steps, shown)
    _say(console, f"results: {run.directory}")
    _say(console, f"report:  {path}")
    return 0


def _chosen(config: Config) -> dict[str, Step]:
    """The steps of the study; refuses options that it does not take."""
    given = [name for name in _told(config) if name in SIZED]
    takes = TAKES.get(config.study, ())
    for name in given:
        if name not in takes:
            having = ", ".join(study for study, names in TAKES.items() if name in names)
            raise InputError(f"--{name.replace('_', '-')} needs a --study that takes it: {having}")
    steps = {name: step for name, step in STEPS.items() if config.study in ("all", step.study)}
    if given:  # a size of the user's own replaces the ones that a study shows side by side
        steps = {name: step for name, step in steps.items() if name not in BESIDE}
    return steps


def _options(step: Step, config: Config) -> dict[str, Any]:
    """What a step is computed with: its own size, changed where the user said so."""
    own = step.paper if config.size == "paper" else step.quick
    told = _told(config)
    if (single := SINGLE.get(step.study)) in told:
        told[single] = _only(told[single], single)
    return {**own, **told, "seed": config.seed, "device": config.device}


def _only(given: Sequence[float], name: str) -> float:
    """The one number there may be of what a study holds fixed."""
    if len(given) > 1:
        having = {"importance": "importance", "sparsity": "sweep"}[name]
        raise InputError(f"give one {name}; several are what --study {having} is for")
    return given[0]


def _told(config: Config) -> dict[str, Any]:
    """The sizes and lengths that the user gave."""
    told = {name: getattr(config, name) for name in (*SIZED, "n_seeds", "n_steps")}
    return {name: value for name, value in told.items() if value not in (None, ())}


def report(run: Run, steps: Mapping[str, Step], shown: Mapping[str, pd.DataFrame]) -> Path:
    """One section a step: what it asks, what was found, its table, its figures."""
    page = Report(TITLE, "After Elhage et al. 2022, Toy Models of Superposition")
    results: Mapping[str, Any] = run.results()
    page.abstract("\n\n".join(f"{steps[name].title}. {note}" for name in results for note in results[name].notes[:1]))
    for name, found in results.items():
        step = steps[name]
        page.section(step.title, "\n\n".join([asked(step, found.settings), *found.notes]))
        page.add(shown[name], caption=f"{step.title}, in numbers.").add(found)
    return page.write(run.path("report.html"))


def asked(step: Step, settings: Mapping[str, Any]) -> str:
    """What a step asks, with the sizes it was trained at."""
    words = dict(settings)
    for name, noun, size in (
        ("features", "feature", "n_features"),
        ("dimensions", "dimension", "n_hidden"),
        ("neurons", "neuron", "n_hidden"),
    ):
        if size in settings:
            words[name] = f"{settings[size]} {noun}{'' if settings[size] == 1 else 's'}"
    if "importance" in settings:
        words["weighing"] = _weighing(settings["importance"])
    return step.about.format_map(words)


def _weighing(importance: Sequence[float]) -> str:
    """Importances in words: alike, falling or rising by one factor, or as they are."""
    ratios = [after / before for before, after in itertools.pairwise(importance)]
    if all(abs(ratio - 1) < 1e-6 for ratio in ratios):
        return "all of equal importance"
    if max(ratios) - min(ratios) < 1e-4 * max(ratios):
        return f"each weighing {ratios[0]:.3g} times as much as the one before it"
    return f"of importances from {max(importance):.3g} to {min(importance):.3g}"


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)

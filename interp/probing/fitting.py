"""`fit`: what can be read from the activations of a model, layer by layer, beside what can be read from nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import InputError, unknown
from interp.hooks.partial import embedding_device
from interp.hooks.sites import Site
from interp.models import identity
from interp.models.untrained import random_twin
from interp.probing.controls import control_labels, shuffled_labels
from interp.probing.datasets.catalogue import dataset
from interp.probing.gathering import Kind, Sites, check_model, gather, kinds_of, width
from interp.probing.labelled import LabelledTokens
from interp.probing.parts import Advance, Keeper, ProbePart, part_of, probe_sites
from interp.probing.probe_result import Parts, ProbeResult, assembled
from interp.probing.solving.families import Family
from interp.probing.splitting import check_classes, check_duplicates, grouped_folds, numbered
from interp.probing.validating import Design
from interp.results import FEWEST, Result
from interp.runs import progress, provenance

SPLITS = ("group", "type")
CALIBRATION = "smoothed targets; description lengths by a mixture of scales"
"""How scores become probabilities; parts that were stored before by another way are not found again."""
LAYERS_A_PART = 4
"""Layers of a part that is kept: an interrupted run loses no more than their work."""


def fit(
    model: Any,
    data: LabelledTokens | str,
    *,
    probe: str = "logistic",
    sites: Sites = "resid_post",
    layers: Sequence[int] | None = None,
    split: str = "group",
    folds: int = 4,
    inner_folds: int = 3,
    penalties: Sequence[float] | None = None,
    rank: int = 2,
    hidden: int = 64,
    n_shuffles: int = FEWEST,
    n: int = 2000,
    seed: int = 0,
    batch_size: int | None = None,
    memory_budget: int = 2 * 2**30,
    keep: str | Path | None = None,
) -> ProbeResult:
    """Probe a labelled property at all layers, sites and named positions at once, with every control.

    data: examples (`labelled_tokens`, `from_jsonl`), or the name of a task that comes with the house (`DATASETS`), of
    which `n` examples are made. probe: "logistic", "ridge", "mean_difference", "low_rank" (of `rank`) or "mlp" (one
    layer of `hidden` units). sites: kinds ("resid_post", "z", ...) at `layers` (default: all), or sites themselves,
    latents included. split: examples of one "group" (document, noun, ...) or of one word "type" stay in one fold.
    folds: each example is tested once by a probe that saw no other of its group; inner_folds: within each training
    part, for choosing among `penalties` (l2 of the mean loss: scikit-learn's C is 1 / (n * l2); default: a grid that
    suits the kind of probe).

    Always measured beside it: the control task by word type and the selectivity (Hewitt & Liang 2019), the task's
    labels shuffled `n_shuffles` times, the same probe of the token embedding alone and of the model with random
    weights, the majority class, and description lengths (Voita & Titov 2020). batch_size: prompts a forward pass.
    memory_budget: bytes for activations; more layers than that are taken one lot after the other. keep: a directory in
    which finished parts are stored, and found again by the same question to the same model.

    Raises InputError for one class only, fewer groups than folds, a class in fewer groups than folds, equal beginnings
    in different groups (leaks), and activations that are not finite; `check` asks all but the last without fitting.
    """
    started = datetime.now()
    check_model(model)
    examples = dataset(model, data, n=n, seed=seed) if isinstance(data, str) else data
    family, kinds, plan = check(
        model,
        examples,
        probe=probe,
        sites=sites,
        layers=layers,
        split=split,
        folds=folds,
        inner_folds=inner_folds,
        penalties=penalties,
        rank=rank,
        hidden=hidden,
        n_shuffles=n_shuffles,
        seed=seed,
    )
    settings = {
        "probe": probe,
        "rank": rank if probe == "low_rank" else None,
        "hidden": hidden if probe == "mlp" else None,
        "split": split,
        "folds": folds,
        "inner_folds": inner_folds,
        "penalties": list(plan.design.grid),
        "n_shuffles": n_shuffles,
        "n": len(examples),
        "seed": seed,
        "sites": [kind.name for kind in kinds],
        "layers": list(kinds[0].layers),
        **({"calibration": CALIBRATION} if family.calibrated else {}),
    }
    asking = {"model": identity(model), "data": examples.describe(), **settings}
    parts = _Work(model, examples, family, plan, kinds, asking, batch_size, memory_budget, keep).parts()
    return assembled(
        parts,
        examples,
        plan.groups,
        settings | {"control": plan.no_control or "random class for every word type", "group_is": plan.group_is},
        provenance(model=asking["model"], task=asking["data"], seed=seed, started=started),
        has_control=not plan.no_control,
    )


def check(
    model: Any,
    data: LabelledTokens,
    *,
    probe: str = "logistic",
    sites: Sites = "resid_post",
    layers: Sequence[int] | None = None,
    split: str = "group",
    folds: int = 4,
    inner_folds: int = 3,
    penalties: Sequence[float] | None = None,
    rank: int = 2,
    hidden: int = 64,
    n_shuffles: int = FEWEST,
    seed: int = 0,
) -> tuple[Family, list[Kind], Plan]:
    """What `fit` would do with these examples and options: the probe, its sites, and the design with all controls.

    Raises InputError for everything that `fit` refuses and that can be known before anything is run.
    """
    family = Family(probe, rank=rank, hidden=hidden, seed=seed)
    if not isinstance(data, LabelledTokens):
        how = "make them with labelled_tokens or from_jsonl, or name a task (DATASETS)"
        raise InputError(f"a {type(data).__name__} is no labelled examples; {how}")
    kinds = kinds_of(model, sites, layers)
    return family, kinds, _plan(data, family, split, folds, inner_folds, penalties, n_shuffles, seed)


@dataclass(frozen=True, eq=False)
class Plan:
    """The design of the task with its controls, and what groups are."""

    design: Design
    groups: Int[Tensor, " example"]
    group_is: str
    no_control: str


def _plan(
    data: LabelledTokens,
    family: Family,
    split: str,
    folds: int,
    inner_folds: int,
    penalties: Sequence[float] | None,
    n_shuffles: int,
    seed: int,
) -> Plan:
    """Folds, controls and orders, all drawn before anything is computed; refuses what cannot be asked."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    if folds < 2 or inner_folds < 2 or n_shuffles < 0:
        given = f"folds={folds}, inner_folds={inner_folds}, n_shuffles={n_shuffles}"
        raise InputError(f"{given} make no design; use at least 2, 2 and 0")
    grid = tuple(
        sorted((float(value) for value in (family.penalties if penalties is None else penalties)), reverse=True)
    )
    if not grid or grid[-1] <= 0:
        raise InputError("penalties must be positive numbers, at least one")
    group_is = "word type" if split == "type" else data.group_is
    groups = numbered(data.types if split == "type" else data.groups)
    check_classes(data, groups, folds, group_is)
    if split == "group":
        check_duplicates(data, groups, group_is)
    n_classes = len(data.classes)
    family.check(n_classes)
    outer = grouped_folds(data.labels, groups, folds, seed)
    inner = torch.zeros(folds, len(data), dtype=torch.long)
    for fold in range(folds):
        train = outer != fold
        within = numbered(groups[train].tolist())
        inner[fold, train] = grouped_folds(data.labels[train], within, min(inner_folds, int(within.max()) + 1), seed)
    control, no_control = control_labels(data.labels, data.types, outer, seed)
    shuffled = shuffled_labels(data.labels, n_shuffles, seed)
    fitted = torch.cat([data.labels[None], control[None], shuffled])
    tested = torch.cat([data.labels[None], control[None], data.labels.expand(n_shuffles, -1)])
    order = _by_shuffled_groups(groups, seed)
    return Plan(Design(fitted, tested, outer, inner, order, 2, n_classes, grid), groups, group_is, no_control)


def _by_shuffled_groups(groups: Int[Tensor, " example"], seed: int) -> Int[Tensor, " example"]:
    """Examples in an order in which groups follow each other at random: a block is told little by its neighbours."""
    generator = torch.Generator().manual_seed(seed)
    rank = torch.randperm(int(groups.max()) + 1, generator=generator)[groups]
    return rank.argsort(stable=True)


@dataclass(eq=False)
class _Work:
    """All parts of one question, each computed or found again."""

    model: Any
    data: LabelledTokens
    family: Family
    plan: Plan
    kinds: list[Kind]
    asking: dict[str, Any]
    batch_size: int | None
    memory_budget: int
    keep: str | Path | None

    def parts(self) -> Parts:
        """Probes of the model, of its embedding, and of its random twin."""
        n_positions, n_rounds = len(self.data.positions), self.plan.design.n_folds + 1
        n_sites = sum(len(kind.sites) for kind in self.kinds)
        with progress(n_positions * n_rounds * (2 * n_sites + 1), "probing (a layer in a fold)") as bar:
            self.keeper = Keeper(self.keep, self.asking, bar)
            embedding = self.part(self.model, "embedding", Kind("embed", (0,), (Site("embed"),)), self.plan.design)
            trained = {kind.name: self.lots(self.model, "model", kind, self.plan.design) for kind in self.kinds}
            task_alone = _first_variant(self.plan.design)
            twin = _Twin(self.model, self.asking["seed"])
            random = {kind.name: self.lots(twin, "random", kind, task_alone) for kind in self.kinds}
        return Parts(trained, random, embedding)

    def lots(self, model: Any, what: str, kind: Kind, design: Design) -> list[Result]:
        """The parts of one kind of site, as many layers at a time as the memory budget allows."""
        a_layer = len(self.data) * len(self.data.positions) * width(self.model, kind.sites[0]) * 4
        step = max(1, self.memory_budget // a_layer)
        if self.keep is not None:
            step = min(step, LAYERS_A_PART)
        lots = [slice(i, i + step) for i in range(0, len(kind.sites), step)]
        return [self.part(model, what, Kind(kind.name, kind.layers[lot], kind.sites[lot]), design) for lot in lots]

    def part(self, model: Any, what: str, kind: Kind, design: Design) -> Result:
        """Activations, then probes; or the part as it was stored."""
        name = f"{what}-{kind.name.replace(' ', '-')}-{kind.layers[0]}-{kind.layers[-1]}"
        which = {"part": what, "kind": kind.name, "layers": list(kind.layers)}
        steps = (design.n_folds + 1) * len(kind.sites) * len(self.data.positions)

        def compute(settings: dict[str, Any], advance: Advance) -> ProbePart:
            real = model.built() if isinstance(model, _Twin) else model
            x = gather(real, self.data, kind.sites, self.batch_size).flatten(0, 1)
            found = probe_sites(self.family, x, design, torch.device(embedding_device(real)), advance)
            return part_of(found, design, list(self.data.positions), kind.layers, settings)

        return self.keeper.part(name, which, steps, compute)


class _Twin:
    """The random twin, made when it is first needed: parts that are found again need none."""

    def __init__(self, model: Any, seed: int) -> None:
        self.model, self.seed = model, seed
        self.twin: Any = None

    def built(self) -> Any:
        if self.twin is None:
            self.twin = random_twin(self.model, self.seed)
        return self.twin


def _first_variant(design: Design) -> Design:
    return Design(
        design.fitted[:1],
        design.tested[:1],
        design.folds,
        design.inner,
        design.order,
        1,
        design.n_classes,
        design.grid,
    )

"""Nested cross-validation: outer folds measure, inner folds of each training part choose the penalty.

Every example is predicted once, by probes that saw neither it nor anything of its group. The penalty of a site is
chosen inside each training part (Cawley & Talbot 2010 on why), and the control task and shuffles get the same penalty
as the task: they are to be fitted by the very same probe.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.probing.coding import code_lengths
from interp.probing.solving.calibrating import best_scale, comparable, losses, mean_loss
from interp.probing.solving.decorrelating import Coordinates, decorrelate
from interp.probing.solving.families import Family, Fitted, as_linear
from interp.probing.solving.linear import Linear
from interp.probing.solving.softmax_problems import Problems

CHOOSING = 1e-5
"""Nats of the objective within which the probes that only choose a penalty are fitted."""
PENALTIES_AT_ONCE = 3


@dataclass(frozen=True, eq=False)
class Design:
    """Which examples are fitted and tested where, and on which labels.

    fitted: labels that probes learn, a row a variant (the task, then its controls); tested: those they are tested on.
    folds: outer fold of each example. inner: inner folds of each outer training part. order: in which description
    lengths encode. coded: how many of the variants are encoded. grid: penalties, strongest first.
    """

    fitted: Int[Tensor, "variant example"]
    tested: Int[Tensor, "variant example"]
    folds: Int[Tensor, " example"]
    inner: Int[Tensor, "fold example"]
    order: Int[Tensor, " example"]
    coded: int
    n_classes: int
    grid: tuple[float, ...]

    @property
    def n_folds(self) -> int:
        """Outer folds."""
        return len(self.inner)


@dataclass(eq=False)
class Measured:
    """What probes at some sites did.

    correct, loss (nats): of every example when it was held out. l2: chosen in each outer fold. tried: mean inner loss
    of every penalty (NaN: not tried). code: description length in bits of each encoded variant. probe: linear probe of
    the task on the activations themselves, learnt from all examples; None for perceptrons. converged: share of fits.
    """

    correct: Bool[Tensor, "site variant example"]
    loss: Float[Tensor, "site variant example"]
    l2: Float[Tensor, "site fold"]
    tried: Float[Tensor, "site fold l2"]
    code: Float[Tensor, "site coded"]
    probe: Linear | None
    converged: Float[Tensor, " site"]


def measure(
    family: Family, x: Float[Tensor, "site example feature"], design: Design, advance: Callable[[], None]
) -> Measured:
    """Fit and test probes of every variant at every site. `advance` is called after every fold."""
    n_variants, n = design.fitted.shape
    correct = torch.zeros(len(x), n_variants, n, dtype=torch.bool)
    loss = torch.zeros(len(x), n_variants, n)
    chosen, tried, converged = [], [], []
    for fold in range(design.n_folds):
        train = design.folds != fold
        coordinates = decorrelate(x, train.to(x.device), family.standardises)
        rows = coordinates.of(x[:, train])
        inner = design.inner[fold][train]
        l2, curve = choose_penalty(family, rows, design.fitted[0, train], inner, coordinates.variance, design)
        fitted = fit_variants(family, rows, design.fitted[:, train], inner, coordinates.variance, l2, design.n_classes)
        held_out = ~train
        logits = fitted.logits(coordinates.of(x[:, held_out]))
        labels = design.tested[:, held_out].to(x.device)
        loss[:, :, held_out] = losses(logits, labels).cpu()
        correct[:, :, held_out] = (predictions(logits) == labels).cpu()
        chosen.append(l2.cpu())
        tried.append(curve.cpu())
        converged.append(fitted.converged.float().mean(1).cpu())
        advance()
    l2 = torch.stack(chosen, dim=1)
    code, probe = _on_all(family, x, design, l2.log().median(dim=1).values.exp().to(x.device))
    advance()
    return Measured(correct, loss, l2, torch.stack(tried, 1), code, probe, torch.stack(converged).mean(0))


def _on_all(family: Family, x: Tensor, design: Design, l2: Tensor) -> tuple[Tensor, Linear | None]:
    """Description lengths, and the probe that is kept, from all examples."""
    everything = torch.ones(x.shape[1], dtype=torch.bool, device=x.device)
    coordinates = decorrelate(x, everything, family.standardises)
    rows = coordinates.of(x)
    labels = design.fitted[: design.coded]
    code = code_lengths(family, rows, labels, design.order, coordinates.variance, l2, design.n_classes)
    inner = design.folds.to(x.device)
    fitted = fit_variants(family, rows, design.fitted[:1], inner, coordinates.variance, l2, design.n_classes)
    return code.cpu(), _on_activations(as_linear(fitted), coordinates)


def _on_activations(probe: Linear | None, coordinates: Coordinates) -> Linear | None:
    if probe is None:
        return None
    weight, bias = coordinates.weights_in_activations(probe.weight, probe.bias)
    scale = 1 if probe.scale is None else probe.scale[..., None]
    return Linear((weight * torch.as_tensor(scale)[..., None]).cpu(), (bias * scale).cpu(), probe.converged.cpu())


def predictions(logits: Float[Tensor, "site problem column row"]) -> Int[Tensor, "site problem row"]:
    """The most likely class of every row."""
    return (logits[:, :, 0] > 0).long() if logits.shape[2] == 1 else logits.argmax(2)


def choose_penalty(
    family: Family,
    rows: Float[Tensor, "site row feature"],
    labels: Int[Tensor, " row"],
    inner: Int[Tensor, " row"],
    variance: Float[Tensor, "site feature"],
    design: Design,
) -> tuple[Float[Tensor, " site"], Float[Tensor, "site l2"]]:
    """For every site the penalty with the least mean held-out loss, and the loss of every penalty that was tried.

    Strong penalties come first, a few at a time; weaker ones only for sites where the weakest so far was the best.
    """
    n_sites, grid = len(rows), design.grid if family.penalised else design.grid[:1]
    curve = torch.full((n_sites, len(grid)), float("nan"), device=rows.device)
    sites = torch.arange(n_sites, device=rows.device)
    for begin in range(0, len(grid), PENALTIES_AT_ONCE):
        part = grid[begin : begin + PENALTIES_AT_ONCE]
        narrow = rows if len(sites) == n_sites else rows[sites]
        found = _held_out_losses(family, narrow, labels, inner, variance[sites], part, design.n_classes)
        curve[sites, begin : begin + len(part)] = found
        best = curve[sites].nan_to_num(torch.inf).argmin(1)
        sites = sites[best == begin + len(part) - 1]
        if not len(sites):
            break
    return torch.tensor(grid, device=rows.device)[curve.nan_to_num(torch.inf).argmin(1)], curve


def _held_out_losses(
    family: Family,
    rows: Tensor,
    labels: Tensor,
    inner: Tensor,
    variance: Tensor,
    grid: tuple[float, ...],
    n_classes: int,
) -> Float[Tensor, "site l2"]:
    """Mean loss on the inner folds, all of them and all penalties fitted together."""
    n_inner = int(inner.max()) + 1
    weights = (inner[None] != torch.arange(n_inner, device=inner.device)[:, None]).to(rows)
    weights = weights.repeat(len(grid), 1)  # penalty-major
    labels = labels.to(rows.device)
    problems = Problems(rows, labels.expand(len(weights), -1), weights, n_classes)
    l2 = torch.tensor(grid, device=rows.device).repeat_interleave(n_inner).expand(len(rows), -1)
    logits = family.fit(problems, l2, variance, CHOOSING).logits(rows)
    held_out = _out_of_fold(logits.unflatten(1, (len(grid), n_inner)), inner)
    several = labels.expand(len(grid), -1)
    if family.calibrated:
        held_out = comparable(held_out) * best_scale(held_out, several)[..., None, None]
    return mean_loss(held_out, several)


def _out_of_fold(
    logits: Float[Tensor, "site problem inner column row"], inner: Int[Tensor, " row"]
) -> Float[Tensor, "site problem column row"]:
    """Of every row the logits by the probe that did not see it."""
    index = inner.to(logits.device)[None, None, None, None].expand(*logits.shape[:2], 1, *logits.shape[3:])
    return logits.gather(2, index)[:, :, 0]


def fit_variants(
    family: Family,
    rows: Float[Tensor, "site row feature"],
    labels: Int[Tensor, "variant row"],
    inner: Int[Tensor, " row"],
    variance: Float[Tensor, "site feature"],
    l2: Float[Tensor, " site"],
    n_classes: int,
) -> Fitted:
    """One probe a variant at every site, with the site's penalty; scores are calibrated on inner folds where needed."""
    labels = labels.to(rows.device)
    problems = Problems(rows, labels, torch.ones(labels.shape, device=rows.device), n_classes)
    fitted = family.fit(problems, l2[:, None].expand(-1, len(labels)), variance)
    if not family.calibrated:
        return fitted
    assert isinstance(fitted, Linear)
    n_inner = int(inner.max()) + 1
    weights = (inner[None] != torch.arange(n_inner, device=inner.device)[:, None]).to(rows)
    weights = weights.repeat(len(labels), 1)  # variant-major
    folded = Problems(rows, labels.repeat_interleave(n_inner, dim=0), weights, n_classes)
    logits = family.fit(folded, l2[:, None].expand(-1, len(weights)), variance).logits(rows)
    fitted.scale = best_scale(_out_of_fold(logits.unflatten(1, (len(labels), n_inner)), inner), labels)
    return fitted
